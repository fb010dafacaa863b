"""Intervals of a PGR from what was right item by item, in numpy: the statistics of `verify/interval.py`.

Where all splits test items of one pool, the bootstrap re-draws seeds, and with each its teacher and its
ceiling, and items (Owen 2007, "The pigeonhole bootstrap"). Where each split drew its own items, seeds are
independent of each other and the t interval of a ratio of sums over seeds is right: a bootstrap of five seeds
is too narrow.

The verifier's own, slower code is what a score receipt is checked against; a test holds the two together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from aar.verify.interval import T_QUANTILES_END
from aar.verify.pgr import UndefinedPGR, pgr
from aar.verify.statistics import t_quantile

DRAWS = 300
COUNTED = ("student", "weak", "ceiling", "vanilla")
STUDENT, WEAK, CEILING, PLAIN = range(len(COUNTED))
UNDEFINED_SHARE = 0.05
LEVEL = (0.025, 0.975)

Counts = NDArray[np.int64]
"""[seeds, units, 4]: how often student, teacher, ceiling and plain student were right on a unit of items."""

Bounds = tuple[float, float]


def recovered(counts: NDArray[np.int64], who: int = STUDENT) -> Fraction:
    """The PGR of totals [4], the one of `verify.pgr`; `UndefinedPGR` without a gap."""
    student, weak, ceiling = (Fraction(int(counts[place])) for place in (who, WEAK, CEILING))
    return pgr(weak=weak, student=student, ceiling=ceiling)


def crossed_intervals(counts: Counts, *, draws: int = DRAWS) -> tuple[Bounds, Bounds]:
    """95 % intervals of the PGR and of its lead over the plain student's, from the same draws.

    The percentiles' shape at the width that a few seeds deserve, as `verify.interval` has it. About 10 ms for
    300 draws of 2,000 units. The randomness is a function of the counts. `UndefinedPGR` where more than a
    twentieth of the draws has no gap.
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
    return _scaled(student, counts, WEAK), _scaled(lead, counts, PLAIN)


def _scaled(drawn: list[float], counts: Counts, minus: int) -> Bounds:
    """The percentiles of (student - `minus`) / gap, scaled to the variance of seeds and units together.

    See `verify.interval` and `verify.run_errors` for the reasons: here the same in floats.
    """
    low, high = _percentiles(drawn)
    spread = float(np.var(drawn, ddof=1))
    seeds = len(counts)
    values = counts.astype(np.float64)
    gap = float((values[:, :, CEILING] - values[:, :, WEAK]).sum())
    estimate = float((values[:, :, STUDENT] - values[:, :, minus]).sum()) / gap
    cells = (
        values[:, :, STUDENT] - values[:, :, minus] - estimate * (values[:, :, CEILING] - values[:, :, WEAK])
    )
    of_seeds = (
        float((cells.sum(axis=1) ** 2).sum()) * seeds / max(seeds - 1, 1) / gap**2 if seeds > 1 else 0.0
    )
    of_units = float((cells.sum(axis=0) ** 2).sum()) / gap**2
    variance = max(of_seeds + of_units - float((cells**2).sum()) / gap**2, of_seeds, of_units)
    if not spread:
        return low, high
    share = of_seeds / variance if variance else 0.0
    normal = float(T_QUANTILES_END)
    of_few = t_quantile(LEVEL[1], seeds - 1) if seeds > 1 else normal
    factor = (share * of_few + (1 - share) * normal) / normal * (variance / spread) ** 0.5
    return estimate - factor * (estimate - low), estimate + factor * (high - estimate)


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
    half = t_quantile(LEVEL[1], max(count - 1, 1)) * error
    return ratio - half, ratio + half


def _times_drawn(rng: np.random.Generator, draws: int, units: int) -> NDArray[np.float64]:
    """How often each of `units` comes up in `units` draws with replacement; [draws, units]."""
    drawn = rng.integers(0, units, (draws, units)) + units * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * units).reshape(draws, units).astype(np.float64)


def _percentiles(values: Sequence[float]) -> Bounds:
    ordered = sorted(values)
    last = len(ordered) - 1
    return ordered[round(last * LEVEL[0])], ordered[round(last * LEVEL[1])]
