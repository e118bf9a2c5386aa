"""Features of a stream of images: read and preprocessed in threads, computed on all devices."""

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
from dalle_jax.metrics.table import taps_of


@dataclass(frozen=True)
class FeatureBatch:
    """Features of consecutive images.

    Attributes:
        features: float32 [b, length] by tap.
        digests: of the images, `images.pixel_digest`.
    """

    features: Mapping[str, np.ndarray]
    digests: Sequence[bytes]


@dataclass(frozen=True)
class FeatureExtractor:
    """A network that features are read from, and what identifies them.

    Attributes:
        name: of the network, as results name it: "inception", "classifier:FINGERPRINT", ….
        sha256: of its weights.
        preprocess: a dataclass that makes the network's input of an image uint8 [H, W, 3].
        forward: (params, inputs [B, ...]) to a dict of features [B, length] by tap.
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
        """What `metric` reads.

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
class AtSide:
    """The centred square of an image, resized to `side` pixels; uint8, as data loaders give it."""

    side: int
    resize: str = "lanczos"

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 [H, W, 3] to uint8 [side, side, 3]."""
        return center_crop_resize(image, self.side, self.resize)


def pooled_extractor(
    name: str,
    sha256: str,
    params: Any,
    forward: Callable[[Any, jax.Array], jax.Array],
    side: int,
) -> FeatureExtractor:
    """A network with one vector [B, D] an image, such as a classifier or a CLIP of the project.

    `name` says which, with its fingerprint: distances between its features are named for it.
    `forward` maps (params, uint8 [B, side, side, 3]) to the vectors.
    """
    if name == "inception":
        raise ValueError("only FID's Inception-v3 is called inception; see `inception_extractor`")
    return FeatureExtractor(
        name,
        sha256,
        AtSide(side),
        lambda p, x: {"features": forward(p, x)},
        params,
        taps_of("pooled"),
    )


def params_sha256(params: Any) -> str:
    """SHA-256 of a tree of parameters: names, shapes, types and values."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def inception_extractor(
    params: Any, sha256: str, preprocessing: Preprocessing, taps: Sequence[str] = ("2048",)
) -> FeatureExtractor:
    """FID's Inception, read at `taps`."""
    if unknown := set(taps) - set(TAPS):
        raise ValueError(f"Inception has no {min(unknown)!r}; known are {', '.join(TAPS)}")

    def forward(params, x):
        out = Inception().apply({"params": params}, x)
        return {tap: out[tap] for tap in taps}

    return FeatureExtractor(
        "inception", sha256, preprocessing, forward, params, taps_of("inception")
    )


def extract(
    images: Sequence[np.ndarray],
    extractor: FeatureExtractor,
    batch_size: int = 64,
    devices: Sequence[jax.Device] | None = None,
    num_threads: int = 8,
) -> Iterator[FeatureBatch]:
    """Features of all images, in order, batch after batch.

    A batch is cut over the devices; the last one is padded to its full size and the padding left
    out, so that one program is compiled. While a batch is computed the next one is read.

    Raises:
        ValueError: an image can't be read; the message names it.
    """
    devices = jax.devices() if devices is None else devices
    mesh = jax.make_mesh((len(devices),), ("data",), (AxisType.Auto,), devices=devices)
    batch_size = -(-batch_size // len(devices)) * len(devices)
    params = jax.device_put(extractor.params, NamedSharding(mesh, P()))
    cut = NamedSharding(mesh, P("data"))
    forward = jax.jit(extractor.forward)

    def read(index: int) -> tuple[np.ndarray, bytes]:
        image = np.asarray(images[index])
        return extractor.preprocess(image), pixel_digest(image)

    def compute(inputs: Sequence[np.ndarray]) -> Mapping[str, jax.Array]:
        padding = [np.zeros_like(inputs[0])] * (batch_size - len(inputs))
        return forward(params, jax.device_put(np.stack([*inputs, *padding]), cut))

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
