"""The demonstration: three researchers, tampering off and on, fixed against free, one of them compromised.

Single studies with the real record are told one by one; means come from the vectorised model, with intervals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aar.simulation.compression import CAPABILITY, Course, course, courses
from aar.simulation.many import LOG_BITS, Outcomes, simulate_many
from aar.simulation.parameters import ARMS, CLASSES, FIXED, FREE, UNDIRECTED, ProblemClass
from aar.simulation.power import (
    BreakEven,
    Comparison,
    break_even,
    compare_all,
    mean_and_interval,
)
from aar.simulation.study import StudyOutcome, simulate_study

# In the order of the story: what is, what a human's plan does, a liar on the record, a liar without one.
TOLD = ("free", "fixed", "one-lying", "one-lying-unprotected")
COMPROMISED = ("free", "two-honest", "one-lazy", "one-lying", "one-lying-unprotected")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMeans:
    """Means over many studies of one arm. PGR in 1/10,000, shares in 1/1,000.

    `low`, `high`: the 95 % interval of the mean of `published`. `holds`: claims at most .10 above the truth,
    `passes`: claims that a clean re-run bears out, `sound`: of those that pass (without a record: of all)
    the share that hold. `entropy` of the ideas tried, in 1/1,000 bits.
    """

    problem: str
    arm: str
    runs: int
    claimed: int
    published: int
    low: int
    high: int
    found: int
    holds: int
    passes: int
    sound: int
    entropy: int


@dataclass(frozen=True, slots=True)
class Trusted:
    """Where research leads whose results hold as often as an arm's do."""

    arm: str
    course: Course


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What many studies say."""

    workflows: tuple[Comparison, ...]
    break_evens: tuple[BreakEven, ...]
    compromised: tuple[ArmMeans, ...]
    seeding: tuple[Comparison, ...]
    entropies: tuple[ArmMeans, ...]
    compression: tuple[Course, ...]
    trust: tuple[Trusted, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """All that the default command shows."""

    seed: int
    problem: str
    studies: tuple[StudyOutcome, ...]
    means: Means

    def as_json(self) -> dict[str, Any]:
        """The same as JSON values, whole numbers throughout, with the digest of them."""
        told = asdict(self)
        return {**told, "digest": digest_of(told)}


def digest_of(told: dict[str, Any]) -> str:
    """SHA-256 of a simulation's outcome: the same on every machine for the same seed."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def studies_of(problem: str, *, seed: int, keep: Path | None = None) -> tuple[StudyOutcome, ...]:
    """One study of each arm that is told; records are left in folders of `keep`, named after the arms."""
    return tuple(
        simulate_study(
            CLASSES[problem],
            ARMS[name],
            seed=seed,
            number=0,
            keep=keep / name if keep and ARMS[name].is_evident else None,
        )
        for name in TOLD
    )


def means_of(problem: str, *, seed: int, runs: int, kinds: Sequence[str] = tuple(CLASSES)) -> Means:
    """Many studies: of the classes `kinds` by workflow and seeding, of `problem` with somebody dishonest."""
    kind, studied = CLASSES[problem], [CLASSES[name] for name in kinds]
    compromised = tuple(arm_means(kind, name, seed=seed, runs=runs) for name in COMPROMISED)
    return Means(
        workflows=tuple(compare_all(studied, FREE, FIXED, seed=seed, runs=2 * runs)),
        break_evens=tuple(break_even(one, seed=seed, runs=max(runs // 2, 1)) for one in studied),
        compromised=compromised,
        seeding=tuple(compare_all(studied, FREE, UNDIRECTED, seed=seed, runs=2 * runs)),
        entropies=tuple(
            arm_means(one, name, seed=seed, runs=runs) for one in studied for name in ("free", "undirected")
        ),
        compression=tuple(courses()),
        trust=tuple(Trusted(one.arm, course(CAPABILITY, one.sound // 10)) for one in compromised),
    )


def arm_means(kind: ProblemClass, name: str, *, seed: int, runs: int) -> ArmMeans:
    """The means of one arm on one class."""
    arm = ARMS[name]
    outcomes = simulate_many(kind, arm, seed=seed, runs=runs)
    published, low, high, _deviation = mean_and_interval(outcomes.published)
    return ArmMeans(
        problem=kind.name,
        arm=name,
        runs=runs,
        claimed=mean_and_interval(outcomes.claimed)[0],
        published=published,
        low=low,
        high=high,
        found=mean_and_interval(outcomes.found)[0],
        holds=1_000 * int(outcomes.holds.sum()) // runs,
        passes=1_000 * int(outcomes.passes.sum()) // runs,
        sound=_sound(outcomes, is_gated=arm.is_evident),
        entropy=1_000 * int(outcomes.entropy.sum()) // (runs << LOG_BITS),
    )


def _sound(outcomes: Outcomes, *, is_gated: bool) -> int:
    """Of the claims that leave the study the share that hold; there is no gate where nothing can be run."""
    leaving = outcomes.passes if is_gated else outcomes.passes | True
    return 1_000 * int((outcomes.holds & leaving).sum()) // max(int(leaving.sum()), 1)
