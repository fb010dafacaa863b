"""Splits: which items are sealed, which seeds a run gets, who is taught by what; all can be derived again.

All are functions of the study's committed secret, the submission's digest and item ids. Hashes sort the
items: there is no generator whose algorithm a later version could change.

A problem is fixed or fresh. A fixed one has a pool, part of which is sealed for good; items of one group
stand on the same side of every wall. A fresh one draws its items anew for every split: of `tested` items,
numbered within their split, the last `sealed` are the sealed half.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

SEED_BYTES = 6


@dataclass(frozen=True, slots=True)
class Split:
    """Item ids that teach the weak teacher, train the student, and test it in public."""

    labelled: tuple[int, ...]
    unlabelled: tuple[int, ...]
    tested: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A problem's items and what each split does with them, as `study-opened` states them."""

    items: int
    sealed: int
    labelled: int
    unlabelled: int
    tested: int
    group: int

    @property
    def is_fresh(self) -> bool:
        """Whether every split draws items that nobody saw before."""
        return self.items == 0

    @property
    def width(self) -> int:
        """How many items a mask is over: the pool's, or one fresh split's."""
        return self.items or self.tested

    @property
    def leaves_items(self) -> bool:
        """Whether each split has public items to test, however its groups fall."""
        if self.is_fresh:
            return self.tested > self.sealed and self.group == 1
        taken = self.sealed + self.labelled + self.unlabelled + 2 * (self.group - 1)
        return self.items > taken and self.tested == 0


class Deal:
    """Which items the runs of one problem test, as a study's secret deals them."""

    def __init__(self, secret: bytes, pool: Pool) -> None:
        self._pool = pool
        if pool.is_fresh:
            self.sealed = tuple(range(pool.tested - pool.sealed, pool.tested))
        else:
            self.sealed = sealed_items(secret, pool.items, pool.sealed, pool.group)
        self._public = sorted(set(range(pool.width)).difference(self.sealed))
        self._masks: dict[tuple[int, int], int] = {}

    @property
    def sealed_mask(self) -> int:
        """The sealed items, bit i is item i."""
        return mask_of(self.sealed)

    def tested_mask(self, half: str, seed: int, replicate: int) -> int:
        """The items of one half that a split tests."""
        if half == "sealed":
            return self.sealed_mask
        if self._pool.is_fresh:
            return mask_of(self._public)
        mask = self._masks.get((seed, replicate))
        if mask is None:
            pool = self._pool
            middle = pool.labelled + pool.unlabelled
            tested = _dealt(_label(seed, replicate), self._public, middle, pool.group)[1]
            mask = self._masks[seed, replicate] = mask_of(tested)
        return mask


def mask_of(items: Iterable[int]) -> int:
    """The integer whose bit i is set for each item i."""
    items = list(items)
    digits = bytearray(b"0" * (max(items, default=0) + 1))
    for item in items:
        digits[item] = ord("1")
    digits.reverse()
    return int(digits, 2)


def sealed_items(secret: bytes, pool: int, size: int, group: int = 1) -> tuple[int, ...]:
    """The sealed items of a pool of `pool` items, ascending: whole groups, until they are `size` or more."""

    def place(number: int) -> bytes:
        return hmac.new(secret, b"aar-sealed/v1\n%d\n" % number, hashlib.sha256).digest()

    taken: list[int] = []
    for number in sorted(range(-(-pool // group)), key=place):
        if len(taken) >= size:
            break
        taken += range(number * group, min((number + 1) * group, pool))
    return tuple(sorted(taken))


def run_label(tier: str, problem: str) -> str:
    """The words that a run's seeds and nonces are derived from: a held-out run's name its problem."""
    return f"{tier}:{problem}" if tier == "heldout" else tier


def seeds_for(secret: bytes, label: str, digest: str, count: int) -> tuple[int, ...]:
    """The 48-bit seeds of an official run; without the secret nobody can pick or foresee them."""
    return tuple(
        int.from_bytes(
            hmac.new(secret, f"aar-seed/v1\n{label}\n{digest}\n{number}\n".encode(), hashlib.sha256).digest()[
                :SEED_BYTES
            ],
            "big",
        )
        for number in range(count)
    )


def shuffled(label: bytes, items: Sequence[int]) -> list[int]:
    """The items in an order that `label` alone decides: by successive 64-bit numbers of SHAKE-256(label)."""
    stream = hashlib.shake_256(label).digest(8 * len(items))
    places = struct.unpack(f">{len(items)}Q", stream)
    return [items[number] for number in sorted(range(len(items)), key=places.__getitem__)]


def split(
    seed: int, replicate: int, public: Sequence[int], labelled: int, unlabelled: int, group: int = 1
) -> Split:
    """Deal the public items, given ascending, for one replicate of one seed.

    With groups, the groups are dealt first: as many as it takes teach and train, and what is left over of
    those is used for nothing; the items of all the others are tested.
    """
    label, middle = _label(seed, replicate), labelled + unlabelled
    order, tested = _dealt(label, public, middle, group)
    if not tested:
        raise ValueError(f"{len(public)} public items, {labelled} + {unlabelled} leave none to test")
    if group > 1:
        order = shuffled(label + b"items\n", sorted(order))
    return Split(tuple(order[:labelled]), tuple(order[labelled:middle]), tuple(tested))


def _label(seed: int, replicate: int) -> bytes:
    return b"aar-split/v1\n%d\n%d\n" % (seed, replicate)


def _dealt(label: bytes, public: Sequence[int], middle: int, group: int) -> tuple[list[int], list[int]]:
    """The items that teach and train, `middle` or more, and those that are tested."""
    if group == 1:
        order = shuffled(label, public)
        return order[:middle], order[middle:]
    members = _members(tuple(public), group)
    taken: list[int] = []
    numbers = iter(shuffled(label, list(members)))
    while len(taken) < middle and (number := next(numbers, None)) is not None:
        taken += members[number]
    return taken, [item for number in numbers for item in members[number]]


@lru_cache(maxsize=4)
def _members(public: tuple[int, ...], group: int) -> Mapping[int, Sequence[int]]:
    """The public items of each group: they are the same for all splits of a study."""
    members: dict[int, list[int]] = {}
    for item in public:
        members.setdefault(item // group, []).append(item)
    return members
