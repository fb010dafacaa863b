"""Tallies against plain counting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aar.verify.payload import Payload, SplitCounts
from aar.verify.tallies import tallies

WIDTH = 23
MASKS = st.lists(st.integers(0, (1 << WIDTH) - 1), min_size=1, max_size=6)


def payload(masks: list[int], *, is_fresh: bool) -> Payload:
    """A split for each mask: two seeds in turn."""
    splits = [
        SplitCounts(number % 2, number // 2, (1 << WIDTH) - 1, mask, 0, 0)
        for number, mask in enumerate(masks)
    ]
    return Payload("public", WIDTH, tuple(splits), is_fresh)


@given(MASKS, st.integers(1, WIDTH + 1), st.booleans())
def test_a_tally_is_how_many_marks_a_unit_has_in_a_cell(masks: list[int], group: int, is_fresh: bool) -> None:
    wanted: dict[tuple[int, int], list[int]] = {}
    for number, mask in enumerate(masks):
        cell = (number % 2, number // 2 if is_fresh else 0)
        counts = wanted.setdefault(cell, [0] * -(-WIDTH // group))
        for item in range(WIDTH):
            counts[item // group] += mask >> item & 1
    found = tallies(payload(masks, is_fresh=is_fresh), ("student",), group=group)
    assert {cell: list(counts["student"]) for cell, counts in found.items()} == wanted


def test_more_marks_than_a_byte_holds_are_counted() -> None:
    splits = tuple(SplitCounts(0, number, 7, 5, 0, 0) for number in range(300))
    found = tallies(Payload("public", 3, splits), ("student", "tested"), group=3)
    assert found[0, 0] == {"student": (600,), "tested": (900,)}
