"""The items of a data set, each inspected once: bad ones are skipped, counted and named."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from dalle_jax.data.images import decode
from dalle_jax.data.index import signature_of
from dalle_jax.data.no_image import why_no_image
from dalle_jax.data.options import ReadingOptions
from dalle_jax.data.report import Report
from dalle_jax.data.text import doubt_about


class Finding(NamedTuple):
    """What the inspection of an item found."""

    bad: str | None = None  #: why the item can't be used
    left_out: str | None = None  #: why it counts as no item
    note: str | None = None  #: a remark on an item that is used
    content: object = None  #: what enters the signature of the data's content: key, size, captions

    @property
    def is_used(self) -> bool:
        """Whether the item is neither bad nor left out."""
        return self.bad is None and self.left_out is None


def inspect_all(
    what: str,
    ids: Sequence[str],
    inspect: Callable[[int], Finding],
    *,
    left_out: Mapping[str, Sequence[str]] | None = None,
    num_threads: int | None = None,
) -> tuple[Report, np.ndarray]:
    """The report on the data set `what`, and the indices (int64) of the items to use.

    Args:
        what: for messages.
        ids: of all items, each once.
        inspect: reads item i and returns what it found; called in threads.
        left_out: names of entries that are no items, by reason.
        num_threads: None for one per core.
    """
    others = {reason: list(names) for reason, names in (left_out or {}).items() if names}
    report = Report(what, len(ids), left_out=others)
    good: list[int] = []
    content = 0
    with ThreadPoolExecutor(num_threads or os.cpu_count()) as threads:
        for i, found in enumerate(threads.map(inspect, range(len(ids)))):
            if found.bad is not None:
                report.skip(found.bad, ids[i])
            elif found.left_out is not None:
                report.left_out.setdefault(found.left_out, []).append(ids[i])
                report.total -= 1
            else:
                good.append(i)
                if found.note is not None:
                    report.noted.setdefault(found.note, []).append(ids[i])
            # A sum, so that the order of the items does not matter.
            content += int(signature_of([found.content]), 16)
    report.content = f"{content % 2**128:032x}"
    return report, np.array(good, np.int64)


def inspect_item(
    encoded: bytes | None,
    captions: Sequence[str],
    options: ReadingOptions,
    content: object = None,
    look: Callable[[np.ndarray], str | None] | None = None,
) -> Finding:
    """The finding on an item of an encoded image, None where there is none, and its captions.

    `look` returns a remark on the decoded image, or None.
    """
    if not captions:
        return Finding("image without caption", content=content)
    if not any(caption.strip() for caption in captions):
        return Finding("empty caption", content=content)
    if encoded is None:
        return Finding("no image", content=content)
    try:
        image = decode(encoded)
    except ValueError:
        return Finding(why_no_image(encoded), content=content)
    short, long = sorted(image.shape[:2])
    if short < options.min_side:
        return Finding(left_out=f"side below {options.min_side} pixels", content=content)
    if options.max_aspect_ratio and long > options.max_aspect_ratio * short:
        ratio = f"aspect ratio above {options.max_aspect_ratio:g}"
        return Finding(left_out=ratio, content=content)
    note = doubt_about(captions) or (look(image) if look else None)
    return Finding(note=note, content=content)
