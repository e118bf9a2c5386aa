"""Mean and covariance of a stream of features, in float64 and constant memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] of n features; n is None if a file does not record it."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int | None = None


class Moments:
    """Sums of features and of their products in float64, for their mean and covariance.

    The first feature is subtracted from all (Chan et al. 1983, "shifted data"), because rounding
    would destroy the covariance of features far from zero. The result does not depend on the
    batches or the order of the stream, up to a relative 1e-12 of rounding.
    """

    def __init__(self, dim: int):
        self.n = 0
        self._origin = np.zeros(dim)
        self._sum = np.zeros(dim)
        self._outer = np.zeros((dim, dim))

    def add(self, features: np.ndarray) -> None:
        """Add features [B, D].

        Raises:
            ValueError: some are not finite, which would make the whole distance NaN.
        """
        if not np.isfinite(features).all():
            bad = int((~np.isfinite(features).all(1)).sum())
            raise ValueError(f"the features of {bad} images are not finite")
        if not len(features):
            return
        if not self.n:
            self._origin = features[0].astype(np.float64)
        shifted = features.astype(np.float64) - self._origin
        self.n += len(features)
        self._sum += shifted.sum(0)
        self._outer += shifted.T @ shifted

    def gaussian(self) -> Gaussian:
        """The mean, and the covariance with the denominator n − 1.

        Raises:
            ValueError: there are fewer than two features.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 images, got {self.n}")
        mean = self._sum / self.n
        covariance = (self._outer - self.n * np.outer(mean, mean)) / (self.n - 1)
        return Gaussian(mean + self._origin, covariance, self.n)


def fit_gaussian(features: np.ndarray) -> Gaussian:
    """The mean and covariance of an array of features [N, D]."""
    moments = Moments(features.shape[1])
    for start in range(0, len(features), 4096):
        moments.add(np.asarray(features[start : start + 4096]))
    return moments.gaussian()
