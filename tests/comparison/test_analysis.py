"""The analysis: differences within blocks, intervals as others have them, and no winner by chance."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from aar.outside.comparison.analysis import analyse, entropy_bits, is_decided, pairs_of
from aar.outside.comparison.answer import answer, sentence
from aar.outside.comparison.assignment import assign
from aar.outside.comparison.intervals import estimate, pooled
from comparison_plans import OUTCOME, a_plan, outcomes_of

LEVELS = st.lists(st.floats(-1, 1), min_size=2, max_size=20)
FIXED, FREE = "fixed", "free"
EQUAL = [0.50, 0.52, 0.48, 0.50]
BETTER = [0.80, 0.79, 0.81, 0.83]


@given(LEVELS, st.sampled_from((0.95, 0.99)))
def test_an_interval_is_that_of_scipy(values: list[float], level: float) -> None:
    found = estimate(values, level)
    assert found is not None
    if found.low is None or found.high is None:
        assert np.std(values) < 1e-8
        return
    low, high = stats.t.interval(
        level, len(values) - 1, loc=np.mean(values), scale=stats.sem(np.array(values))
    )
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-7)
    assert found.p_value() == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=1e-7)
    assert (found.p_value() <= 1 - level) == found.is_apart_from_0 or math.isclose(found.p_value(), 1 - level)


def test_the_margin_is_tested_at_the_end_of_the_interval() -> None:
    found = estimate([0.01, 0.03, -0.02, 0.01, 0.00], 0.95)
    assert found is not None
    assert found.high is not None
    assert found.p_value_not_below(found.high) == pytest.approx(0.05, abs=1e-6)
    assert found.p_value_not_below(found.high + 0.01) < 0.05
    assert found.p_value_not_below(found.mean) == 1


def test_equal_or_single_values_have_no_interval() -> None:
    for values in ([0.3], [0.3 - 0.1, 0.2, 0.2]):
        found = estimate(values, 0.95)
        assert found is not None
        assert (found.low, found.p_value(), found.p_value_not_below(0.9)) == (None, 1, 1)
    assert estimate([], 0.95) is None
    assert pooled([[0.1, 0.2], [0.1]], 0.95).low is None  # type: ignore[union-attr]
    assert pooled([[0.1, 0.2], []], 0.95) is None


def test_over_all_classes_each_counts_the_same_however_many_blocks_it_has() -> None:
    parts = [[0.1, 0.3, 0.2], [0.5, 0.7]]
    found = pooled(parts, 0.95)
    assert found is not None
    assert found.mean == pytest.approx(0.4)
    assert found.error == pytest.approx(math.sqrt(0.01 / 3 + 0.02 / 2) / 2)
    # Welch's and Satterthwaite's, as scipy has them for the difference of the same two samples.
    freedom = stats.ttest_ind(parts[0], [-one for one in parts[1]], equal_var=False).df
    assert found.freedom == pytest.approx(freedom)


@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=3, unique=True), max_size=12))
def test_entropy_lies_between_none_and_that_of_equal_shares(families: list[list[str]]) -> None:
    kinds = {name for names in families for name in names}
    bits = entropy_bits(families)
    assert 0 <= bits <= math.log2(max(len(kinds), 1)) + 1e-9


def test_entropy_of_equal_shares_of_four_is_two_bits() -> None:
    assert entropy_bits([["a"], ["b"], ["c"], ["d"]]) == 2
    assert entropy_bits([["a"], ["a"]]) == 0
    assert entropy_bits([[], []]) == 0


def test_differences_are_taken_within_blocks_whatever_the_order_of_runs() -> None:
    plan = a_plan(problems=("claims",), seed=5)
    analysis = analyse(
        plan,
        outcomes_of(plan, {("claims", FIXED): [0.1, 0.4, 0.2, 0.3], ("claims", FREE): [0.2, 0.5, 0.35, 0.4]}),
    )
    [one] = analysis.comparisons
    assert (one.one, one.other, one.blocks) == (FREE, FIXED, 4)
    assert one.difference.mean == pytest.approx(0.1125)
    assert one.difference.deviation == pytest.approx(np.std([0.1, 0.1, 0.15, 0.1], ddof=1))
    assert one.keeps_up == 0
    assert one.winner == FREE


def test_a_block_that_is_not_whole_is_left_out_and_counted() -> None:
    plan = a_plan(problems=("claims",))
    analysis = analyse(plan, outcomes_of(plan, {("claims", FIXED): EQUAL[:3], ("claims", FREE): BETTER[:2]}))
    assert (analysis.blocks, analysis.left_out) == (2, 1)
    assert analysis.comparisons[0].blocks == 2
    assert [one.pgr.count for one in analysis.levels] == [2, 2]


def test_of_no_run_nothing_is_said() -> None:
    analysis = analyse(a_plan(), {})
    assert (analysis.blocks, analysis.comparisons, analysis.overall) == (0, (), ())
    assert "nothing can be said" in answer(a_plan(), analysis)[0]


def test_the_fixed_workflow_is_what_the_others_are_compared_with() -> None:
    assert pairs_of(a_plan(("fixed", "free", "hybrid"))) == [
        ("free", "fixed"),
        ("hybrid", "fixed"),
        ("hybrid", "free"),
    ]
    assert pairs_of(a_plan(("free", "fixed"))) == [("free", "fixed")]


def said(plan_values: dict[tuple[str, str], list[float]], **other: object) -> tuple[str, list[str]]:
    problems = tuple(dict.fromkeys(problem for problem, _arm in plan_values))
    plan = a_plan(problems=problems, **other)
    analysis = analyse(plan, outcomes_of(plan, plan_values))
    return answer(plan, analysis)[0], [sentence(plan, one) for one in analysis.comparisons]


def test_a_class_where_fixed_is_competitive_makes_the_answer_no() -> None:
    told, [first, second] = said(
        {
            ("claims", FIXED): EQUAL,
            ("claims", FREE): BETTER,
            ("digits", FIXED): EQUAL,
            ("digits", FREE): [0.51, 0.52, 0.485, 0.50],
        }
    )
    assert told.endswith("No: on digits the fixed workflow is competitive, less than 0.05 behind.")
    assert first.startswith("On claims: free less fixed +0.30")
    assert first.endswith("free is ahead.")
    assert "the interval includes 0: no winner, and fixed is competitive" in second


def test_a_class_where_fixed_is_ahead_is_named() -> None:
    told, [first] = said({("claims", FIXED): BETTER, ("claims", FREE): EQUAL})
    assert "No: on claims the fixed workflow is ahead." in told
    assert first.endswith("fixed is ahead.")


def test_where_free_wins_everywhere_nothing_is_said_of_other_problems() -> None:
    told, _sentences = said({("claims", FIXED): EQUAL, ("claims", FREE): BETTER})
    assert "On claims it did" in told
    assert "of other problems this says nothing" in told


def test_where_intervals_are_wide_neither_is_said_to_win_or_to_keep_up() -> None:
    told, [first] = said({("claims", FIXED): EQUAL, ("claims", FREE): [0.1, 0.9, 0.3, 0.8]})
    assert "not shown to win" in told
    assert "no class of problem was found" in told
    assert "includes 0: no winner" in first
    assert "not shown to be competitive either" in first


def test_one_block_names_no_winner_however_far_apart() -> None:
    told, [first] = said({("claims", FIXED): [0.1], ("claims", FREE): [0.9]})
    assert "one block has no interval" in first
    assert "not shown to win" in told


def test_blocks_within_the_margin_are_counted_with_wilsons_interval() -> None:
    plan = a_plan(problems=("claims",))
    values = {("claims", FIXED): [0.50, 0.50, 0.50, 0.50], ("claims", FREE): [0.55, 0.5501, 0.40, 0.90]}
    [one] = analyse(plan, outcomes_of(plan, values)).comparisons
    assert (one.keeps_up, one.blocks) == (2, 4)
    assert one.share == pytest.approx(stats.binomtest(2, 4).proportion_ci(method="wilson"))


@given(st.integers(0, 10_000))
@settings(max_examples=40)
def test_a_winner_is_never_named_where_the_interval_includes_0(seed: int) -> None:
    generator = random.Random(seed)
    plan = a_plan(("fixed", "free", "hybrid"), repeats=3)
    values = {pair: [round(generator.gauss(0.5, 0.1), 4) for _ in range(3)] for pair in plan.files}
    analysis = analyse(plan, outcomes_of(plan, values))
    for one in (*analysis.comparisons, *analysis.overall):
        if (
            one.difference.low is None
            or one.difference.high is None
            or one.difference.low <= 0 <= one.difference.high
        ):
            assert one.winner == ""
            assert "ahead" not in sentence(plan, one)


def test_of_three_equal_arms_a_winner_is_named_in_at_most_five_of_a_hundred_experiments() -> None:
    generator = random.Random(1)
    plan = a_plan(("fixed", "free", "hybrid"), ("claims",), repeats=6)
    named = 0
    for _experiment in range(300):
        values = {pair: [generator.gauss(0.5, 0.1) for _ in range(6)] for pair in plan.files}
        analysis = analyse(plan, outcomes_of(plan, values))
        named += any(one.winner for one in analysis.comparisons)
    # 15 are to be expected at most; 24 or more come in 1 of 100 such tests.
    assert named < 24


def test_the_stop_rule_wants_every_interval_on_one_side_or_within_the_margin() -> None:
    plan = a_plan(looks=2)
    wide = [0.1, 0.9, 0.3, 0.8]
    for free, expected in (
        (BETTER, True),
        ([one + 0.001 * at for at, one in enumerate(EQUAL)], True),
        (wide, False),
    ):
        values = {
            ("claims", FIXED): EQUAL,
            ("claims", FREE): BETTER,
            ("digits", FIXED): EQUAL,
            ("digits", FREE): free,
        }
        assert is_decided(plan, analyse(plan, outcomes_of(plan, values))) is expected


def test_effort_per_finding_is_a_ratio_of_sums_and_nothing_where_there_is_no_finding() -> None:
    plan = a_plan(problems=("claims",), repeats=2)
    runs = {run.number: run for run in assign(plan)}
    outcomes = {
        number: replace(OUTCOME, publishable=(3 if run.repeat == 1 else 0) if run.arm == FREE else 0)
        for number, run in runs.items()
    }
    fixed, free = analyse(plan, outcomes).efforts
    assert (fixed.minutes_per_finding, fixed.publishable) == (None, 0)
    assert free.entries_per_finding == pytest.approx(60)
    assert free.deviations_per_finding == pytest.approx(4 / 3)
    # 476 words at 238 a minute, and 8 entries at 15 s.
    assert free.minutes == pytest.approx(4)


def test_the_course_of_entropy_counts_what_was_handed_in_so_far() -> None:
    plan = a_plan(problems=("claims",), repeats=2)
    outcomes = {
        run.number: replace(OUTCOME, families=(("a",), ("b",), ("a",))[: 2 + (run.repeat == 1)])
        for run in assign(plan)
    }
    entropy = analyse(plan, outcomes).entropies[0]
    assert entropy.course == pytest.approx((0, 1, 0.9183), abs=1e-4)
    assert entropy.last is not None
    assert entropy.last.mean == pytest.approx((1 + 0.9183) / 2, abs=1e-4)
