"""Splits: which items are sealed, which seeds a run gets, who is taught by what; all can be derived again.

All are functions of the study's committed secret, the submission's digest and item ids. Hashes sort the
items: there is no generator whose algorithm a later version could change.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass

SEED_BYTES = 6


@dataclass(frozen=True, slots=True)
class Split:
    """Item ids that teach the weak teacher, train the student, and test it in public."""

    labelled: tuple[int, ...]
    unlabelled: tuple[int, ...]
    tested: tuple[int, ...]


def sealed_items(secret: bytes, pool: int, size: int) -> tuple[int, ...]:
    """The sealed items of a pool of `pool` items, ascending."""

    def place(item: int) -> bytes:
        return hmac.new(secret, b"aar-sealed/v1\n%d\n" % item, hashlib.sha256).digest()

    return tuple(sorted(sorted(range(pool), key=place)[:size]))


def seeds_for(secret: bytes, tier: str, digest: str, count: int) -> tuple[int, ...]:
    """The 48-bit seeds of an official run; without the secret nobody can pick or foresee them."""
    return tuple(
        int.from_bytes(
            hmac.new(secret, f"aar-seed/v1\n{tier}\n{digest}\n{number}\n".encode(), hashlib.sha256).digest()[
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


def split(seed: int, replicate: int, public: Sequence[int], labelled: int, unlabelled: int) -> Split:
    """Deal the public items, given ascending, for one replicate of one seed."""
    if labelled + unlabelled >= len(public):
        raise ValueError(f"{len(public)} public items, {labelled} + {unlabelled} leave none to test")
    order = shuffled(b"aar-split/v1\n%d\n%d\n" % (seed, replicate), public)
    middle = labelled + unlabelled
    return Split(tuple(order[:labelled]), tuple(order[labelled:middle]), tuple(order[middle:]))
