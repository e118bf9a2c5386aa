"""Protocols: all that a metric's value depends on, hashed. Values rank only within a protocol."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dalle_jax.files import short_hash
from dalle_jax.metrics.table import settings_read


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


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, tuple]:
    """The values in a and b of each field in which the protocols differ, by its dotted name."""
    differing = {}
    for name in sorted(a.keys() | b.keys()):
        if not prefix and name in NAMES:
            continue
        x, y, path = a.get(name), b.get(name), prefix + name
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            differing |= differences(x, y, path + ".")
        elif x != y:
            differing[path] = (x, y)
    return differing


def metric_protocol(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The protocol of a row with only those settings that one of its metrics reads."""
    protocol = dict(row["protocol"])
    read = row["metrics"].get(metric, {}).get("settings", settings_read(metric))
    if read is not None and "settings" in protocol:
        protocol["settings"] = {k: v for k, v in protocol["settings"].items() if k in read}
    return protocol


def rank(
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    larger_is_better: bool = False,
    vary: Sequence[str] = (),
) -> list[Mapping[str, Any]]:
    """Results rows ordered by a metric, best first, if their protocols agree in all that it reads.

    Rows whose value is NaN or not a number come last.

    Args:
        rows: each with "protocol" and "metrics": {name: {"value": ...}}.
        metric: to rank by.
        larger_is_better: whether larger values of the metric are better.
        vary: dotted names of fields that may differ because they are compared, as
            "sampling.guidance_scale".

    Raises:
        ValueError: two rows have different protocols (the message lists the differences), or a row
            does not have the metric.
    """
    for i, row in enumerate(rows):
        differing = {
            name: values
            for name, values in differences(
                metric_protocol(rows[0], metric), metric_protocol(row, metric)
            ).items()
            if not any(name == free or name.startswith(free + ".") for free in vary)
        }
        if differing:
            listed = "; ".join(f"{name} is {x!r} and {y!r}" for name, (x, y) in differing.items())
            raise ValueError(
                f"rows 1 and {i + 1} have different protocols and can't be ranked: {listed}"
            )
        if metric not in row["metrics"]:
            raise ValueError(f"row {i + 1} has no {metric!r}; it has {', '.join(row['metrics'])}")

    def sort_key(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row["metrics"][metric].get("value")
        if not isinstance(value, int | float) or math.isnan(value):
            return True, 0.0
        return False, -value if larger_is_better else value

    return sorted(rows, key=sort_key)
