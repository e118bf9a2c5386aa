"""What a number depends on, frozen and hashed; and the rule that unlike numbers are not ranked."""

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
    """All that a metric's value depends on but for the images that are measured.

    Attributes:
        features: what looks at the images: "inception", "classifier:FINGERPRINT",
            "clip:FINGERPRINT", or "oracle".
        features_sha256: of its weights; None for the oracle, which has none.
        preprocessing: as `preprocess.Preprocessing` or `features.AtSide` holds it.
        num_images: how many are measured, of each seed.
        reference: what the reference set is called; None for scores, which need none.
        reference_sha256: of the set of its pixels, or of its statistics where only those are there.
        settings: constants of the metrics: subsets, neighbours, splits, seeds of resampling.
        manifest_sha256: of the caption manifest; None for images without captions.
        sampling: sampler, evaluations, guidance and seeds; None likewise. Whether EMA or raw
            weights drew is told with the model: they are compared under one protocol.
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
        """As a row of results holds it: what JSON can say."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits; the reference's name does not count, its hash does."""
        return protocol_hash(self.as_dict())


# A name, not a fact: two names of one set, told by its hash, are the same reference.
NAMES = ("reference",)


def protocol_hash(protocol: Mapping[str, Any]) -> str:
    """The hash of a protocol as a row of results holds it."""
    counted = {name: value for name, value in protocol.items() if name not in NAMES}
    return short_hash(counted)


def differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> dict[str, tuple]:
    """The values of a and b of each thing that the protocols differ in, by its dotted name."""
    found = {}
    for name in sorted(a.keys() | b.keys()):
        if not prefix and name in NAMES:
            continue
        x, y, path = a.get(name), b.get(name), prefix + name
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            found |= differences(x, y, path + ".")
        elif x != y:
            found[path] = (x, y)
    return found


def of_metric(row: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """The protocol of a row with those of its settings alone that one of its metrics reads."""
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
    """Rows of results by a metric, best first, if their protocols agree in all that it reads.

    A value that is NaN or no number comes last.

    Args:
        rows: each with "protocol" and "metrics": {name: {"value": ...}}.
        metric: the one to rank by.
        larger_is_better: of that metric.
        vary: dotted names of what may differ since it is what is compared, as
            "sampling.guidance_scale".

    Raises:
        ValueError: two rows are of different protocols (the message says in what), or one lacks
            the metric.
    """
    for i, row in enumerate(rows):
        unlike = {
            name: values
            for name, values in differences(
                of_metric(rows[0], metric), of_metric(row, metric)
            ).items()
            if not any(name == free or name.startswith(free + ".") for free in vary)
        }
        if unlike:
            told = "; ".join(f"{name} is {x!r} and {y!r}" for name, (x, y) in unlike.items())
            raise ValueError(
                f"rows 1 and {i + 1} are of different protocols and can't be ranked: {told}"
            )
        if metric not in row["metrics"]:
            raise ValueError(f"row {i + 1} has no {metric!r}; it has {', '.join(row['metrics'])}")

    def place(row: Mapping[str, Any]) -> tuple[bool, float]:
        value = row["metrics"][metric].get("value")
        if not isinstance(value, int | float) or math.isnan(value):
            return True, 0.0
        return False, -value if larger_is_better else value

    return sorted(rows, key=place)
