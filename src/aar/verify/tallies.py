"""Tallies: per seed and unit of items, how often each classifier of a payload was right.

A unit is what one draw of items takes: an item, or a group of them about the same thing, which are right or
wrong together and so count as one. Whole numbers, by byte strings: quick without numerical libraries.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import add

from aar.verify.payload import Payload, SplitCounts

Cell = tuple[int, int]
"""A seed and a replicate."""

_DIGITS = bytes.maketrans(b"01", b"\0\1")


def tallies(
    payload: Payload, names: Sequence[str], *, group: int = 1
) -> dict[Cell, dict[str, Sequence[int]]]:
    """Per cell, counts [units] of the masks of these names; `group` neighbouring items are one unit.

    A cell is a seed with all its replicates (0 stands for them); where each split drew items of its own, a
    cell is a split.
    """
    cells: dict[Cell, list[SplitCounts]] = {}
    for one in payload.splits:
        cells.setdefault((one.seed, one.replicate if payload.is_fresh else 0), []).append(one)
    return {
        cell: {name: _counted([getattr(one, name) for one in splits], payload.pool, group) for name in names}
        for cell, splits in cells.items()
    }


def _counted(masks: Sequence[int], width: int, group: int) -> Sequence[int]:
    """How often bit i is set in the masks, summed by groups of neighbouring bits."""
    first, *others = (_marks(mask, width) for mask in masks)
    counts: Sequence[int] = first
    for other in others:
        counts = list(map(add, counts, other))
    if group == 1:
        return counts
    return [sum(counts[start : start + group]) for start in range(0, width, group)]


def _marks(mask: int, width: int) -> bytes:
    """A byte per bit, 0 or 1, the lowest bit first."""
    return bin(mask)[:1:-1].encode("ascii").translate(_DIGITS).ljust(width, b"\0")
