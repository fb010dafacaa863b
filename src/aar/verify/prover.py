"""Proofs out of a log that was just verified: evidence to hand on, checked before anybody sees it.

The record's own proofs are built elsewhere (`outside.record.tree`). These come from the public files alone,
so that whoever found something wrong can show it without the operator.
"""

from __future__ import annotations

from collections.abc import Callable

from aar.formats.proof import TlogProof
from aar.formats.tile import TILE_WIDTH
from aar.verify.merkle import InvalidProof, check_consistency, check_inclusion
from aar.verify.tile_hashes import TILE_HEIGHT, Peak, TileHashes, perfect_root, root_of_peaks


class NoProof(Exception):
    """The files do not give a proof (any more)."""


class Prover:
    """Proofs for the tree of `size` leaves. `leaf_hashes` reads those of one bundle, of its first so many."""

    def __init__(
        self, size: int, root: bytes, tiles: TileHashes, leaf_hashes: Callable[[int, int], list[bytes]]
    ) -> None:
        self._size = size
        self._root = root
        self._tiles = tiles
        self._leaf_hashes = leaf_hashes

    def inclusion(self, index: int, leaf_hash: bytes, note: bytes, leaf: bytes) -> TlogProof:
        """The proof that the leaf is at `index` of the tree that `note` signs, with the leaf in it."""
        hashes = self._path(index, 0, self._size)
        try:
            check_inclusion(leaf_hash, index, self._size, hashes, self._root)
        except InvalidProof as error:
            raise NoProof(str(error)) from error
        return TlogProof(index, tuple(hashes), note, leaf)

    def consistency(self, old: int, old_root: bytes) -> list[bytes]:
        """The proof that the first `old` leaves, which have `old_root`, are a prefix of this tree."""
        if not 0 < old <= self._size:
            raise NoProof(f"size {old} of {self._size}")
        hashes = self._subproof(old, 0, self._size, is_known=True)
        try:
            check_consistency(old, self._size, hashes, old_root, self._root)
        except InvalidProof as error:
            raise NoProof(str(error)) from error
        return hashes

    # RFC 6962, sections 2.1.1 and 2.1.2, over leaves `start` to `end`.

    def _path(self, index: int, start: int, end: int) -> list[bytes]:
        if end - start == 1:
            return []
        middle = start + _split(end - start)
        if index < middle:
            return [*self._path(index, start, middle), self._root_of(middle, end)]
        return [*self._path(index, middle, end), self._root_of(start, middle)]

    def _subproof(self, old: int, start: int, end: int, *, is_known: bool) -> list[bytes]:
        if old == end:
            return [] if is_known else [self._root_of(start, end)]
        middle = start + _split(end - start)
        if old <= middle:
            return [*self._subproof(old, start, middle, is_known=is_known), self._root_of(middle, end)]
        return [*self._subproof(old, middle, end, is_known=False), self._root_of(start, middle)]

    def _root_of(self, start: int, end: int) -> bytes:
        """Over leaves `start` to `end`; `start` is a multiple of a power of two not below their number."""
        peaks: list[Peak] = []
        while start < end:
            height = (end - start).bit_length() - 1
            peaks.append((height, self._subtree(height, start)))
            start += 1 << height
        return root_of_peaks(peaks)

    def _subtree(self, height: int, start: int) -> bytes:
        level = height // TILE_HEIGHT
        count = 1 << (height % TILE_HEIGHT)
        if level:
            data = self._tiles.level(level, start >> (TILE_HEIGHT * level), count)
            hashes = [data[at : at + 32] for at in range(0, len(data), 32)]
        else:
            first = start % TILE_WIDTH
            hashes = self._leaf_hashes(start // TILE_WIDTH, first + count)[first:]
        if len(hashes) != count:
            raise NoProof(f"the hashes of entries {start} to {start + (1 << height)} are not at hand")
        return perfect_root(hashes)


def _split(count: int) -> int:
    """The largest power of two below `count`, for `count` over 1."""
    return 1 << ((count - 1).bit_length() - 1)
