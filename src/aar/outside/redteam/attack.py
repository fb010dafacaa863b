"""What an attack is, and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from aar.outside.redteam.forgery import Forgery

CANNOT_BE_SEEN = "cannot be seen"
# An attack alters the copy and returns the first index that the verifier must name, -1 for none.
Apply = Callable[[Forgery, Random], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One way to falsify a record."""

    name: str
    what: str
    keys: tuple[str, ...]
    """Whose keys the attacker holds: log, witness, or roles of authors."""
    needs: tuple[str, ...]
    """Keys with which the laboratory makes it: also those of the honest past that it must make again."""
    holds: str
    """What the reader holds besides the copy."""
    code: str
    """The code that the verifier must report first, or `CANNOT_BE_SEEN`."""
    index: str
    """How the first index follows; for what cannot be seen, why not."""
    apply: Apply

    @property
    def is_visible(self) -> bool:
        return self.code != CANNOT_BE_SEEN


ATTACKS: dict[str, Attack] = {}


def attack(
    name: str,
    code: str,
    what: str,
    *,
    index: str,
    keys: str = "",
    needs: str = "",
    holds: str = "nothing",
) -> Callable[[Apply], Apply]:
    """Enter a function into the table of attacks."""

    def entered(function: Apply) -> Apply:
        if name in ATTACKS:
            raise ValueError(f"two attacks are named {name}")
        held = tuple(keys.split())
        ATTACKS[name] = Attack(
            name=name,
            what=what,
            keys=held,
            needs=tuple(dict.fromkeys((*held, *needs.split()))),
            holds=holds,
            code=code,
            index=index,
            apply=function,
        )
        return function

    return entered
