"""Features of a stream of images, which are read in threads and computed on all devices."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

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

    @property
    def identity(self) -> dict[str, Any]:
        """The fields of a protocol that identify the features."""
        return {
            "features": self.name,
            "features_sha256": self.sha256,
            "preprocessing": asdict(self.preprocess),
        }

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

    def fetch(computed: Mapping[str, jax.Array], digests: Sequence[bytes]) -> FeatureBatch:
        return FeatureBatch(
            {tap: np.asarray(value)[: len(digests)] for tap, value in computed.items()}, digests
        )

    with ThreadPoolExecutor(num_threads) as pool:

        def submit(start: int) -> list[Future]:
            indices = range(start, min(start + batch_size, len(images)))
            return [pool.submit(read, index) for index in indices]

        following, dispatched = submit(0), None
        for start in range(0, len(images), batch_size):
            reading, following = following, submit(start + batch_size)
            inputs, digests = zip(*(future.result() for future in reading))
            computed = compute(inputs)
            if dispatched:
                yield fetch(*dispatched)
            dispatched = (computed, digests)
        if dispatched:
            yield fetch(*dispatched)
