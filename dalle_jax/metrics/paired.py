"""Paired tests of two models on the same captions and the same noise."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dalle_jax.metrics.intervals import bootstrap
from dalle_jax.metrics.jackknife import jackknife_error

FLIPS = 10_000
BLOCK = 500  # flips in memory


@dataclass(frozen=True)
class Paired:
    """The difference of two models in the scores of captions or in a distance.

    Attributes:
        difference: b − a; for scores, its mean over the captions.
        interval: of 95 %, by bootstrap over the captions or by the jackknife.
        p: two-sided p value of no difference.
        test: the test of `p`: "exact McNemar", "sign flips" or "jackknife".
    """

    difference: float
    interval: tuple[float, float]
    p: float
    test: str


def paired(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Paired:
    """Compare scores [captions] or [captions, seeds] of two models.

    Binary scores of one image per caption are tested by McNemar's exact test, all others by random
    flips of the signs of the captions' differences. Captions without a score (NaN) in either model
    are omitted.

    Raises:
        ValueError: the scores are not of the same captions and seeds.
    """
    a, b = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (a, b))
    if a.shape != b.shape:
        raise ValueError(
            f"scores of {len(a)} captions × {a.shape[1]} seeds and of {len(b)} × {b.shape[1]} are "
            "not pairs"
        )
    scored = np.isfinite(a).all(1) & np.isfinite(b).all(1)
    a, b = a[scored], b[scored]
    if not len(a):
        raise ValueError("there is no caption with a score in both")
    differences = (b - a).mean(1)
    binary = a.shape[1] == 1 and np.isin(np.concatenate([a, b]), (0, 1)).all()
    if binary:
        p = mcnemar(int((differences > 0).sum()), int((differences < 0).sum()))
    else:
        p = sign_flips(differences, seed)
    test = "exact McNemar" if binary else "sign flips"
    return Paired(float(differences.mean()), bootstrap(differences, seed), p, test)


def paired_distances(
    a: float, b: float, left_out_a: Sequence[float], left_out_b: Sequence[float]
) -> Paired:
    """Compare distances of two models' images to one reference, by a paired jackknife.

    A distance is not a mean over captions, but G times the same captions can be left out of both
    models' images: Δ₋ᵍ = b₋ᵍ − a₋ᵍ. The common effects of captions and noise cancel in Δ, and so
    does most of the bias in the number of images. With the jackknife's standard error s of Δ,
    (b − a) / s is tested as Student's t with G − 1 degrees of freedom (Tukey 1958).

    Args:
        a, b: the distances of all images.
        left_out_a, left_out_b: [G] the distances without the g-th group of captions, up to a
            common constant.

    Raises:
        ValueError: the numbers of groups differ or are below two.
    """
    if len(left_out_a) != len(left_out_b) or len(left_out_a) < 2:
        raise ValueError(
            f"distances without each of {len(left_out_a)} and {len(left_out_b)} groups of captions "
            "are not pairs"
        )
    error = jackknife_error(np.subtract(left_out_b, left_out_a))
    difference, freedom = b - a, len(left_out_a) - 1
    half = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(difference) / error)) if error else float(not difference)
    return Paired(difference, (difference - half, difference + half), p, "jackknife")


def mcnemar(only_b: int, only_a: int) -> float:
    """The exact two-sided p of `only_b` and `only_a` discordant pairs (McNemar 1947).

    If neither model is better, each discordant pair favours either with probability ½: p is
    2 P(X ≤ min) for X ~ Binomial(only_a + only_b, ½), at most 1.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    # Python integers, since floats would overflow with more than 1,029 pairs.
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def sign_flips(differences: np.ndarray, seed: int = 0) -> float:
    """The two-sided p of differences [N] with mean zero, by random signs (Fisher 1935).

    p is the share of sign patterns, including the observed one, whose mean is at least as far from
    zero.
    """
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum()) * (1 - 1e-12)
    extreme = 1
    for start in range(0, FLIPS, BLOCK):
        signs = rng.integers(0, 2, (min(BLOCK, FLIPS - start), len(differences))) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= observed).sum())
    return extreme / (FLIPS + 1)
