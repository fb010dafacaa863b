"""Power, break-even and compression: what the numbers must obey whatever the parameters are."""

from __future__ import annotations

from itertools import pairwise
from statistics import fmean, stdev

import numpy as np
import pytest

from aar.simulation.compression import CAPABILITY, HARM, course, courses
from aar.simulation.parameters import CLASSES, FIXED, FREE
from aar.simulation.power import REPEATS, _found, break_even, compare
from aar.simulation.stream import Stream


def test_power_rises_with_repeats_and_an_arm_is_told_from_itself_as_often_as_the_level_says() -> None:
    found = compare(CLASSES["routine-3"], FREE, FIXED, seed=1, runs=3_000)
    shares = [share for _count, share in found.power]
    assert [count for count, _share in found.power] == list(REPEATS)
    assert shares == sorted(shares)
    assert found.difference < 0
    assert found.low <= found.difference <= found.high < 0
    assert 5 < found.needed <= 16
    assert 15 <= found.false_alarms <= 100


def test_the_t_test_is_that_of_the_textbook() -> None:
    differences = Stream("t").noise(np.full(600 * 7, 2_000)) + 1_000
    groups = [one.tolist() for one in differences.reshape(-1, 7)]
    # 2.447 is Student's t with six degrees of freedom at .975.
    wanted = sum(abs(fmean(one)) > 2.447 * stdev(one) / 7**0.5 for one in groups)
    assert 100 < wanted < 500
    assert _found(differences, 7) == pytest.approx(1_000 * wanted / 600, abs=1)
    assert _found(np.zeros(70, np.int64), 7) == 0


def test_too_few_studies_for_a_comparison_are_refused() -> None:
    with pytest.raises(ValueError, match="want at least 122"):
        compare(CLASSES["hard-1"], FREE, FIXED, seed=1, runs=100)


def test_the_more_the_human_knows_the_better_a_fixed_workflow_does() -> None:
    found = break_even(CLASSES["routine-3"], seed=1, runs=400)
    means = [mean for _known, mean in found.means]
    assert all(later > earlier for earlier, later in pairwise(means))
    assert 40 <= found.known <= 80


def test_one_more_result_narrows_the_gap_if_and_only_if_the_process_is_trustworthy_enough() -> None:
    for harm in (0, 50, 100, 300):
        for trust in range(0, 101, 5):
            worth = trust - (100 - trust) * harm / 100
            assert course(100, trust, harm=harm).narrows == (worth >= 1)


def test_trust_to_keep_pace_is_the_least_with_which_the_gap_does_not_grow() -> None:
    for rate in (100, 150, 200, 400):
        least = course(rate, 100).keeps_pace
        assert course(rate, least).gap <= 1_001
        assert course(rate, least - 1).gap > 1_001
    assert course(CAPABILITY // 2, 100).keeps_pace > 100


def test_what_is_believed_does_not_show_what_is_lost() -> None:
    by_rate: dict[int, set[int]] = {}
    for one in courses():
        by_rate.setdefault(one.alignment, set()).add(one.believed_gap)
        assert one.gap >= one.believed_gap
    assert all(len(values) == 1 for values in by_rate.values())
    assert HARM == 100
