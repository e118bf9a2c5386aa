"""Mean and covariance of a stream of features, in float64 and a memory that does not grow."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaussian:
    """Mean [D] and covariance [D, D] of n features; n is None where a file does not say."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int | None = None


class Moments:
    """Sums of features and of their products, float64, from which mean and covariance follow.

    Sums are taken about an origin (Chan et al. 1983, "shifted data"), the first feature, lest the
    covariance of features far from zero be lost to rounding. They do not depend on how the stream
    is cut into batches, nor on its order, but for rounding: 1e-12 relative.
    """

    def __init__(self, dim: int):
        self.n = 0
        self._origin = np.zeros(dim)
        self._sum = np.zeros(dim)
        self._outer = np.zeros((dim, dim))

    def add(self, features: np.ndarray) -> None:
        """Take in features [B, D].

        Raises:
            ValueError: some are not finite: one bad image would make the whole distance NaN.
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

    def merge(self, other: "Moments") -> None:
        """Take in all that another process has taken in."""
        shift = other._origin - self._origin
        mixed = np.outer(other._sum, shift)
        self._outer += other._outer + mixed + mixed.T + other.n * np.outer(shift, shift)
        self._sum += other._sum + other.n * shift
        self.n += other.n

    def gaussian(self) -> Gaussian:
        """Mean, and the covariance with n − 1 in its denominator.

        Raises:
            ValueError: of fewer than two features there is no covariance.
        """
        if self.n < 2:
            raise ValueError(f"a covariance needs at least 2 images, not {self.n}")
        mean = self._sum / self.n
        covariance = (self._outer - self.n * np.outer(mean, mean)) / (self.n - 1)
        return Gaussian(mean + self._origin, covariance, self.n)


def gaussian_of(features: np.ndarray) -> Gaussian:
    """Mean and covariance of features [N, D] that are at hand."""
    moments = Moments(features.shape[1])
    for start in range(0, len(features), 4096):
        moments.add(np.asarray(features[start : start + 4096]))
    return moments.gaussian()
