"""Compression: alignment and capability research that compound at different rates, by trust in the process.

Per period capability grows by `capability` per mille. Alignment research brings results in proportion to what
it has, `alignment` per mille; a result that holds adds its worth, one that does not and is believed costs
`harm` per cent of that. So of each further result

    worth = trust - (1 - trust) harm

and it narrows the gap if and only if that is above 0. What is *believed* counts every result as sound.
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.simulation.parameters import PERCENT

PER_MILLE = 1_000
# Assumed, all of them: nobody has measured these rates; only their order and the break-evens mean anything.
CAPABILITY = 100
RATES = (50, 100, 150)
HARM = 100
TRUSTS = (100, 90, 75, 50, 25)
PERIODS = 20
_SCALE = 10**9


@dataclass(frozen=True, slots=True)
class Course:
    """Where it leads: shares in per cent, rates in per mille per period, ratios in 1/1,000 of the start.

    `gap` is capability over alignment after `PERIODS`, `believed_gap` what it looks like; `worth` of one more
    result in per cent of a sound one's; `keeps_pace` the least trust at which the gap does not grow, above
    100 where no trust is enough.
    """

    alignment: int
    trust: int
    worth: int
    gap: int
    believed_gap: int
    keeps_pace: int

    @property
    def narrows(self) -> bool:
        """Whether one more result narrows the gap."""
        return self.worth > 0


def course(alignment: int, trust: int, *, harm: int = HARM, capability: int = CAPABILITY) -> Course:
    """Follow one pair of rates at one level of trust.

    >>> course(100, 100).gap, course(150, 50).narrows
    (1000, False)
    """
    worth = trust - (PERCENT - trust) * harm // PERCENT
    ability = true = believed = _SCALE
    for _period in range(PERIODS):
        ability += ability * capability // PER_MILLE
        # What was never known cannot be lost.
        true = max(true + true * alignment * worth // (PER_MILLE * PERCENT), 1)
        believed += believed * alignment // PER_MILLE
    keeps_pace = -(-PERCENT * (PERCENT * capability + harm * alignment) // (alignment * (PERCENT + harm)))
    return Course(
        alignment,
        trust,
        worth,
        PER_MILLE * ability // true,
        PER_MILLE * ability // believed,
        keeps_pace,
    )


def courses() -> list[Course]:
    """Every rate of alignment research at every level of trust."""
    return [course(rate, trust) for rate in RATES for trust in TRUSTS]
