"""Checking Merkle trees: hashes, roots, inclusion and consistency (RFC 6962 section 2.1).

The shape of a proof is derived from the sizes, never from the proof. Building proofs is another file, in
another layer, so that a mistake must be made twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

EMPTY_ROOT = hashlib.sha256(b"").digest()


class InvalidProof(ValueError):
    """A proof does not lead to the root it is for."""


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Iterable[bytes]) -> bytes:
    """The root over these leaf hashes, one pass, memory logarithmic in their number."""
    stack: list[tuple[int, bytes]] = []
    for one in leaf_hashes:
        height, right = 0, one
        while stack and stack[-1][0] == height:
            right = node_hash(stack.pop()[1], right)
            height += 1
        stack.append((height, right))
    if not stack:
        return EMPTY_ROOT
    _height, root = stack.pop()
    while stack:
        root = node_hash(stack.pop()[1], root)
    return root


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise `InvalidProof` unless the leaf hash is at `index` of the tree of `size` with that root."""
    if not 0 <= index < size:
        raise InvalidProof(f"index {index} is not in a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_lengths([leaf, *proof])
    if len(proof) != inner + border:
        raise InvalidProof(f"{len(proof)} hashes, a proof for {index} in {size} has {inner + border}")
    got = _chain_inner(leaf, proof[:inner], index)
    for one in proof[inner:]:
        got = node_hash(one, got)
    if got != root:
        raise InvalidProof(f"the proof for {index} in {size} leads to another root")


def check_consistency(size1: int, size2: int, proof: Sequence[bytes], root1: bytes, root2: bytes) -> None:
    """Raise `InvalidProof` unless the tree of `size2` extends the tree of `size1`; 0 < size1 <= size2."""
    if not 0 < size1 <= size2:
        raise InvalidProof(f"sizes {size1} and {size2}: want 0 < first <= second")
    _check_lengths(proof)
    if size1 == size2:
        if proof:
            raise InvalidProof("a proof between equal sizes is empty")
        if root1 != root2:
            raise InvalidProof(f"two roots for size {size1}")
        return
    shift = (size1 & -size1).bit_length() - 1
    inner = ((size1 - 1) ^ (size2 - 1)).bit_length() - shift
    border = ((size1 - 1) >> (inner + shift)).bit_count()
    is_power_of_two = size1 == 1 << shift
    start = 0 if is_power_of_two else 1
    if len(proof) != start + inner + border:
        raise InvalidProof(f"{len(proof)} hashes, from {size1} to {size2} it takes {start + inner + border}")
    seed = root1 if is_power_of_two else proof[0]
    rest = proof[start:]
    mask = (size1 - 1) >> shift
    got1 = seed
    for bit, one in enumerate(rest[:inner]):
        if mask >> bit & 1:
            got1 = node_hash(one, got1)
    got2 = _chain_inner(seed, rest[:inner], mask)
    for one in rest[inner:]:
        got1, got2 = node_hash(one, got1), node_hash(one, got2)
    if got1 != root1:
        raise InvalidProof(f"the proof does not lead to the root of size {size1}")
    if got2 != root2:
        raise InvalidProof(f"the proof does not lead to the root of size {size2}")


def _check_lengths(hashes: Sequence[bytes]) -> None:
    for one in hashes:
        if len(one) != len(EMPTY_ROOT):
            raise InvalidProof(f"hash of {len(one)} bytes, want {len(EMPTY_ROOT)}")


def _chain_inner(seed: bytes, proof: Sequence[bytes], index: int) -> bytes:
    got = seed
    for bit, one in enumerate(proof):
        got = node_hash(one, got) if index >> bit & 1 else node_hash(got, one)
    return got
