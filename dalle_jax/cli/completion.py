"""`dalle-jax completion`: a script with which a shell completes verbs, options and known values."""

import argparse
from collections.abc import Iterator
from importlib import import_module

from dalle_jax.cli.options import OneOf, Parser, local_path, local_paths, path_text, values_of
from dalle_jax.cli.output_paths import OutputFile, output_folder

SHELLS = ("bash", "zsh", "fish")
EXAMPLE = """examples:
  eval "$(dalle-jax completion bash)"      # in ~/.bashrc
  eval "$(dalle-jax completion zsh)"       # in ~/.zshrc, after compinit
  dalle-jax completion fish > ~/.config/fish/completions/dalle-jax.fish
"""

# One function for bash and zsh. Words come apart at `=` in bash, and not in zsh. Without a reply
# the shell completes the names of files.
BASH = """_dalle_jax() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local verb="${COMP_WORDS[1]}" option= head= options= values= places= bare=
    COMPREPLY=()
    if [[ $COMP_CWORD -eq 1 || $verb == help ]]; then
        COMPREPLY=($(compgen -W "VERBS" -- "$cur"))
        return
    fi
    case "$cur" in
        =) option="$prev" cur= ;;
        --*=*) option="${cur%%=*}" head="${cur%%=*}=" cur="${cur#*=}" ;;
        --*) ;;
        *)
            case "$prev" in
                =) option="${COMP_WORDS[COMP_CWORD-2]}" ;;
                --*) option="$prev" ;;
            esac ;;
    esac
    bare="${option#--}"
    [[ $option == --* ]] && option="--${bare//-/_}"
    case "$verb" in
CASES
    esac
    if [[ $option == "" && $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$cur"))
        [[ ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
        return
    fi
    [[ $option == "" ]] && values="$places"
    if [[ $cur == *,* ]]; then
        head="$head${cur%,*},"
        cur="${cur##*,}"
    fi
    COMPREPLY=($(compgen -P "$head" -W "$values" -- "$cur"))
}
complete -o default -F _dalle_jax dalle-jax
"""


def run(argv: list[str]) -> int:
    """Print the script."""
    shell = make_parser().parse_args(argv).shell
    print({"bash": bash, "zsh": zsh, "fish": fish}[shell](), end="")
    return 0


def make_parser() -> Parser:
    """The options of the verb."""
    parser = Parser(
        "completion",
        "Print the script with which a shell completes verbs, options and known values. It holds "
        "them as they are now: names of one's own configs and figures come with the next shell.",
        EXAMPLE,
    )
    parser.add_argument("shell", type=OneOf(SHELLS), help="which shell")
    return parser


def bash() -> str:
    """The script for bash."""
    return BASH.replace("VERBS", " ".join([*_verbs(), "help", "--version"])).replace(
        "CASES", "\n".join(_cases())
    )


def zsh() -> str:
    """The script for zsh, which runs that for bash."""
    return "autoload -Uz bashcompinit && bashcompinit\n" + bash()


def fish() -> str:
    """The script for fish."""
    lines = ["complete -c dalle-jax -n __fish_use_subcommand -f -l version -d 'print the version'"]
    for verb, text in {**_verbs(), "help": "the options of a verb"}.items():
        quoted = text.replace("'", "\\'")
        lines.append(f"complete -c dalle-jax -n __fish_use_subcommand -f -a {verb} -d '{quoted}'")
    lines.append(_fish("help", f"-f -a '{' '.join(_verbs())}'"))
    for verb in _verbs():
        for action in _actions(verb):
            values = " ".join(_values(verb, action))
            given = f" -a '{values}'" if values else ""
            if not action.option_strings:
                lines += [_fish(verb, f"-f{given}")] if values else []
                continue
            takes = "" if action.nargs == 0 else (" -r" if _is_file(action) else " -x")
            lines.append(_fish(verb, f"-l {action.option_strings[-1][2:]}{takes}{given}"))
    return "\n".join(lines) + "\n"


def _fish(verb: str, rest: str) -> str:
    return f"complete -c dalle-jax -n '__fish_seen_subcommand_from {verb}' {rest}"


def _cases() -> Iterator[str]:
    """A branch for each verb: its options, the values of the one before the cursor, its places."""
    for verb in _verbs():
        names, values, places = [], [], []
        for action in _actions(verb):
            known = " ".join(_values(verb, action))
            if not action.option_strings:
                places.append(known)
                continue
            name = action.option_strings[-1]
            names.append(name if action.nargs == 0 else f"{name}=")
            if action.nargs == 0:  # what comes after it is no value of it
                values.append(f"{_plain(name)}) option= ;;")
            elif known:
                values.append(f'{_plain(name)}) values="{known}" ;;')
        yield f"        {verb})"
        yield f'            options="{" ".join(names)}" places="{" ".join(places)}"'
        yield '            case "$option" in'
        yield from (f"                {line}" for line in values)
        yield "            esac ;;"


def _plain(name: str) -> str:
    return "--" + name[2:].replace("-", "_")


def _verbs() -> dict[str, str]:
    from dalle_jax.cli.main import VERBS

    return VERBS


def _actions(verb: str) -> list[argparse.Action]:
    """The options and places of a verb, of all its uses, each once."""
    from dalle_jax.cli import evaluate_folders

    parsers = [import_module(f"dalle_jax.cli.{verb}").make_parser()]
    parsers += [evaluate_folders.make_parser()] if verb == "evaluate" else []
    actions = [action for parser in parsers for action in parser._actions]
    return list({action.dest: action for action in reversed(actions)}.values())[::-1]


def _values(verb: str, action: argparse.Action) -> tuple[str, ...]:
    """The values that can be offered; none where the names of files are offered."""
    if action.dest == "config":
        from dalle_jax.config.user_files import CONFIGS, known_configs

        return tuple(known_configs(CONFIGS))
    if (verb, action.dest) == ("figure", "name"):
        from dalle_jax.figures.files import EXPERIMENTS

        return tuple(sorted(path.stem for path in EXPERIMENTS.glob("figures/*.py")))
    return values_of(action)


def _is_file(action: argparse.Action) -> bool:
    places = (local_path, local_paths, path_text, output_folder)
    return action.type in places or isinstance(action.type, OutputFile)
