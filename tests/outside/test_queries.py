"""Rows of explored runs: what counts as one query, what is compared where, and by what evidence."""

from __future__ import annotations

from typing import Any

import pytest

from aar.outside.evaluation.official_run import Problem
from aar.outside.evaluation.queries import Queries
from aar.verify.payload import Payload, SplitCounts
from aar.verify.splits import Pool

ITEMS = 100
EVERYTHING = (1 << ITEMS) - 1
NO_RULE, A_RULE = 0.5, 0.0


def problem(name: str = "digits", *, items: int = ITEMS) -> Problem:
    pool = Pool(items=items, sealed=10, labelled=10, unlabelled=10, tested=0 if items else ITEMS, group=1)
    return Problem(name=name, pool=pool, seeds=1, replicates=1)


def run(student: int, *, is_fresh: bool = False) -> Payload:
    """A run that is right on those items; the teacher is right on half of them."""
    split = SplitCounts(1, 0, EVERYTHING, student, (1 << ITEMS // 2) - 1, EVERYTHING)
    return Payload("public", ITEMS, (split,), is_fresh)


class Row:
    """Runs in their order, each with a receipt; the last is the newest and has none yet."""

    def __init__(self, *students: int, is_fresh: bool = False, residual: float | None = NO_RULE) -> None:
        self.runs = {f"run {place}": run(one, is_fresh=is_fresh) for place, one in enumerate(students)}
        self.audited: list[str] = []
        self._residual = residual

    def residual(self, digest: str) -> float | None:
        self.audited.append(digest)
        return self._residual

    def read(self, of: Problem, *, again: tuple[str, ...] = ()) -> dict[str, tuple[bool, list[int]]]:
        *before, newest = self.runs
        told = [{"receipt": 10 * place, "digest": one} for place, one in enumerate([*before, *again])]
        read = Queries(self.runs.get, self.residual).read(of, told, newest)
        return {reading.code: (reading.is_alarm, receipts) for reading, receipts in read}


FLIPS = [EVERYTHING ^ 1 << item for item in range(4)]
LOW = [(1 << count) - 1 for count in (10, 12, 14, 16)]


def test_labels_asked_for_one_by_one_are_found_with_the_receipts_they_rest_on() -> None:
    found = Row(LOW[0] << 50, *FLIPS).read(problem())
    assert found["near-duplicate-queries"] == (True, [10, 20, 30])


def test_where_every_run_draws_fresh_items_none_is_like_another() -> None:
    assert set(Row(*FLIPS, is_fresh=True).read(problem("overlap", items=0))) == {"queries-below-weak"}


def test_what_only_asks_is_found_on_fixed_and_on_fresh_items() -> None:
    assert Row(*LOW).read(problem())["queries-below-weak"] == (True, [0, 10, 20])
    found = Row(*LOW, is_fresh=True).read(problem("overlap", items=0))
    assert found["queries-below-weak"] == (True, [0, 10, 20])


@pytest.mark.parametrize("residual", [A_RULE, None])
def test_an_honest_method_that_breaks_down_follows_a_rule_and_asks_nothing(residual: float | None) -> None:
    row = Row(*LOW, residual=residual)
    assert row.read(problem())["queries-below-weak"] == (False, [])
    assert len(row.audited) == len(LOW)


def test_only_what_is_far_below_the_teacher_is_audited() -> None:
    row = Row(*FLIPS, LOW[0])
    row.read(problem())
    assert row.audited == ["run 4"]


def test_on_a_canary_nothing_is_read() -> None:
    assert Row(*LOW, *FLIPS).read(problem("shortcut", items=0)) == {}


def test_the_same_program_again_counts_once() -> None:
    again: Any = ("run 0", "run 1") * 3
    assert not Row(*LOW[:2]).read(problem(), again=again)["queries-below-weak"][0]


def test_a_run_whose_values_are_gone_is_left_out() -> None:
    row = Row(*LOW)
    row.runs["run 1"] = None  # type: ignore[assignment]
    assert row.read(problem())["queries-below-weak"] == (True, [0, 20])
