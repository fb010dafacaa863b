"""Statistics of several results: against scipy, against their definitions, and what they refuse."""

from __future__ import annotations

import doctest
import math
import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aar.verify import statistics
from aar.verify.statistics import (
    NORMAL,
    best_of,
    binomial_interval,
    bootstrap_p_value,
    detectable_difference,
    explored_minus_held_out,
    holm,
    incomplete_beta,
    mixed_p_value,
    t_p_value,
    t_quantile,
)

PROBABILITIES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(statistics).failed == 0


# Holm.


@given(PROBABILITIES)
def test_holm_rejects_what_its_definition_rejects(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for alpha in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, place in enumerate(order):
            if p_values[place] * (len(p_values) - rank) > alpha:
                break
            rejected.add(place)
        assert {place for place, value in enumerate(adjusted) if value <= alpha} == rejected


def test_holm_does_not_look_at_the_order() -> None:
    for order in permutations([0.01, 0.02, 0.04, 0.2]):
        assert sorted(holm(order)) == pytest.approx([0.04, 0.06, 0.08, 0.2])


@pytest.mark.parametrize("wrong", [-0.1, 1.1, math.nan])
def test_what_is_no_probability_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="want 0 to 1"):
        holm([0.5, wrong])


# Bootstrap p-values.


def test_a_p_value_is_twice_the_rarer_side_and_never_zero() -> None:
    assert bootstrap_p_value([-1.0] * 10 + [1.0] * 189) == pytest.approx(2 * 11 / 200)
    assert bootstrap_p_value([1.0] * 10 + [-1.0] * 189) == pytest.approx(2 * 11 / 200)
    assert bootstrap_p_value([0.5] * 199) == pytest.approx(2 / 200)
    assert bootstrap_p_value([0.0] * 50) == 1
    with pytest.raises(ValueError, match="no draws"):
        bootstrap_p_value([])


# Detectable differences.


@pytest.mark.parametrize("seeds", [5, 8, 10, 20])
def test_a_detectable_difference_is_found_with_about_its_power(seeds: int) -> None:
    difference = detectable_difference(0.1, seeds)
    freedom, shift = seeds - 1, difference / 0.1 * math.sqrt(seeds)
    reached = stats.t.ppf(0.975, freedom)
    power = stats.nct.sf(reached, freedom, shift) + stats.nct.cdf(-reached, freedom, shift)
    assert power == pytest.approx(0.8, abs=0.05)


def test_a_detectable_difference_scales_with_the_deviation() -> None:
    assert detectable_difference(0.2, 5) == pytest.approx(2 * detectable_difference(0.1, 5))
    assert detectable_difference(0.1, 10) < 0.7 * detectable_difference(0.1, 5)
    assert detectable_difference(0.1, 5, power=0.9) > detectable_difference(0.1, 5)
    assert detectable_difference(0, 5) == 0


@pytest.mark.parametrize(
    ("deviation", "seeds", "power", "what"),
    [
        (0.1, 1, 0.8, "at least 2"),
        (-0.1, 5, 0.8, "not negative"),
        (math.nan, 5, 0.8, "not negative"),
        (0.1, 5, 1.2, "0 to 1"),
    ],
)
def test_what_has_no_detectable_difference_is_refused(
    deviation: float, seeds: int, power: float, what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        detectable_difference(deviation, seeds, power=power)


# Explored minus held-out.


def test_an_excess_is_a_pooled_z_test() -> None:
    found = explored_minus_held_out((926, 1315), (854, 1315))
    chi2 = stats.chi2_contingency([[926, 389], [854, 461]], correction=False)
    assert found.z**2 == pytest.approx(chi2.statistic)
    assert found.p_value == pytest.approx(chi2.pvalue / 2)
    other = explored_minus_held_out((854, 1315), (926, 1315))
    assert (other.difference, other.z) == pytest.approx((-found.difference, -found.z))
    assert other.p_value == pytest.approx(1 - found.p_value)


def test_an_excess_of_halves_that_are_all_right_is_none() -> None:
    assert explored_minus_held_out((10, 10), (20, 20)).z == 0


@pytest.mark.parametrize("wrong", [(11, 10), (-1, 10), (0, 0)])
def test_counts_that_do_not_fit_are_refused(wrong: tuple[int, int]) -> None:
    for halves in ((wrong, (1, 2)), ((1, 2), wrong)):
        with pytest.raises(ValueError, match="want 0 to all"):
            explored_minus_held_out(*halves)


# Best of k.


def identity(count: int, variance: float = 0.01) -> list[list[float]]:
    return [[variance * (row == column) for column in range(count)] for row in range(count)]


def test_the_best_of_one_is_the_plain_interval() -> None:
    found = best_of([0.4], [[0.04]])
    assert (found.low, found.high) == pytest.approx(stats.norm.interval(0.95, 0.4, 0.2))
    assert (found.place, found.naive, found.estimate) == (0, 0.4, 0.4)


def test_a_clear_winner_is_hardly_corrected_and_a_close_one_is() -> None:
    clear, close = (best_of([second, 0.9], identity(2)) for second in (-2.0, 0.89))
    assert clear.place == close.place == 1
    assert clear.estimate == pytest.approx(0.9, abs=1e-3)
    assert (clear.low, clear.high) == pytest.approx(stats.norm.interval(0.95, 0.9, 0.1), abs=0.01)
    assert close.estimate < 0.85
    assert close.low < clear.low
    assert close.high < clear.high


def test_more_tries_leave_less_of_the_best() -> None:
    values = [
        best_of([0.5, *[0.4 - 0.001 * one for one in range(count)]], identity(count + 1)).low
        for count in (1, 5, 20)
    ]
    assert values == sorted(values, reverse=True)
    assert all(value > 0.5 - 0.5 for value in values)


def test_a_rival_that_moves_with_the_winner_takes_nothing_away() -> None:
    shared = [[0.01, 0.00999], [0.00999, 0.01]]
    assert best_of([0.5, 0.45], shared).low > best_of([0.5, 0.45], identity(2)).low
    together = [[0.01, 0.01], [0.01, 0.01]]
    assert best_of([0.5, 0.45], together).estimate == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize(("spread", "count"), [(0.0, 2), (0.0, 10), (0.1, 10)])
def test_the_best_of_k_covers_its_truth_where_the_winner_s_own_interval_does_not(
    spread: float, count: int
) -> None:
    """Independent normal estimates with known variance: 600 studies, so 93 to 97 % is three errors wide."""
    source = random.Random(f"{spread} {count}")
    held = plain = above = 0
    studies = 600
    for _study in range(studies):
        truths = [source.gauss(0, spread) for _try in range(count)]
        found = best_of([source.gauss(truth, 0.1) for truth in truths], identity(count))
        truth = truths[found.place]
        held += found.low <= truth <= found.high
        plain += abs(found.naive - truth) <= 0.196
        above += found.estimate > truth
    assert 0.93 <= held / studies <= 0.97
    assert 0.44 <= above / studies <= 0.56
    if count == 10:
        assert plain / studies < held / studies - 0.03


@pytest.mark.parametrize(
    ("estimates", "covariance", "what"),
    [
        ([], [], "want k"),
        ([0.1, 0.2], identity(1), "want k"),
        ([0.1, 0.2], [[0.01, 0.0], [0.01]], "want k"),
        ([0.1, 0.2], [[0.01, 0.0], [0.0, 0.0]], "variance"),
        ([0.1, 0.2], [[0.01, 0.0], [0.0, math.nan]], "variance"),
    ],
)
def test_estimates_without_their_covariance_are_refused(
    estimates: list[float], covariance: list[list[float]], what: str
) -> None:
    with pytest.raises(ValueError, match=what):
        best_of(estimates, covariance)


@pytest.mark.parametrize("level", [0.5, 1.0, 0.0, 95])
def test_a_level_that_is_none_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        best_of([0.1], [[0.01]], level=level)


# Distributions.


@pytest.mark.parametrize("freedom", [1, 2, 4, 9.5, 30, 500])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.8, 0.975, 0.9995])
def test_t_quantiles_are_those_of_scipy(share: float, freedom: float) -> None:
    assert t_quantile(share, freedom) == pytest.approx(stats.t.ppf(share, freedom), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("freedom", [1, 4, 30.5, math.inf])
@pytest.mark.parametrize("statistic", [0.0, -1.5, 2.776, 9.0])
def test_p_values_are_those_of_scipy(statistic: float, freedom: float) -> None:
    distribution = stats.norm() if math.isinf(freedom) else stats.t(freedom)
    assert t_p_value(statistic, freedom) == pytest.approx(2 * distribution.sf(abs(statistic)), rel=1e-7)
    with pytest.raises(ValueError, match="want some"):
        t_p_value(statistic, 0)


@given(st.floats(0, 1), st.floats(0.5, 200), st.floats(0.5, 10))
def test_the_incomplete_beta_function_is_that_of_scipy(x: float, a: float, b: float) -> None:
    assert incomplete_beta(x, a, b) == pytest.approx(stats.beta.cdf(x, a, b), rel=1e-8, abs=1e-10)


@given(st.just(0.0) | st.floats(0.001, 30), st.integers(1, 20), st.floats(0, 1))
def test_a_mixed_p_value_is_the_level_whose_mixed_quantile_is_the_statistic(
    statistic: float, freedom: int, share: float
) -> None:
    level = mixed_p_value(statistic, freedom, share)
    assert mixed_p_value(-statistic, freedom, share) == level
    assert t_p_value(statistic, math.inf) * (1 - 1e-6) <= level <= t_p_value(statistic, freedom) * (1 + 1e-6)
    if 1e-12 < level < 1:
        found = share * t_quantile(1 - level / 2, freedom) + (1 - share) * NORMAL.inv_cdf(1 - level / 2)
        assert found == pytest.approx(statistic, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="want 0 to 1"):
        mixed_p_value(1.0, 4, share)


@pytest.mark.parametrize(("share", "freedom"), [(0, 4), (1, 4), (0.5, 0), (math.nan, 4)])
def test_quantiles_that_do_not_exist_are_refused(share: float, freedom: float) -> None:
    with pytest.raises(ValueError, match="degrees of freedom"):
        t_quantile(share, freedom)


def test_a_share_s_interval_is_wilson_s() -> None:
    wilson = stats.binomtest(95, 100).proportion_ci(method="wilson")
    assert binomial_interval(95, 100) == pytest.approx((wilson.low, wilson.high))
    for wrong in ((1, 0), (-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="want 0 to all"):
            binomial_interval(*wrong)
