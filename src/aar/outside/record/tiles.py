"""What a growing tree adds to its public directory: tiles and entry bundles (C2SP tlog-tiles)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aar.formats.tile import TILE_WIDTH, entries_path, format_bundle, tile_path
from aar.outside.record.tree import Tree

# A tile spans this many levels of the binary tree: 256 hashes.
TILE_HEIGHT = 8


def new_tiles(
    tree: Tree, leaves: Callable[[int, int], Sequence[bytes]], old: int, new: int
) -> Iterator[tuple[str, bytes]]:
    """(path, bytes) of what a checkpoint of size `new` needs beyond one of size `old`.

    That is each tile that became full, and the partial at the right edge of every level, changed or not.
    `leaves(start, end)` reads leaves.
    """
    for level, first, count in _levels(old, new):
        for index in range(first, -(-count // TILE_WIDTH)):
            start = index * TILE_WIDTH
            width = min(TILE_WIDTH, count - start)
            if level == 0:
                yield (
                    entries_path(index, width),
                    format_bundle(leaves(start, start + width)),
                )
            yield tile_path(level, index, width), tree.subtrees(level * TILE_HEIGHT, start, width)


def filled_tiles(old: int, new: int) -> Iterator[str]:
    """Paths of the tiles that are full at size `new` and were not at size `old`."""
    for level, first, count in _levels(old, new):
        for index in range(first, count // TILE_WIDTH):
            if level == 0:
                yield entries_path(index)
            yield tile_path(level, index)


def _levels(old: int, new: int) -> Iterator[tuple[int, int, int]]:
    """Per level with hashes at size `new`: level, first tile that was not full at `old`, hashes at `new`."""
    level = 0
    while new:
        yield level, old // TILE_WIDTH, new
        old, new = old // TILE_WIDTH, new // TILE_WIDTH
        level += 1
