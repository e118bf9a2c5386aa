"""Protocols: all that a metric's value depends on, hashed. Values rank only within a protocol."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dalle_jax.files import short_hash
from dalle_jax.metrics.metric import Settings


@dataclass(frozen=True)
class Protocol:
    """All that a metric's value depends on, except the measured images.

    Attributes:
        features: the network: "inception", "classifier:FINGERPRINT", "clip:FINGERPRINT", or
            "oracle".
        features_sha256: of its weights; None for the oracle, which has none.
        preprocessing: the fields of `preprocess.Preprocessing` or `features.CenterCropResize`.
        num_images: number of measured images per seed.
        reference: name of the reference set; None for scores without a reference.
        reference_sha256: of the reference's pixels, or of its statistics if there are no images.
        settings: constants of the metrics: subsets, neighbours, splits, seeds of resampling.
        manifest_sha256: of the caption manifest; None for images without captions.
        sampling: sampler, evaluations, guidance and seeds; None for images without captions. EMA
            and raw weights share a protocol; the row's model says which were used.
    """

    features: str
    features_sha256: str | None
    preprocessing: Mapping[str, Any]
    num_images: int
    reference: str | None
    reference_sha256: str | None
    settings: Mapping[str, Any]
    manifest_sha256: str | None = None
    sampling: Mapping[str, Any] | None = None

    def as_dict(self) -> dict[str, Any]:
        """The protocol as plain data, as in a results row."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits that do not depend on the reference's name."""
        return protocol_hash(self.as_dict())


# Fields that do not change values: one reference, identified by its hash, may have several names.
NAMES = ("reference",)


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """The hash of a protocol given as in a results row."""
    counted = {name: value for name, value in protocol.items() if name not in NAMES}
    return short_hash(counted)


def set_protocol(
    features: dict[str, Any],
    settings: Settings,
    num_images: int,
    reference: str,
    reference_sha256: str,
    manifest_sha256: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    decoding: str | None = None,
) -> dict[str, Any]:
    """The protocol of a row of set metrics, with the `identity` of a feature extractor."""
    # Only for image files: rows of generated images and of arrays do not have it.
    if decoding not in (None, "upright"):
        features["preprocessing"]["decoding"] = decoding
    return Protocol(
        **features,
        num_images=num_images,
        reference=reference,
        reference_sha256=reference_sha256,
        settings=dataclasses.asdict(settings),
        manifest_sha256=manifest_sha256,
        sampling=sampling,
    ).as_dict()
