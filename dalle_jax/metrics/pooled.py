"""Networks with one feature vector per image, such as a trained classifier or CLIP."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from dalle_jax.data.images import center_crop_resize
from dalle_jax.metrics.features import FeatureExtractor, extract
from dalle_jax.metrics.table import taps_for


@dataclass(frozen=True)
class CenterCropResize:
    """Crops the central square of an image and resizes it to `side` pixels, as data loaders do."""

    side: int
    resize: str = "lanczos"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] → uint8 [side, side, 3]."""
        return center_crop_resize(image, self.side, self.resize)


def pooled_extractor(
    name: str,
    sha256: str,
    params: Any,
    forward: Callable[[Any, jax.Array], jax.Array],
    side: int,
) -> FeatureExtractor:
    """The extractor of a network with one vector per image, such as a classifier or a CLIP.

    Args:
        name: of the network with its fingerprint, which results contain.
        sha256: of its weights.
        params: of the network.
        forward: maps (params, uint8 [B, side, side, 3]) to vectors [B, D].
        side: of the network's images in pixels.
    """
    if name == "inception":
        raise ValueError("only FID's Inception-v3 is called inception; see `inception_extractor`")
    return FeatureExtractor(
        name,
        sha256,
        CenterCropResize(side),
        lambda p, x: {"features": forward(p, x)},
        params,
        taps_for("pooled"),
    )


def params_sha256(params: Any) -> str:
    """The SHA-256 of a tree of parameters: names, shapes, types and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def pooled_features(images: Sequence[np.ndarray], extractor: FeatureExtractor) -> np.ndarray:
    """The features [N, length] of all images."""
    return np.concatenate([batch.features["features"] for batch in extract(images, extractor)])
