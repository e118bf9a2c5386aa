"""Advice on a folder of which most images can't be used."""

import contextlib
import os
import posixpath
from collections.abc import Sequence

from dalle_jax.data.file_names import NO_IMAGE
from dalle_jax.data.folder_files import COCO
from dalle_jax.data.report import Report
from dalle_jax.data.tables import TABLE_SUFFIXES
from dalle_jax.data.walk import printable, stem_of

_OTHER_DATA = {".tar": "webdataset:", ".parquet": "parquet:"}


def advice_on(report: Report, root: str) -> str:
    """Sentences for the end of an error: what else there is in `root`, how captions are given."""
    left_out = [name for names in report.left_out.values() for name in names]
    if report.total == 0 and report.left_out:
        ways = [
            f"{suffix} files as {kind}PATH"
            for suffix, kind in _OTHER_DATA.items()
            if any(name.endswith(suffix) for name in left_out)
        ]
        return f" Give {' and '.join(ways)}" if ways else _of_coco(root)
    by_shape = ("side below", "aspect ratio")
    small = [names for reason, names in report.left_out.items() if reason.startswith(by_shape)]
    if sum(map(len, small)) > report.total:
        return " Most images are left out by min_side or max_aspect_ratio: lower or raise these"
    uncaptioned = report.skipped.get("image without caption", [])
    missing = report.skipped.get(NO_IMAGE, [])
    found = _found_elsewhere(missing, uncaptioned)
    if found or len(missing + uncaptioned) * 2 <= report.num_skipped:
        return found
    found = _of_coco(root)
    if found or len(uncaptioned) * 2 <= report.num_skipped:
        return found
    return _of_left_out(left_out) or (
        " Captions are read from metadata.jsonl, .json, .csv, .tsv or .parquet, or from a .txt, "
        ".caption or .json beside each image; a table that names only a part of the folder on "
        f"purpose is given itself: folder:PATH/{_likely_table(left_out)}"
    )


def _of_coco(root: str) -> str:
    """A sentence for a folder of COCO's images, or of its annotations, without the other."""
    above = posixpath.dirname(root)
    for folder in (root, f"{above}/annotations"):
        with contextlib.suppress(OSError):
            found = sorted(name for name in os.listdir(folder) if COCO.fullmatch(name))
            if found and posixpath.basename(folder) == "annotations":
                return (
                    f" COCO's {printable(found[0])} is read with the folders of images beside "
                    f"annotations: give folder:{printable(above)}"
                )
    return ""


def _found_elsewhere(missing: Sequence[str], images: Sequence[str]) -> str:
    """A sentence on a name that no image has, but one has nearly."""
    by_base = {posixpath.basename(image): image for image in images}
    by_stem = {_stem(image): image for image in images}
    for name in missing:
        base = posixpath.basename(name.replace("\\", "/"))
        if base in by_base:
            return (
                f" There is no {printable(name)}, but {printable(by_base[base])}: names in a table "
                "are relative to its own folder, so put the table beside the images or add their "
                "folder to the names"
            )
        image = by_stem.get(base) or by_stem.get(_stem(base))
        if image is not None:
            return (
                f" There is no {printable(name)}, but {printable(image)}: names in a table end in "
                "the file's suffix"
            )
    return ""


def _of_left_out(names: Sequence[str]) -> str:
    """A sentence on a file that was left out and holds the captions, by its name."""
    for name in map(printable, names):
        stem, suffix = posixpath.splitext(posixpath.basename(name))
        if suffix == ".txt" and stem in ("captions", "metadata"):
            return f" If {name} is a table with a line of columns, call it {stem}.csv"
        if suffix == ".json" and stem.startswith("captions_"):
            return (
                f" COCO's {name} is read where no table and no file beside an image has captions; "
                f"else give it itself: folder:PATH/{name}"
            )
        if suffix in (".xlsx", ".xls", ".ods", ".numbers"):
            return f" {name} is not read: save it as CSV (UTF-8), called metadata.csv"
    return ""


def _likely_table(names: Sequence[str]) -> str:
    """A file that a user may have meant as the table, or an example."""
    top = (name for name in map(printable, names) if "/" not in name)
    return next((name for name in top if name.lower().endswith(TABLE_SUFFIXES)), "part.csv")


def _stem(name: str) -> str:
    return stem_of(posixpath.basename(name))
