"""What a set of fakes is measured against: images, statistics from a file, or both."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dalle_jax.metrics.images import open_images
from dalle_jax.metrics.metric import SetFeatures, Settings
from dalle_jax.metrics.reference import Reference, is_statistics, load_reference
from dalle_jax.metrics.table import METRICS


@dataclass(frozen=True)
class Target:
    """What fakes are measured against: images, statistics of images, or both.

    Attributes:
        images: the reals, or those in the file of statistics if a metric needs them; else None.
        statistics: from a file, as features without images; else None.
        from_images: the metrics that read the images.
        features: the fields of a protocol that identify the features.
    """

    images: Sequence[np.ndarray] | None
    statistics: SetFeatures | None
    from_images: Collection[str]
    features: Mapping[str, Any]

    def sha256(self, images_sha256: str | None) -> str:
        """The hash that identifies the reference by its statistics, its images, or both."""
        hashes = [self.statistics and self.statistics.digest, images_sha256]
        hashes = [one for one in hashes if one is not None]
        return (
            hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
        )


def open_reference(path: str | Path, decoding: str) -> Sequence[np.ndarray] | Reference:
    """A file of statistics, or the images of a folder or an array; see `images.open_images`."""
    return load_reference(path) if is_statistics(path) else open_images(path, decoding)


def open_target(
    real: Sequence[np.ndarray] | Reference, taps: Mapping[str, str], features: Mapping[str, Any]
) -> Target:
    """The reference of the metrics in `taps`, which has the network's tap by metric.

    Raises:
        ValueError: the statistics lack a tap, or were made with other features.
    """
    if not isinstance(real, Reference):
        from_images = [metric for metric in taps if METRICS[metric].needs != "nothing"]
        return Target(real, None, from_images, features)
    from_images = [
        metric
        for metric, tap in taps.items()
        if METRICS[metric].needs == "images"
        or (METRICS[metric].needs == "statistics" and tap not in real.gaussians)
    ]
    images = open_images(real.images) if real.images and from_images else None
    for metric in from_images:
        if METRICS[metric].needs == "statistics" and images is None:
            raise ValueError(f"the statistics of the reference have no features for {metric}")
    for name, value in features.items():
        if real.made_with.get(name, value) != value:
            raise ValueError(
                f"the statistics of the reference were made with {name} "
                f"{real.made_with[name]!r}, not with {value!r}, and can't be compared"
            )
    statistics = SetFeatures(0, real.sha256, real.gaussians, {})
    return Target(images, statistics, from_images, features)


def check_sizes(num_fakes: int, target: Target, metrics: Sequence[str], settings: Settings) -> None:
    """Check the numbers of images for each metric.

    Raises:
        ValueError: there are too few fakes or reals for a metric.
    """
    num_reals = None if target.images is None else len(target.images)
    for name in metrics:
        least, needs = METRICS[name].minimum(settings), METRICS[name].needs
        sides = {"fakes": num_fakes, "reals": None if needs == "nothing" else num_reals}
        for side, count in sides.items():
            if count is not None and count < least:
                hint = "; give a smaller --kid_subset_size" if name == "kid" else ""
                raise ValueError(f"there are {count} {side}; {name} needs at least {least}{hint}")
        if num_reals is None and needs == "images":
            raise ValueError(
                f"{name} needs the images of the reference; statistics suffice only for fid and "
                "sfid"
            )
