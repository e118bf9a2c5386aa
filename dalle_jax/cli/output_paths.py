"""Options that name what a verb writes: refused at once where it can't be written there."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dalle_jax.cli.options import local_path


@dataclass(frozen=True)
class OutputFile:
    """A `type` of options: a file that can be written.

    Attributes:
        suffixes: that its name may end in; () for any.
    """

    suffixes: Sequence[str] = ()

    def __call__(self, text: str) -> Path:
        """The path; of folders that are missing, only the first that is there is looked at."""
        path = local_path(text)
        if path.is_dir() or text.endswith(("/", os.sep)):
            example = f" such as {path / ('name' + self.suffixes[0])}" if self.suffixes else ""
            raise argparse.ArgumentTypeError(f"is the folder {text}; give a file{example}")
        if self.suffixes and path.suffix.lower() not in self.suffixes:
            known = ", ".join(self.suffixes[:4])
            raise argparse.ArgumentTypeError(
                f"is {text}, which ends in {path.suffix or 'no suffix'}; it can end in {known}"
            )
        if path.exists() and not os.access(path, os.W_OK):
            raise argparse.ArgumentTypeError(f"is {text}, a file that may not be written")
        _check_folder(path.absolute().parent, text)
        return path


def output_folder(text: str) -> Path:
    """A `type` of options: a folder that can be written to, or made."""
    path = local_path(text)
    _check_folder(path.absolute(), text)
    return path


def _check_folder(folder: Path, text: str) -> None:
    """Refuse a folder that can neither be written to nor made."""
    there = next(parent for parent in (folder, *folder.parents) if _exists(parent))
    if not there.is_dir():
        raise argparse.ArgumentTypeError(f"is {text}, but {there} is a file and not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise argparse.ArgumentTypeError(f"is {text}, but {there} may not be written to")


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long, or a folder that may not be looked into
        return False
