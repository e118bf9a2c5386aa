"""The claims of a figure, and the verdict on each: holds, does not hold, not enough data.

A claim is about a number; it holds if the number's 95 % interval lies in the claimed range.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

HOLDS, FAILS, UNDECIDED = "holds", "does not hold", "not enough data"


class Estimate(NamedTuple):
    """A number, its 95 % interval (None: it is exact), and what both are based on, in words."""

    value: float
    interval: tuple[float, float] | None = None
    basis: str = ""


MISSING = Estimate(math.nan)  # not measured


@dataclass(frozen=True)
class Claim:
    """That a number lies in a range.

    Attributes:
        statement: what is claimed, not what was found, in a sentence.
        estimate: the number.
        above, below: the ends of the open range.
        unit: of the number.
        published: the paper's numbers for it, with their data; "" if there are none.
        one_training: it compares one training of each setting, and others are known to differ by as
            much, so the interval, which leaves that out, can't decide it.
    """

    statement: str
    estimate: Estimate
    above: float = -math.inf
    below: float = math.inf
    unit: str = ""
    published: str = ""
    one_training: bool = False

    @property
    def verdict(self) -> str:
        """HOLDS if all of the interval is in the range, FAILS if none of it is, else UNDECIDED.

        Single trainings (`one_training`) are always UNDECIDED.
        """
        low, high = self.estimate.interval or (self.estimate.value,) * 2
        known = all(map(math.isfinite, (self.estimate.value, low, high)))
        if self.one_training or not known:
            return UNDECIDED
        if self.above < low and high < self.below:
            return HOLDS
        return FAILS if high <= self.above or low >= self.below else UNDECIDED


def overall(claims: Sequence[Claim]) -> str:
    """The verdict on several claims: FAILS if one fails, HOLDS if all hold."""
    verdicts = {claim.verdict for claim in claims}
    if FAILS in verdicts:
        return FAILS
    return HOLDS if verdicts == {HOLDS} else UNDECIDED
