"""Power: how many repeats a comparison of two arms needs, from thousands of simulated ones.

Pairs meet the same problem. Repeats are compared as an A/B would compare them: a paired t test at 5 % on the
sealed values of what each study published.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt

import numpy as np

from aar.simulation.many import simulate_many
from aar.simulation.parameters import FIXED, FREE, PERCENT, UNIT, Arm, ProblemClass
from aar.simulation.stream import Integers
from aar.verify.interval import T_QUANTILES

# Degrees of freedom that the verifier's table of t quantiles has.
REPEATS = (3, 5, 7, 11, 16, 21, 31, 61)
WANTED = 80
NORMAL_PERMILLE = 1_960
KNOWN_STEP = 10
T_SCALE = 10**4


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm less another on a class of problems. PGR in 1/10,000, shares in 1/1,000.

    `power` by number of repeats: how often the difference is found, with its sign; `false_alarms` the same of
    an arm against itself, either sign. `needed` repeats find it 4 times in 5; 0 where none of those tried do.
    """

    problem: str
    one: str
    other: str
    pairs: int
    mean_one: int
    mean_other: int
    difference: int
    low: int
    high: int
    deviation: int
    other_as_good: int
    power: tuple[tuple[int, int], ...]
    needed: int
    false_alarms: int


def compare(kind: ProblemClass, one: Arm, other: Arm, *, seed: int, runs: int) -> Comparison:
    """Simulate `runs` studies, half of each arm, on the same problems."""
    pairs = runs // 2
    if pairs < max(REPEATS):
        raise ValueError(f"{runs} studies: want at least {2 * max(REPEATS)}, half of them in each arm")
    first = simulate_many(kind, one, seed=seed, runs=pairs)
    second = simulate_many(kind, other, seed=seed, runs=pairs)
    again = simulate_many(kind, one, seed=seed, runs=pairs, repeat=1)
    differences = first.sealed - second.sealed
    mean, low, high, deviation = mean_and_interval(differences)
    power = tuple((count, _found(differences, count, sign=1 if mean > 0 else -1)) for count in REPEATS)
    return Comparison(
        problem=kind.name,
        one=one.name,
        other=other.name,
        pairs=pairs,
        mean_one=mean_and_interval(first.published)[0],
        mean_other=mean_and_interval(second.published)[0],
        difference=mean,
        low=low,
        high=high,
        deviation=deviation,
        other_as_good=_per_mille(second.published >= first.published - UNIT // 20),
        power=power,
        needed=next((count for count, share in power if share >= 10 * WANTED), 0),
        false_alarms=_found(first.sealed - again.sealed, REPEATS[2]),
    )


def mean_and_interval(values: Integers) -> tuple[int, int, int, int]:
    """Mean, the ends of its 95 % interval, and the standard deviation, in whole units."""
    count, total, squares = len(values), int(values.sum()), int((values * values).sum())
    mean = _rounded(total, count)
    variance = max(squares * count - total * total, 0) // (count * max(count - 1, 1))
    reach = NORMAL_PERMILLE * isqrt(variance * UNIT**2 // count) // (1_000 * UNIT)
    return mean, mean - reach, mean + reach, isqrt(variance)


def _rounded(total: int, count: int) -> int:
    return (2 * total + count) // (2 * count)


def _found(differences: Integers, repeats: int, *, sign: int = 0) -> int:
    """In how many of 1,000 experiments of so many pairs the t test finds a difference."""
    whole = differences[: len(differences) // repeats * repeats].reshape(-1, repeats)
    total, squares = whole.sum(axis=1), (whole * whole).sum(axis=1)
    quantile = T_QUANTILES[repeats - 1]
    # t^2 = total^2 (n-1) / (n squares - total^2), compared in whole numbers that 63 bits hold.
    left = total * total * (repeats - 1) * T_SCALE
    right = int(quantile * quantile * T_SCALE) * (repeats * squares - total * total)
    is_found = left > right
    return _per_mille(is_found & (total * sign > 0) if sign else is_found)


def _per_mille(marks: np.typing.NDArray[np.bool_]) -> int:
    return _rounded(1_000 * int(marks.sum()), len(marks))


@dataclass(frozen=True, slots=True)
class BreakEven:
    """How well the human must know a class of problems for a fixed workflow to keep up.

    `means`: (chance in per cent that the list for a part holds a right idea, mean PGR of a fixed workflow);
    `free` the mean of a free one; `known` the least chance of those tried at which fixed is not worse, -1 if
    none is.
    """

    problem: str
    free: int
    means: tuple[tuple[int, int], ...]
    known: int


def break_even(kind: ProblemClass, *, seed: int, runs: int) -> BreakEven:
    """Let the human know more and more of a class of problems."""
    free = mean_and_interval(simulate_many(kind, FREE, seed=seed, runs=runs).published)[0]
    means = []
    for known in range(0, PERCENT + 1, KNOWN_STEP):
        outcomes = simulate_many(replace(kind, known=known), FIXED, seed=seed, runs=runs)
        means.append((known, mean_and_interval(outcomes.published)[0]))
    return BreakEven(kind.name, free, tuple(means), next((at for at, mean in means if mean >= free), -1))


def compare_all(
    kinds: Sequence[ProblemClass], one: Arm, other: Arm, *, seed: int, runs: int
) -> list[Comparison]:
    """`compare` for each class, with `runs` studies each."""
    return [compare(kind, one, other, seed=seed, runs=runs) for kind in kinds]
