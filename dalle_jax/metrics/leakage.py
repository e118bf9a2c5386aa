"""Leakage: what held-out images and captions share with the training data.

Four kinds of leakage are reported separately:

caption
    A training caption is the same text after Unicode NFKC, case folding and collapsing of white
    space.
image
    A training image has the same size and pixels (`images.pixel_digest`).
near_duplicate
    A training image is visually the same after recompression, resizing or a change of brightness:
    their perceptual hashes differ in few of 64 bits, and their thumbnails have a cosine near 1
    (`prints.perceptual`). Images of a single color have no contrast to compare, so they only match
    by pixels.
feature_neighbour
    A training image has a cosine near 1 in a given feature space. The right threshold depends on
    the space, so the report also has the median of the rows' nearest cosines.

If captions consist of few words, as in captioned_shapes, most held-out captions also occur in
training, where the same words describe many images. Leaked captions are therefore reported, but by
default a metric only omits rows whose image leaked: `image` and `near_duplicate`.
"""

import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from dalle_jax.metrics.neighbours import feature_neighbours
from dalle_jax.metrics.prints import Prints

IMAGE_KINDS = ("image", "near_duplicate")
FEATURE_KIND = "feature_neighbour"
NUM_EXAMPLES = 10
TRAIN_BLOCK, ROW_BLOCK = 8192, 256


@dataclass(frozen=True)
class Thresholds:
    """When two images count as the same.

    Attributes:
        bits: maximum number of different bits, of 64, in the perceptual hashes of near duplicates.
        thumbnail: minimum cosine of their thumbnails.
        feature: minimum cosine of the features of neighbours.
    """

    bits: int = 12
    thumbnail: float = 0.995
    feature: float = 0.98


def normal_caption(caption: str) -> str:
    """A caption normalized for comparison: NFKC, case folded, white space collapsed."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def first_matches(keys: Sequence[Hashable], train: Iterable[Iterable[Hashable]]) -> np.ndarray:
    """The first training item with each key among its keys: int64 [M], −1 for none."""
    first: dict[Hashable, int] = {}
    for i, found in enumerate(train):
        for key in found:
            first.setdefault(key, i)
    return np.array([first.get(key, -1) for key in keys], np.int64)


def near_duplicates(rows: Prints, train: Prints, bits: int, thumbnail: float) -> np.ndarray:
    """The most similar training image of each image: int64 [M], −1 if it is no near duplicate."""
    matches = np.full(len(rows), -1, np.int64)
    best = np.full(len(rows), -np.inf, np.float32)
    for start in range(0, len(train), TRAIN_BLOCK):
        block = slice(start, start + TRAIN_BLOCK)
        for first in range(0, len(rows), ROW_BLOCK):
            part = slice(first, first + ROW_BLOCK)
            cosines = rows.thumbnails[part] @ train.thumbnails[block].T  # [rows, train]
            differing = np.bitwise_count(rows.hashes[part, None] ^ train.hashes[None, block])
            cosines[(differing > bits) | (cosines < thumbnail)] = -np.inf
            nearest = cosines.argmax(1)
            value = np.take_along_axis(cosines, nearest[:, None], 1)[:, 0]
            better = value > best[part]
            matches[part] = np.where(better, start + nearest, matches[part])
            best[part] = np.where(better, value, best[part])
    return matches


def check_leakage(
    rows: Prints,
    train: Prints,
    *,
    features: np.ndarray | None = None,
    train_features: np.ndarray | None = None,
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """The leakage of a manifest's rows by kind, as plain data for JSON.

    `found` has for each kind the count and share of the leaked rows, their indices, and the index
    of a matching training item of each; identical images do not also count as near duplicates.
    `examples` has the first leaked rows with ids and captions. With features, `median_cosine` is
    the median of the rows' cosines to their nearest training image.

    Args:
        rows: prints of the manifest's images and captions, in its order.
        train: prints of the training data.
        features: of the rows [M, D], for `feature_neighbour`; None skips that kind.
        train_features: of the training images [N, D].
        thresholds: when two images are the same.

    Raises:
        ValueError: only one side has features, or there is not one feature per image.
    """
    thresholds = thresholds or Thresholds()
    lengths = [None if f is None else len(f) for f in (features, train_features)]
    if lengths not in ([None, None], [len(rows), len(train)]):
        raise ValueError(
            f"there are {lengths[0]} and {lengths[1]} features for {len(rows)} rows and "
            f"{len(train)} training images"
        )
    matches = {
        "caption": first_matches(
            [normal_caption(texts[0]) for texts in rows.captions],
            (map(normal_caption, texts) for texts in train.captions),
        ),
        "image": first_matches(rows.digests, ((digest,) for digest in train.digests)),
        "near_duplicate": near_duplicates(rows, train, thresholds.bits, thresholds.thumbnail),
    }
    matches["near_duplicate"][matches["image"] >= 0] = -1
    statistics = {}
    if features is not None:
        nearest = feature_neighbours(features, train_features, cosine=True)
        cosine = 1 - nearest.distances[:, 0]
        near = cosine >= thresholds.feature
        matches[FEATURE_KIND] = np.where(near, nearest.indices[:, 0], -1)
        statistics["median_cosine"] = float(np.median(cosine))
    found, examples = {}, {}
    for kind, match in matches.items():
        leaked = np.flatnonzero(match >= 0)
        found[kind] = {
            "count": len(leaked),
            "share": len(leaked) / len(rows),
            "rows": leaked.tolist(),
            "train": match[leaked].tolist(),
        }
        examples[kind] = [
            {
                "id": rows.ids[row],
                "caption": rows.captions[row][0],
                "train_id": train.ids[match[row]],
                "train_caption": train.captions[match[row]][0],
            }
            for row in leaked[:NUM_EXAMPLES].tolist()
        ]
    return {
        "num_rows": len(rows),
        "num_train": len(train),
        "thresholds": asdict(thresholds),
        "found": found,
        "examples": examples,
        **statistics,
    }


def leaked_rows(report: Mapping[str, Any], kinds: Sequence[str] = IMAGE_KINDS) -> np.ndarray:
    """The rows that a metric without leakage omits: bool [M].

    By default these are the rows whose image, or a near duplicate of it, is in the training data.
    Leaked captions do not count, since many images fit a caption.

    Raises:
        ValueError: the report does not have one of these kinds.
    """
    if unknown := [kind for kind in kinds if kind not in report["found"]]:
        raise ValueError(
            f"the report does not have {unknown[0]!r}; it has {', '.join(report['found'])}"
        )
    mask = np.zeros(report["num_rows"], bool)
    for kind in kinds:
        mask[report["found"][kind]["rows"]] = True
    return mask
