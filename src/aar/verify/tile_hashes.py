"""Subtree hashes of a log as it is read: one for each full tile, so that memory stays flat while a log grows.

Level l holds the hashes of the complete subtrees of 256^l leaves (C2SP tlog-tiles); level 0, the leaves, is
seen once and let go. What is kept is an eighth of a byte per entry, and enough for the root of any earlier
size once the peaks of its last bundle were noted in passing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from aar.formats.tile import HASH_BYTES, MAX_LEVEL, TILE_WIDTH
from aar.verify.merkle import EMPTY_ROOT, node_hash

# A complete subtree: 2^height leaves, and its hash.
Peak = tuple[int, bytes]

TILE_HEIGHT = 8


def hash_leaves(entries: Iterable[bytes]) -> list[bytes]:
    """The leaf hash of each entry: `merkle.leaf_hash`, without a call for each of a million entries."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """The root over 2^k hashes."""
    while len(hashes) > 1:
        hashes = [sha256(b"\x01" + a + b).digest() for a, b in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]


def peaks_of(hashes: Sequence[bytes], height: int = 0) -> list[Peak]:
    """The complete subtrees, largest first, over subtrees of 2^height leaves each."""
    peaks = []
    start = 0
    for bit in reversed(range(len(hashes).bit_length())):
        if len(hashes) >> bit & 1:
            peaks.append((height + bit, perfect_root(hashes[start : start + (1 << bit)])))
            start += 1 << bit
    return peaks


def root_of_peaks(peaks: Sequence[Peak]) -> bytes:
    """The root over complete subtrees from left to right, each smaller than the one before it."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1][1]
    for _height, left in reversed(peaks[:-1]):
        root = node_hash(left, root)
    return root


class TileHashes:
    """The hashes of levels 1 and up, from bundles added in order."""

    def __init__(self) -> None:
        # _levels[k] is level k + 1, from the subtree that _bases[k] numbers on.
        self._levels: list[list[bytes]] = []
        self._bases: list[int] = []

    def copy(self) -> TileHashes:
        """Another one that grows on its own."""
        other = TileHashes()
        other._levels = [list(one) for one in self._levels]
        other._bases = list(self._bases)
        return other

    def add(self, root: bytes) -> None:
        """The next full bundle's root: one more hash of level 1, and of each level that it completes."""
        for level in range(MAX_LEVEL):
            if level == len(self._levels):
                self._levels.append([])
                self._bases.append(0)
            hashes = self._levels[level]
            hashes.append(root)
            if (self._bases[level] + len(hashes)) % TILE_WIDTH:
                return
            root = perfect_root(hashes[-TILE_WIDTH:])

    def level(self, level: int, start: int, count: int) -> bytes:
        """`count` hashes of `level` (1 and up) from the `start`-th on, in one; fewer if so."""
        if level > len(self._levels):
            return b""
        first = start - self._bases[level - 1]
        return b"".join(self._levels[level - 1][first : first + count])

    def peaks(self, bundles: int) -> list[Peak]:
        """The complete subtrees over the first `bundles` full bundles."""
        peaks: list[Peak] = []
        for level in reversed(range(len(self._levels))):
            count = bundles >> (TILE_HEIGHT * level)
            start = count // TILE_WIDTH * TILE_WIDTH
            base = self._bases[level]
            peaks += peaks_of(self._levels[level][start - base : count - base], TILE_HEIGHT * (level + 1))
        return peaks

    @classmethod
    def from_right_edge(cls, tiles: Sequence[bytes], bundles: int) -> TileHashes:
        """Hashes that begin with the right edge of a tree of that many full bundles.

        `tiles[k]` is the tile of level k + 1 in which the next hash of that level belongs, up to there.
        """
        edge = cls()
        for level, data in enumerate(tiles):
            edge._levels.append([data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)])
            edge._bases.append((bundles >> (TILE_HEIGHT * level)) // TILE_WIDTH * TILE_WIDTH)
        return edge
