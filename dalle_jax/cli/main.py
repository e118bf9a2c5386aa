"""`dalle-jax VERB`: the commands, and how their errors are printed."""

import gc
import logging
import sys
import warnings
from collections.abc import Callable
from importlib import import_module

from dalle_jax import __version__, compilation_cache, console, cpu
from dalle_jax.devices import explain_failure
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
    "export": "a trained system as a folder of safetensors to hand on",
    "convert": "weights of other projects to files of this one, and back",
    "completion": "let a shell complete verbs, options and known values",
}

USAGE = (
    "usage: dalle-jax VERB ...\n\n"
    + "\n".join(f"  {verb:12}{what}" for verb, what in VERBS.items())
    + "\n\n`dalle-jax help VERB` shows a verb's options and an example, `dalle-jax --version` the "
    "version.\n"
)


def main(argv: list[str] | None = None) -> None:
    """Run one verb and end with its exit code; an error is printed as one sentence."""
    console.show_anything()
    try:
        try:
            code = _main(sys.argv[1:] if argv is None else argv)
        except SystemExit as ended:
            code = ended.code
        sys.stdout.flush()
    except BrokenPipeError:
        console.drop_the_rest()
        code = console.CLOSED
    sys.exit(code)


def _main(argv: list[str]) -> int:
    verb, *rest = argv or [""]
    if verb == "help":
        verb, *rest = [*(name for name in rest[:1] if name != "help"), "--help"]
    if verb in ("", "-h", "--help"):
        print(USAGE, end="")
        return 0 if argv else 2
    if verb in ("-V", "--version"):
        print(f"dalle-jax {__version__}")
        return 0
    if verb not in VERBS:
        known = [*VERBS, "help", "--version"]
        hint = nearest(verb, known) or f"; known are {', '.join(VERBS)}"
        what = "option" if verb.startswith("-") else "verb"
        print(f"dalle-jax: there is no {what} {verb!r}{hint}", file=sys.stderr)
        return 2
    quieten()
    if "--dry-run" in rest:
        gc.disable()  # over within seconds, a sixth of which it would spend on collecting garbage
    elif not {"-h", "--help"} & set(rest):
        gc.set_threshold(10_000)  # at Python's 700, a third of the time of tracing is collection
        cpu.restart_with_heap()
        if verb != "bench":  # which times compilation
            compilation_cache.enable()
    return exit_code(verb, lambda: run_verb(verb, rest))


def run_verb(verb: str, argv: list[str]) -> int:
    """What the verb's file makes of its arguments."""
    return import_module(f"dalle_jax.cli.{verb}").run(argv)


def exit_code(verb: str, run: Callable[[], int]) -> int:
    """What `run` returns; an error is printed as one sentence, and gives 1."""
    try:
        return run()
    except BrokenPipeError:  # who reads the output has gone
        raise
    except (RuntimeError, AssertionError) as error:
        if (sentence := explain_failure(error)) is None:
            raise
        print(f"dalle-jax {verb}: {sentence}", file=sys.stderr)
        return 1
    except (ValueError, OSError, ImportError, MemoryError) as error:
        print(f"dalle-jax {verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def quieten() -> None:
    """Silence what TFDS and Orbax log for their developers; print warnings as sentences."""
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.showwarning = _show_warning


def _show_warning(message, category, filename, lineno, file=None, line=None) -> None:
    """A warning as a sentence, without the line of code that it came from."""
    print(f"warning: {message}", file=sys.stderr)
