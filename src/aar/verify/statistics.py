"""Statistics of several results at once: Holm, best of k tries, p-values, detectable differences.

An interval of one run says nothing of how many runs it was picked from. Everything here takes numbers that
the record holds and returns numbers that anybody can compute again; none of it draws anything.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

NORMAL = NormalDist()
# Of the 5 % that a best-of-k interval may miss, this much bounds it by the simultaneous interval.
SIMULTANEOUS_SHARE = 0.1
_STEPS = 80


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Adjusted p-values of hypotheses that are claimed together, in their order (Holm 1979).

    Rejecting those at most 0.05 keeps the chance of any false claim among them at 5 %, however they depend
    on each other.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    _check_probabilities(p_values)
    adjusted = [0.0] * len(p_values)
    most = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        most = max(most, min(1.0, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = most
    return tuple(adjusted)


def bootstrap_p_value(differences: Sequence[float]) -> float:
    """Two-sided p-value of "no difference" from bootstrap draws of a difference; never 0.

    Twice the share of draws on the rarer side of zero, each side counted with one draw more than it has
    (Davison and Hinkley 1997, section 4.4).

    >>> bootstrap_p_value([0.1] * 99)
    0.02
    """
    if not differences:
        raise ValueError("no draws of the difference: want at least one, a hundred to say anything")
    below = sum(one <= 0 for one in differences)
    above = sum(one >= 0 for one in differences)
    return min(1.0, 2 * (min(below, above) + 1) / (len(differences) + 1))


def detectable_difference(deviation: float, seeds: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The true paired difference that `seeds` seeds find with probability `power` at two-sided level `alpha`.

    `deviation` is the standard deviation of the difference per seed, in the unit of the answer. The usual sum
    of two quantiles of Student's t with `seeds` - 1 degrees of freedom: within 6 % of the exact answer from
    the noncentral t at 5 seeds or more.

    >>> round(detectable_difference(0.1, 5), 3)
    0.166
    """
    if seeds < 2:
        raise ValueError(f"{seeds} seeds: a difference needs at least 2; 5 or more find something")
    if not deviation >= 0:
        raise ValueError(f"standard deviation {deviation}: want one that is not negative")
    _check_probabilities([power, alpha])
    freedom = seeds - 1
    quantiles = t_quantile(1 - alpha / 2, freedom) + t_quantile(power, freedom)
    return deviation * quantiles / math.sqrt(seeds)


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much an explored accuracy exceeds a held-out one: difference, z, and P(z or more by chance)."""

    difference: float
    z: float
    p_value: float


def explored_minus_held_out(explored: tuple[int, int], held_out: tuple[int, int]) -> Excess:
    """One-sided z-test of two proportions, each given as (right, tested), with pooled variance.

    What was fitted to the explored items and not to the others shows here. Items are taken for independent.

    >>> found = explored_minus_held_out((926, 1315), (854, 1315))
    >>> round(found.difference, 3), round(found.z, 2), round(found.p_value, 4)
    (0.055, 3.0, 0.0013)
    """
    for right, tested in (explored, held_out):
        if not 0 <= right <= tested or not tested:
            raise ValueError(f"{right} right of {tested}: want 0 to all of at least one item")
    first, second = explored[0] / explored[1], held_out[0] / held_out[1]
    share = (explored[0] + held_out[0]) / (explored[1] + held_out[1])
    error = math.sqrt(share * (1 - share) * (1 / explored[1] + 1 / held_out[1]))
    z = (first - second) / error if error else 0.0
    return Excess(first - second, z, NORMAL.cdf(-z))


@dataclass(frozen=True, slots=True)
class BestOf:
    """The best of k estimates corrected for having been picked: its place, as it looked, what is left."""

    place: int
    naive: float
    estimate: float
    low: float
    high: float


def best_of(
    estimates: Sequence[float], covariance: Sequence[Sequence[float]], *, level: float = 0.95
) -> BestOf:
    """An interval for the true value of whichever of `estimates` is largest.

    After Andrews, Kitagawa and McCloskey 2024, "Inference on winners" (their hybrid). Given that it won, a
    winner is normal cut off below by its closest rival; where that lies is what its interval corrects for.
    Cut off narrowly the answer would be without bounds, so it is kept inside the simultaneous interval of
    all k, which takes a tenth of the 5 %. `estimate` is the median-unbiased one of the same distribution.
    `covariance` [k, k] is that of the estimates: variances on its diagonal, and what they share (test
    items, seeds) beside it. One estimate gets the plain normal interval.

    >>> one = best_of([0.5], [[0.01]])
    >>> round(one.low, 3), round(one.estimate, 3), round(one.high, 3)
    (0.304, 0.5, 0.696)
    >>> found = best_of([0.50, 0.45, 0.40], [[0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.01]])
    >>> round(found.low, 3), round(found.estimate, 3), round(found.high, 3)
    (0.188, 0.393, 0.686)
    """
    _check_covariance(estimates, covariance)
    if not 0.5 < level < 1:
        raise ValueError(f"level {level}: want one between 0.5 and 1, such as 0.95")
    place = max(range(len(estimates)), key=estimates.__getitem__)
    naive, variance = estimates[place], covariance[place][place]
    deviation = math.sqrt(variance)
    missed = 1 - level
    if len(estimates) == 1:
        reach = deviation * NORMAL.inv_cdf(1 - missed / 2)
        return BestOf(place, naive, naive, naive - reach, naive + reach)
    floor = _cut_off(estimates, covariance, place)
    # Sidak's simultaneous interval, valid however the estimates depend on each other.
    apart = 1 - (1 - SIMULTANEOUS_SHARE * missed) ** (1 / len(estimates))
    bound = deviation * NORMAL.inv_cdf(1 - apart / 2)
    left = 1 - (1 - missed) / (1 - SIMULTANEOUS_SHARE * missed)

    def share_below(mean: float) -> float:
        """P(estimate <= naive) for a true value `mean`, given that it won and lies within `bound` of it."""
        return _between(naive, mean, deviation, max(floor, mean - bound), mean + bound)

    low, estimate, high = (
        _falling_root(share_below, wanted, naive - bound, naive + bound)
        for wanted in (1 - left / 2, 0.5, left / 2)
    )
    return BestOf(place, naive, estimate, low, high)


def _cut_off(estimates: Sequence[float], covariance: Sequence[Sequence[float]], place: int) -> float:
    """The least value with which the estimate at `place` had still won, all that is apart from it fixed."""
    floor = -math.inf
    winner, variance = estimates[place], covariance[place][place]
    for other, value in enumerate(estimates):
        slope = covariance[other][place] / variance
        # A rival that moves with the winner, or more than it, sets no lower bound.
        if other != place and slope < 1:
            floor = max(floor, (value - slope * winner) / (1 - slope))
    return floor


def _between(value: float, mean: float, deviation: float, low: float, high: float) -> float:
    """P(X <= value) of a normal X cut off to [low, high]; exact in the far tails too."""
    first, at, last = ((one - mean) / deviation for one in (low, value, high))
    if at <= first:
        return 0.0
    if at >= last:
        return 1.0
    # In the upper tail differences of probabilities near 1 would vanish: turn the axis around.
    if first > 0:
        first, at, last = -first, -at, -last
        return (_below(first) - _below(at)) / (_below(first) - _below(last))
    return (_below(at) - _below(first)) / (_below(last) - _below(first))


def _below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


def _falling_root(function: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a falling function of [low, high] passes `wanted`; an end where it does not."""
    for _step in range(_STEPS):
        middle = (low + high) / 2
        if function(middle) > wanted:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def t_quantile(share: float, freedom: float) -> float:
    """The quantile of Student's t with `freedom` degrees of freedom, to 9 digits.

    >>> round(t_quantile(0.975, 4), 6)
    2.776445
    """
    if not 0 < share < 1 or not freedom > 0:
        raise ValueError(f"share {share}, {freedom} degrees of freedom: want one in (0, 1), one above 0")
    if share < 0.5:
        return -t_quantile(1 - share, freedom)
    # P(|T| > t) is the regularised incomplete beta function at freedom / (freedom + t^2), which rises in it.
    low, high = 0.0, 1.0
    for _step in range(_STEPS):
        middle = (low + high) / 2
        if incomplete_beta(middle, freedom / 2, 0.5) < 2 * (1 - share):
            low = middle
        else:
            high = middle
    return math.sqrt(freedom * (1 - high) / high)


def t_p_value(statistic: float, freedom: float) -> float:
    """Two-sided p-value of Student's t; with infinite degrees of freedom the normal's.

    >>> round(t_p_value(2.776445, 4), 6)
    0.05
    """
    if not freedom > 0:
        raise ValueError(f"{freedom} degrees of freedom: want some")
    if math.isinf(freedom):
        return 2 * NORMAL.cdf(-abs(statistic))
    return incomplete_beta(freedom / (freedom + statistic * statistic), freedom / 2, 0.5)


def mixed_p_value(statistic: float, freedom: float, share: float) -> float:
    """Two-sided p-value where `share` of a variance has `freedom` degrees of freedom, the rest no end.

    The level at which the mean of Student's and the normal quantile, weighted by the variance's parts, is the
    statistic (Cochran and Cox 1950): the test that goes with `verify.interval.quantile_of`.

    >>> round(mixed_p_value(2.776445, 4, 1), 6), round(mixed_p_value(1.959964, 4, 0), 6)
    (0.05, 0.05)
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share}: want 0 to 1")
    wanted = abs(statistic)
    if share == 0 or wanted == 0:
        return t_p_value(wanted, math.inf)
    # Student's quantile is the larger one, neither is negative: it lies between the statistic and the same
    # over its share. Where this is many orders of magnitude, they are what is halved.
    low, high = wanted, min(wanted / share, sys.float_info.max)
    for _step in range(_STEPS):
        middle = math.sqrt(low) * math.sqrt(high)
        level = max(t_p_value(middle, freedom), sys.float_info.min)
        if share * middle - (1 - share) * NORMAL.inv_cdf(level / 2) < wanted:
            low = middle
        else:
            high = middle
    return t_p_value(high, freedom)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    # From the far end inwards: 200 terms are more than a and b of a t distribution need.
    fraction = 1.0
    for number in range(200, 0, -1):
        m = number // 2
        if number % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        fraction = 1 + term / fraction
    return front / (a * fraction)


def binomial_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share (Wilson 1927).

    >>> tuple(round(one, 3) for one in binomial_interval(95, 100))
    (0.888, 0.978)
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials}: want 0 to all of at least one trial")
    z = NORMAL.inv_cdf((1 + level) / 2)
    share, scale = successes / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    reach = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return middle - reach, middle + reach


def _check_probabilities(values: Sequence[float]) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise ValueError(f"probability {value}: want 0 to 1")


def _check_covariance(estimates: Sequence[float], covariance: Sequence[Sequence[float]]) -> None:
    count = len(estimates)
    if not count or len(covariance) != count or any(len(row) != count for row in covariance):
        raise ValueError(f"{count} estimates and {len(covariance)} rows of covariance: want k and [k, k]")
    if not all(covariance[place][place] > 0 for place in range(count)):
        raise ValueError("a variance is not above 0: an estimate without error needs no correction")
