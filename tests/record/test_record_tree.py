"""The tree: roots and proofs against the plain RFC definition and the verifier's checks."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
