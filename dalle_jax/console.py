"""What is printed arrives whatever the terminal can show, and whoever stops to read."""

import codecs
import contextlib
import os
import sys
from collections.abc import Mapping

# Instead of what ASCII or a code page lacks; all else is shown by its number.
PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": "*", "→": "->"})
PLAIN |= str.maketrans({"≥": ">=", "≤": "<=", "±": "+-", "σ": "sigma", "α": "alpha", "²": "^2"})
_quiet = False
CLOSED = 141  # the exit code of a program whose reader has gone: 128 and SIGPIPE


def show_anything() -> None:
    """Let no character that a stream can't encode end the program."""
    codecs.register_error("dalle_jax", _plain)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):  # of another kind, or closed
            stream.reconfigure(errors="dalle_jax")


def drop_the_rest() -> None:
    """Send what is still to be printed nowhere: its reader has gone."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    plain = text.translate(PLAIN).encode("ascii", "backslashreplace").decode()
    return plain, error.end


def be_quiet(quiet: bool) -> None:
    """Let this process print only results, warnings and errors, or everything again."""
    global _quiet
    _quiet = quiet


def is_quiet() -> bool:
    """Whether only results, warnings and errors are to be printed."""
    return _quiet


def note(text: str) -> None:
    """A line that says what is being done."""
    if not _quiet:
        print(text, flush=True)


def current_name(kind: str, name: str, old_names: Mapping[str, str]) -> str:
    """The current name of a metric or an option; an old name gets a sentence on stderr."""
    if name not in old_names:
        return name
    new = old_names[name]
    print(f"the {kind} {name} is now called {new}; the old name will be removed", file=sys.stderr)
    return new


def progress(text: str) -> None:
    """How far it is, over what this said before; only where a person looks on."""
    if not _quiet and sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)
