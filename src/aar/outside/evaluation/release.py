"""What leaves the evaluator of a run's exact values: by the rule of its tier and of its problem.

A problem that draws fresh items for every run lets nobody gather labels from its answers: explored values are
told as they are. A fixed data set's go through the ladder. A confirmed value is told as it is, once; its
budget bounds what that gives away.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from aar.verify.interval import (
    Interval,
    decimal4,
    difference,
    difference_interval,
    in_whole_steps,
    interval_of,
    ladder,
    score,
)
from aar.verify.leaderboard import NO_NUMBERS
from aar.verify.payload import Payload, parse_payload

LADDER_STEP = Fraction(1, 20)


def release_terms(*, is_fresh: bool) -> dict[str, str]:
    """The `release` of `study-opened`: the rule follows from the problem's kind."""
    if is_fresh:
        return {"rule": "exact", "step": decimal4(Fraction(0))}
    return {"rule": "ladder", "step": decimal4(LADDER_STEP)}


def interval_method(*, is_fresh: bool) -> str:
    """The `interval.method` of `study-opened`."""
    return "t-over-seeds" if is_fresh else "crossed-bootstrap"


def release(public: Payload, previous: Mapping[str, Any], *, draws: int, group: int) -> dict[str, Any]:
    """What a researcher is told of an explored score.

    Fresh items: the exact value and its interval. Fixed ones: a rung of the ladder, or its previous answer
    again. `improved` is 1 where the values are this run's own. `group` is the problem's.
    """
    exact = score(public).pgr
    if public.is_fresh:
        interval = interval_of(public, draws=draws, group=group)
        return {"pgr": decimal4(exact), **_decimals(interval, ""), "improved": 1}
    rung = ladder(Fraction(previous["pgr"]) if previous else None, exact, LADDER_STEP)
    if rung is None:
        return {**previous, "improved": 0}
    # The interval leaves by the same door as the value: only with a new rung, and in whole rungs.
    low, high = in_whole_steps(interval_of(public, draws=draws, group=group), rung, LADDER_STEP)
    return {"pgr": decimal4(rung), "low": decimal4(low), "high": decimal4(high), "improved": 1}


def confirmed(public: Payload, *, draws: int, group: int) -> dict[str, str]:
    """What a researcher is told of a confirmed score: PGR, and its paired difference to the plain student."""
    return exact_numbers(public, draws=draws, group=group, compares=True)


def exact_numbers(payload: Payload, *, draws: int, group: int, compares: bool = False) -> dict[str, str]:
    """What is stated of an opened half, as the verifier will compute it again.

    With 0 draws the interval is left out: nothing of it was ever released, so there is nothing to compare.
    """
    told = {**NO_NUMBERS, "pgr": decimal4(score(payload).pgr)}
    if draws:
        told |= _decimals(interval_of(payload, draws=draws, group=group), "")
    if compares:
        told["difference"] = decimal4(difference(payload))
        told |= _decimals(difference_interval(payload, draws=draws, group=group), "difference_")
    return told


def opened_numbers(data: bytes, *, draws: int, group: int, compares: bool) -> dict[str, str]:
    """`exact_numbers` from payload bytes."""
    return exact_numbers(parse_payload(data), draws=draws, group=group, compares=compares)


def _decimals(interval: Interval, prefix: str) -> dict[str, str]:
    return {f"{prefix}low": decimal4(interval.low), f"{prefix}high": decimal4(interval.high)}
