"""Scores, intervals, rungs: exact and repeatable, and close to a bootstrap written from its definition."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from statistics import variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.verify import interval as interval_module
from aar.verify.interval import (
    Interval,
    crossed_bootstrap,
    decimal4,
    difference,
    difference_interval,
    in_whole_steps,
    interval_of,
    ladder,
    paired_bootstrap,
    paired_t_interval,
    quantile_of,
    score,
    t_interval,
)
from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR
from aar.verify.run_errors import RunErrors, run_errors
from forge import is_right, mask_of


def made(items: int, seeds: int, replicates: int = 1, *, student: float = 0.75) -> Payload:
    """A payload of three classifiers, the same every time; two of three items are tested."""
    splits = []
    for seed in range(seeds):
        for replicate in range(replicates):
            tested = [item for item in range(items) if (item + seed + replicate) % 3]
            masks = [
                mask_of([item for item in tested if is_right(share, who, item, seed, replicate)])
                for who, share in (("student", student), ("weak", 0.55), ("ceiling", 0.95))
            ]
            splits.append(SplitCounts(seed, replicate, mask_of(tested), *masks))
    return Payload("public", items, tuple(splits))


def naive_interval(payload: Payload, draws: int, seed: int) -> tuple[float, float]:
    """Seeds and items with replacement, one cell at a time, in floating point."""
    source = random.Random(seed)
    seeds = sorted({one.seed for one in payload.splits})
    union = 0
    for one in payload.splits:
        union |= one.tested
    items = [item for item in range(payload.pool) if union >> item & 1]
    values = []
    for _draw in range(draws):
        times = dict.fromkeys(items, 0)
        for _item in items:
            times[source.choice(items)] += 1
        right = {"student": 0, "weak": 0, "ceiling": 0}
        for _seed in seeds:
            drawn = source.choice(seeds)
            for one in payload.splits:
                if one.seed == drawn:
                    for name in right:
                        mask = getattr(one, name)
                        right[name] += sum(times[item] for item in items if mask >> item & 1)
        if right["ceiling"] > right["weak"]:
            values.append((right["student"] - right["weak"]) / (right["ceiling"] - right["weak"]))
    values.sort()
    return values[int(0.025 * len(values))], values[int(0.975 * len(values))]


def in_groups(payload: Payload, group: int) -> Payload:
    """The same with each item `group` times over, neighbours: claims of one fact, right or wrong together."""

    def wider(mask: int) -> int:
        return mask_of(
            [item * group + one for item in range(payload.pool) for one in range(group) if mask >> item & 1]
        )

    splits = tuple(
        replace(
            one,
            **{
                name: wider(getattr(one, name))
                for name in ("tested", "student", "weak", "ceiling", "vanilla")
            },
        )
        for one in payload.splits
    )
    return replace(payload, pool=payload.pool * group, splits=splits)


# Scores.


def test_a_score_is_exact() -> None:
    splits = (SplitCounts(1, 0, 0b1111, 0b0111, 0b0001, 0b1111), SplitCounts(2, 0, 0b11, 0b01, 0b01, 0b11))
    assert score(Payload("public", 4, splits)) == interval_module.Score(
        Fraction(1, 3), Fraction(2, 3), Fraction(1), Fraction(1, 2)
    )


def test_a_score_without_a_gap_is_undefined() -> None:
    with pytest.raises(UndefinedPGR):
        score(Payload("public", 2, (SplitCounts(1, 0, 0b11, 0b11, 0b01, 0b01),)))


# Intervals.


def test_an_interval_is_the_same_every_time_and_everywhere() -> None:
    payload = made(30, 3, 2)
    # Fixed here, so that another Python or another machine cannot silently differ.
    found = Interval(Fraction(-38047, 115625), Fraction(145287, 218750), 100)
    assert crossed_bootstrap(payload, draws=100) == found
    assert crossed_bootstrap(payload, draws=100) == crossed_bootstrap(payload, draws=100)


def test_an_interval_s_randomness_is_of_the_payload_alone() -> None:
    payload = made(30, 3, 2)
    other = replace(payload, half="sealed")
    assert crossed_bootstrap(payload, draws=100) != crossed_bootstrap(other, draws=100)
    random.seed(5)
    assert crossed_bootstrap(payload, draws=100) == crossed_bootstrap(made(30, 3, 2), draws=100)


def test_an_interval_lies_around_its_score() -> None:
    payload = made(150, 4)
    found = crossed_bootstrap(payload)
    assert found.draws == interval_module.DRAWS
    assert found.low < score(payload).pgr < found.high


@pytest.mark.parametrize("student", [0.6, 0.9])
def test_an_interval_is_close_to_that_of_a_naive_bootstrap(student: float) -> None:
    payload = made(120, 4, 2, student=student)
    found = crossed_bootstrap(payload, draws=1000)
    low, high = naive_interval(payload, 400, 1)
    again_low, again_high = naive_interval(payload, 400, 2)
    width = high - low
    assert width > 0.05
    for mine, naive in ((found.low, (low + again_low) / 2), (found.high, (high + again_high) / 2)):
        assert abs(float(mine) - naive) < 0.2 * width


@pytest.mark.parametrize("interval", [interval_of, difference_interval])
def test_items_of_a_group_count_as_one_in_an_interval(interval: Callable[..., Interval]) -> None:
    payload = replace(made(90, 4), splits=tuple(replace(one, vanilla=one.weak) for one in made(90, 4).splits))
    groups = in_groups(payload, 7)
    alone, together = interval(payload, draws=1000), interval(groups, draws=1000, group=7)
    blind = interval(groups, draws=1000)
    width = alone.high - alone.low
    assert together.high - together.low == pytest.approx(width, rel=0.1)
    assert blind.high - blind.low < 0.75 * width


def test_a_smaller_last_group_is_drawn_like_the_others() -> None:
    payload = made(61, 4)
    assert (
        interval_module._packed_units(payload, 4)[1][-1] == interval_module._packed_units(payload, 1)[1][-1]
    )
    assert len(interval_module._packed_units(payload, 4)[1]) == 16
    found = crossed_bootstrap(payload, group=4)
    assert found.low < score(payload).pgr < found.high


def test_an_interval_has_the_shape_of_its_percentiles_and_the_width_of_student_s_t() -> None:
    payload = made(120, 5)
    found, errors = crossed_bootstrap(payload), run_errors(payload)
    drawn = [
        Fraction(student - weak, ceiling - weak)
        for student, weak, ceiling, _vanilla in interval_module._drawn_counts(payload, 300, 1)
    ]
    raw = interval_module.percentiles(drawn, 300)
    shares = [(errors.estimate - one.low) / (one.high - errors.estimate) for one in (found, raw)]
    assert float(shares[0]) == pytest.approx(float(shares[1]))
    wanted = float(quantile_of(errors)) / 1.96 * (float(errors.variance) / variance(map(float, drawn))) ** 0.5
    assert float((found.high - found.low) / (raw.high - raw.low)) == pytest.approx(wanted, abs=1e-5)


def test_the_quantile_is_students_for_what_seeds_say_and_the_normal_s_for_what_items_say() -> None:
    few = RunErrors(Fraction(0), 1, (3, -3, 0, 4, -4), (0, 0), 50)
    many = RunErrors(Fraction(0), 1, (0, 0, 0, 0, 0), (5, -5), 10)
    assert (few.share_of_seeds, quantile_of(few)) == (1, Fraction("2.776"))
    assert (many.share_of_seeds, quantile_of(many)) == (0, Fraction("1.960"))
    # The variance is 50 * 5 / 4 = 62.5 of seeds, 187.5 more of items.
    both = RunErrors(Fraction(0), 1, (3, -3, 0, 4, -4), (10, -10), 12)
    assert both.share_of_seeds == Fraction(125, 2) / (Fraction(125, 2) + 200 - 12)
    assert Fraction("1.960") < quantile_of(both) < Fraction("2.776")


def test_one_seed_says_nothing_of_seeds() -> None:
    assert quantile_of(RunErrors(Fraction(0), 1, (3,), (5, -5), 10)) == Fraction("1.960")


def test_more_items_make_a_narrower_interval() -> None:
    few, many = crossed_bootstrap(made(60, 5)), crossed_bootstrap(made(900, 5))
    assert many.high - many.low < (few.high - few.low) * 2 / 3


def test_seeds_that_disagree_make_a_wider_interval() -> None:
    """Items alone would not show it: within each seed every item is the same."""
    alike = Payload("public", 40, tuple(flat(seed, 20) for seed in range(6)))
    unlike = Payload("public", 40, tuple(flat(seed, 20 + 15 * (-1) ** seed) for seed in range(6)))
    assert score(alike).pgr == score(unlike).pgr
    widths = [one.high - one.low for one in map(crossed_bootstrap, (alike, unlike))]
    assert widths[1] > widths[0] + Fraction(1, 10)


# The difference to the plain student, on the same splits.


def paired(items: int, seeds: int, vanilla: float = 0.65) -> Payload:
    """As `made`, with a plain student that is right wherever a noisy copy of the student is."""
    payload = made(items, seeds)
    splits = []
    for one in payload.splits:
        kept = [item for item in range(items) if is_right(vanilla, "kept", item, one.seed)]
        splits.append(replace(one, vanilla=one.student & mask_of(kept)))
    return replace(payload, splits=tuple(splits))


def test_a_difference_is_that_of_two_scores() -> None:
    payload = paired(60, 3)
    plain = replace(payload, splits=tuple(replace(one, student=one.vanilla) for one in payload.splits))
    assert difference(payload) == score(payload).pgr - score(plain).pgr
    assert difference(plain) == 0


def test_a_paired_interval_is_on_the_draws_of_the_scores() -> None:
    """Draw by draw: the difference of a student to itself is nothing, to nobody it is all of it."""
    payload = paired(60, 3)
    same = replace(payload, splits=tuple(replace(one, vanilla=one.student) for one in payload.splits))
    assert paired_bootstrap(same, draws=50) == Interval(Fraction(0), Fraction(0), 50)
    weak = replace(payload, splits=tuple(replace(one, vanilla=one.weak) for one in payload.splits))
    assert paired_bootstrap(weak, draws=50) == crossed_bootstrap(weak, draws=50)


def test_pairing_makes_the_interval_narrower() -> None:
    payload = paired(300, 5, vanilla=0.95)
    found, alone = paired_bootstrap(payload), crossed_bootstrap(payload)
    assert found.low < difference(payload) < found.high
    assert found.high - found.low < (alone.high - alone.low) * 3 / 4


def test_a_difference_without_a_gap_is_undefined() -> None:
    splits = (SplitCounts(1, 0, 2**30 - 1, 1, 0, 1),)
    with pytest.raises(UndefinedPGR, match="degenerate"):
        paired_bootstrap(Payload("public", 30, splits), draws=100)


# Where each split draws its own items.


def test_fresh_items_have_a_t_interval_and_shared_ones_a_bootstrap() -> None:
    shared = paired(60, 4)
    fresh = replace(shared, is_fresh=True)
    assert interval_of(shared, draws=40) == crossed_bootstrap(shared, draws=40)
    assert difference_interval(shared, draws=40) == paired_bootstrap(shared, draws=40)
    assert interval_of(fresh, draws=40) == t_interval(fresh)
    assert difference_interval(fresh, draws=40) == paired_t_interval(fresh)


def test_a_t_interval_is_that_of_a_ratio_of_means_over_seeds() -> None:
    payload = replace(paired(90, 5), is_fresh=True)
    for found, upper in ((t_interval(payload), "weak"), (paired_t_interval(payload), "vanilla")):
        above = [(one.student.bit_count() - getattr(one, upper).bit_count()) for one in payload.splits]
        gaps = [one.ceiling.bit_count() - one.weak.bit_count() for one in payload.splits]
        ratio = sum(above) / sum(gaps)
        rests = [a - ratio * b for a, b in zip(above, gaps, strict=True)]
        error = (5 / 4 * sum(rest**2 for rest in rests)) ** 0.5 / sum(gaps)
        assert float(found.low) == pytest.approx(ratio - 2.776 * error, abs=2e-6)
        assert float(found.high) == pytest.approx(ratio + 2.776 * error, abs=2e-6)
        assert found.draws == 0


def test_a_t_interval_covers_what_it_says() -> None:
    """1,000 studies of five seeds whose true PGR is a half: seeds differ more than items can show."""
    source = random.Random(7)
    hits = 0
    for _study in range(1000):
        splits = []
        for seed in range(5):
            shares = {"weak": 0.6, "ceiling": 0.9, "student": 0.75 + source.gauss(0, 0.03)}
            masks = {
                name: (1 << round(200 * share + source.gauss(0, 4))) - 1 for name, share in shares.items()
            }
            splits.append(SplitCounts(seed, 0, (1 << 250) - 1, **masks))
        found = t_interval(Payload("public", 250, tuple(splits), is_fresh=True))
        hits += found.low <= Fraction(1, 2) <= found.high
    assert 930 <= hits <= 970


def test_with_one_seed_the_splits_are_the_units_and_with_one_split_its_items() -> None:
    several = tuple(replace(one, seed=1, replicate=one.seed) for one in paired(90, 5).splits)
    assert t_interval(Payload("public", 90, several, is_fresh=True)) == t_interval(
        replace(paired(90, 5), is_fresh=True)
    )
    single = t_interval(Payload("public", 90, several[:1], is_fresh=True))
    assert 0.1 < single.high - single.low < 1


@pytest.mark.parametrize(
    ("freedom", "wanted"), [(0, "12.706"), (1, "12.706"), (4, "2.776"), (11, "2.228"), (5_000, "1.962")]
)
def test_a_quantile_between_two_is_the_larger_one(freedom: int, wanted: str) -> None:
    assert interval_module._t_quantile(freedom) == Fraction(wanted)


def test_a_t_interval_without_a_gap_is_undefined() -> None:
    splits = (SplitCounts(1, 0, 0b11, 0b11, 0b01, 0b01), SplitCounts(2, 0, 0b11, 0b11, 0b01, 0b01))
    with pytest.raises(UndefinedPGR, match="no gap"):
        t_interval(Payload("public", 2, splits, is_fresh=True))


def flat(seed: int, right: int) -> SplitCounts:
    return SplitCounts(seed, 0, 2**40 - 1, 2**right - 1, 0, 2**40 - 1)


def test_a_problem_that_often_has_no_gap_is_degenerate() -> None:
    """One item carries the whole gap: a third of all draws miss it."""
    splits = (SplitCounts(1, 0, 2**30 - 1, 1, 0, 1),)
    with pytest.raises(UndefinedPGR, match="degenerate"):
        crossed_bootstrap(Payload("public", 30, splits), draws=100)


def test_a_few_draws_without_a_gap_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    splits = (SplitCounts(1, 0, 2**30 - 1, 1, 0, 1),)
    monkeypatch.setattr(interval_module, "UNDEFINED_SHARE", Fraction(1))
    assert crossed_bootstrap(Payload("public", 30, splits), draws=100) == Interval(
        Fraction(1), Fraction(1), 100
    )


# The ladder.


@pytest.mark.parametrize(
    ("previous", "exact", "rung"),
    [
        (None, "0.70", "0.70"),
        (None, "0.7249", "0.70"),
        (None, "0.7251", "0.75"),
        (None, "0.725", "0.70"),  # half to even: 14.5 steps
        (None, "0.775", "0.80"),  # 15.5 steps
        (None, "-0.31", "-0.30"),
        (None, "0.01", "0"),
        ("0.70", "0.70", None),
        ("0.70", "0.75", None),  # better by a step is not yet better by more
        ("0.70", "0.7501", "0.75"),
        ("0.70", "0.9", "0.90"),
        ("0.70", "0.1", None),
        ("-0.30", "-0.2", "-0.20"),
    ],
)
def test_the_ladder_tells_a_rung_only_for_a_step(previous: str | None, exact: str, rung: str | None) -> None:
    told = ladder(None if previous is None else Fraction(previous), Fraction(exact), Fraction("0.05"))
    assert told == (None if rung is None else Fraction(rung))


@given(
    st.fractions(-3, 3, max_denominator=500),
    st.fractions(-3, 3, max_denominator=500),
    st.sampled_from([Fraction(1, 20), Fraction(1, 7)]),
)
def test_a_new_rung_is_never_below_the_last(first: Fraction, second: Fraction, step: Fraction) -> None:
    previous = ladder(None, first, step)
    assert previous is not None
    rung = ladder(previous, second, step)
    assert rung is None or rung > previous


@pytest.mark.parametrize(
    ("low", "high", "rung", "wanted"),
    [
        ("0.61", "0.79", "0.70", ("0.60", "0.80")),
        ("0.60", "0.80", "0.70", ("0.60", "0.80")),
        ("-0.01", "0.01", "0", ("-0.05", "0.05")),
        ("0.71", "0.74", "0.65", ("0.65", "0.75")),
        ("0.71", "0.74", "0.80", ("0.70", "0.80")),
    ],
)
def test_an_interval_is_released_in_whole_steps_around_its_rung(
    low: str, high: str, rung: str, wanted: tuple[str, str]
) -> None:
    released = in_whole_steps(Interval(Fraction(low), Fraction(high), 1), Fraction(rung), Fraction("0.05"))
    assert released == tuple(Fraction(one) for one in wanted)


# Decimals.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(0), "0.0000"),
        (Fraction(1, 2), "0.5000"),
        (Fraction(-1, 2), "-0.5000"),
        (Fraction(1), "1.0000"),
        (Fraction(-31, 1000), "-0.0310"),
        (Fraction(2, 3), "0.6667"),
        (Fraction(-2, 3), "-0.6667"),
        (Fraction(12345, 1), "12345.0000"),
        (Fraction(5, 100_000), "0.0000"),  # half to even
        (Fraction(15, 100_000), "0.0002"),
        (Fraction(-1, 100_000), "0.0000"),  # no minus before nothing
        (Fraction(-15, 100_000), "-0.0002"),
    ],
)
def test_a_value_has_four_decimals(value: Fraction, text: str) -> None:
    assert decimal4(value) == text


@given(st.fractions(-100, 100))
def test_four_decimals_are_within_half_of_the_last_one(value: Fraction) -> None:
    assert abs(Fraction(decimal4(value)) - value) <= Fraction(1, 20_000)
