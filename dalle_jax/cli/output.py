"""What is printed arrives whatever the terminal can show, and whoever stops to read."""

import codecs
import contextlib
import os
import sys

# In the place of what ASCII or a code page lacks; all else is shown by its number.
PLAIN = str.maketrans({"–": "-", "—": "-", "−": "-", "…": "...", "×": "x", "·": "*", "→": "->"})
PLAIN |= str.maketrans({"≥": ">=", "≤": "<=", "±": "+-", "σ": "sigma", "α": "alpha", "²": "^2"})
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
