"""Splits: fixed for all time by these vectors, and dealt as the words of the specification say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.verify.splits import Deal, Pool, Split, mask_of, run_label, sealed_items, seeds_for, shuffled, split
from forge import naive_sealed, naive_seeds, naive_tested

SECRET = bytes(range(32))
DIGEST = "ab" * 32

# Whoever changes one of these changes what every published record means.
GOLDEN_SEALED = (3, 13, 16, 17, 18, 19)
GOLDEN_EXPLORE = (162709457575791, 130318522461051, 21030873005422)
GOLDEN_REPRODUCE = (134728442577174, 88691717787357)
GOLDEN_ORDER = [2, 6, 5, 0, 7, 4, 8, 9, 1, 3]
GOLDEN_GROUPED = Split((5, 4, 0), (13, 1, 14, 12), (15, 16, 17, 9, 10, 11, 6, 7, 8))
GOLDEN_SEALED_GROUPS = (9, 10, 11, 15, 16, 17, 18, 19)
GOLDEN_SPLIT = Split((0, 9, 7), (4, 10, 1, 5), (11, 3, 2, 6, 8))


def test_the_sealed_items_are_these_for_ever() -> None:
    assert sealed_items(SECRET, 20, 6) == GOLDEN_SEALED


def test_the_seeds_are_these_for_ever() -> None:
    assert seeds_for(SECRET, "explore", DIGEST, 3) == GOLDEN_EXPLORE
    assert seeds_for(SECRET, "reproduce", DIGEST, 2) == GOLDEN_REPRODUCE


def test_an_order_is_this_for_ever() -> None:
    assert shuffled(b"label", range(10)) == GOLDEN_ORDER


def test_a_split_is_this_for_ever() -> None:
    assert split(5, 1, range(12), 3, 4) == GOLDEN_SPLIT


@given(secret=st.binary(min_size=32, max_size=32), pool=st.integers(1, 60), data=st.data())
def test_sealed_items_and_seeds_are_as_the_specification_says(
    secret: bytes, pool: int, data: st.DataObject
) -> None:
    size = data.draw(st.integers(0, pool))
    assert list(sealed_items(secret, pool, size)) == naive_sealed(secret, pool, size)
    assert list(seeds_for(secret, "explore", DIGEST, 4)) == naive_seeds(secret, "explore", DIGEST, 4)
    assert all(0 <= seed < 2**48 for seed in seeds_for(secret, "explore", DIGEST, 4))


@given(
    seed=st.integers(0, 2**48 - 1),
    replicate=st.integers(0, 9),
    public=st.sets(st.integers(0, 99), min_size=3, max_size=40).map(sorted),
    data=st.data(),
)
def test_a_split_deals_every_public_item_once(
    seed: int, replicate: int, public: list[int], data: st.DataObject
) -> None:
    labelled = data.draw(st.integers(1, len(public) - 2))
    unlabelled = data.draw(st.integers(1, len(public) - 1 - labelled))
    dealt = split(seed, replicate, public, labelled, unlabelled)
    assert (len(dealt.labelled), len(dealt.unlabelled)) == (labelled, unlabelled)
    assert sorted([*dealt.labelled, *dealt.unlabelled, *dealt.tested]) == public
    assert list(dealt.tested) == naive_tested(seed, replicate, public, labelled + unlabelled)


@given(
    seed=st.integers(0, 2**48 - 1),
    group=st.integers(2, 5),
    groups=st.sets(st.integers(0, 19), min_size=4, max_size=12),
    data=st.data(),
)
def test_groups_stand_on_one_side_of_every_wall(
    seed: int, group: int, groups: set[int], data: st.DataObject
) -> None:
    public = [item for number in sorted(groups) for item in range(number * group, (number + 1) * group)]
    most = len(public) - 2 * group
    labelled = data.draw(st.integers(1, most - 1))
    unlabelled = data.draw(st.integers(1, most - labelled))
    dealt = split(seed, 3, public, labelled, unlabelled, group)
    assert (len(dealt.labelled), len(dealt.unlabelled)) == (labelled, unlabelled)
    taught, tested = {*dealt.labelled, *dealt.unlabelled}, set(dealt.tested)
    assert len(taught) == labelled + unlabelled
    assert not {item // group for item in taught} & {item // group for item in tested}
    assert len(tested) % group == 0
    assert list(dealt.tested) == naive_tested(seed, 3, public, labelled + unlabelled, group)


@given(pool=st.integers(1, 60), group=st.integers(1, 7), data=st.data())
def test_whole_groups_are_sealed_until_they_are_enough(pool: int, group: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(0, pool))
    found = sealed_items(SECRET, pool, size, group)
    assert list(found) == naive_sealed(SECRET, pool, size, group)
    assert size <= len(found) < size + group


def test_a_grouped_split_is_this_for_ever() -> None:
    assert split(5, 1, range(18), 3, 4, 3) == GOLDEN_GROUPED
    assert sealed_items(SECRET, 20, 6, 3) == GOLDEN_SEALED_GROUPS


def pool_of(**changes: int) -> Pool:
    sizes = {"items": 60, "sealed": 10, "labelled": 7, "unlabelled": 8, "tested": 0, "group": 1}
    return Pool(**{**sizes, **changes})


@pytest.mark.parametrize(
    ("changes", "leaves"),
    [
        ({}, True),
        ({"unlabelled": 42}, True),
        ({"unlabelled": 43}, False),
        ({"tested": 1}, False),
        ({"group": 4, "unlabelled": 36}, True),
        ({"group": 4, "unlabelled": 37}, False),
        ({"items": 0, "tested": 11}, True),
        ({"items": 0, "tested": 10}, False),
        ({"items": 0, "tested": 11, "group": 2}, False),
    ],
)
def test_a_pool_leaves_items_to_test_however_its_groups_fall(changes: dict[str, int], leaves: bool) -> None:
    pool = pool_of(**changes)
    assert pool.leaves_items == leaves
    if leaves:
        deal = Deal(SECRET, pool)
        assert all(deal.tested_mask("public", seed, 0) for seed in range(20))


def test_a_deal_of_a_fixed_pool_is_its_split() -> None:
    deal, sealed = Deal(SECRET, pool_of()), sealed_items(SECRET, 60, 10)
    public = [item for item in range(60) if item not in sealed]
    assert (deal.sealed, deal.tested_mask("sealed", 5, 1)) == (sealed, mask_of(sealed))
    assert deal.tested_mask("public", 5, 1) == mask_of(split(5, 1, public, 7, 8).tested)
    assert deal.tested_mask("public", 5, 1) == deal.tested_mask("public", 5, 1)


def test_a_deal_of_fresh_items_seals_the_last_ones() -> None:
    deal = Deal(SECRET, pool_of(items=0, tested=14))
    assert deal.sealed == tuple(range(4, 14))
    assert {deal.tested_mask("public", seed, 0) for seed in range(5)} == {0b1111}
    assert deal.tested_mask("sealed", 1, 0) == deal.sealed_mask == 0b1111111111 << 4


def test_a_held_out_run_is_named_after_its_problem() -> None:
    assert run_label("confirm", "digits") == "confirm"
    assert run_label("heldout", "digits") == "heldout:digits"


def test_another_replicate_is_another_split() -> None:
    assert len({split(5, replicate, range(12), 3, 4) for replicate in range(5)}) == 5


@pytest.mark.parametrize("unlabelled", [9, 10])
@pytest.mark.parametrize("group", [1, 3])
def test_a_split_that_leaves_nothing_to_test_is_refused(unlabelled: int, group: int) -> None:
    with pytest.raises(ValueError, match="leave none to test"):
        split(5, 1, range(12), 3, unlabelled, group)


def test_a_split_leaves_at_least_one_item_to_test() -> None:
    assert isinstance(split(5, 1, range(12), 3, 8), Split)
