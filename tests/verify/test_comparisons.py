"""Comparisons of runs: what is claimed together is tested together, the best is corrected for having won."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from aar.verify.comparisons import best_of_runs, compared
from aar.verify.interval import crossed_bootstrap, difference_interval, score
from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR

ITEMS = 200


def run(seed: int, student: float, *, seeds: int = 5, is_fresh: bool = False) -> Payload:
    source = random.Random(seed)
    splits = []
    for number in range(seeds):
        masks = [
            sum(1 << item for item in range(ITEMS) if source.random() < share)
            for share in (student, 0.55, 0.95, 0.65)
        ]
        splits.append(SplitCounts(number, 0, (1 << ITEMS) - 1, *masks))
    return Payload("public", ITEMS, tuple(splits), is_fresh)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_a_better_method_is_told_from_one_that_is_not(is_fresh: bool) -> None:
    found = compared({"better": run(1, 0.85, is_fresh=is_fresh), "alike": run(2, 0.65, is_fresh=is_fresh)})
    assert [one.method for one in found] == ["better", "alike"]
    assert found[0].adjusted < 0.05 < found[1].adjusted
    assert found[0].adjusted == pytest.approx(2 * found[0].p_value)
    assert found[0].difference > 0.3 > abs(found[1].difference)


def test_a_p_value_and_the_interval_say_the_same() -> None:
    for student in (0.6, 0.68, 0.7, 0.72, 0.8):
        payload = run(3, student)
        (found,) = compared({"m": payload})
        interval = difference_interval(payload, draws=400)
        if not 0.02 < found.p_value < 0.1:
            assert (found.p_value < 0.05) == (not interval.low <= 0 <= interval.high)


def test_claims_made_together_are_harder_to_make() -> None:
    one = compared({"m": run(4, 0.74)})[0]
    many = compared({"m": run(4, 0.74), **{f"x{number}": run(9 + number, 0.65) for number in range(9)}})[0]
    assert many.p_value == one.p_value == one.adjusted
    assert many.adjusted == pytest.approx(min(1, 10 * one.p_value))


def test_the_plain_student_itself_is_no_better() -> None:
    payload = run(5, 0.65)
    same = replace(payload, splits=tuple(replace(one, student=one.vanilla) for one in payload.splits))
    assert compared({"same": same})[0].p_value == 1


def test_the_best_of_one_run_is_that_run() -> None:
    payload = run(6, 0.75)
    found = best_of_runs([payload])
    interval = crossed_bootstrap(payload, draws=400)
    assert found.estimate == pytest.approx(float(score(payload).pgr))
    assert (found.low, found.high) == pytest.approx((float(interval.low), float(interval.high)), abs=0.08)


@pytest.mark.parametrize("is_fresh", [False, True])
def test_the_best_of_many_alike_is_less_than_it_looks(is_fresh: bool) -> None:
    runs = [run(20 + number, 0.7, is_fresh=is_fresh) for number in range(12)]
    found = best_of_runs(runs)
    assert found.naive == max(float(score(one).pgr) for one in runs)
    assert found.low < found.estimate < found.naive
    assert found.low < 0.375 < found.high


def test_runs_without_a_gap_are_refused() -> None:
    flat = Payload("public", 2, (SplitCounts(1, 0, 0b11, 0b11, 0b01, 0b01),))
    with pytest.raises(UndefinedPGR):
        compared({"flat": flat})
