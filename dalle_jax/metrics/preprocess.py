"""Preprocessing of images for Inception, as in the published tools.

The tools differ by more than one point of FID on the same images, so the protocol names the
preprocessing. Each maps one image [H, W, 3] of any size to [299, 299, 3].
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from dalle_jax.metrics.inception import IMAGE_SIZE


def _bilinear(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bilinear interpolation of [H, W, C] at rows y and columns x, float32, edges repeated."""
    height, width, _ = image.shape
    y, x = y.astype(np.float32).clip(0, height - 1), x.astype(np.float32).clip(0, width - 1)
    top, left = y.astype(np.int64), x.astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    # Columns first, on the rows of the input, in float32.
    dx = (x - left)[None, :, None]
    columns = image[:, left] + (image[:, right] - image[:, left]) * dx
    dy = (y - top)[:, None, None]
    return columns[top] + (columns[bottom] - columns[top]) * dy


def _tensorflow_bilinear(image: np.ndarray) -> np.ndarray:
    """TensorFlow 1's `resize_bilinear`: output pixel i is at input position i · in / out."""
    height, width, _ = image.shape
    steps = np.arange(IMAGE_SIZE, dtype=np.float32)
    scaled = _bilinear(
        image.astype(np.float32),
        steps * np.float32(height / IMAGE_SIZE),
        steps * np.float32(width / IMAGE_SIZE),
    )
    return (scaled - 128) / 128


def _torch_bilinear(image: np.ndarray) -> np.ndarray:
    """torch's bilinear `interpolate`: pixel centres at (i + ½) · in / out − ½, no antialiasing."""
    height, width, _ = image.shape
    centers = np.arange(IMAGE_SIZE, dtype=np.float32) + np.float32(0.5)
    scaled = _bilinear(
        image.astype(np.float32) / 255,
        # Rounded as in torch, which at an edge of a large image differs by a hundredth of a level.
        np.float32(height / IMAGE_SIZE) * centers - np.float32(0.5),
        np.float32(width / IMAGE_SIZE) * centers - np.float32(0.5),
    )
    return 2 * scaled - 1


def _antialiased_bicubic(image: np.ndarray) -> np.ndarray:
    """Pillow's antialiased bicubic of each channel in float32, clipped to [0, 255]."""
    channels = [
        Image.fromarray(image[..., c].astype(np.float32)).resize(
            (IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC
        )
        for c in range(3)
    ]
    return (np.stack(channels, -1).clip(0, 255) - 128) / 128


RESIZES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "torch-fidelity": _tensorflow_bilinear,
    "pytorch-fid": _torch_bilinear,
    "clean-fid": _antialiased_bicubic,
}
FITS = ("squeeze", "crop")


@dataclass(frozen=True)
class Preprocessing:
    """The preprocessing of an image for Inception.

    Attributes:
        resize: "torch-fidelity" (TensorFlow 1's bilinear), "pytorch-fid" or "clean-fid".
        fit: "squeeze" images to a square, or "crop" their central square.
        round_trip: encode and decode images first: "none", "png" (which changes no 8-bit image), or
            "jpeg:Q" with Pillow's quality Q of 1 to 95.
    """

    resize: str = "torch-fidelity"
    fit: str = "squeeze"
    round_trip: str = "none"

    def __post_init__(self):
        if self.resize not in RESIZES:
            raise ValueError(
                f"there is no preprocessing {self.resize!r}; known are {', '.join(RESIZES)}"
            )
        if self.fit not in FITS:
            raise ValueError(f"there is no fit {self.fit!r}; known are {', '.join(FITS)}")
        kind, _, quality = self.round_trip.partition(":")
        jpeg = kind == "jpeg" and quality.isdigit() and 1 <= int(quality) <= 95
        if self.round_trip not in ("none", "png") and not jpeg:
            raise ValueError(
                f"there is no round trip {self.round_trip!r}; known are none, png and jpeg:Q with "
                "a quality Q of 1 to 95"
            )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] → float32 [299, 299, 3], approximately in [-1, 1]."""
        if self.fit == "crop":
            height, width, _ = image.shape
            side = min(height, width)
            top, left = (height - side) // 2, (width - side) // 2
            image = image[top : top + side, left : left + side]
        if self.round_trip != "none":
            image = _encode_and_decode(image, self.round_trip)
        return RESIZES[self.resize](image).astype(np.float32)


def _encode_and_decode(image: np.ndarray, round_trip: str) -> np.ndarray:
    kind, _, quality = round_trip.partition(":")
    options = {"quality": int(quality)} if quality else {}
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, kind, **options)
    with Image.open(encoded) as decoded:
        return np.asarray(decoded)
