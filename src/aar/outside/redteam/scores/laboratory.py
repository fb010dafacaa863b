"""The laboratory: every attacker against every rule on every kind of problem, over several worlds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from aar.outside.redteam.scores.attackers import ATTACKERS, Attacker
from aar.outside.redteam.scores.rules import RULES
from aar.outside.redteam.scores.worlds import KINDS, Kind, World

# What the evaluator does: fixed data sets by the ladder, fresh items exactly. The published protocol, which
# takes predictions, is here for comparison: no study of ours is run by it.
DEFAULT_RULE = {"fixed": "ladder .05", "fresh": "exact"}
LIMIT = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """Means over worlds, in PGR above the honest base in the same world.

    `shown` is the best value that the rule told, `public` the exact value of the final submission on the
    public items, `held_out` its exact value on items of which nothing was ever told.
    """

    attack: str
    kind: str
    access: str
    rule: str
    queries: int
    shown: float
    public: float
    held_out: float

    @property
    def is_default(self) -> bool:
        return DEFAULT_RULE.get(self.access) == self.rule

    @property
    def holds(self) -> bool:
        """Whether the final submission of an attacker under the default rule is held to the limit."""
        return not self.is_default or self.held_out <= LIMIT


def run_trials(queries: Sequence[int], worlds: int, seed: int) -> Iterator[Trial]:
    """All trials; the same worlds for every attacker and rule."""
    for count in queries:
        for kind in KINDS:
            for attacker in ATTACKERS:
                for rule in RULES:
                    yield _trial(attacker, kind, rule, count, worlds, seed)


def _trial(attacker: Attacker, kind: Kind, rule: str, queries: int, worlds: int, seed: int) -> Trial:
    found = []
    for number in range(worlds):
        release = RULES[rule](np.random.default_rng([seed, number, 1]))
        world = World(kind, release, np.random.default_rng([seed, number, 2]))
        final, honest = attacker.attack(world, queries), np.zeros(world.items, dtype=np.bool_)
        base = world.public(honest)
        found.append(
            (
                max(world.told) - base,
                world.public(final) - base,
                world.held_out(final) - world.held_out(honest),
            )
        )
    shown, public, held_out = np.mean(found, axis=0).tolist()
    return Trial(
        attack=attacker.name,
        kind=kind.name,
        access=kind.access,
        rule=rule,
        queries=queries,
        shown=shown,
        public=public,
        held_out=held_out,
    )
