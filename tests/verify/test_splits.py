"""Splits: fixed for all time by these vectors, and dealt as the words of the specification say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.verify.splits import Split, sealed_items, seeds_for, shuffled, split
from forge import naive_sealed, naive_seeds, naive_tested

SECRET = bytes(range(32))
DIGEST = "ab" * 32

# Whoever changes one of these changes what every published record means.
GOLDEN_SEALED = (3, 13, 16, 17, 18, 19)
GOLDEN_EXPLORE = (162709457575791, 130318522461051, 21030873005422)
GOLDEN_REPRODUCE = (134728442577174, 88691717787357)
GOLDEN_ORDER = [2, 6, 5, 0, 7, 4, 8, 9, 1, 3]
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


def test_another_replicate_is_another_split() -> None:
    assert len({split(5, replicate, range(12), 3, 4) for replicate in range(5)}) == 5


@pytest.mark.parametrize("unlabelled", [9, 10])
def test_a_split_that_leaves_nothing_to_test_is_refused(unlabelled: int) -> None:
    with pytest.raises(ValueError, match="leave none to test"):
        split(5, 1, range(12), 3, unlabelled)


def test_a_split_leaves_at_least_one_item_to_test() -> None:
    assert isinstance(split(5, 1, range(12), 3, 8), Split)
