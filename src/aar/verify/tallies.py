"""Tallies: per seed and unit of items, how often each classifier of a payload was right.

A unit is what one draw of items takes: an item, or a group of them about the same thing, which are right or
wrong together and so count as one. Whole numbers, many side by side in a large one: quick without numerical
libraries.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

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
    units = -(-width // group)
    # One addition of large integers adds the numbers of all items at once. None overflows: a payload of so
    # many splits would have no place in memory.
    total = sum(int.from_bytes(_numbers(mask, units * group), "little") for mask in masks)
    if group > 1:
        numbers = memoryview(total.to_bytes(4 * units * group, "little")).cast("I")
        total = sum(int.from_bytes(numbers[start::group].tobytes(), "little") for start in range(group))
    return struct.unpack(f"<{units}I", total.to_bytes(4 * units, "little"))


def _numbers(mask: int, width: int) -> bytearray:
    """A number of four bytes per bit, 0 or 1, the lowest bit first."""
    numbers = bytearray(4 * width)
    numbers[::4] = bin(mask)[:1:-1].encode("ascii").translate(_DIGITS).ljust(width, b"\0")
    return numbers
