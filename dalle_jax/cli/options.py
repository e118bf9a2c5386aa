"""One parser for all verbs: a typing error is named in one sentence, with the nearest known name.

Nothing here, nor at the top of a verb's file, may import jax or another heavy package: `--help` and
typing errors are to answer at once.
"""

import argparse
import ast
import math
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from dalle_jax import console
from dalle_jax.nearest import nearest

# Messages of argparse: a pattern and the sentence that replaces it.
MESSAGES = (
    (r"the following arguments are required: (.*), (\S+)", r"\1 and \2 are needed"),
    (r"the following arguments are required: (.*)", r"\1 is needed"),
    (
        r"unrecognized arguments: (\S+).*",
        r"'\1' is one argument too many; options are --name=value",
    ),
    (r"argument (\S+): expected .*", r"\1 needs a value, as \1=…"),
    (r"argument (\S+): ignored explicit argument (.*)", r"\1 takes no value; leave out =\2"),
    (r"argument ([^:]+): (.*)", r"\1 \2"),
)
LONG_DASHES = "–—−"  # what word processors and web pages make of `--`


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help with the values and the default of each option."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text = action.help or ""
        names = ", ".join(values_of(action))
        if not all(name in text for name in values_of(action)):
            text += f": {names}"
        default = action.default
        said = default not in (None, "", (), [], argparse.SUPPRESS, math.inf)
        if action.option_strings and action.nargs != 0 and said and "default" not in text:
            text += f" (default: {default})"
        return text.replace("%", "%%")


class Parser(argparse.ArgumentParser):
    """The options of one command; in their names `-` and `_` are alike."""

    def __init__(self, verb: str, description: str, examples: str):
        super().__init__(
            prog=f"dalle-jax {verb}",
            description="\n".join(textwrap.fill(line, 100) for line in description.splitlines()),
            epilog=examples,
            formatter_class=_Help,
            allow_abbrev=False,
        )
        self.also: tuple[str, ...] = ()  # options of the command's other uses, to name in errors
        self.prefixes: dict[str, str] = {}
        self.of_stages: tuple[str, tuple[str, ...]] = ("", ())

    def add_prefix(self, prefix: str, dest: str) -> None:
        """Take any `PREFIXname=value`, as a list of texts in `dest`."""
        self.prefixes[prefix] = dest

    def add_stages(self, dest: str, names: Iterable[str]) -> None:
        """Take `--STAGE.name=value` of any stage for the given names, as a list of texts."""
        self.of_stages = (dest, tuple(names))

    def add_quiet(self) -> None:
        """Take `--quiet`."""
        self.add_argument(
            "--quiet", action="store_true", help="print only results, warnings and errors"
        )

    def parse_args(self, argv: Sequence[str]) -> argparse.Namespace:  # type: ignore[override]
        """The arguments; an error ends the program with a sentence and the code 2."""
        typed = argv[: argv.index("--")] if "--" in argv else argv
        if {"-h", "--help"} & set(typed):
            print(self.format_help(), end="")  # argparse's own drops errors of the stream
            sys.exit(0)
        plain, prefixed = self.split_prefixed(typed)
        args = super().parse_args([*plain, *argv[len(typed) :]])
        vars(args).update(prefixed)
        console.be_quiet(getattr(args, "quiet", False))
        return args

    def format_help(self) -> str:
        """The help, below a first line of what has to be given."""
        names = [
            f"{action.option_strings[0]}=…" if action.option_strings else action.dest
            for action in self._actions
            if action.required
        ]
        self.usage = " ".join([self.prog, *names, "[options]"])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """End the program with a sentence and the code 2."""
        for pattern, sentence in MESSAGES:
            if found := re.fullmatch(pattern, message, re.DOTALL):
                message = found.expand(sentence)
                break
        ending = "" if message.endswith("?") else f"; see `{self.prog} --help`"
        print(f"{self.prog}: {message}{ending}", file=sys.stderr)
        sys.exit(2)

    def split_prefixed(self, argv: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
        """What argparse is to read, by the known spelling, and what begins with a prefix."""
        spelled = {_spelling(name): name for name in self._option_string_actions}
        plain: list[str] = []
        of_stages, settings = self.of_stages
        prefixed = {dest: [] for dest in (*self.prefixes.values(), of_stages) if dest}
        waiting = False  # whether the option before may take this token as its value
        for token in argv:
            name, equals, value = token.partition("=")
            if not name.startswith("--"):
                if not waiting or token[:1] in ("-", "="):
                    self._check_slip(token, spelled)
                plain.append(token)
                waiting = False
            elif known := spelled.get(_spelling(name)):
                plain.append(f"{known}{equals}{value}")
                waiting = not equals and self._option_string_actions[known].nargs != 0
            elif prefix := next((p for p in self.prefixes if _spelling(name).startswith(p)), None):
                if not equals:
                    self.error(f"{token!r} lacks its value; write it as {prefix}some.name=value")
                prefixed[self.prefixes[prefix]].append(token)
            elif of_stages and "." in name:
                name = _spelling(name)
                stage, _, setting = name.partition(".")
                if setting not in settings:
                    known = [f"{stage}.{one}" for one in settings]
                    self.error(f"there is no option {name}{nearest(name, known)}")
                if not equals:
                    self.error(f"{token!r} lacks its value; write it as {name}=…")
                prefixed[of_stages].append(f"{name}={value}")
            elif " " in name:  # a text, as a prompt may be
                plain.append(token)
            else:
                self.error(f"there is no option {name}{nearest(name, self.option_names())}")
        return plain, prefixed

    def _check_slip(self, token: str, spelled: dict[str, str]) -> None:
        """Refuse an option that is typed with one dash, a long dash or none."""
        name = token.partition("=")[0]
        bare = name.lstrip("-" + LONG_DASHES)
        known = spelled.get(_spelling(f"--{bare}"))
        prefixed = any(f"--{bare}".startswith(prefix) for prefix in self.prefixes)
        if known is None and (prefixed or _spelling(bare).partition(".")[2] in self.of_stages[1]):
            known = f"--{bare}"
        if token[:1] in LONG_DASHES and token and known:
            self.error(f"{token!r} begins with a long dash; type {known}, with two short ones")
        if re.match(r"-[^\d.\s]", token) and " " not in name:
            hint = f"; did you mean {known}?" if known else nearest(name, self.option_names())
            self.error(f"{token!r} is not understood, as options begin with two dashes{hint}")
        if known and "=" in token and not re.search(r"\s", token):
            self.error(f"{token!r} lacks its two dashes; type {known}={token.partition('=')[2]}")
        if token == "=":
            self.error("an option and its value are written without blanks: --name=value")

    def option_names(self) -> list[str]:
        """The long options."""
        names = [name for name in self._option_string_actions if name.startswith("--")]
        return [*names, *self.also]


def _spelling(name: str) -> str:
    dashes = len(name) - len(name.lstrip("-"))
    return name[:dashes] + name[dashes:].replace("-", "_")


def values_of(action: argparse.Action) -> tuple[str, ...]:
    """The names that an option takes; none where any text may be given."""
    return tuple(getattr(action.type, "names", ()))


@dataclass(frozen=True)
class OneOf:
    """A `type` of options: one of some names."""

    names: Sequence[str]

    def __call__(self, text: str) -> str:
        """The name."""
        if text not in self.names:
            raise argparse.ArgumentTypeError(
                f"is one of {', '.join(self.names)}, not {text!r}{nearest(text, self.names)}"
            )
        return text


class Suggested(OneOf):
    """A `type` of options: any text; the names are what it mostly is."""

    def __call__(self, text: str) -> str:
        """The text."""
        return text


class OneOfOrLiteral(OneOf):
    """A `type` of options: one of some names, or a Python literal that is no text."""

    def __call__(self, text: str) -> Any:
        """The name, or the literal's value."""
        value = literal(text)
        return super().__call__(text) if isinstance(value, str) else value


@dataclass(frozen=True)
class SomeOf:
    """A `type` of options: some of the names, with commas.

    Attributes:
        names: the choices.
        old_names: names of earlier releases, which are replaced with a sentence on stderr.
    """

    names: Sequence[str]
    old_names: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __call__(self, text: str) -> tuple[str, ...]:
        """The names in the given order, without duplicates."""
        given = [name.strip() for name in text.split(",") if name.strip()]
        given = [console.current_name("metric", name, self.old_names) for name in given]
        if not given:
            raise argparse.ArgumentTypeError(f"is some of {', '.join(self.names)}, and names none")
        for name in given:
            if name not in self.names:
                raise argparse.ArgumentTypeError(
                    f"is some of {', '.join(self.names)}, with commas, and has no "
                    f"{name!r}{nearest(name, self.names)}"
                )
        return tuple(dict.fromkeys(given))


@dataclass(frozen=True)
class Number:
    """A `type` of options: a finite number in a range, its ends included."""

    kind: Callable[[str], Any]  # int, float, or `numeric`
    least: float = -math.inf
    most: float = math.inf
    endless: bool = False  # whether `inf` is one too

    def __call__(self, text: str) -> Any:
        """The number."""
        try:
            number = self.kind(text)
        except ValueError:
            number = math.nan
        endless = number in (math.inf, -math.inf)
        if not self.least <= number <= self.most or (endless and not self.endless):
            raise argparse.ArgumentTypeError(f"is {self}, not {text!r}")
        return number

    def __str__(self) -> str:
        noun = "a whole number" if self.kind is int else "a number"
        if math.isfinite(self.most):
            return f"{noun} from {self.least} to {self.most}"
        return noun if math.isinf(self.least) else f"{noun} of at least {self.least}"


def numeric(text: str) -> int | float:
    """A number as it is typed: 2 stays an int, 2.0 a float.

    Raises:
        ValueError: it is none.
    """
    try:
        return int(text)
    except ValueError:
        return float(text)


whole, number = Number(int), Number(numeric)
count = Number(int, 1)  # of things of which there is one at least
share = Number(float, 0, 1)
hours = Number(float, 0, endless=True)


def local_path(text: str) -> Path:
    """A `type` of options: a path, in which `~` is the home folder."""
    return Path(path_text(text))


def path_text(text: str) -> str:
    """A `type` of options: a path as it is typed, for records; `~` is the home folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; give a path")
    return os.path.expanduser(text)


def local_paths(text: str) -> list[Path]:
    """A `type` of options: paths with commas between them."""
    return [local_path(one.strip()) for one in text.split(",") if one.strip()]


def literal(text: str) -> Any:
    """A `type` of options: the value of a Python literal, or the text where it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
