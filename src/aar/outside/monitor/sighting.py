"""A sighting: a code, who it is about, what was seen in words, and the entries that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# An alarm's evidence has room for 64.
MOST_EVIDENCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the monitor saw. `evidence` are indexes of entries, in order, each once."""

    code: str
    who: str
    what: str
    evidence: tuple[int, ...]


def shown(indices: Sequence[int]) -> tuple[int, ...]:
    """As many of these entries as an alarm has room for: of too many the first and the latest."""
    told = sorted(set(indices))
    if len(told) > MOST_EVIDENCE:
        half = MOST_EVIDENCE // 2
        told = [*told[:half], *told[-half:]]
    return tuple(told)
