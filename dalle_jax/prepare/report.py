"""What `prepare` prints of user data: the items of each split, what is not used and why."""

import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from dalle_jax.data.open import is_at_path
from dalle_jax.data.remote_server import is_url
from dalle_jax.data.report import Report, ReportWarning
from dalle_jax.data.source import Source
from dalle_jax.data.splits import SPLITS
from dalle_jax.data.walk import first_of
from dalle_jax.files import short_hash, write_atomically
from dalle_jax.prepare.contact_sheet import contact_sheet

NAMED = 10  # names that are printed of each reason; the report has all
SHEETS = "contact_sheets"  # folder in data_dir


def show(spec: str, open_split: Callable[[str], Source], data_dir: Path) -> None:
    """Scan a data set, print what is used and what is not, and write its contact sheet.

    Args:
        spec: as `config.data.source` names it.
        open_split: loads a split of it.
        data_dir: the sheet is written into a folder in it.
    """
    with warnings.catch_warnings(record=True) as met:
        warnings.simplefilter("always")
        everything = open_split("all")
        sizes = {name: len(open_split(name)) for name in getattr(everything, "splits", SPLITS)}
    report = everything.report
    # Each once, though every split is loaded; the report itself is printed below.
    for warning in {str(warning.message): warning for warning in met}.values():
        if not issubclass(warning.category, ReportWarning):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    for line in summary(spec, report, sizes):
        print(line)
    path = data_dir / SHEETS / f"{_file_name(spec)}.png"
    sheet = contact_sheet(everything, report, getattr(everything, "encoded", lambda name: None))
    try:
        write_atomically(path, lambda file: sheet.save(file, "PNG"))
    except OSError as error:
        warnings.warn(f"the contact sheet {path} could not be written ({error})", stacklevel=2)
        return
    print(f"contact sheet: {path}")


def summary(spec: str, report: Report, sizes: Mapping[str, int]) -> list[str]:
    """Lines on the number of items of each split, and what is skipped, left out, noted and why."""
    used = report.total - report.num_skipped
    splits = ", ".join(f"{size:,} {name}" for name, size in sizes.items())
    lines = [f"{spec}: {used:,} of {report.total:,} items used: {splits}"]
    parts = {"skipped": report.skipped, "left out": report.left_out, "": report.noted}
    for how, reasons in parts.items():
        for reason, names in sorted(reasons.items()):
            what = f"{how}: {reason}" if how else reason
            lines.append(f"  {len(names):,} {what} ({first_of(names, NAMED)})")
    if len(lines) > 1 and report.path is not None:
        lines.append(f"  all are named in {report.path}")
    return lines


def _file_name(spec: str) -> str:
    """A file name for a source: its kind, the last two parts of its path, a hash of the path.

    So folders of one name do not overwrite each other's sheets.
    """
    kind, _, path = spec.partition(":")
    parts = [part for part in re.split(r"[\\/]+", path) if part not in ("", ".", "..")]
    if is_at_path(spec) and not is_url(path):
        path = os.path.abspath(os.path.expanduser(path))
    name = re.sub(r"[^\w.-]+", "_", "_".join([kind, *parts[-2:]]))[:120]
    return f"{name}-{short_hash(path)[:6]}"
