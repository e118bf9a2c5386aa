"""`dalle-jax completion`: a script with which a shell completes verbs, options and known values."""

import argparse
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from dalle_jax.cli.options import (
    OneOf,
    Parser,
    SomeOf,
    local_path,
    local_paths,
    path_text,
    values_of,
)
from dalle_jax.cli.output_paths import OutputFile, output_folder

SHELLS = ("bash", "zsh", "fish")
EXAMPLE = """examples:
  eval "$(dalle-jax completion bash)"      # in ~/.bashrc
  eval "$(dalle-jax completion zsh)"       # in ~/.zshrc
  dalle-jax completion fish > ~/.config/fish/completions/dalle-jax.fish
"""
DESCRIPTION = (
    "Print the script with which a shell completes verbs, options and known values. It holds "
    "them as they are now: names of one's own configs and figures come with the next shell."
)


def run(argv: list[str]) -> int:
    """Print the script."""
    print(script(make_parser().parse_args(argv).shell), end="")
    return 0


def make_parser() -> Parser:
    """The options of the command."""
    parser = Parser("completion", DESCRIPTION, EXAMPLE)
    parser.add_argument("shell", type=OneOf(SHELLS), help="which shell")
    return parser


def script(shell: str) -> str:
    """The script for one of SHELLS."""
    template = Path(__file__).with_name(f"completion.{shell}").read_text("utf-8")
    if shell == "fish":
        return template + "\n".join(_fish_lines()) + "\n"
    verbs = " ".join([*_verbs(), "help", "--version"])
    return template.replace("VERBS", verbs).replace("CASES", "\n".join(_cases()))


def options_of(verb: str) -> list[argparse.Action]:
    """The options and positional arguments of a verb, of all its uses, each once."""
    from dalle_jax.cli import evaluate_folders

    parsers = [import_module(f"dalle_jax.cli.{verb}").make_parser()]
    parsers += [evaluate_folders.make_parser()] if verb == "evaluate" else []
    actions = [action for parser in parsers for action in parser._actions]
    return list({action.dest: action for action in reversed(actions)}.values())[::-1]


def _fish_lines() -> Iterator[str]:
    first = "complete -c dalle-jax -n __fish_use_subcommand -f"
    yield f"{first} -l version -d 'print the version'"
    for verb, text in {**_verbs(), "help": "the options of a verb"}.items():
        quoted = text.replace("'", "\\'")
        yield f"{first} -a {verb} -d '{quoted}'"
    of_verb = "complete -c dalle-jax -n '__dalle_jax_verb {}' "
    yield f"{of_verb.format('help')}-f -a '{' '.join(_verbs())}'"
    for verb in _verbs():
        for action in options_of(verb):
            values = " ".join(_values(verb, action))
            if isinstance(action.type, SomeOf):
                values = f"(__dalle_jax_several {values})"
            given = f" -a '{values}'" if values else ""
            if action.option_strings:
                takes = "" if action.nargs == 0 else (" -r" if _is_file(action) else " -x")
                name = action.option_strings[-1][2:]
                yield f"{of_verb.format(verb)}-l {name}{takes}{given}"
            elif values:
                yield f"{of_verb.format(verb)}-f{given}"


def _cases() -> Iterator[str]:
    """A branch for each verb: options, values of the option before the cursor, arguments."""
    for verb in _verbs():
        names, values, arguments = [], [], []
        for action in options_of(verb):
            known = " ".join(_values(verb, action))
            if not action.option_strings:
                arguments.append(known)
                continue
            name = action.option_strings[-1]
            names.append(name if action.nargs == 0 else f"{name}=")
            plain = "--" + name[2:].replace("-", "_")
            if action.nargs == 0:  # what comes after it is no value of it
                values.append(f"{plain}) option= ;;")
            elif known:
                values.append(f'{plain}) values="{known}" ;;')
        yield f"        {verb})"
        yield f'            names="{" ".join(names)}" places="{" ".join(arguments)}"'
        yield '            case "$option" in'
        yield from (f"                {line}" for line in values)
        yield "            esac ;;"


def _verbs() -> dict[str, str]:
    from dalle_jax.cli.main import VERBS

    return VERBS


def _values(verb: str, action: argparse.Action) -> tuple[str, ...]:
    """The values that can be offered; none where the names of files are offered."""
    if action.dest == "config":
        from dalle_jax.config.places import CONFIGS
        from dalle_jax.config.user_files import known_configs

        return tuple(known_configs(CONFIGS))
    if (verb, action.dest) in (("figure", "name"), ("sweep", "experiment")):
        from dalle_jax.config.places import experiment_files

        return tuple(experiment_files(f"get_{verb}"))
    return values_of(action)


def _is_file(action: argparse.Action) -> bool:
    paths = (local_path, local_paths, path_text, output_folder)
    return action.type in paths or isinstance(action.type, OutputFile)
