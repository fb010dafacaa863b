"""Scores and their intervals: exact counts, a crossed bootstrap, a t interval, the ladder's release rule.

Where all splits test the same items, the bootstrap re-draws seeds, and with each its teacher and its ceiling,
and items, with replacement (Owen 2007, "The pigeonhole bootstrap"). All counts of an item over all seeds are
packed into one integer, so that a draw of items is one sum: exact, quick without numerical libraries, the
same on every machine. Items in groups about the same thing are right or wrong together: groups are drawn, not
items. A few seeds say little of how far seeds scatter: the interval is scaled for that.

Where each split drew its own items, seeds are independent of each other, teacher, ceiling and items included:
the t interval of a ratio of means over seeds is then right, where a bootstrap of five seeds is too narrow.

Both come for a PGR, and for the difference of the student's and the plain student's PGR on the same splits.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import chain, compress
from struct import Struct

from aar.verify.payload import Payload, format_payload
from aar.verify.pgr import UndefinedPGR, pgr
from aar.verify.run_errors import RunErrors, run_errors
from aar.verify.tallies import tallies

DRAWS = 300
FIELD_BITS = 32
SLOTS = 1 << 16
COUNTED = ("student", "weak", "ceiling", "vanilla")
ROOT_UNITS = 10**6
# Student's t distribution at .975 by degrees of freedom (NIST/SEMATECH e-Handbook, section 1.3.6.7.2).
T_QUANTILES = {
    1: Fraction("12.706"),
    2: Fraction("4.303"),
    3: Fraction("3.182"),
    4: Fraction("2.776"),
    5: Fraction("2.571"),
    6: Fraction("2.447"),
    7: Fraction("2.365"),
    8: Fraction("2.306"),
    9: Fraction("2.262"),
    10: Fraction("2.228"),
    12: Fraction("2.179"),
    15: Fraction("2.131"),
    20: Fraction("2.086"),
    30: Fraction("2.042"),
    60: Fraction("2.000"),
    100: Fraction("1.984"),
    1000: Fraction("1.962"),
}
# With degrees of freedom without end.
T_QUANTILES_END = Fraction("1.960")
UNDEFINED_SHARE = Fraction(1, 20)


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracies over all splits and the PGR they give, exactly."""

    weak: Fraction
    student: Fraction
    ceiling: Fraction
    pgr: Fraction


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval of a PGR or a difference of two; `draws` is 0 where nothing was drawn."""

    low: Fraction
    high: Fraction
    draws: int


def score(payload: Payload) -> Score:
    """Totals over all splits; raises `UndefinedPGR` when the ceiling is not above the weak teacher."""
    tested = sum(one.tested.bit_count() for one in payload.splits)
    weak, student, ceiling = (
        Fraction(sum(getattr(one, name).bit_count() for one in payload.splits), tested)
        for name in ("weak", "student", "ceiling")
    )
    return Score(weak, student, ceiling, pgr(weak=weak, student=student, ceiling=ceiling))


def difference(payload: Payload) -> Fraction:
    """How much more of the gap the student recovers than the plain student on the same splits."""
    found = score(payload)
    tested = sum(one.tested.bit_count() for one in payload.splits)
    vanilla = Fraction(sum(one.vanilla.bit_count() for one in payload.splits), tested)
    return found.pgr - pgr(weak=found.weak, student=vanilla, ceiling=found.ceiling)


def interval_of(payload: Payload, *, draws: int = DRAWS, group: int = 1) -> Interval:
    """The interval of the payload's PGR at 95 %, by the method that its items call for.

    `group` is the problem's (`verify.splits.Pool`): so many neighbouring items are about the same thing.
    """
    return t_interval(payload) if payload.is_fresh else crossed_bootstrap(payload, draws=draws, group=group)


def difference_interval(payload: Payload, *, draws: int = DRAWS, group: int = 1) -> Interval:
    """The interval of `difference` at 95 %, by the method that its items call for; `group` as there."""
    if payload.is_fresh:
        return paired_t_interval(payload)
    return paired_bootstrap(payload, draws=draws, group=group)


def crossed_bootstrap(payload: Payload, *, draws: int = DRAWS, group: int = 1) -> Interval:
    """The interval of the payload's PGR at 95 %; its randomness is a function of the payload's bytes."""
    drawn = [
        Fraction(student - weak, ceiling - weak)
        for student, weak, ceiling, _vanilla in _drawn_counts(payload, draws, group)
        if ceiling > weak
    ]
    return _scaled(percentiles(drawn, draws), drawn, run_errors(payload, group=group))


def paired_bootstrap(payload: Payload, *, draws: int = DRAWS, group: int = 1) -> Interval:
    """The interval at 95 % of the student's PGR less the plain student's, on `crossed_bootstrap`'s draws.

    Student, plain student, teacher and ceiling are counted on the same draw of seeds and items, so that what
    moves all of them cancels.
    """
    drawn = [
        Fraction(student - vanilla, ceiling - weak)
        for student, weak, ceiling, vanilla in _drawn_counts(payload, draws, group)
        if ceiling > weak
    ]
    return _scaled(percentiles(drawn, draws), drawn, run_errors(payload, minus="vanilla", group=group))


def percentiles(drawn: Iterable[Fraction], draws: int) -> Interval:
    """The 2.5 and 97.5 % places of what was drawn; `UndefinedPGR` when too many draws had no gap."""
    values = sorted(drawn, key=_order)
    if draws - len(values) > draws * UNDEFINED_SHARE:
        raise UndefinedPGR(
            f"{draws - len(values)} of {draws} draws have no gap to recover: the problem is degenerate"
        )
    last = len(values) - 1
    return Interval(values[round(last * 0.025)], values[round(last * 0.975)], draws)


def _order(value: Fraction) -> int:
    """Sorts as the value does, and quicker: a drawn count has `FIELD_BITS`, so no two values are closer."""
    return (value.numerator << 2 * FIELD_BITS) // value.denominator


def _scaled(found: Interval, drawn: Sequence[Fraction], errors: RunErrors) -> Interval:
    """The percentiles' shape at the width that a few seeds deserve.

    A bootstrap of n seeds sees (n - 1) / n of their variance and takes it for known, and counts the noise
    of a single answer more than once: with five seeds its percentiles hold the truth between 88 and 100 %
    of the time (tools/coverage.py). So distances from the estimate are scaled by how much the deviation of
    both clusters together (`RunErrors.variance`), times `quantile_of`, exceeds the draws' own times 1.96.
    """
    units = [round(value * ROOT_UNITS) for value in drawn]
    count, total = len(units), sum(units)
    # Whole numbers but for one square root: no machine has another one.
    spread = count * sum(value * value for value in units) - total * total
    if not spread:
        return found
    drawn_variance = Fraction(spread, count * (count - 1) * ROOT_UNITS**2)
    square = (quantile_of(errors) / T_QUANTILES_END) ** 2 * errors.variance / drawn_variance
    factor = Fraction(math.isqrt(math.floor(square * ROOT_UNITS**2)), ROOT_UNITS)
    estimate = errors.estimate
    return Interval(
        estimate - factor * (estimate - found.low), estimate + factor * (found.high - estimate), found.draws
    )


def quantile_of(errors: RunErrors) -> Fraction:
    """Student's t at .975 for the part of the variance that rests on few seeds, the normal's for the rest.

    The mean of the two, weighted by those parts (Cochran and Cox 1950). Degrees of freedom made of both parts
    (Satterthwaite 1946) would be many just where five seeds are alike by chance, and the interval too narrow.
    """
    share = errors.share_of_seeds
    return share * _t_quantile(errors.freedom) + (1 - share) * T_QUANTILES_END


@lru_cache(maxsize=2)
def _drawn_counts(payload: Payload, draws: int, group: int) -> tuple[tuple[int, int, int, int], ...]:
    """Per draw of seeds and units: how often student, weak teacher, ceiling and plain student were right.

    Kept for the second interval of the same payload, whose draws are the same.
    """
    count, packed = _packed_units(payload, group)
    digest = hashlib.sha256(b"aar-bootstrap/v1\n" + format_payload(payload)).digest()
    source = random.Random(int.from_bytes(digest, "big"))
    # Units are drawn by 16-bit numbers through a table in which each has the same number of places. The few
    # places left over draw nothing: a sample is then a little smaller, and no unit likelier than another.
    places = SLOTS // len(packed)
    table = list(chain.from_iterable([unit] * places for unit in packed))
    table += [0] * (SLOTS - len(table))
    draw_unit = table.__getitem__
    size = 2 * len(packed)
    mask = (1 << FIELD_BITS) - 1
    drawn = []
    for _draw in range(draws):
        total = sum(map(draw_unit, _sixteen_bits(source.randbytes(size))))
        student = weak = ceiling = vanilla = 0
        for _seed in range(count):
            fields = total >> (len(COUNTED) * FIELD_BITS * int(source.random() * count))
            student += fields & mask
            weak += fields >> FIELD_BITS & mask
            ceiling += fields >> 2 * FIELD_BITS & mask
            vanilla += fields >> 3 * FIELD_BITS & mask
        drawn.append((student, weak, ceiling, vanilla))
    return tuple(drawn)


def t_interval(payload: Payload) -> Interval:
    """The t interval of the payload's PGR at 95 % over independent seeds; nothing is drawn."""
    return _t_interval_of(
        [(student - weak, ceiling - weak) for student, weak, ceiling, _vanilla in _unit_counts(payload)]
    )


def paired_t_interval(payload: Payload) -> Interval:
    """The t interval of the student's PGR less the plain student's at 95 % over independent seeds."""
    return _t_interval_of(
        [(student - vanilla, ceiling - weak) for student, weak, ceiling, vanilla in _unit_counts(payload)]
    )


def _t_interval_of(units: Sequence[tuple[int, int]]) -> Interval:
    """The ratio of two sums over independent units, and Student's t times its linearised standard error."""
    gap = sum(below for _above, below in units)
    if gap <= 0:
        raise UndefinedPGR(f"the gap over {len(units)} units is {gap} items: no gap to recover")
    ratio = Fraction(sum(above for above, _below in units), gap)
    count = len(units)
    rest = sum((above - ratio * below) ** 2 for above, below in units)
    square = _t_quantile(count - 1) ** 2 * Fraction(count, max(count - 1, 1)) * rest / gap**2
    # Rounded down to the sixth decimal by whole numbers alone: no machine has another square root.
    half = Fraction(math.isqrt(math.floor(square * ROOT_UNITS**2)), ROOT_UNITS)
    return Interval(ratio - half, ratio + half, 0)


def _t_quantile(freedom: int) -> Fraction:
    """Student's t at .975; between two tabulated degrees of freedom the lower one's, which is larger."""
    return T_QUANTILES[max((one for one in T_QUANTILES if one <= freedom), default=1)]


def _unit_counts(payload: Payload) -> list[tuple[int, ...]]:
    """What was right per independent unit: per seed, with one seed per split, with one split per item."""
    by_seed: dict[int, list[int]] = {}
    for one in payload.splits:
        counts = by_seed.setdefault(one.seed, [0] * len(COUNTED))
        for number, name in enumerate(COUNTED):
            counts[number] += getattr(one, name).bit_count()
    if len(by_seed) > 1:
        return [tuple(counts) for counts in by_seed.values()]
    if len(payload.splits) > 1:
        return [tuple(getattr(one, name).bit_count() for name in COUNTED) for one in payload.splits]
    split = payload.splits[0]
    return [tuple(getattr(split, name) >> item & 1 for name in COUNTED) for item in _bits(split.tested)]


def _sixteen_bits(data: bytes) -> Sequence[int]:
    """Little-endian 16-bit numbers, on a machine of either byte order."""
    numbers = array("H", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _packed_units(payload: Payload, group: int) -> tuple[int, list[int]]:
    """How many seeds there are, and per tested unit, for each: how often each classifier was right.

    How often a unit was tested cancels: the PGR is a ratio of differences over the same items.
    """
    cells = tallies(payload, ("tested", *COUNTED), group=group).values()
    is_tested = map(any, zip(*(cell["tested"] for cell in cells), strict=True))
    units = zip(*(cell[name] for cell in cells for name in COUNTED), strict=True)
    fields = Struct(f"<{len(cells) * len(COUNTED)}I").pack
    return len(cells), [int.from_bytes(fields(*unit), "little") for unit in compress(units, is_tested)]


def _bits(mask: int) -> list[int]:
    """Positions of the set bits, ascending."""
    digits = bin(mask)[:1:-1]
    return list(compress(range(len(digits)), map("1".__eq__, digits)))


def ladder(previous: Fraction | None, exact: Fraction, step: Fraction) -> Fraction | None:
    """The Ladder (Blum and Hardt 2015): a new rung only when `exact` beats the last released value by a step.

    `None` tells nothing but "not better"; a rung is `exact` rounded to the nearest multiple of `step`.
    """
    if previous is not None and exact <= previous + step:
        return None
    return round(exact / step) * step


def in_whole_steps(interval: Interval, rung: Fraction, step: Fraction) -> tuple[Fraction, Fraction]:
    """The interval as it is released with a rung: widened to whole steps, and never without the rung."""
    low, high = math.floor(interval.low / step) * step, math.ceil(interval.high / step) * step
    return min(low, rung), max(high, rung)


def decimal4(value: Fraction) -> str:
    """A value with four decimals, half to even, such as "0.4567" or "-0.0312"."""
    units = round(value * 10_000)
    return f"{'-' if units < 0 else ''}{abs(units) // 10_000}.{abs(units) % 10_000:04d}"
