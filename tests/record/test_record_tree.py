"""The tree: roots and proofs against the plain RFC definition and the verifier's checks."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.outside.record.errors import RecordHalted
from aar.outside.record.frontier import Frontier
from aar.outside.record.tree import Tree, hash_leaf
from aar.verify import merkle

LEAVES = [f"leaf {number}".encode() for number in range(300)]
HASHES = [hash_leaf(leaf) for leaf in LEAVES]


def naive_root(hashes: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word by word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(hashes[:split]) + naive_root(hashes[split:])).digest()


ROOTS = [naive_root(HASHES[:size]) for size in range(len(HASHES) + 1)]
FULL = Tree(HASHES)


def test_every_root_is_the_one_of_the_rfc():
    growing, frontier = Tree(), Frontier()
    for size, leaf in enumerate(LEAVES):
        assert growing.root() == frontier.root() == FULL.root(size) == ROOTS[size]
        growing.append(hash_leaf(leaf))
        assert frontier.append(leaf) == hash_leaf(leaf)
    assert len(growing) == frontier.size == len(LEAVES)
    assert growing.root() == frontier.root() == ROOTS[-1]


def test_every_inclusion_proof_in_a_small_tree_is_accepted():
    for size in range(1, 70):
        for index in range(size):
            proof = FULL.prove_inclusion(index, size)
            merkle.check_inclusion(HASHES[index], index, size, proof, ROOTS[size])


def test_every_consistency_proof_between_small_trees_is_accepted():
    for new in range(1, 70):
        for old in range(1, new + 1):
            merkle.check_consistency(old, new, FULL.prove_consistency(old, new), ROOTS[old], ROOTS[new])


@given(st.integers(1, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_proofs_in_larger_trees_are_accepted_and_bind_what_they_prove(size: int, data: st.DataObject):
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    proof = FULL.prove_inclusion(index, size)
    merkle.check_inclusion(HASHES[index], index, size, proof, ROOTS[size])
    with pytest.raises(merkle.InvalidProof):
        merkle.check_inclusion(hash_leaf(b"another"), index, size, proof, ROOTS[size])
    proof = FULL.prove_consistency(old, size)
    merkle.check_consistency(old, size, proof, ROOTS[old], ROOTS[size])
    with pytest.raises(merkle.InvalidProof):
        merkle.check_consistency(old, size, proof, ROOTS[old - 1], ROOTS[size])


def test_subtrees_are_the_hashes_of_a_tile():
    assert FULL.subtrees(0, 5, 2) == HASHES[5] + HASHES[6]
    assert FULL.subtrees(8, 0, 1) == ROOTS[256]


@pytest.mark.parametrize(("level", "start", "count"), [(0, 299, 2), (0, -1, 1), (8, 1, 1), (9, 0, 1)])
def test_subtrees_that_are_not_complete_are_refused(level: int, start: int, count: int):
    with pytest.raises(IndexError):
        FULL.subtrees(level, start, count)


def test_what_is_not_in_the_tree_cannot_be_asked_for():
    for ask in (
        lambda: FULL.root(301),
        lambda: FULL.root(-1),
        lambda: FULL.prove_inclusion(5, 5),
        lambda: FULL.prove_inclusion(-1),
        lambda: FULL.prove_consistency(6, 5),
        lambda: FULL.prove_consistency(-1),
    ):
        with pytest.raises(IndexError):
            ask()


def test_a_leaf_hash_of_another_length_is_refused():
    with pytest.raises(ValueError, match="31 bytes"):
        Tree([b"x" * 31])


# What was let go.

TILE = 256
MANY = [hash_leaf(b"%d" % number) for number in range(5 * TILE + 9)]


def tiles_on_disk(tile: int) -> bytes:
    return b"".join(MANY[tile * TILE : (tile + 1) * TILE])


@pytest.mark.parametrize("gone", [0, 1, 3, 5])
def test_a_tree_that_let_tiles_go_answers_as_before(gone: int) -> None:
    whole, lean = Tree(MANY), Tree(MANY, load=tiles_on_disk)
    lean.let_go(gone)
    assert len(lean) == len(whole)
    for size in (1, 255, 256, 257, 700, 1280, len(MANY)):
        assert lean.root(size) == whole.root(size)
        assert lean.prove_consistency(size) == whole.prove_consistency(size)
    for index in (0, 255, 256, 511, 700, 1279, len(MANY) - 1):
        assert lean.prove_inclusion(index) == whole.prove_inclusion(index)
    assert lean.subtrees(0, 250, 520) == whole.subtrees(0, 250, 520)
    assert lean.subtrees(7, 1, 6) == whole.subtrees(7, 1, 6)


def test_a_tree_grows_on_after_it_let_tiles_go_step_by_step() -> None:
    lean = Tree(load=tiles_on_disk)
    for number, one in enumerate(MANY):
        lean.append(one)
        if number % 100 == 99:
            lean.let_go(len(lean) // TILE)
    assert lean.root() == Tree(MANY).root()
    assert sum(len(level) for level in lean._levels[:3]) < 4 * TILE * 32


@pytest.mark.parametrize("data", [None, b"", bytes(TILE * 32), bytes(32)])
def test_a_tile_that_comes_back_different_halts_the_record(data: bytes | None) -> None:
    lean = Tree(MANY, load=lambda _tile: data)
    lean.let_go(2)
    with pytest.raises(RecordHalted, match="tile 1 of the public directory"):
        lean.prove_inclusion(300)
    assert lean.prove_inclusion(2 * TILE) == Tree(MANY).prove_inclusion(2 * TILE)


@pytest.mark.parametrize("tiles", [-1, 1, 6])
def test_only_full_tiles_are_let_go_and_once(tiles: int) -> None:
    lean = Tree(MANY, load=tiles_on_disk)
    lean.let_go(2)
    with pytest.raises(IndexError):
        lean.let_go(tiles)


@pytest.mark.parametrize("place", [0, 77, TILE - 1])
def test_one_wrong_hash_in_a_tile_halts_the_record_whatever_is_asked_of_that_tile(place: int) -> None:
    def load(tile: int) -> bytes:
        hashes = MANY[tile * TILE : (tile + 1) * TILE]
        return b"".join([*hashes[:place], bytes(32), *hashes[place + 1 :]])

    lean = Tree(MANY, load=load)
    lean.let_go(2)
    for ask in (lambda: lean.prove_inclusion(100), lambda: lean.prove_consistency(101)):
        with pytest.raises(RecordHalted, match="tile 0 of the public directory"):
            ask()


def test_proofs_about_a_loaded_tile_read_no_file() -> None:
    asked: list[int] = []

    def load(tile: int) -> bytes:
        asked.append(tile)
        return tiles_on_disk(tile)

    lean, whole = Tree(MANY, load=load), Tree(MANY)
    lean.let_go(5)
    for size in (len(MANY), len(MANY) - 3):
        for index in range(1, 5 * TILE):
            assert lean.prove_inclusion(index, size) == whole.prove_inclusion(index, size)
            assert lean.prove_consistency(index, size) == whole.prove_consistency(index, size)
    assert sorted(asked) == [0, 1, 2, 3, 4]


def test_few_tiles_are_held_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def load(tile: int) -> bytes:
        asked.append(tile)
        return tiles_on_disk(tile)

    monkeypatch.setattr("aar.outside.record.tree.MAX_LOADED", 2)
    lean = Tree(MANY, load=load)
    lean.let_go(5)
    for tile in (0, 1, 0, 2, 0, 1):
        lean.subtrees(0, tile * TILE, 1)
    assert asked == [0, 1, 2, 1]
