"""COCO's annotation files of captions as a caption manifest, the COCO-2014-30k form among them."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dalle_jax.data import git_lfs
from dalle_jax.data.manifest import Manifest, caption_problem, choose
from dalle_jax.data.report import Report
from dalle_jax.data.text import is_visible

# Zero-shot FID on COCO is that of 30,000 captions of the validation images of 2014.
NUM_CAPTIONS = 30_000


def make_coco_manifest(
    annotations: str | Path | Sequence[str | Path],
    *,
    rule: str = "one",
    n: int | None = NUM_CAPTIONS,
    seed: int = 0,
    max_bad_share: float = 0.01,
) -> Manifest:
    """The manifest of an official `captions_val2014.json` (or of another year and split).

    "one" takes the caption with the lowest number of each image, so that 30,000 rows are as many
    images; "all" samples from all captions, so that an image may occur several times. Rows are
    "IMAGE" or "IMAGE#ANNOTATION", by COCO's numbers. The images themselves are not read.

    A warning counts and names the rows that can't be used and are skipped. Blank captions of an
    image that has others do not count as bad.

    Args:
        annotations: the file, or several, whose images and captions are joined.
        rule: of `manifest.RULES`.
        n: number of rows; all, if None.
        seed: of the sampling.
        max_bad_share: share of bad rows beyond which it is an error.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no such file, has fewer than n captions, or too many bad rows.
    """
    paths = (
        [Path(annotations)] if isinstance(annotations, str | Path) else [*map(Path, annotations)]
    )
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"there is no annotation file {path}")
    contents = [path.read_bytes() for path in paths]
    documents = [_parsed(path, content) for path, content in zip(paths, contents)]
    rows = CocoRows(Report(f"coco {', '.join(path.name for path in paths)}"), documents)
    rows.report.check(max_bad_share)
    if rows.report.skipped or rows.report.noted:
        warnings.warn(str(rows.report), stacklevel=2)
    candidates = (
        (str(image), file, [(str(number), text) for number, text in sorted(captions.items())])
        for image, (file, captions) in rows.images.items()
    )
    digests = [hashlib.sha256(content).hexdigest() for content in contents]
    return choose(
        candidates,
        source=f"coco:{'+'.join(path.name for path in paths)}",
        split="+".join(path.stem.removeprefix("captions_") for path in paths),
        rule=rule,
        n=n,
        seed=seed,
        data={"annotations_sha256": digests[0] if len(digests) == 1 else digests},
    )


def _parsed(path: Path, content: bytes) -> dict[str, list]:
    """The JSON object of a file; a ValueError that says what it is, if not one of captions."""
    try:
        if git_lfs.is_pointer(content):
            raise ValueError(git_lfs.POINTER)
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        problem = f"it is no JSON ({error!s:.120})"
    else:
        problem = other_kind(document)
    if problem is None:
        return document
    raise ValueError(
        f"{path} is not a COCO annotation file of captions: {problem}. Such a file is named as "
        "captions_val2014.json and holds images, and annotations with captions"
    )


def other_kind(document: Any) -> str | None:
    """What a JSON document is, if it is no annotation file of captions."""
    if not isinstance(document, dict):
        return f"it is a JSON {type(document).__name__}, not an object"
    lacking = [part for part in ("images", "annotations") if part not in document]
    if lacking:
        keys = ", ".join(map(str, document)) or "nothing"
        return f"it has no {' and no '.join(lacking)}, but {keys:.200}"
    for part in ("images", "annotations"):
        if not isinstance(document[part], list):
            return f"its {part} are no list"
    rows = [row for row in document["annotations"] if isinstance(row, dict)]
    if rows and not any("caption" in row for row in rows):
        return f"no annotation has a caption, but {', '.join(map(str, rows[0])):.200}"
    return None


class CocoRows:
    """The usable images and captions of annotation files, and a report on the others.

    Args:
        report: to which captions and unusable images are added.
        documents: the parsed files, each with lists `images` and `annotations`.
    """

    def __init__(self, report: Report, documents: Sequence[Mapping[str, list]]):
        self.report = report
        # By number, the file's name and the captions by their numbers.
        self.images: dict[int, tuple[str, dict[int, str]]] = {}
        self._bad_images: set[int] = set()
        self._blank: list[tuple[int, int]] = []  # image, caption
        for part, read in (("images", self._add_image), ("annotations", self._add_caption)):
            for document in documents:
                for number, row in enumerate(document[part]):
                    read(row, number)
        self._finish()

    def _add_image(self, row: Any, position: int) -> None:
        number = _number(row, "id")
        file = row.get("file_name") if isinstance(row, dict) else None
        name = f"image {number}" if number is not None else f"images[{position}]"
        if number is None:
            return self._skip("image without a number", name)
        if not isinstance(file, str) or not file.strip():
            self._bad_images.add(number)
            return self._skip("image without a file name", name)
        known = self.images.setdefault(number, (file, {}))
        if known[0] != file:
            self._skip("number of two images", f"{name}: {known[0]}, {file}")
        return None

    def _add_caption(self, row: Any, position: int) -> None:
        number, image = _number(row, "id"), _number(row, "image_id")
        if number is None or image is None:
            lacking = "a number" if number is None else "an image"
            return self._skip(f"caption without {lacking}", f"annotations[{position}]")
        name = f"caption {number} of image {image}"
        if image not in self.images:
            bad = image in self._bad_images
            reason = "of a bad image" if bad else "of an image that is not among the images"
            return self._skip(reason, name)
        text, captions = row.get("caption"), self.images[image][1]
        if not isinstance(text, str):
            return self._skip("caption that is no text", name)
        if not is_visible(text):
            self._blank.append((image, number))
            return None
        if problem := caption_problem(text):
            return self._skip(problem, name)
        if captions.setdefault(number, text) != text:
            return self._skip("number of two captions", name)
        self.report.total += 1
        return None

    def _finish(self) -> None:
        """Report the blank captions, once it is known which images have others."""
        for image, number in self._blank:
            name = f"caption {number} of image {image}"
            if self.images[image][1]:
                self.report.noted.setdefault("blank captions beside others", []).append(name)
            else:
                self._skip("empty caption", name)

    def _skip(self, reason: str, name: str) -> None:
        self.report.total += 1
        self.report.skip(reason, name)


def _number(row: Any, field: str) -> int | None:
    """An integer of a row, which may be written as text; None where there is none."""
    value = row.get(field) if isinstance(row, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if isinstance(value, str) or number == value else None
