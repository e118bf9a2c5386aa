"""`dalle-jax completion`: a script with which a shell completes verbs, options and known values."""

import argparse
from collections.abc import Iterator
from importlib import import_module

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

# Words come apart at `=` in bash. Without a reply it completes the names of files.
BASH = """_dalle_jax() {
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}"
    local verb="${COMP_WORDS[1]}" option= head= names= values= places= bare=
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
        COMPREPLY=($(compgen -W "$names" -- "$cur"))
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

ZSH = """_dalle_jax() {
    local cur="$PREFIX" prev="${words[CURRENT-1]}" verb="${words[2]}"
    local option= names= values= places= bare=
    if (( CURRENT == 2 )) || [[ $verb == help ]]; then
        compadd -- VERBS
        return
    fi
    case "$cur" in
        --*=*) option="${cur%%=*}" && compset -P '*=' ;;
        --*) ;;
        *) [[ $prev == --* && $prev != *=* ]] && option="$prev" ;;
    esac
    bare="${option#--}"
    [[ $option == --* ]] && option="--${bare//-/_}"
    case "$verb" in
CASES
    esac
    if [[ $option == "" && $cur == -* ]]; then
        compadd -S '' -- ${(M)${=names}:#*=}
        compadd -- ${${=names}:#*=}
        return
    fi
    [[ $option == "" ]] && values="$places"
    if [[ $values == "" ]]; then
        _files
    else
        compset -P '*,'
        compadd -- ${=values}
    fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _dalle_jax dalle-jax
"""

FISH = """function __dalle_jax_verb
    set -l words (commandline -opc)
    test (count $words) -gt 1; and test "$words[2]" = $argv[1]
end
function __dalle_jax_several
    set -l typed (string replace -r '^--[^=]*=' '' -- (commandline -ct))
    set -l before (string match -r '^.*,' -- $typed; or echo '')
    printf '%s\\n' $before$argv
end
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
    return _with_cases(BASH)


def zsh() -> str:
    """The script for zsh."""
    return _with_cases(ZSH)


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
            several = "__dalle_jax_several " if isinstance(action.type, SomeOf) else ""
            given = f" -a '({several}{values})'" if several else f" -a '{values}'" if values else ""
            if not action.option_strings:
                lines += [_fish(verb, f"-f{given}")] if values else []
                continue
            takes = "" if action.nargs == 0 else (" -r" if _is_file(action) else " -x")
            lines.append(_fish(verb, f"-l {action.option_strings[-1][2:]}{takes}{given}"))
    return FISH + "\n".join(lines) + "\n"


def _fish(verb: str, rest: str) -> str:
    return f"complete -c dalle-jax -n '__dalle_jax_verb {verb}' {rest}"


def _with_cases(script: str) -> str:
    verbs = " ".join([*_verbs(), "help", "--version"])
    return script.replace("VERBS", verbs).replace("CASES", "\n".join(_cases()))


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
        yield f'            names="{" ".join(names)}" places="{" ".join(places)}"'
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
