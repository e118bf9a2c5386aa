"""Numbers with as many digits as their interval justifies."""

import math
from collections.abc import Callable, Sequence


def fitted(
    value: float,
    interval: Sequence[float] | None = None,
    *,
    percent: bool = False,
    sign: bool = False,
) -> Callable[[float], str]:
    """A function that formats numbers like `value` with the digits that its interval justifies.

    Half of the interval gets two significant digits; without an interval the value gets four.
    Percentages get at least one decimal; `sign` adds the + of positive numbers.
    """
    factor = 100 if percent else 1
    half = factor * abs(interval[1] - interval[0]) / 2 if interval else math.nan
    if math.isfinite(half) and half > 0:
        decimals = 1 - _exponent(half)
    else:
        decimals = 3 - _exponent(factor * value)
    decimals = min(max(decimals, 1 if percent else 0), 10)
    return lambda x: f"{factor * x:{'+' if sign else ''}.{decimals}f}" + " %" * percent


def _exponent(x: float) -> int:
    """The exponent of x rounded to two digits; 0 for 0, NaN and infinity."""
    if x == 0 or not math.isfinite(x):
        return 0
    return int(f"{x:.1e}".partition("e")[2])
