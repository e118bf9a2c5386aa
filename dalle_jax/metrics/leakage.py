"""What held-out images and captions share with the training data.

Four kinds of leakage, each told by itself:

caption
    A training caption is the same text: Unicode NFKC, case folded, white space collapsed.
image
    A training image has the same size and pixels (`images.pixel_digest`).
near_duplicate
    A training image is the same picture to the eye, though recompressed, resized, brighter or
    darker: their perceptual hashes differ in few of 64 bits, and their thumbnails have a cosine
    near 1 (`perceptual`). A picture of one colour has no contrast to compare; of such only the same
    pixels count.
feature_neighbour
    A training image has a cosine near 1 to it in a space of features that is given. How near is
    near depends on the space; the median over the rows of their nearest cosines stands beside it.

Where captions are made of few words, as in captioned_shapes, most held-out captions occur in
training: the same words ask for many images. So a leaked caption is reported, but what is left out
of a metric is, by default, rows whose image leaked: `image` and `near_duplicate`.
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

from dalle_jax.data.loader import Source
from dalle_jax.files import write_atomically
from dalle_jax.metrics.images import pixel_digest
from dalle_jax.metrics.neighbours import feature_neighbours

IMAGE_KINDS = ("image", "near_duplicate")
FEATURE_KIND = "feature_neighbour"
DIGEST_BYTES = 32
HASH_SIDE, HASH_BITS = 32, 64
HASH_MARGIN = 32.0  # the coefficient of a wave of an eighth of a level of luma: 16² / 8
THUMBNAIL_SIDE = 8
LEAST_CONTRAST = 2.0  # of 255: standard deviation below which a picture is of one colour
NUM_EXAMPLES = 10
TRAIN_BLOCK, ROW_BLOCK = 8192, 256


@dataclass(frozen=True)
class Thresholds:
    """When two images are taken for the same.

    Attributes:
        bits: most bits of 64 in which the perceptual hashes of near duplicates differ.
        thumbnail: least cosine of their thumbnails.
        feature: least cosine of the features of neighbours.
    """

    bits: int = 12
    thumbnail: float = 0.995
    feature: float = 0.98


@dataclass(frozen=True)
class Prints:
    """What is compared of a set of N captioned images.

    Attributes:
        ids: of the items, or their numbers.
        captions: all of each item.
        digests: SHA-256 of the pixels.
        hashes: perceptual, uint64 [N].
        thumbnails: float32 [N, 96] of length 1, or 0 where there is no contrast.
    """

    ids: Sequence[str]
    captions: Sequence[tuple[str, ...]]
    digests: Sequence[bytes]
    hashes: np.ndarray
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)


def prints_of(source: Source, num_threads: int | None = None) -> Prints:
    """The prints of a source's items, each read once, in threads; half a kilobyte an image.

    Raises:
        ValueError: there are no items.
    """
    if not len(source):
        raise ValueError("there are no images and captions to look for leakage in")

    def read(i: int) -> tuple:
        item = source[i]
        captions = tuple(item.get("captions") or (item["caption"],))
        image = item["image"]
        return item.get("id", str(i)), captions, pixel_digest(image), *perceptual(image)

    with ThreadPoolExecutor(num_threads) as threads:
        ids, captions, digests, hashes, thumbnails = zip(*threads.map(read, range(len(source))))
    return Prints(ids, captions, digests, np.array(hashes, np.uint64), np.stack(thumbnails))


def save_prints(path: Path, prints: Prints) -> None:
    """Write prints to a `.npz`, whole or not at all."""
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
    """Read what `save_prints` wrote.

    Raises:
        ValueError, OSError, KeyError, zipfile.BadZipFile: it is torn, or something else, or its
            hashes were made otherwise.
    """
    with np.load(path, allow_pickle=False) as archive:
        texts = json.loads(archive["texts"].tobytes())
        digests = archive["digests"].tobytes()
        if archive["hash_margin"] != HASH_MARGIN:
            raise ValueError(f"{path} has hashes that are made otherwise")
        return Prints(
            texts["ids"],
            [tuple(captions) for captions in texts["captions"]],
            [digests[i : i + DIGEST_BYTES] for i in range(0, len(digests), DIGEST_BYTES)],
            archive["hashes"],
            archive["thumbnails"],
        )


def perceptual(image: np.ndarray) -> tuple[int, np.ndarray]:
    """The perceptual hash and the thumbnail of an image uint8 [H, W, 3].

    The hash: the image is squeezed to 32 × 32 and to its luma; bit k says whether the k-th
    coefficient of its DCT-II, in order of frequency from the first after the constant, is above the
    median of the 64 (after pHash: Zauner 2010, "Implementation and Benchmarking of Perceptual Image
    Hash Functions") by more than `HASH_MARGIN`, since of a symmetric drawing many are equal but for
    rounding. The thumbnail: luma of 8 × 8 less its mean, Cb and Cr of 4 × 4 (Rec. 601),
    over its length: brightness and contrast do not count, color does, as coarsely as JPEG keeps it.
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
    if (rgb - rgb.mean((0, 1))).std() < LEAST_CONTRAST:
        thumbnail[:] = 0
    else:
        thumbnail /= np.linalg.norm(thumbnail)
    return int.from_bytes(bits.tobytes(), "big"), thumbnail


def normal_caption(caption: str) -> str:
    """A caption as it is compared: NFKC, case folded, white space collapsed."""
    folded = unicodedata.normalize("NFKC", caption).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def leaked_captions(captions: Sequence[str], train: Sequence[tuple[str, ...]]) -> np.ndarray:
    """Of each caption, the first training item that has it too: int64 [M], −1 for none."""
    first: dict[str, int] = {}
    for i, texts in enumerate(train):
        for text in texts:
            first.setdefault(normal_caption(text), i)
    return np.array([first.get(normal_caption(caption), -1) for caption in captions], np.int64)


def leaked_images(digests: Sequence[bytes], train: Sequence[bytes]) -> np.ndarray:
    """Of each image, the first training image of the same pixels: int64 [M], −1 for none."""
    first: dict[bytes, int] = {}
    for i, digest in enumerate(train):
        first.setdefault(digest, i)
    return np.array([first.get(digest, -1) for digest in digests], np.int64)


def near_duplicates(rows: Prints, train: Prints, bits: int, thumbnail: float) -> np.ndarray:
    """Of each image, the training image most like it: int64 [M], −1 where none is a duplicate."""
    found = np.full(len(rows), -1, np.int64)
    best = np.full(len(rows), -np.inf, np.float32)
    for start in range(0, len(train), TRAIN_BLOCK):
        block = slice(start, start + TRAIN_BLOCK)
        for first in range(0, len(rows), ROW_BLOCK):
            part = slice(first, first + ROW_BLOCK)
            alike = rows.thumbnails[part] @ train.thumbnails[block].T  # [rows, train]
            differing = np.bitwise_count(rows.hashes[part, None] ^ train.hashes[None, block])
            alike[(differing > bits) | (alike < thumbnail)] = -np.inf
            nearest = alike.argmax(1)
            value = np.take_along_axis(alike, nearest[:, None], 1)[:, 0]
            better = value > best[part]
            found[part] = np.where(better, start + nearest, found[part])
            best[part] = np.where(better, value, best[part])
    return found


def check_leakage(
    rows: Prints,
    train: Prints,
    *,
    features: np.ndarray | None = None,
    train_features: np.ndarray | None = None,
    thresholds: Thresholds | None = None,
) -> dict[str, Any]:
    """The report of all kinds of leakage of a manifest's rows, as JSON can hold it.

    Under `found`, for each kind: how many rows leaked, their share, their numbers, and the number
    of a training item that each shares something with; an image that is the same is no near
    duplicate as well. Under `examples`, the first of them with ids and captions. With features,
    `median_cosine` is the median of the rows' cosines to their nearest training image.

    Args:
        rows: prints of the manifest's images and captions, in its order.
        train: prints of the training data.
        features: of the rows [M, D], for `feature_neighbour`; not looked for, if None.
        train_features: of the training images [N, D].
        thresholds: when two images are the same.

    Raises:
        ValueError: there are features of one side alone, or not one of each image.
    """
    thresholds = thresholds or Thresholds()
    lengths = [None if f is None else len(f) for f in (features, train_features)]
    if lengths not in ([None, None], [len(rows), len(train)]):
        raise ValueError(
            f"there are {lengths[0]} and {lengths[1]} features of {len(rows)} rows and "
            f"{len(train)} training images"
        )
    matches = {
        "caption": leaked_captions([texts[0] for texts in rows.captions], train.captions),
        "image": leaked_images(rows.digests, train.digests),
        "near_duplicate": near_duplicates(rows, train, thresholds.bits, thresholds.thumbnail),
    }
    matches["near_duplicate"][matches["image"] >= 0] = -1
    further = {}
    if features is not None:
        nearest = feature_neighbours(features, train_features, cosine=True)
        cosine = 1 - nearest.distances[:, 0]
        near = cosine >= thresholds.feature
        matches[FEATURE_KIND] = np.where(near, nearest.indices[:, 0], -1)
        further["median_cosine"] = float(np.median(cosine))
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
        **further,
    }


def leaked_rows(report: Mapping[str, Any], kinds: Sequence[str] = IMAGE_KINDS) -> np.ndarray:
    """The rows that a metric without leakage leaves out: bool [M].

    By default those whose image leaked, as it is or nearly; a caption that is also in the training
    data does not count, since it asks for any image of what it says.

    Raises:
        ValueError: the report does not look for one of these kinds.
    """
    if unknown := [kind for kind in kinds if kind not in report["found"]]:
        raise ValueError(
            f"the report says nothing of {unknown[0]!r}; it has {', '.join(report['found'])}"
        )
    mask = np.zeros(report["num_rows"], bool)
    for kind in kinds:
        mask[report["found"][kind]["rows"]] = True
    return mask


def _frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the 64 lowest frequencies but the constant, by their sum."""
    pairs = [(u, v) for u in range(HASH_SIDE) for v in range(HASH_SIDE) if u or v]
    lowest = sorted(pairs, key=lambda pair: (sum(pair), pair))[:HASH_BITS]
    u, v = zip(*lowest)
    return np.array(u), np.array(v)


_LOWEST = _frequencies()
_YCBCR = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_DCT = np.cos(np.pi / HASH_SIDE * np.outer(np.arange(HASH_SIDE), np.arange(HASH_SIDE) + 0.5))
