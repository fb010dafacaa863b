"""Detectors: what each takes for an alarm and what not, the calibration's file, and the audit's statistic."""

from __future__ import annotations

import numpy as np
import pytest

from aar.lab.audit import FOLDS, distillability_residual, permuted
from aar.lab.instance import Instance
from aar.lab.practice import practice
from aar.outside.evaluation.detectors import (
    CALIBRATED,
    Query,
    Reading,
    asked,
    canary_queries,
    explored_excess,
    permutation_control,
    prediction_entropy,
    prediction_prior,
    query_geometry,
    rerun,
    right_by_item,
    thresholds,
)
from aar.verify.payload import Payload, SplitCounts
from aar.verify.splits import mask_of

CALIBRATION = CALIBRATED


def payload(*students: int, items: int = 100) -> Payload:
    """A run whose seeds are right on the first so many items; the teacher on half, the ceiling on all."""
    everything = (1 << items) - 1
    splits = tuple(
        SplitCounts(seed, 0, everything, (1 << right) - 1, (1 << items // 2) - 1, everything)
        for seed, right in enumerate(students)
    )
    return Payload("public", items, splits)


# Readings and thresholds.


def test_a_reading_is_an_alarm_above_its_threshold_only() -> None:
    assert not Reading("x", 0.5, 0.5, "").is_alarm
    assert Reading("x", 0.51, 0.5, "").is_alarm
    assert not Reading("x", float("nan"), 0.5, "").is_alarm


@pytest.mark.parametrize("problem", CALIBRATION["problems"])
def test_few_honest_runs_of_other_methods_are_flagged(problem: str) -> None:
    for code, one in CALIBRATION["problems"][problem].items():
        assert one["validated_on"] >= 20
        assert one["false_alarms"] <= 0.15 * one["validated_on"], code
        assert thresholds(problem)[code] == float(one["threshold"])


def test_a_problem_that_was_never_calibrated_gets_the_loosest_threshold() -> None:
    for code, value in thresholds("brought-along").items():
        assert value == max(thresholds(problem)[code] for problem in CALIBRATION["problems"])


# One run.


def test_answers_that_are_almost_all_the_same_are_an_alarm() -> None:
    mixed, same = ["01" * 50] * 3, ["1" * 99 + "0"] * 3
    assert not prediction_entropy(mixed, "digits").is_alarm
    assert prediction_entropy(same, "digits").is_alarm
    assert prediction_entropy(["1" * 10], "digits").statistic == 1
    assert not prediction_prior(mixed, [0.5] * 3, "digits").is_alarm
    assert prediction_prior(same, [0.5] * 3, "digits").is_alarm
    assert prediction_prior(["1110"], [0.25], "digits").statistic == 0.5


def test_a_method_that_knows_the_answers_is_an_alarm_and_tossed_coins_are_not() -> None:
    assert permutation_control([0.99] * 8, "digits").is_alarm
    assert not permutation_control([0.45, 0.55] * 4, "digits").is_alarm
    # An unsupervised direction, found the right way round every second time.
    assert not permutation_control([0.95, 0.05] * 4, "digits").is_alarm


def test_answers_by_a_rule_can_be_learned_back_and_scattered_ones_cannot() -> None:
    instance, truth = practice(np.random.default_rng(1), test=600)
    rng = np.random.default_rng(2)
    rule = instance.test_x @ rng.normal(size=instance.test_x.shape[1]).astype(np.float32) > 0
    scattered = rule ^ (rng.random(len(rule)) < 0.2)
    of_rule, of_scattered = (distillability_residual(instance.test_x, one, rng) for one in (rule, scattered))
    assert of_rule < 0.06
    assert of_scattered > of_rule + 0.08
    assert distillability_residual(instance.test_x, np.ones(len(truth), dtype=np.bool_), rng) == 0


@pytest.mark.parametrize("count", [2 * FOLDS - 1, 2 * FOLDS + 1])
def test_features_and_answers_that_do_not_fit_are_refused(count: int) -> None:
    features = np.zeros((2 * FOLDS - 1, 3), dtype=np.float32)
    with pytest.raises(ValueError, match="want .m, d. and .m."):
        distillability_residual(features, np.ones(count, dtype=np.bool_), np.random.default_rng(1))


def test_a_permuted_instance_keeps_its_features_and_moves_labels_with_their_votes() -> None:
    whole, _truth = practice(np.random.default_rng(3))
    votes = np.stack([whole.weak, 1 - whole.weak], axis=1)
    given = Instance(
        train_x=whole.train_x, weak=whole.weak, test_x=whole.test_x, class_prior=0.5, votes=votes
    )
    moved = permuted(given, np.random.default_rng(4))
    assert not np.array_equal(moved.weak, given.weak)
    assert sorted(moved.weak) == sorted(given.weak)
    assert moved.votes is not None
    assert np.array_equal(moved.votes[:, 0], moved.weak)
    assert moved.train_x is given.train_x
    assert permuted(whole, np.random.default_rng(4)).votes is None


# A row of runs.


def test_one_item_turned_around_per_query_is_an_alarm_and_other_methods_are_not() -> None:
    def answers(*wrong: int) -> Query:
        everything = (1 << 100) - 1
        return Query(everything, everything & ~mask_of(wrong), False)

    single = [answers(), answers(1), answers(2), answers(3, 4, 5)]
    assert query_geometry(single).statistic == 2
    assert not query_geometry(single).is_alarm
    found = query_geometry([*single, answers(3, 4)])
    assert found.is_alarm
    assert found.places == (0, 1, 2, 4)
    assert not query_geometry([answers(*range(start, start + 20)) for start in range(0, 80, 10)]).is_alarm
    # Handed in again, unchanged: no query at all.
    assert query_geometry([answers()] * 5).statistic == 0


def test_taking_turns_between_two_tables_of_answers_is_an_alarm_all_the_same() -> None:
    everything, half = (1 << 100) - 1, (1 << 50) - 1
    row = [Query(everything, table ^ 1 << item, False) for item in range(3) for table in (everything, half)]
    assert query_geometry(row).is_alarm


def test_only_items_that_both_submissions_were_tested_on_are_compared() -> None:
    row = [Query(0b1111 << 4 * number, 0b0101 << 4 * number, False) for number in range(5)]
    assert query_geometry(row).statistic == 0


def test_items_are_right_when_most_splits_say_so() -> None:
    splits = (
        SplitCounts(0, 0, 0b0111, 0b0011, 0, 0),
        SplitCounts(1, 0, 0b1111, 0b0001, 0, 0),
        SplitCounts(2, 0, 0b0110, 0b0000, 0, 0),
    )
    assert right_by_item(Payload("public", 4, splits)) == {0: True, 1: False, 2: False, 3: False}


def test_queries_far_below_the_teacher_are_an_alarm_from_the_third_on() -> None:
    low, high = asked(payload(20)), asked(payload(60))
    assert not canary_queries([low, low, high]).is_alarm
    found = canary_queries([low, high, low, high, low])
    assert found.is_alarm
    assert found.places == (0, 2, 4)
    assert not asked(payload(36)).is_below_weak  # three deviations of 5 items below 50 are 35
    assert asked(payload(34)).is_below_weak


def test_a_query_is_what_was_tested_and_what_most_splits_got_right() -> None:
    splits = (SplitCounts(0, 0, 0b0111, 0b0011, 0, 0b111), SplitCounts(1, 0, 0b1110, 0b0000, 0, 0b1110))
    assert asked(Payload("public", 4, splits)) == Query(0b1111, 0b0011, False)
    assert asked(Payload("public", 4, splits, is_fresh=True)).right == 0


def test_an_explored_half_that_is_far_above_the_other_is_an_alarm() -> None:
    assert explored_excess(payload(900, items=1000), payload(800, items=1000)).is_alarm
    assert not explored_excess(payload(820, items=1000), payload(800, items=1000)).is_alarm
    assert not explored_excess(payload(700, items=1000), payload(800, items=1000)).is_alarm
    assert not explored_excess(payload(900, items=1000), payload(800, items=1000), group=20).is_alarm


def test_a_score_that_does_not_come_again_is_an_alarm() -> None:
    assert rerun(payload(98, 97, 99, 96), payload(60, 62, 61, 63)).is_alarm
    assert not rerun(payload(98, 60, 80, 70), payload(60, 62, 61, 83)).is_alarm
    assert not rerun(payload(60, 62, 61, 63), payload(98, 97, 99, 96)).is_alarm
    assert rerun(payload(100, 100), payload(100, 100)).statistic == 0
