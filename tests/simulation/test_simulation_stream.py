"""Streams and the integer arithmetic on them: fixed for ever, and distributed as they say."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from aar.simulation.many import STEP, in_steps, log2_fixed
from aar.simulation.power import mean_and_interval
from aar.simulation.problems import pick
from aar.simulation.stream import Stream
from aar.verify.interval import ladder


def test_the_first_words_of_a_stream_are_what_they_always_were() -> None:
    # Philox 4x64-10 under the first 16 bytes of a SHA-256: another implementation gives the same.
    assert [int(one) for one in Stream("golden", 1).raw(2)] == [17811212692313174849, 9793417800758390005]
    assert [int(one) for one in Stream("golden", 1).below(np.full(4, 1_000))] == [965, 530, 407, 121]
    assert [int(one) for one in Stream("golden", 1).noise(np.full(4, 1_000))] == [1022, 1470, 47, -1442]


def test_other_words_give_another_stream_and_words_do_not_run_together() -> None:
    first = Stream("ab", "c").raw(4)
    assert not np.array_equal(first, Stream("a", "bc").raw(4))
    assert not np.array_equal(first, Stream("ab", "d").raw(4))
    assert np.array_equal(first, Stream("ab", "c").raw(4))


def test_integers_below_a_limit_are_even_and_noise_is_near_normal() -> None:
    drawn = Stream("even").below(np.full(60_000, 6))
    assert np.bincount(drawn).tolist() == pytest.approx([10_000] * 6, abs=400)
    noise = Stream("noise").noise(np.full(60_000, 10_000)) / 10_000
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.01)
    assert (np.abs(noise) > 1.96).mean() == pytest.approx(0.05, abs=0.005)
    flips = Stream("flips").flips(60_000, 6_552)
    assert flips.mean() == pytest.approx(0.6552, abs=0.006)


def test_a_choice_follows_its_weights_and_never_takes_what_weighs_nothing() -> None:
    chosen = pick(Stream("pick"), np.tile(np.asarray([1, 0, 3]), (40_000, 1)))
    assert np.bincount(chosen, minlength=3).tolist() == pytest.approx([10_000, 0, 30_000], abs=400)


def test_whole_steps_are_those_of_the_ladder_that_the_verifier_knows() -> None:
    exact = np.arange(-2_000, 12_000, 25)
    for value, step in zip(exact, in_steps(exact), strict=True):
        told = ladder(None, Fraction(int(value), 10_000), Fraction(STEP, 10_000))
        assert told == Fraction(int(step), 10_000)


def test_logarithms_and_intervals_without_floats_are_those_with_them() -> None:
    for number in (1, 2, 3, 7, 24, 1_000):
        assert log2_fixed(number) / 2**20 == pytest.approx(math.log2(number), abs=2e-6)
    values = Stream("interval").noise(np.full(500, 3_000)) + 1_234
    mean, low, high, deviation = mean_and_interval(values)
    reach = 1.96 * values.std(ddof=1) / math.sqrt(500)
    assert mean == pytest.approx(values.mean(), abs=1)
    assert (low, high) == pytest.approx((values.mean() - reach, values.mean() + reach), abs=2)
    assert deviation == pytest.approx(values.std(ddof=1), abs=1)
