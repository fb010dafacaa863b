"""Scores and their intervals: exact counts, a crossed bootstrap, and the ladder's release rule.

The bootstrap re-draws seeds, and with each its teacher and its ceiling, and items, with replacement
(Owen 2007, "The pigeonhole bootstrap"). All counts of an item over all seeds are packed into one integer, so
that a draw of items is one sum: exact, quick without numerical libraries, the same on every machine.
"""

from __future__ import annotations

import hashlib
import math
import random
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import compress

from aar.verify.payload import Payload, format_payload
from aar.verify.pgr import UndefinedPGR, pgr

DRAWS = 300
FIELD_BITS = 32
SLOTS = 1 << 16
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
    """A 95 % percentile interval of the PGR."""

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


def crossed_bootstrap(payload: Payload, *, draws: int = DRAWS) -> Interval:
    """The interval of the payload's PGR at 95 %; its randomness is a function of the payload's bytes."""
    seeds = list(dict.fromkeys(one.seed for one in payload.splits))
    packed = _packed_items(payload, seeds)
    digest = hashlib.sha256(b"aar-bootstrap/v1\n" + format_payload(payload)).digest()
    source = random.Random(int.from_bytes(digest, "big"))
    # Items are drawn by 16-bit numbers through a table in which each has the same number of places. The few
    # places left over draw nothing: a sample is then a little smaller, and no item likelier than another.
    places = SLOTS // len(packed)
    table = [item for item in packed for _place in range(places)]
    table += [0] * (SLOTS - len(table))
    draw_item = table.__getitem__
    count, size = len(seeds), 2 * len(packed)
    mask = (1 << FIELD_BITS) - 1
    values = []
    for _draw in range(draws):
        total = sum(map(draw_item, _sixteen_bits(source.randbytes(size))))
        weak = student = ceiling = 0
        for _seed in range(count):
            fields = total >> (3 * FIELD_BITS * int(source.random() * count))
            student += fields & mask
            weak += fields >> FIELD_BITS & mask
            ceiling += fields >> 2 * FIELD_BITS & mask
        if ceiling > weak:
            values.append(Fraction(student - weak, ceiling - weak))
    if draws - len(values) > draws * UNDEFINED_SHARE:
        raise UndefinedPGR(
            f"{draws - len(values)} of {draws} draws have no gap to recover: the problem is degenerate"
        )
    values.sort()
    last = len(values) - 1
    return Interval(values[round(last * 0.025)], values[round(last * 0.975)], draws)


def _sixteen_bits(data: bytes) -> Sequence[int]:
    """Little-endian 16-bit numbers, on a machine of either byte order."""
    numbers = array("H", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _packed_items(payload: Payload, seeds: list[int]) -> list[int]:
    """Per tested item: for each seed, how often student, weak teacher and ceiling were right.

    How often an item was tested cancels: the PGR is a ratio of differences over the same items.
    """
    place = {seed: number for number, seed in enumerate(seeds)}
    packed = dict.fromkeys(_bits(_union(payload)), 0)
    for one in payload.splits:
        shift = 3 * FIELD_BITS * place[one.seed]
        for number, correct in enumerate((one.student, one.weak, one.ceiling)):
            unit = 1 << (shift + number * FIELD_BITS)
            for item in _bits(correct):
                packed[item] += unit
    return list(packed.values())


def _union(payload: Payload) -> int:
    union = 0
    for one in payload.splits:
        union |= one.tested
    return union


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
