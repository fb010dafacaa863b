"""Hashes of tiles, held against the plain definition of the tree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.verify.merkle import EMPTY_ROOT, root_of
from aar.verify.tile_hashes import TileHashes, peaks_of, perfect_root, root_of_peaks
from forge import sha256

# Two levels above the leaves' tiles, and a third begun.
LEAVES = [sha256(number.to_bytes(4, "big")) for number in range(256 * 258 + 5)]


def added(bundles: int) -> TileHashes:
    hashes = TileHashes()
    for start in range(0, bundles * 256, 256):
        hashes.add(perfect_root(LEAVES[start : start + 256]))
    return hashes


ALL = added(258)
SIZES = st.one_of(st.integers(0, len(LEAVES)), st.integers(0, 258).map(lambda bundles: bundles * 256))


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_the_root_of_any_earlier_size_is_that_of_its_leaves(size: int) -> None:
    bundles = size // 256
    peaks = [*ALL.peaks(bundles), *peaks_of(LEAVES[bundles * 256 : size])]
    assert root_of_peaks(peaks) == root_of(LEAVES[:size])


def test_no_leaves_have_the_root_of_the_empty_tree() -> None:
    assert root_of_peaks(TileHashes().peaks(0)) == EMPTY_ROOT


def test_a_level_has_the_hashes_of_complete_subtrees_only() -> None:
    assert ALL.level(1, 0, 256) == b"".join(
        perfect_root(LEAVES[at : at + 256]) for at in range(0, 65536, 256)
    )
    assert ALL.level(2, 0, 256) == perfect_root(LEAVES[:65536])
    assert ALL.level(1, 256, 256) == b"".join(
        perfect_root(LEAVES[at : at + 256]) for at in (256 * 256, 256 * 257)
    )
    assert ALL.level(3, 0, 1) == b""


def test_a_copy_grows_on_its_own() -> None:
    copy = ALL.copy()
    copy.add(bytes(32))
    assert copy.level(1, 258, 1) == bytes(32)
    assert ALL.level(1, 258, 1) == b""


@pytest.mark.parametrize("bundles", [0, 1, 255, 256, 257])
def test_from_the_right_edge_a_tree_grows_as_from_the_start(bundles: int) -> None:
    known = added(bundles)
    tiles = []
    for level in (1, 2):
        count = bundles >> (8 * (level - 1))
        if count:
            tiles.append(known.level(level, count // 256 * 256, count % 256))
    edge = TileHashes.from_right_edge(tiles, bundles)
    assert edge.peaks(bundles) == known.peaks(bundles)
    for start in range(bundles * 256, 258 * 256, 256):
        edge.add(perfect_root(LEAVES[start : start + 256]))
    assert edge.peaks(258) == ALL.peaks(258)
