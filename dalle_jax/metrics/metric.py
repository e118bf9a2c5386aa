"""A metric of image sets: one record of `table`, with a function from features to results."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dalle_jax.metrics.statistics import Gaussian


@dataclass(frozen=True)
class Settings:
    """Constants of the metrics, at their published values.

    Attributes:
        kid_subsets, kid_subset_size: number and size of KID's subsets.
        neighbours, neighbours_density: k of precision and recall, and of density and coverage.
        is_splits: splits of the Inception Score.
        intervals: whether to compute errors, FD∞ and the floor. They need all features in memory, 8
            kilobytes per image; without them FID and sFID use constant memory.
        seed: of shuffles, subsets and resampling.
    """

    kid_subsets: int = 100
    kid_subset_size: int = 1000
    neighbours: int = 3
    neighbours_density: int = 5
    is_splits: int = 10
    intervals: bool = True
    seed: int = 2020


@dataclass(frozen=True)
class SetFeatures:
    """The features of one set of images.

    Attributes:
        n: number of images.
        digest: SHA-256 of the set of their pixels.
        gaussians: mean and covariance by tap.
        features: [n, length] by tap, for the taps whose features are in memory.
    """

    n: int
    digest: str
    gaussians: Mapping[str, Gaussian]
    features: Mapping[str, np.ndarray]


# The entry of each result in a row, and the values by image [n] of results that are means.
Results = tuple[dict[str, dict[str, Any]], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Metric:
    """A metric of one or two sets of images.

    Attributes:
        name: in the option `--metrics`.
        taps: the network output that it reads, by the kind of network on which it is defined:
            "inception", and "pooled" for networks with one vector per image.
        measure: maps (fakes, reals, tap, settings) to `Results`; reals is None for a metric of
            fakes only. Between two sets of reals it gives the floor.
        settings: the fields of `Settings` that each result reads.
        minimum: maps settings to the minimum number of images of each set.
        needs: what it needs of the reference: "statistics" if mean and covariance suffice,
            "images", or "nothing".
        larger_is_better: whether larger results are better.
        generic: its name on features other than Inception's, since "FID" implies Inception.
    """

    name: str
    taps: Mapping[str, str]
    measure: Callable[[SetFeatures, SetFeatures | None, str, Settings], Results]
    settings: Mapping[str, tuple[str, ...]]
    minimum: Callable[[Settings], int]
    needs: str = "images"
    larger_is_better: bool = False
    generic: str = ""

    def result_name(self, result: str, network: str) -> str:
        """A result's name in a row: `fid` for Inception, else as `FD[clip:0123456789ab]`."""
        return result if network == "inception" else f"{self.generic or result}[{network}]"
