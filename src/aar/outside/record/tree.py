"""The tree of the record: built from leaf hashes, asked for roots, tiles and proofs (RFC 6962, section 2.1).

Written apart from ``verify/merkle.py``, which checks what this builds: a bug must be made twice to go unseen.
Here every complete subtree is stored, so that a root or a proof is a matter of looking up: 64 bytes per leaf,
until `let_go` says that the leaf hashes of a tile lie elsewhere; then 8. What was let go is loaded again when
asked for, eight leaves at a time, and believed only if it leads to the hash that was kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable

from aar.outside.record.errors import RecordHalted

HASH_BYTES = 32
TILE_HEIGHT = 8
# From this level on every hash is kept: eight leaves are a quick thing to hash again, a whole tile is not.
KEPT_LEVEL = 3
# Groups of eight leaves, with what joins them, that are held at a time: half a KiB each.
MAX_LOADED = 4_096


def hash_leaf(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def _join(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """A growing tree; every size up to the present one can still be asked for."""

    def __init__(
        self, leaf_hashes: Iterable[bytes] = (), *, load: Callable[[int], bytes | None] = lambda _tile: None
    ) -> None:
        """`load` gives the leaf hashes of a full tile that was let go, 256 of them in one."""
        # _levels[k] holds, one after the other, the hashes of the complete subtrees of 2^k leaves.
        self._levels: list[bytearray] = [bytearray()]
        self._load = load
        # Of so many tiles, from the first on, only the kept levels are held.
        self._gone = 0
        self._loaded: OrderedDict[int, list[bytes]] = OrderedDict()
        for one in leaf_hashes:
            self.append(one)

    def __len__(self) -> int:
        return (self._gone << TILE_HEIGHT) + len(self._levels[0]) // HASH_BYTES

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf by its hash of 32 bytes."""
        if len(leaf_hash) != HASH_BYTES:
            raise ValueError(f"leaf hash of {len(leaf_hash)} bytes: want {HASH_BYTES}")
        carried, level = leaf_hash, 0
        while True:
            stored = self._levels[level]
            stored += carried
            if len(stored) // HASH_BYTES % 2:
                return
            carried = _join(bytes(stored[-2 * HASH_BYTES : -HASH_BYTES]), carried)
            level += 1
            if level == len(self._levels):
                self._levels.append(bytearray())

    def let_go(self, tiles: int) -> None:
        """Forget the leaf hashes of the first so many full tiles, and what joins them below a kept level."""
        if not self._gone <= tiles <= len(self) >> TILE_HEIGHT:
            raise IndexError(f"{tiles} tiles of {len(self) >> TILE_HEIGHT}, {self._gone} are gone already")
        for level in range(min(KEPT_LEVEL, len(self._levels))):
            del self._levels[level][: ((tiles - self._gone) << (TILE_HEIGHT - level)) * HASH_BYTES]
        self._gone = tiles

    def subtrees(self, level: int, start: int, count: int) -> bytes:
        """`count` hashes in one: of the complete subtrees of 2^`level` leaves from the `start`-th on."""
        found = self._stored(level, start, count) if start >= 0 and level < len(self._levels) else b""
        if start < 0 or len(found) != count * HASH_BYTES:
            raise IndexError(
                f"subtrees {start} to {start + count} of level {level}: the tree has {len(self)} leaves"
            )
        return found

    def _stored(self, level: int, start: int, count: int) -> bytes:
        base = self._gone << (TILE_HEIGHT - level) if level < KEPT_LEVEL else 0
        if start >= base:
            first = (start - base) * HASH_BYTES
            return bytes(self._levels[level][first : first + count * HASH_BYTES])
        found = []
        while count and start < base:
            per_group = 1 << (KEPT_LEVEL - level)
            group, place = divmod(start, per_group)
            part = min(count, per_group - place)
            found.append(self._lower_levels(group)[level][place * HASH_BYTES : (place + part) * HASH_BYTES])
            start += part
            count -= part
        found.append(
            bytes(self._levels[level][(start - base) * HASH_BYTES : (start - base + count) * HASH_BYTES])
        )
        return b"".join(found)

    def _lower_levels(self, group: int) -> list[bytes]:
        """The hashes of eight leaves that were let go, of their pairs, and so on."""
        if group in self._loaded:
            self._loaded.move_to_end(group)
            return self._loaded[group]
        tile, place = divmod(group, 1 << (TILE_HEIGHT - KEPT_LEVEL))
        width = HASH_BYTES << KEPT_LEVEL
        levels = [(self._load(tile) or b"")[place * width : (place + 1) * width]]
        for _level in range(KEPT_LEVEL):
            below = levels[-1]
            pairs = [below[at : at + 2 * HASH_BYTES] for at in range(0, len(below), 2 * HASH_BYTES)]
            levels.append(b"".join([hashlib.sha256(b"\x01" + pair).digest() for pair in pairs]))
        kept = self._levels[KEPT_LEVEL][group * HASH_BYTES : (group + 1) * HASH_BYTES]
        if len(levels[0]) != width or levels[KEPT_LEVEL] != kept:
            raise RecordHalted(
                f"tile {tile} of the public directory is not the one that was written there: "
                "restore it, and find out who changed it"
            )
        self._loaded[group] = levels
        if len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return levels

    def root(self, size: int | None = None) -> bytes:
        """Root hash of the first `size` leaves (all when None)."""
        size = self._checked(size)
        return self._span(0, size) if size else hashlib.sha256().digest()

    def prove_inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Siblings of leaf `index` from the leaf up, in the tree of the first `size` leaves."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index}: the tree has {size}")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _left_width(end - start)
            if index < middle:
                proof.append(self._span(middle, end))
                end = middle
            else:
                proof.append(self._span(start, middle))
                start = middle
        return proof[::-1]

    def prove_consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Shows that the tree of `old` leaves is a prefix of that of `new`; empty for 0 and equal sizes."""
        new = self._checked(new)
        if not 0 <= old <= new:
            raise IndexError(f"consistency from size {old} to {new}: want 0 <= old <= new")
        proof: list[bytes] = []
        start, end = 0, new
        # Walk down the new tree towards its `old`-th leaf, until what is left ends exactly there.
        while old and end != old:
            middle = start + _left_width(end - start)
            if old <= middle:
                proof.append(self._span(middle, end))
                end = middle
            else:
                proof.append(self._span(start, middle))
                start = middle
        # When it starts at leaf 0 it is the old tree itself, which the checker knows already.
        if start:
            proof.append(self._span(start, end))
        return proof[::-1]

    def _checked(self, size: int | None) -> int:
        if size is None:
            return len(self)
        if not 0 <= size <= len(self):
            raise IndexError(f"tree of size {size}: there are {len(self)} leaves")
        return size

    def _span(self, start: int, end: int) -> bytes:
        """Root of leaves `start` to `end`; `start` is a multiple of a power of two not under their number."""
        joined = b""
        while start < end:
            # The last complete subtree of what is left; the shorter ones to its right are joined already.
            width = end - start
            level = (width & -width).bit_length() - 1
            last = end >> level
            if level < KEPT_LEVEL:
                stored = self._stored(level, last - 1, 1)
            else:
                stored = bytes(self._levels[level][(last - 1) * HASH_BYTES : last * HASH_BYTES])
            joined = _join(stored, joined) if joined else stored
            end -= 1 << level
        return joined


def _left_width(width: int) -> int:
    """The largest power of two under `width`, for `width` over 1."""
    return 1 << ((width - 1).bit_length() - 1)
