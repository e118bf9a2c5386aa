"""Precision, recall, density and coverage: who lies in whose neighbourhoods.

Each image's neighbourhood is the ball to its k-th nearest neighbour of its own set.
Kynkäänniemi et al. 2019, arXiv 1904.06991 (precision, recall); Naeem et al. 2020, arXiv 2002.09797
(density, coverage).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 1024  # rows of the matrix of distances that are held at once


@dataclass(frozen=True)
class Manifold:
    """Precision, recall, density and coverage as means over images, and the images' own values.

    Attributes:
        precision: share of fakes that lie in the neighbourhood of some real.
        recall: share of reals that lie in the neighbourhood of some fake.
        density: in how many of the reals' neighbourhoods a fake lies, over k; may exceed 1.
        coverage: share of reals whose neighbourhood holds a fake.
        by_image: the values that those are means of: [N fake] or [M real] each.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    by_image: dict[str, np.ndarray]


def _squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """|xᵢ − yⱼ|², float64, a block of rows of x at a time."""
    y = np.asarray(y, np.float64)
    y_norms = (y**2).sum(1)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        block = np.asarray(x[rows], np.float64)
        yield rows, (block**2).sum(1)[:, None] + y_norms[None] - 2 * block @ y.T


def squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """Squared distance [N] of each of features [N, D] to its k-th nearest other."""
    radii = np.empty(len(features))
    for rows, squared in _squared_distances(features, features):
        # Position 0 is the image itself, whose distance rounding may have put above 0.
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = -np.inf
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii


def manifold(fake: np.ndarray, real: np.ndarray, k: int = 3, k_density: int = 5) -> Manifold:
    """All four of features [N, D] and [M, D]; k as the papers have it, 3 and 5.

    Raises:
        ValueError: the features are of different length, or fewer than k + 1.
    """
    if fake.shape[1] != real.shape[1]:
        raise ValueError(f"features of {fake.shape[1]} and {real.shape[1]} can't be compared")
    if min(len(fake), len(real)) <= max(k, k_density):
        raise ValueError(
            f"{len(fake)} and {len(real)} images are too few for the {max(k, k_density)} nearest "
            "neighbours"
        )
    fake_radii = squared_radii(fake, k)
    real_radii = squared_radii(real, k)
    density_radii = real_radii if k_density == k else squared_radii(real, k_density)
    precision = np.empty(len(fake))
    density = np.empty(len(fake))
    recall = np.zeros(len(real), bool)
    coverage = np.zeros(len(real), bool)
    for rows, squared in _squared_distances(fake, real):
        precision[rows] = (squared <= real_radii).any(1)
        inside = squared <= density_radii
        density[rows] = inside.sum(1) / k_density
        coverage |= inside.any(0)
        recall |= (squared <= fake_radii[rows, None]).any(0)
    by_image = {
        "precision": precision,
        "recall": recall.astype(float),
        "density": density,
        "coverage": coverage.astype(float),
    }
    return Manifold(**{name: float(v.mean()) for name, v in by_image.items()}, by_image=by_image)
