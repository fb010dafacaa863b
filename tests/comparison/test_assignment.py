"""Assignment: whole blocks, in an order that the seed alone gives."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from aar.outside.comparison.assignment import assign, is_look_after, looks_after, origin_of, researchers_seed
from comparison_plans import a_plan


@given(st.integers(0, 2**53 - 1), st.integers(1, 6))
def test_every_arm_is_once_in_every_block_and_a_repeat_is_over_before_the_next(
    seed: int, repeats: int
) -> None:
    plan = a_plan(("fixed", "free", "hybrid"), seed=seed, repeats=repeats)
    runs = assign(plan)
    assert [run.number for run in runs] == list(range(1, plan.runs + 1))
    assert set(Counter((run.block, run.arm) for run in runs).values()) == {1}
    assert [run.repeat for run in runs] == sorted(run.repeat for run in runs)
    blocks = [run.block for run in runs]
    assert all(len(set(blocks[at : at + 3])) == 1 for at in range(0, len(blocks), 3))


def test_the_same_seed_gives_the_same_order_and_another_one_another() -> None:
    orders = {tuple((run.problem, run.arm) for run in assign(a_plan(seed=seed))) for seed in range(20)}
    assert len(orders) >= 15
    assert assign(a_plan(seed=3)) == assign(a_plan(seed=3))


def test_each_arm_comes_first_about_as_often_as_another() -> None:
    plan = a_plan(repeats=1_000, problems=("claims",))
    first = Counter(run.arm for run in assign(plan) if run.number % 2 == 1)
    assert 430 < first["fixed"] < 570


def test_researchers_choose_alike_within_a_block_and_not_across_blocks() -> None:
    plan = a_plan()
    seeds: dict[tuple[str, int], set[str]] = {}
    for run in assign(plan):
        seeds.setdefault(run.block, set()).add(researchers_seed(plan, run))
    assert {len(found) for found in seeds.values()} == {1}
    assert len(set.union(*seeds.values())) == len(seeds)


def test_every_run_has_an_origin_of_its_own_that_follows_from_plan_and_number() -> None:
    plan, other = a_plan(), a_plan(seed=2)
    origins = [origin_of(plan, run) for run in assign(plan)]
    assert len(set(origins)) == plan.runs
    assert origins == [origin_of(plan, run) for run in assign(plan)]
    assert not set(origins) & {origin_of(other, run) for run in assign(other)}


def test_looks_are_at_equal_distances_and_the_last_one_is_at_the_end() -> None:
    assert looks_after(a_plan(repeats=10, looks=3)) == (3, 6, 10)
    assert looks_after(a_plan(repeats=2, looks=2)) == (1, 2)
    assert looks_after(a_plan()) == ()


def test_a_look_comes_after_the_last_run_of_its_repeat_and_there_are_as_many_as_were_stated() -> None:
    plan = a_plan(("fixed", "free", "hybrid"), repeats=7, looks=3)
    looks = [run for run in assign(plan) if is_look_after(plan, run)]
    assert [run.repeat for run in looks] == [2, 4, 7]
    assert [run.number for run in looks] == [12, 24, 42]
    assert not any(is_look_after(a_plan(), run) for run in assign(a_plan()))
