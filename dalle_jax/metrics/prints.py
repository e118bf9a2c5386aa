"""Prints of captioned images: the keys by which copies and near duplicates are found."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from einops import reduce
from PIL import Image
from scipy.fft import dctn

from dalle_jax.data.source import Source
from dalle_jax.files import write_atomically
from dalle_jax.metrics.images import pixel_digest

DIGEST_BYTES = 32
HASH_SIDE, HASH_BITS = 32, 64
HASH_MARGIN = 32.0  # the coefficient of a wave with an amplitude of 1/8 level of luma: 16² / 8
THUMBNAIL_SIDE = 8
MIN_CONTRAST = 2.0  # of 255: standard deviation below which an image has a single color


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
    coefficients = dctn(luma)[_LOWEST] / 4  # [64]; scipy's DCT-II has a factor of 2 on each axis
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
