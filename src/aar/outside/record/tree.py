"""The tree of the record: built from leaf hashes, asked for roots, tiles and proofs (RFC 6962, section 2.1).

Written apart from ``verify/merkle.py``, which checks what this builds: a bug must be made twice to go unseen.
Here every complete subtree is stored, so that a root or a proof is a matter of looking up: 64 bytes per leaf,
until `let_go` says that the leaf hashes of a tile lie elsewhere; then 8. What was let go is loaded again when
asked for, a tile at a time, and believed only if it leads to the hashes that were kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

from aar.outside.record.errors import RecordHalted

HASH_BYTES = 32
TILE_HEIGHT = 8
# From this level on every hash is kept: eight leaves are a quick thing to hash again, a whole tile is not.
KEPT_LEVEL = 3
# Loaded tiles, with what joins their leaves, that are held at a time: 14 KiB each. A proof about one of the
# 196,608 entries in them looks up and hashes nothing.
MAX_LOADED = 768


def hash_leaf(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def _join(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


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
        # Joined hashes at the right edge of the size that a proof was last asked for.
        self._edge: dict[tuple[int, int], bytes] = {}
        self._edge_size = 0
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
            tile, place = divmod(start, 1 << (TILE_HEIGHT - level))
            part = min(count, (1 << (TILE_HEIGHT - level)) - place)
            found.append(self._lower_levels(tile)[level][place * HASH_BYTES : (place + part) * HASH_BYTES])
            start += part
            count -= part
        found.append(
            bytes(self._levels[level][(start - base) * HASH_BYTES : (start - base + count) * HASH_BYTES])
        )
        return b"".join(found)

    def _lower_levels(self, tile: int) -> list[bytes]:
        """The leaf hashes of a tile that was let go, those of its pairs, and so on to the kept level."""
        levels = self._loaded.get(tile)
        if levels is not None:
            self._loaded.move_to_end(tile)
            return levels
        levels = [self._load(tile) or b""]
        for _level in range(KEPT_LEVEL):
            below = levels[-1]
            starts = range(0, len(below), 2 * HASH_BYTES)
            joined = [sha256(b"\x01" + below[at : at + 2 * HASH_BYTES]).digest() for at in starts]
            levels.append(b"".join(joined))
        width = HASH_BYTES << (TILE_HEIGHT - KEPT_LEVEL)
        kept = self._levels[KEPT_LEVEL][tile * width : (tile + 1) * width]
        if len(levels[0]) != HASH_BYTES << TILE_HEIGHT or levels.pop() != kept:
            raise RecordHalted(
                f"tile {tile} of the public directory is not the one that was written there: "
                "restore it, and find out who changed it"
            )
        self._loaded[tile] = levels
        if len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return levels

    def root(self, size: int | None = None) -> bytes:
        """Root hash of the first `size` leaves (all when None)."""
        size = self._checked(size)
        return self._span(0, size) if size else sha256().digest()

    def prove_inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Siblings of leaf `index` from the leaf up, in the tree of the first `size` leaves."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise IndexError(f"leaf {index}: the tree has {size}")
        height, above = self._above(index, size)
        return self._siblings(index, 0, height) + above

    def prove_consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Shows that the tree of `old` leaves is a prefix of that of `new`; empty for 0 and equal sizes."""
        new = self._checked(new)
        if not 0 <= old <= new:
            raise IndexError(f"consistency from size {old} to {new}: want 0 <= old <= new")
        if old in (0, new):
            return []
        # The way up from the last complete subtree of the old tree.
        level = (old & -old).bit_length() - 1
        height, above = self._above(old - 1, new)
        # Where it starts at leaf 0 it is the old tree itself, which the checker knows already.
        known = [] if old == 1 << level else [self._span(old - (1 << level), old)]
        return known + self._siblings(old - 1, level, height) + above

    def _above(self, index: int, size: int) -> tuple[int, list[bytes]]:
        """Of the largest complete subtree with leaf `index` in it: its height, and what it is joined with."""
        if size != self._edge_size:
            self._edge, self._edge_size = {}, size
        above: list[bytes] = []
        start, end = 0, size
        while (width := end - start) & (width - 1):
            middle = start + _left_width(width)
            is_left = index < middle
            sibling = (middle, end) if is_left else (start, middle)
            joined = self._edge.get(sibling)
            if joined is None:
                joined = self._edge[sibling] = self._span(*sibling)
            above.append(joined)
            start, end = (start, middle) if is_left else (middle, end)
        return width.bit_length() - 1, above[::-1]

    def _siblings(self, index: int, low: int, high: int) -> list[bytes]:
        """What the subtrees of 2^`low` to 2^(`high` - 1) leaves around leaf `index` are joined with."""
        found: list[bytes] = []
        if low < KEPT_LEVEL:
            # Those below the kept level lie in the same tile.
            is_gone = index >> TILE_HEIGHT < self._gone
            lower: Sequence[bytes | bytearray] = self._levels
            if is_gone:
                lower = self._lower_levels(index >> TILE_HEIGHT)
            place = index & ((1 << TILE_HEIGHT) - 1) if is_gone else index - (self._gone << TILE_HEIGHT)
            for level in range(low, min(KEPT_LEVEL, high)):
                at = (place >> level ^ 1) * HASH_BYTES
                found.append(bytes(lower[level][at : at + HASH_BYTES]))
            low = KEPT_LEVEL
        for level in range(low, high):
            at = (index >> level ^ 1) * HASH_BYTES
            found.append(bytes(self._levels[level][at : at + HASH_BYTES]))
        return found

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
