"""What to do about a folder of which most images can't be used."""

import posixpath
from collections.abc import Sequence

from dalle_jax.data.checked import Report
from dalle_jax.data.file_names import NO_IMAGE
from dalle_jax.data.tables import TABLE_SUFFIXES
from dalle_jax.data.walk import describe, printable

_OTHER_DATA = {".tar": "webdataset:", ".parquet": "parquet:"}


def advice_on(report: Report) -> str:
    """Sentences for the end of an error: what else there is, and how captions are given."""
    left_out = [name for names in report.left_out.values() for name in names]
    if report.total == 0 and report.left_out:
        hints = [
            f" Give {suffix} files as {kind}PATH."
            for suffix, kind in _OTHER_DATA.items()
            if any(name.endswith(suffix) for name in left_out)
        ]
        return f" Left out are {describe(report.left_out)}.{''.join(hints)}"
    num_small = sum(
        len(names)
        for reason, names in report.left_out.items()
        if reason.startswith(("side below", "aspect ratio"))
    )
    if num_small > report.total:
        return " Most images are left out by min_side or max_aspect_ratio: lower or raise these."
    uncaptioned = report.skipped.get("image without caption", [])
    found = _found_elsewhere(report.skipped.get(NO_IMAGE, []), uncaptioned)
    if found or len(uncaptioned) * 2 <= report.num_skipped:
        return found
    return _of_left_out(left_out) or (
        " Captions are read from metadata.jsonl, .json, .csv, .tsv or .parquet, or from a .txt, "
        ".caption or .json beside each image; a table that names only a part of the folder on "
        f"purpose is given itself: folder:PATH/{_likely_table(left_out)}."
    )


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
                "folder to the names."
            )
        image = by_stem.get(base) or by_stem.get(_stem(base))
        if image is not None:
            return (
                f" There is no {printable(name)}, but {printable(image)}: names in a table end in "
                "the file's own suffix."
            )
    return ""


def _of_left_out(names: Sequence[str]) -> str:
    """A sentence on a file that was left out and holds the captions, by its name."""
    for name in map(printable, names):
        stem, suffix = posixpath.splitext(posixpath.basename(name))
        if suffix == ".txt" and stem in ("captions", "metadata"):
            return f" If {name} is a table with a line of columns, call it {stem}.csv."
        if suffix == ".json" and stem.startswith("captions_"):
            return (
                f" COCO's {name} is read for evaluations only (prepare --coco_captions); a "
                "folder's captions are read from Karpathy's dataset_coco.json, which has COCO's."
            )
        if suffix in (".xlsx", ".xls", ".ods", ".numbers"):
            return f" {name} is not read: save it as CSV (UTF-8), called metadata.csv."
    return ""


def _likely_table(names: Sequence[str]) -> str:
    """A file that a user may have meant as the table, or an example."""
    tables = (
        n for n in map(printable, names) if n.lower().endswith(TABLE_SUFFIXES) and "/" not in n
    )
    return next(tables, "part.csv")


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]
