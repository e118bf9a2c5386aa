"""`dalle-jax VERB`: the verbs, and how their errors are told."""

import logging
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

from dalle_jax import cpu
from dalle_jax.nearest import nearest

VERBS = {
    "prepare": "build a data set",
    "train": "train the stages of a config",
    "bench": "time training and drawing on this machine",
    "sample": "draw images of captions",
    "evaluate": "score a trained workdir on held-out captions, or two folders of images",
    "sweep": "train and measure the points of an experiment file",
    "figure": "make a figure of a paper, and say whether its claim holds here",
    "report": "a sweep's results as one HTML page",
    "compare": "rank rows of results of one protocol, and test what differs",
    "convert": "weights of other projects to files of this one, and back",
}

# Where a verb's file is called otherwise.
FILES = {"report": "report_sweep"}

USAGE = (
    "usage: dalle-jax VERB …\n\n"
    + "\n".join(f"  {verb:10}{what}" for verb, what in VERBS.items())
    + "\n\n`dalle-jax VERB --help` shows a verb's options and an example.\n"
)


def main(argv: list[str] | None = None) -> None:
    """Run one verb; what goes wrong is told in a sentence, and the exit code is not 0."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE, end="")
        sys.exit(0 if argv else 2)
    verb, *rest = argv
    if verb not in VERBS:
        hint = nearest(verb, VERBS) or f"; known are {', '.join(VERBS)}"
        print(f"dalle-jax: there is no verb {verb!r}{hint}", file=sys.stderr)
        sys.exit(2)
    cpu.restart_with_heap()
    quieten()
    sys.exit(exit_code(verb, lambda: run_verb(verb, rest)))


def run_verb(verb: str, argv: list[str]) -> int:
    """What the verb's file makes of its arguments."""
    return import_module(f"dalle_jax.cli.{FILES.get(verb, verb)}").run(argv)


def exit_code(verb: str, run: Callable[[], int]) -> int:
    """What a verb ends with; what goes wrong is told in a sentence."""
    try:
        return run()
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"dalle-jax {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def quieten() -> None:
    """Leave out what TFDS and Orbax tell their developers through absl; warnings as sentences."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as a sentence, without the line of code that it came from."""
    print(f"warning: {message}", file=sys.stderr)
