"""Merkle proofs: what the RFC's own recursion proves is accepted, and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.verify.merkle import (
    EMPTY_ROOT,
    InvalidProof,
    check_consistency,
    check_inclusion,
    leaf_hash,
    node_hash,
    root_of,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(40)]

# The eight leaves and the roots of sizes 1 to 8 that certificate transparency has used since its first tests.
CT_LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")]
CT_LEAVES.append(bytes(range(0x60, 0x70)))
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


# RFC 6962 section 2.1, word for word: slow, and written apart from what it tests.
def split_of(size: int) -> int:
    """The largest power of two below `size`."""
    power = 1
    while power * 2 < size:
        power *= 2
    return power


def tree_hash(leaves: Sequence[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256().digest()
    if len(leaves) == 1:
        return leaves[0]
    k = split_of(len(leaves))
    return hashlib.sha256(b"\x01" + tree_hash(leaves[:k]) + tree_hash(leaves[k:])).digest()


def path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split_of(len(leaves))
    if index < k:
        return [*path(index, leaves[:k]), tree_hash(leaves[k:])]
    return [*path(index - k, leaves[k:]), tree_hash(leaves[:k])]


def proof(size: int, leaves: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if size == len(leaves):
        return [] if whole else [tree_hash(leaves)]
    k = split_of(len(leaves))
    if size <= k:
        return [*proof(size, leaves[:k], whole), tree_hash(leaves[k:])]
    return [*proof(size - k, leaves[k:], False), tree_hash(leaves[:k])]


def test_leaves_and_nodes_are_hashed_apart():
    assert leaf_hash(b"a") == hashlib.sha256(b"\x00a").digest()
    assert node_hash(LEAVES[0], LEAVES[1]) == hashlib.sha256(b"\x01" + LEAVES[0] + LEAVES[1]).digest()


def test_the_empty_tree_has_the_hash_of_nothing():
    assert root_of([]) == EMPTY_ROOT
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_the_roots_of_certificate_transparency_come_out(size: int):
    assert root_of(leaf_hash(leaf) for leaf in CT_LEAVES[:size]).hex() == CT_ROOTS[size - 1]


@pytest.mark.parametrize("size", range(len(LEAVES) + 1))
def test_a_root_is_the_one_of_the_recursion(size: int):
    assert root_of(LEAVES[:size]) == tree_hash(LEAVES[:size])


@pytest.mark.parametrize("size", range(1, len(LEAVES) + 1))
def test_every_leaf_of_a_tree_is_proven(size: int):
    leaves = LEAVES[:size]
    for index in range(size):
        check_inclusion(leaves[index], index, size, path(index, leaves), tree_hash(leaves))


@pytest.mark.parametrize("size2", range(1, len(LEAVES) + 1))
def test_every_smaller_tree_is_proven(size2: int):
    leaves = LEAVES[:size2]
    for size1 in range(1, size2 + 1):
        check_consistency(size1, size2, proof(size1, leaves), tree_hash(leaves[:size1]), tree_hash(leaves))


def refused(check: Callable[..., None], *arguments: object) -> bool:
    try:
        check(*arguments)
    except InvalidProof:
        return True
    return False


def wrong_proofs(right: list[bytes], *others: bytes) -> Iterator[list[bytes]]:
    """A proof with a hash changed, missing, repeated, moved or added."""
    for other in (*others, bytes(32), EMPTY_ROOT):
        yield [*right, other]
        yield [other, *right]
    for place, one in enumerate(right):
        yield right[:place] + right[place + 1 :]
        yield [*right[:place], one, *right[place:]]
        yield [*right[:place], bytes([one[0] ^ 1]) + one[1:], *right[place + 1 :]]
        yield [*right[:place], one[:-1], *right[place + 1 :]]
        yield [*right[:place], one + b"\0", *right[place + 1 :]]
    if right:
        yield []
    if len(set(right)) > 1:
        yield right[::-1]


@pytest.mark.parametrize("size", range(1, 18))
def test_a_wrong_inclusion_proof_is_refused(size: int):
    leaves = LEAVES[:size]
    root = tree_hash(leaves)
    for index in range(size):
        right = path(index, leaves)
        for wrong in wrong_proofs(right, root, leaves[index]):
            assert refused(check_inclusion, leaves[index], index, size, wrong, root), wrong
        for other in range(-1, size + 2):
            if other != index:
                assert refused(check_inclusion, leaves[index], other, size, right, root), other
        assert refused(check_inclusion, LEAVES[-1], index, size, right, root)
        assert refused(check_inclusion, leaves[index], index, size, right, bytes(32))


@pytest.mark.parametrize("size2", range(1, 18))
def test_a_wrong_consistency_proof_is_refused(size2: int):
    leaves = LEAVES[:size2]
    root2 = tree_hash(leaves)
    for size1 in range(1, size2 + 1):
        root1 = tree_hash(leaves[:size1])
        right = proof(size1, leaves)
        for wrong in wrong_proofs(right, root1, root2):
            assert refused(check_consistency, size1, size2, wrong, root1, root2), wrong
        assert refused(check_consistency, size1, size2, right, bytes(32), root2)
        assert refused(check_consistency, size1, size2, right, root1, bytes(32))
        if size1 != size2:
            assert refused(check_consistency, size1, size2, right, root2, root1)
            assert refused(check_consistency, size2, size1, right, root2, root1)


@given(st.integers(1, len(LEAVES)), st.integers(1, len(LEAVES)), st.integers(1, len(LEAVES)), st.data())
def test_a_proof_for_one_pair_of_sizes_fits_only_trees_that_agree(
    size1: int, size2: int, other: int, data: st.DataObject
):
    """An edited leaf below the first size is always noticed."""
    size1, size2 = min(size1, size2), max(size1, size2)
    place = data.draw(st.integers(0, size1 - 1))
    edited = [*LEAVES[:place], leaf_hash(b"edited"), *LEAVES[place + 1 :]]
    root1 = tree_hash(LEAVES[:size1])
    for right in (proof(size1, LEAVES[:size2]), proof(size1, edited[:size2])):
        assert refused(check_consistency, size1, size2, right, root1, tree_hash(edited[:size2]))


@pytest.mark.parametrize(
    ("index", "size", "hashes", "why"),
    [
        (-1, 3, [], "index -1 is not in a tree of 3"),
        (3, 3, [], "index 3 is not in a tree of 3"),
        (0, 0, [], "index 0 is not in a tree of 0"),
        (0, 1, [bytes(32)], "1 hashes, a proof for 0 in 1 has 0"),
        (0, 3, [bytes(32)], "1 hashes, a proof for 0 in 3 has 2"),
        (2, 3, [bytes(32)] * 2, "2 hashes, a proof for 2 in 3 has 1"),
        (2, 3, [bytes(31)], "hash of 31 bytes, want 32"),
        (2, 3, [bytes(32)], "the proof for 2 in 3 leads to another root"),
    ],
)
def test_an_inclusion_error_says_what_is_wrong(index: int, size: int, hashes: list[bytes], why: str):
    with pytest.raises(InvalidProof, match=why):
        check_inclusion(LEAVES[2], index, size, hashes, tree_hash(LEAVES[:3]))


def test_a_leaf_is_a_hash_and_not_its_data():
    # A node's two halves must not pass for a leaf, nor a long leaf shift the boundary between two hashes.
    right = path(0, LEAVES[:2])
    with pytest.raises(InvalidProof, match="hash of 33 bytes, want 32"):
        check_inclusion(LEAVES[0] + right[0][:1], 0, 2, [right[0][1:]], tree_hash(LEAVES[:2]))


def test_hashes_cut_elsewhere_are_refused():
    leaves = LEAVES[:3]
    right = proof(1, leaves)
    shifted = [right[0] + b"\0", right[1]]
    with pytest.raises(InvalidProof, match="hash of 33 bytes, want 32"):
        check_consistency(1, 3, shifted, leaves[0], tree_hash(leaves))


SPLIT = proof(3, LEAVES[:5])


@pytest.mark.parametrize(
    ("size1", "size2", "hashes", "root1", "root2", "why"),
    [
        (0, 3, [], EMPTY_ROOT, tree_hash(LEAVES[:3]), "sizes 0 and 3: want 0 < first <= second"),
        (0, 0, [], EMPTY_ROOT, EMPTY_ROOT, "sizes 0 and 0"),
        (-1, 3, [], EMPTY_ROOT, EMPTY_ROOT, "sizes -1 and 3"),
        (4, 3, [], tree_hash(LEAVES[:4]), tree_hash(LEAVES[:3]), "sizes 4 and 3"),
        (3, 3, [bytes(32)], EMPTY_ROOT, EMPTY_ROOT, "a proof between equal sizes is empty"),
        (3, 3, [], EMPTY_ROOT, bytes(32), "two roots for size 3"),
        (3, 5, [], EMPTY_ROOT, EMPTY_ROOT, "0 hashes, from 3 to 5 it takes 4"),
        (4, 5, [bytes(32)] * 2, EMPTY_ROOT, EMPTY_ROOT, "2 hashes, from 4 to 5 it takes 1"),
        (3, 5, SPLIT, bytes(32), tree_hash(LEAVES[:5]), "does not lead to the root of size 3"),
        (3, 5, SPLIT, tree_hash(LEAVES[:3]), bytes(32), "does not lead to the root of size 5"),
    ],
)
def test_a_consistency_error_says_what_is_wrong(
    size1: int, size2: int, hashes: list[bytes], root1: bytes, root2: bytes, why: str
):
    with pytest.raises(InvalidProof, match=why):
        check_consistency(size1, size2, hashes, root1, root2)
