"""Is one model better than another on the same captions and the same noise?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dalle_jax.metrics.intervals import bootstrap, jackknife_error

FLIPS = 10_000
BLOCK = 500  # flips that are held at once


@dataclass(frozen=True)
class Paired:
    """The difference of two models, of scores caption by caption or of distances.

    Attributes:
        difference: b − a; of scores, its mean over the captions.
        interval: of 95 %, by bootstrap over the captions, or by the jackknife.
        p: two-sided, of no difference.
        test: what `p` is of: "exact McNemar", "sign flips" or "jackknife".
    """

    difference: float
    interval: tuple[float, float]
    p: float
    test: str


def paired(a: np.ndarray, b: np.ndarray, seed: int = 0) -> Paired:
    """Compare scores [captions] or [captions, seeds] of two models.

    Right or wrong of one image a caption is tested by McNemar's exact test, anything else by
    flipping the signs of the captions' differences at random. A caption that has no score in either
    (NaN) is left out.

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
        raise ValueError("there is no caption that both were scored on")
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

    A distance is no mean over captions. But each of G times the same captions can be left out of
    both models' images: Δ₋ᵍ = b₋ᵍ − a₋ᵍ. What the captions and the noise have in common goes away
    in it, and the bias in the number of images mostly. With the jackknife's standard error s of Δ,
    (b − a) / s is taken for Student's t with G − 1 degrees of freedom (Tukey 1958).

    Args:
        a, b: the distances of all images.
        left_out_a, left_out_b: [G] the same without the g-th group of captions; a constant that
            both have in common does not count.

    Raises:
        ValueError: there are not as many groups of either, and two at least.
    """
    if len(left_out_a) != len(left_out_b) or len(left_out_a) < 2:
        raise ValueError(
            f"distances without each of {len(left_out_a)} and of {len(left_out_b)} groups of "
            "captions are not pairs"
        )
    error = jackknife_error(np.subtract(left_out_b, left_out_a))
    difference, freedom = b - a, len(left_out_a) - 1
    half = float(stdtrit(freedom, 0.975)) * error
    p = 2 * float(stdtr(freedom, -abs(difference) / error)) if error else float(not difference)
    return Paired(difference, (difference - half, difference + half), p, "jackknife")


def mcnemar(only_b: int, only_a: int) -> float:
    """Two-sided exact p of `only_b` and `only_a` discordant pairs (McNemar 1947).

    If neither model is better, each discordant pair falls to either with probability ½: p is
    2 P(X ≤ min) for X ~ Binomial(only_a + only_b, ½), at most 1.
    """
    n, k = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return 1.0
    # Integers throughout: as floats, numerator and denominator would overflow from 1,030 pairs on.
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def sign_flips(differences: np.ndarray, seed: int = 0) -> float:
    """Two-sided p of a mean difference [N] of zero, by random signs (Fisher 1935).

    The share of sign patterns, the given one among them, whose mean is at least as far from zero.
    """
    rng = np.random.default_rng(seed)
    observed = abs(differences.sum()) * (1 - 1e-12)
    extreme = 1
    for start in range(0, FLIPS, BLOCK):
        signs = rng.integers(0, 2, (min(BLOCK, FLIPS - start), len(differences))) * 2 - 1
        extreme += int((np.abs(signs @ differences) >= observed).sum())
    return extreme / (FLIPS + 1)
