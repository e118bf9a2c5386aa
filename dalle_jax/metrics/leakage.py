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
    (`perceptual`). Images of a single color have no contrast to compare, so they only match by
    pixels.
feature_neighbour
    A training image has a cosine near 1 in a given feature space. The right threshold depends on
    the space, so the report also has the median of the rows' nearest cosines.

If captions consist of few words, as in captioned_shapes, most held-out captions also occur in
training, where the same words describe many images. Leaked captions are therefore reported, but by
default a metric only omits rows whose image leaked: `image` and `near_duplicate`.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from einops import reduce
from PIL import Image

from dalle_jax.data.source import Source
from dalle_jax.files import write_atomically
from dalle_jax.metrics.images import pixel_digest
from dalle_jax.metrics.neighbours import feature_neighbours

IMAGE_KINDS = ("image", "near_duplicate")
FEATURE_KIND = "feature_neighbour"
DIGEST_BYTES = 32
HASH_SIDE, HASH_BITS = 32, 64
HASH_MARGIN = 32.0  # the coefficient of a wave with an amplitude of 1/8 level of luma: 16² / 8
THUMBNAIL_SIDE = 8
MIN_CONTRAST = 2.0  # of 255: standard deviation below which an image has a single color
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


@dataclass(frozen=True)
class Prints:
    """The keys by which N captioned images are compared.

    Attributes:
        ids: of the items, or their indices.
        captions: all captions of each item.
        digests: SHA-256 of the pixels.
        hashes: perceptual hashes, uint64 [N].
        thumbnails: float32 [N, 96] of length 1, or 0 for images without contrast.
    """

    ids: Sequence[str]
    captions: Sequence[tuple[str, ...]]
    digests: Sequence[bytes]
    hashes: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def compute_prints(source: Source, num_threads: int | None = None) -> Prints:
    """Compute the prints of a source's items, half a kilobyte per image, in threads.

    Raises:
        ValueError: there are no items.
    """
    if not len(source):
        raise ValueError("there are no images and captions to check for leakage")

    def read(i: int) -> tuple:
        item = source[i]
        captions = tuple(item.get("captions") or (item["caption"],))
        image = item["image"]
        return item.get("id", str(i)), captions, pixel_digest(image), *perceptual(image)

    with ThreadPoolExecutor(num_threads) as threads:
        ids, captions, digests, hashes, thumbnails = zip(*threads.map(read, range(len(source))))
    return Prints(ids, captions, digests, np.array(hashes, np.uint64), np.stack(thumbnails))


def save_prints(path: Path, prints: Prints) -> None:
    """Write prints to a `.npz` atomically."""
    texts = json.dumps({"ids": prints.ids, "captions": prints.captions}).encode()
    arrays = {
        "texts": np.frombuffer(texts, np.uint8),
        "digests": np.frombuffer(b"".join(prints.digests), np.uint8),
        "hashes": prints.hashes,
        "hash_margin": np.array(HASH_MARGIN),
        "thumbnails": prints.thumbnails,
    }
    write_atomically(path, lambda file: np.savez(file, **arrays))


def load_prints(path: Path) -> Prints:
    """Read a file that `save_prints` wrote.

    Raises:
        ValueError, OSError, KeyError, zipfile.BadZipFile: the file is incomplete, is of another
            kind, or has hashes with another margin.
    """
    with np.load(path, allow_pickle=False) as archive:
        texts = json.loads(archive["texts"].tobytes())
        digests = archive["digests"].tobytes()
        if archive["hash_margin"] != HASH_MARGIN:
            raise ValueError(f"{path} has perceptual hashes with another margin")
        return Prints(
            texts["ids"],
            [tuple(captions) for captions in texts["captions"]],
            [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)],
            archive["hashes"],
            archive["thumbnails"],
        )


def perceptual(image: np.ndarray) -> tuple[int, np.ndarray]:
    """The perceptual hash and the thumbnail of an image uint8 [H, W, 3].

    The hash: the luma is resized to 32 × 32; bit k is 1 if the k-th coefficient of its DCT-II, in
    order of frequency without the constant, exceeds the median of the 64 by more than
    `HASH_MARGIN` (after pHash: Zauner 2010, "Implementation and Benchmarking of Perceptual Image
    Hash Functions"). The margin is needed because many coefficients of a symmetric drawing are
    equal up to rounding.

    The thumbnail: luma of 8 × 8 minus its mean, and Cb and Cr of 4 × 4 (Rec. 601), divided by the
    length. It is invariant to brightness and contrast, and represents color as coarsely as JPEG.
    """
    picture = Image.fromarray(image)
    side = (HASH_SIDE, HASH_SIDE)
    luma = np.asarray(picture.resize(side, Image.Resampling.BILINEAR).convert("L"), np.float64)
    coefficients = (_DCT @ luma @ _DCT.T)[_LOWEST]  # [64]
    bits = np.packbits(coefficients > np.median(coefficients) + HASH_MARGIN)

    side = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    rgb = np.asarray(picture.resize(side, Image.Resampling.BOX), np.float32)
    luma, blue, red = np.moveaxis(rgb @ _YCBCR.T, -1, 0)
    chroma = reduce(np.stack([blue, red]), "c (h 2) (w 2) -> c h w", "mean")
    thumbnail = np.concatenate([(luma - luma.mean()).ravel(), chroma.ravel()])  # [96]
    if (rgb - rgb.mean((0, 1))).std() < MIN_CONTRAST:
        thumbnail[:] = 0
    else:
        thumbnail /= np.linalg.norm(thumbnail)
    return int.from_bytes(bits.tobytes(), "big"), thumbnail


def normal_caption(caption: str) -> str:
    """A caption normalized for comparison: NFKC, case folded, white space collapsed."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def leaked_captions(captions: Sequence[str], train: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The first training item with each caption: int64 [M], −1 for none."""
    first: dict[str, int] = {}
    for i, texts in enumerate(train):
        for text in texts:
            first.setdefault(normal_caption(text), i)
    return np.array([first.get(normal_caption(caption), -1) for caption in captions], np.int64)


def leaked_images(digests: Sequence[bytes], train: Sequence[bytes]) -> np.ndarray:
    """The first training image with the pixels of each image: int64 [M], −1 for none."""
    first: dict[bytes, int] = {}
    for i, digest in enumerate(train):
        first.setdefault(digest, i)
    return np.array([first.get(digest, -1) for digest in digests], np.int64)


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
        "caption": leaked_captions([texts[0] for texts in rows.captions], train.captions),
        "image": leaked_images(rows.digests, train.digests),
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


def _frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the 64 lowest frequencies without the constant, ordered by their sum."""
    pairs = [(u, v) for u in range(HASH_SIDE) for v in range(HASH_SIDE) if u or v]
    lowest = sorted(pairs, key=lambda pair: (sum(pair), pair))[:HASH_BITS]
    u, v = zip(*lowest)
    return np.array(u), np.array(v)


_LOWEST = _frequencies()
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_DCT = np.cos(np.pi / HASH_SIDE * np.outer(np.arange(HASH_SIDE), np.arange(HASH_SIDE) + 0.5))
