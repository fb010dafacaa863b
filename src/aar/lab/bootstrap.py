"""Intervals of a PGR from what was right item by item, in numpy: the statistics of `verify/interval.py`.

Where all splits test items of one pool, the bootstrap re-draws seeds, and with each its teacher and its
ceiling, and items (Owen 2007, "The pigeonhole bootstrap"). Where each split drew its own items, seeds are
independent of each other and the t interval of a ratio of sums over seeds is right: a bootstrap of five seeds
is too narrow.

The verifier's own, slower code is what a score receipt is checked against; a test holds the two together.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cache

import numpy as np
from numpy.typing import NDArray

from aar.verify.pgr import UndefinedPGR, pgr

DRAWS = 300
COUNTED = ("student", "weak", "ceiling", "vanilla")
STUDENT, WEAK, CEILING, PLAIN = range(len(COUNTED))
UNDEFINED_SHARE = 0.05
LEVEL = (0.025, 0.975)
BISECTIONS = 60

Counts = NDArray[np.int64]
"""[seeds, units, 4]: how often student, teacher, ceiling and plain student were right on a unit of items."""

Bounds = tuple[float, float]


def recovered(counts: NDArray[np.int64], who: int = STUDENT) -> Fraction:
    """The PGR of totals [4], the one of `verify.pgr`; `UndefinedPGR` without a gap."""
    student, weak, ceiling = (Fraction(int(counts[place])) for place in (who, WEAK, CEILING))
    return pgr(weak=weak, student=student, ceiling=ceiling)


def crossed_intervals(counts: Counts, *, draws: int = DRAWS) -> tuple[Bounds, Bounds]:
    """95 % percentile intervals of the PGR and of its lead over the plain student's, from the same draws.

    About 10 ms for 300 draws of 2,000 units. The randomness is a function of the counts. `UndefinedPGR` where
    more than a twentieth of the draws has no gap.
    """
    seeds, units, _what = counts.shape
    digest = hashlib.sha256(b"aar-lab-bootstrap/v1\n%d\n" % draws + counts.astype("<i8").tobytes()).digest()
    rng = np.random.default_rng(int.from_bytes(digest, "big"))
    weights = _times_drawn(rng, draws, units)
    # Whole numbers far below 2^53: the product of floats is exact.
    per_seed = weights @ counts.transpose(1, 0, 2).reshape(units, -1).astype(np.float64)
    chosen = _times_drawn(rng, draws, seeds)
    totals = (per_seed.reshape(draws, seeds, -1) * chosen[:, :, None]).sum(axis=1).astype(np.int64)
    with_gap = totals[totals[:, CEILING] > totals[:, WEAK]]
    if len(with_gap) < (1 - UNDEFINED_SHARE) * draws:
        raise UndefinedPGR(
            f"{draws - len(with_gap)} of {draws} draws have no gap to recover: the problem is degenerate"
        )
    student = [float(recovered(one)) for one in with_gap]
    lead = [value - float(recovered(one, PLAIN)) for value, one in zip(student, with_gap)]
    return _percentiles(student), _percentiles(lead)


def seed_intervals(counts: NDArray[np.int64]) -> tuple[Bounds, Bounds]:
    """95 % t intervals of the PGR and of its lead over the plain student's, from independent units [n, 4]."""
    student, weak, ceiling, plain = counts.T.astype(np.float64)
    gap = ceiling - weak
    if not gap.sum() > 0:
        raise UndefinedPGR(f"the gap over {len(counts)} units is {gap.sum():g} items: no gap to recover")
    return _ratio_interval(student - weak, gap), _ratio_interval(student - plain, gap)


def _ratio_interval(above: NDArray[np.float64], below: NDArray[np.float64]) -> Bounds:
    """A ratio of sums over units, plus and minus Student's t times its linearised standard error."""
    count = len(above)
    ratio = float(above.sum() / below.sum())
    rest = float(((above - ratio * below) ** 2).sum())
    error = (rest * count / max(count - 1, 1)) ** 0.5 / float(below.sum())
    half = t_quantile(max(count - 1, 1)) * error
    return ratio - half, ratio + half


@cache
def t_quantile(freedom: int) -> float:
    """Student's t at .975, by halving over its distribution function for whole degrees of freedom from 1.

    >>> round(t_quantile(4), 4)
    2.7764
    """
    low, high = 0.0, math.pi / 2
    for _halving in range(BISECTIONS):
        angle = (low + high) / 2
        if _within(angle, freedom) < LEVEL[1] - LEVEL[0]:
            low = angle
        else:
            high = angle
    return math.tan(low) * math.sqrt(freedom)


def _within(angle: float, freedom: int) -> float:
    """P(|T| < tan(angle) sqrt(freedom)): Abramowitz and Stegun 1964, 26.7.3 and 26.7.4."""
    is_odd = freedom % 2 == 1
    term, total = (math.cos(angle), 0.0) if is_odd else (1.0, 0.0)
    for power in range(3 if is_odd else 2, freedom + 1, 2):
        total += term
        term *= (power - 1) / power * math.cos(angle) ** 2
    if is_odd:
        return (angle + math.sin(angle) * total) * 2 / math.pi
    return math.sin(angle) * total


def _times_drawn(rng: np.random.Generator, draws: int, units: int) -> NDArray[np.float64]:
    """How often each of `units` comes up in `units` draws with replacement; [draws, units]."""
    drawn = rng.integers(0, units, (draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)


def _percentiles(values: Sequence[float]) -> Bounds:
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(last * LEVEL[0])], ordered[round(last * LEVEL[1])]
