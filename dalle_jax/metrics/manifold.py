"""Precision, recall, density and coverage of features.

The neighbourhood of an image is the ball up to its k-th nearest neighbour in its own set.
Kynkäänniemi et al. 2019, arXiv 1904.06991 (precision, recall); Naeem et al. 2020, arXiv 2002.09797
(density, coverage).
"""

from collections.abc import Iterator

import numpy as np

from dalle_jax.metrics.intervals import bootstrap
from dalle_jax.metrics.metric import Results, SetFeatures, Settings

BLOCK = 1024  # rows of the distance matrix in memory


def measure_prdc(fake: SetFeatures, real: SetFeatures, tap: str, settings: Settings) -> Results:
    """Precision and density (means over the fakes), recall and coverage (means over the reals)."""
    by_image = manifold(
        fake.features[tap], real.features[tap], settings.neighbours, settings.neighbours_density
    )
    entries = {
        name: {"value": float(values.mean())}
        | ({"interval": bootstrap(values, settings.seed)} if settings.intervals else {})
        for name, values in by_image.items()
    }
    return entries, by_image


def _squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """|xᵢ − yⱼ|², float64, a block of rows of x at a time."""
    y = np.asarray(y, np.float64)
    y_norms = (y**2).sum(1)
    for start in range(0, len(x), BLOCK):
        rows = slice(start, min(start + BLOCK, len(x)))
        block = np.asarray(x[rows], np.float64)
        yield rows, (block**2).sum(1)[:, None] + y_norms[None] - 2 * block @ y.T


def squared_radii(features: np.ndarray, k: int) -> np.ndarray:
    """The squared distance [N] of each of features [N, D] to its k-th nearest neighbour."""
    radii = np.empty(len(features))
    for rows, squared in _squared_distances(features, features):
        # The image itself must be at position 0, though rounding may make its distance positive.
        squared[np.arange(len(squared)), np.arange(rows.start, rows.stop)] = -np.inf
        radii[rows] = np.partition(squared, k, axis=1)[:, k]
    return radii


def manifold(
    fake: np.ndarray, real: np.ndarray, k: int = 3, k_density: int = 5
) -> dict[str, np.ndarray]:
    """The four metrics of features [N, D] and [M, D] by image; their means are the published ones.

    precision  [N] whether a fake is in the neighbourhood of some real
    recall     [M] whether a real is in the neighbourhood of some fake
    density    [N] number of reals' neighbourhoods that contain a fake, divided by k; may exceed 1
    coverage   [M] whether a real's neighbourhood contains a fake

    Raises:
        ValueError: the features have different lengths, or there are fewer than k + 1.
    """
    if fake.shape[1] != real.shape[1]:
        raise ValueError(
            f"features of lengths {fake.shape[1]} and {real.shape[1]} can't be compared"
        )
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
    return {
        "precision": precision,
        "recall": recall.astype(float),
        "density": density,
        "coverage": coverage.astype(float),
    }
