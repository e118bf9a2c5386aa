"""Features of a stream of images, which are read in threads and computed on all devices."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dalle_jax.data.images import center_crop_resize
from dalle_jax.metrics.images import pixel_digest
from dalle_jax.metrics.inception import TAPS, Inception
from dalle_jax.metrics.preprocess import Preprocessing
from dalle_jax.metrics.table import taps_for


@dataclass(frozen=True)
class FeatureBatch:
    """Features of consecutive images.

    Attributes:
        features: float32 [b, length] by tap.
        digests: `images.pixel_digest` of the images.
    """

    features: Mapping[str, np.ndarray]
    digests: Sequence[bytes]


@dataclass(frozen=True)
class FeatureExtractor:
    """A feature network, and what identifies its features.

    Attributes:
        name: of the network in results: "inception", "classifier:FINGERPRINT", ….
        sha256: of its weights.
        preprocess: a dataclass that maps an image uint8 [H, W, 3] to the network's input.
        forward: maps (params, inputs [B, ...]) to a dict of features [B, length] by tap.
        params: of the network.
        taps: the tap that each metric reads.
    """

    name: str
    sha256: str
    preprocess: Callable[[np.ndarray], np.ndarray]
    forward: Callable[[Any, jax.Array], Mapping[str, jax.Array]]
    params: Any
    taps: Mapping[str, str]

    def tap(self, metric: str) -> str:
        """The tap that `metric` reads.

        Raises:
            ValueError: the metric is not defined on these features.
        """
        if metric not in self.taps:
            raise ValueError(
                f"there is no metric {metric!r} of {self.name} features; "
                f"known are {', '.join(self.taps)}"
            )
        return self.taps[metric]


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


def inception_extractor(
    params: Any, sha256: str, preprocessing: Preprocessing, taps: Sequence[str] = ("2048",)
) -> FeatureExtractor:
    """The extractor of FID's Inception with the outputs `taps`."""
    if unknown := set(taps) - set(TAPS):
        raise ValueError(f"Inception has no tap {min(unknown)!r}; known are {', '.join(TAPS)}")

    def forward(params, x):
        out = Inception().apply({"params": params}, x)
        return {tap: out[tap] for tap in taps}

    return FeatureExtractor(
        "inception", sha256, preprocessing, forward, params, taps_for("inception")
    )


def extract(
    images: Sequence[np.ndarray],
    extractor: FeatureExtractor,
    batch_size: int = 64,
    devices: Sequence[jax.Device] | None = None,
    num_threads: int = 8,
) -> Iterator[FeatureBatch]:
    """Compute the features of all images in order, batch by batch.

    A batch is sharded over the devices. The last batch is padded to full size, so that only one
    program is compiled, and the padding is removed. The next batch is read while one is computed.

    Raises:
        ValueError: an image can't be read; the message names it.
    """
    devices = jax.devices() if devices is None else devices
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    batch_size = -(-batch_size // len(devices)) * len(devices)
    params = jax.device_put(extractor.params, NamedSharding(mesh, P()))
    sharded = NamedSharding(mesh, P("data"))
    forward = jax.jit(extractor.forward)

    def read(index: int) -> tuple[np.ndarray, bytes]:
        image = np.asarray(images[index])
        return extractor.preprocess(image), pixel_digest(image)

    def compute(inputs: Sequence[np.ndarray]) -> Mapping[str, jax.Array]:
        padding = [np.zeros_like(inputs[0])] * (batch_size - len(inputs))
        return forward(params, jax.device_put(np.stack([*inputs, *padding]), sharded))

    def fetch(computed, digests) -> FeatureBatch:
        return FeatureBatch(
            {tap: np.asarray(value)[: len(digests)] for tap, value in computed.items()}, digests
        )

    starts = range(0, len(images), batch_size)
    with ThreadPoolExecutor(num_threads) as pool:
        reading: deque = deque()
        dispatched = None
        for start in [*starts, None]:
            if start is not None:
                indices = range(start, min(start + batch_size, len(images)))
                reading.append([pool.submit(read, index) for index in indices])
            if len(reading) > 1 or (start is None and reading):
                inputs, digests = zip(*(future.result() for future in reading.popleft()))
                computed = compute(inputs)
                if dispatched:
                    yield fetch(*dispatched)
                dispatched = (computed, digests)
        if dispatched:
            yield fetch(*dispatched)
