"""First-order errors of runs: their variance against simulation, what runs share, what is refused."""

from __future__ import annotations

import random
from dataclasses import replace
from statistics import fmean, variance

import pytest

from aar.verify.interval import score
from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR
from aar.verify.run_errors import covariance, run_errors

ITEMS, SEEDS = 120, 4


def simulated(source: random.Random, hard: list[float], of_seeds: float) -> Payload:
    """A run on items of known hardness; seeds shift everybody alike."""
    splits = []
    for seed in range(SEEDS):
        shift = source.gauss(0, of_seeds)
        masks = []
        for share in (0.75, 0.55, 0.95):
            right = [source.random() < min(max(share + shift + one, 0), 1) for one in hard]
            masks.append(sum(1 << item for item, mark in enumerate(right) if mark))
        splits.append(SplitCounts(seed, 0, (1 << ITEMS) - 1, *masks))
    return Payload("public", ITEMS, tuple(splits))


def test_the_estimate_is_the_score() -> None:
    payload = simulated(random.Random(1), [0.0] * ITEMS, 0.05)
    assert run_errors(payload).estimate == pytest.approx(float(score(payload).pgr))


def test_errors_are_around_nothing() -> None:
    found = run_errors(simulated(random.Random(2), [0.0] * ITEMS, 0.05))
    assert sum(found.by_seed) == pytest.approx(0, abs=1e-9)
    assert sum(found.by_item) == pytest.approx(0, abs=1e-9)
    assert (len(found.by_seed), len(found.by_item)) == (SEEDS, ITEMS)


def test_replicates_of_a_seed_are_no_further_seeds() -> None:
    payload = simulated(random.Random(3), [0.0] * ITEMS, 0.05)
    halves = tuple(
        SplitCounts(one.seed // 2, one.seed % 2, one.tested, one.student, one.weak, one.ceiling)
        for one in payload.splits
    )
    whole, paired = run_errors(payload), run_errors(Payload("public", ITEMS, halves))
    assert len(paired.by_seed) == SEEDS // 2
    assert paired.estimate == pytest.approx(whole.estimate)
    assert paired.by_item == pytest.approx(whole.by_item)


def test_items_of_a_group_are_one_term() -> None:
    payload = simulated(random.Random(9), [0.0] * ITEMS, 0.05)
    apart, together = run_errors(payload), run_errors(payload, group=6)
    assert together.by_item == tuple(sum(apart.by_item[at : at + 6]) for at in range(0, ITEMS, 6))
    assert (together.estimate, together.by_seed, together.scale) == (
        apart.estimate,
        apart.by_seed,
        apart.scale,
    )
    cells = [run_errors(replace(payload, splits=payload.splits[:1]), group=6)]
    assert cells[0].cells == sum(one * one for one in cells[0].by_item)


def test_a_variance_is_what_many_runs_scatter_by() -> None:
    source = random.Random(4)
    runs = []
    for _run in range(250):
        hard = [source.choice((-0.2, 0.0, 0.2)) for _item in range(ITEMS)]
        runs.append(run_errors(simulated(source, hard, 0.05)))
    scatter = variance(run.estimate for run in runs)
    assert fmean(run.variance for run in runs) == pytest.approx(scatter, rel=0.35)


def test_one_seed_leaves_the_items_alone() -> None:
    payload = simulated(random.Random(5), [0.0] * ITEMS, 0.05)
    found = run_errors(Payload("public", ITEMS, payload.splits[:1]))
    assert found.of_seeds == 0
    assert found.variance == pytest.approx(found.of_items)


def test_the_share_of_seeds_is_large_where_they_scatter_and_nothing_where_they_are_the_same() -> None:
    source = random.Random(9)
    of_seeds, of_items = (run_errors(simulated(source, [0.0] * ITEMS, one)) for one in (0.4, 0.0))
    assert of_seeds.freedom == of_items.freedom == SEEDS - 1
    assert 0.9 < of_seeds.share_of_seeds <= 1
    assert of_items.share_of_seeds < of_seeds.share_of_seeds
    payload = simulated(source, [0.0] * ITEMS, 0.0)
    assert run_errors(Payload("public", ITEMS, payload.splits[:1])).share_of_seeds == 0
    same = Payload("public", ITEMS, tuple(replace(payload.splits[0], seed=seed) for seed in range(3)))
    assert run_errors(same).share_of_seeds == 0


def test_items_that_each_split_drew_are_items_of_their_own() -> None:
    payload = simulated(random.Random(10), [0.0] * ITEMS, 0.05)
    fresh = replace(payload, is_fresh=True)
    shared, own = run_errors(payload), run_errors(fresh)
    assert (own.estimate, own.by_seed) == (shared.estimate, shared.by_seed)
    assert len(own.by_item) == SEEDS * ITEMS
    assert own.of_items == own.of_cells
    assert own.variance == max(own.of_seeds, own.of_cells)


def test_another_pair_of_masks_gives_another_difference() -> None:
    payload = simulated(random.Random(6), [0.0] * ITEMS, 0.05)
    assert run_errors(payload, plus="ceiling").estimate == pytest.approx(1)
    assert run_errors(payload, plus="ceiling").variance == pytest.approx(0)
    assert run_errors(payload, plus="weak").estimate == 0


def test_runs_on_the_same_items_err_together_and_others_do_not() -> None:
    source = random.Random(7)
    hard = [source.choice((-0.3, 0.3)) for _item in range(ITEMS)]
    runs = [run_errors(simulated(source, hard, 0.05)) for _run in range(3)]
    shared, apart = (covariance(runs, are_items_shared=are) for are in (True, False))
    assert shared[0][1] == shared[1][0] != 0
    assert apart[0][1] == apart[2][0] == 0
    assert [shared[one][one] for one in range(3)] == [apart[one][one] for one in range(3)]
    # The seeds' part is the mean over the runs, which no run's luck moves.
    of_seeds = sum(run.of_seeds for run in runs) / 3
    assert shared[0][0] == pytest.approx(
        float(max(of_seeds + runs[0].of_items - runs[0].of_cells, of_seeds, runs[0].of_items))
    )


def test_what_cannot_be_compared_is_refused() -> None:
    payload = simulated(random.Random(8), [0.0] * ITEMS, 0.05)
    longer = Payload("public", ITEMS + 8, payload.splits)
    with pytest.raises(ValueError, match="want the same items"):
        covariance([run_errors(payload), run_errors(longer)], are_items_shared=True)
    with pytest.raises(ValueError, match="no runs"):
        covariance([], are_items_shared=True)
    flat = Payload("public", 2, (SplitCounts(1, 0, 0b11, 0b11, 0b01, 0b01),))
    with pytest.raises(UndefinedPGR):
        run_errors(flat)
