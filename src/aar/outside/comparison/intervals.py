"""Means of a few numbers with Student's intervals, and what of it may be said of a difference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean, variance

from aar.verify.statistics import t_p_value, t_quantile

# A comparison asks for few degrees of freedom, and each is 80 times an incomplete beta function.
_quantile = lru_cache(maxsize=256)(t_quantile)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean of `count` values.

    The rest is `None` where values say nothing of how far they scatter: fewer than two, or all equal.
    """

    count: int
    mean: float
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    error: float | None = None
    freedom: float | None = None

    @property
    def is_apart_from_0(self) -> bool:
        """Whether there is an interval and it does not include 0."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided, of the mean being `null`; 1 without an interval."""
        if self.error is None or self.freedom is None:
            return 1.0
        return t_p_value((self.mean - null) / self.error, self.freedom)

    def p_value_not_below(self, bound: float) -> float:
        """Twice the one-sided p-value of the mean being `bound` or more, at most 1: at most 1 - level exactly
        where the interval's upper end is at most `bound`."""
        if self.error is None or self.mean >= bound:
            return 1.0
        return self.p_value(bound)


def estimate(values: Sequence[float], level: float) -> Estimate | None:
    """The mean with the interval of Student's t; `None` of no values.

    >>> found = estimate([0.1, 0.2, 0.3], 0.95)
    >>> round(found.low, 3), round(found.mean, 3), round(found.high, 3)
    (-0.048, 0.2, 0.448)
    """
    if not values:
        return None
    mean = fmean(values)
    spread = variance(values) if len(values) > 1 else 0.0
    # Equal values differ in their last digits once they are differences.
    if spread < 1e-18:
        return Estimate(count=len(values), mean=mean)
    return _with_interval(
        len(values), mean, math.sqrt(spread / len(values)), len(values) - 1, level, math.sqrt(spread)
    )


def pooled(parts: Sequence[Sequence[float]], level: float) -> Estimate | None:
    """The mean of the parts' means, each part counting the same; freedom after Welch and Satterthwaite.

    `None` of no values; no interval where a part has none.
    """
    if not parts or not all(parts):
        return None
    count = sum(map(len, parts))
    mean = fmean(fmean(part) for part in parts)
    if any(len(part) < 2 for part in parts):
        return Estimate(count=count, mean=mean)
    squares = [variance(part) / len(part) / len(parts) ** 2 for part in parts]
    if sum(squares) < 1e-18:
        return Estimate(count=count, mean=mean)
    freedom = sum(squares) ** 2 / sum(one**2 / (len(part) - 1) for one, part in zip(squares, parts))
    return _with_interval(count, mean, math.sqrt(sum(squares)), freedom, level, None)


def _with_interval(
    count: int, mean: float, error: float, freedom: float, level: float, deviation: float | None
) -> Estimate:
    reach = _quantile((1 + level) / 2, freedom) * error
    return Estimate(
        count=count,
        mean=mean,
        low=mean - reach,
        high=mean + reach,
        deviation=deviation,
        error=error,
        freedom=freedom,
    )
