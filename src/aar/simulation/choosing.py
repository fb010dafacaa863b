"""Choosing: what a modelled researcher hands in next, from what the forum says; one study at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aar.simulation.parameters import (
    CHEAP_TEST,
    FOLLOW,
    IDEAS,
    LAZY,
    LISTED,
    MOST_FAILS,
    MOST_PRAISE,
    PERCENT,
    Arm,
    ProblemClass,
)
from aar.simulation.problems import Problems, works
from aar.simulation.stream import Stream


@dataclass(frozen=True, slots=True)
class Method:
    """Per part an idea and which variant of it; `None` where a part is left as the baseline has it."""

    parts: tuple[tuple[int, str] | None, ...]

    @classmethod
    def plain(cls, kind: ProblemClass) -> Method:
        return cls((None,) * kind.parts)

    def with_idea(self, part: int, idea: int, variant: str) -> Method:
        return Method((*self.parts[:part], (idea, variant), *self.parts[part + 1 :]))

    def format(self) -> str:
        """As the JSON text that is handed in."""
        return json.dumps([list(one) if one else None for one in self.parts])

    @classmethod
    def parse(cls, text: str) -> Method:
        return cls(tuple((one[0], one[1]) if one else None for one in json.loads(text)))


@dataclass(frozen=True, slots=True)
class Problem:
    """One modelled problem, and the seed by which it is decided whether a variant works."""

    problems: Problems
    seed: int
    number: int

    @property
    def kind(self) -> ProblemClass:
        return self.problems.kind

    def is_right(self, part: int, idea: int) -> bool:
        return bool(self.problems.right[0, part, idea])

    def listed(self, part: int) -> list[int]:
        """The ideas of the human's step for a part."""
        return [int(one) for one in self.problems.listed[0, part]]

    def ideas(self, part: int, *, right: bool) -> list[int]:
        return [idea for idea in range(IDEAS) if self.is_right(part, idea) == right]

    def true_value(self, method: Method) -> int:
        """PGR of a method, in 1/10,000."""
        solved = drops = 0
        for part, chosen in enumerate(method.parts):
            if chosen is None:
                continue
            if not self.is_right(part, chosen[0]):
                drops += int(self.problems.drops[0, part, chosen[0]])
            elif works(self.seed, self.number, part, *chosen):
                solved += 1
        return self.kind.values[solved] - drops


def seeded(problem: Problem, arm_name: str, what: str) -> bytes:
    """32 secret bytes of a study, for a key or for the evaluator's secret."""
    words = (problem.kind.name, arm_name, problem.seed, problem.number, what)
    return hashlib.sha256(("aar-simulation-key/v1\n" + "\n".join(map(str, words)) + "\n").encode()).digest()


@dataclass(frozen=True, slots=True)
class Try:
    """What is handed in: a method, the part and the idea that are new in it, unless nothing is."""

    method: Method
    part: int
    idea: int
    is_new: bool = True

    def files(self, request: str) -> dict[str, str]:
        """The method directory; a request's own line makes it another snapshot, with other seeds."""
        return {
            "method.py": f"# {request}\nREADS = 'config.json'\n",
            "config.json": self.method.format(),
            "tried.json": json.dumps([self.part, self.idea, int(self.is_new)]),
        }

    @classmethod
    def of(cls, files: Mapping[str, str]) -> Try:
        """What a method directory holds."""
        part, idea, is_new = json.loads(files["tried.json"])
        return cls(Method.parse(files["config.json"]), part, idea, bool(is_new))


@dataclass(slots=True)
class Known:
    """What readers of a forum believe. Claims are PGR in 1/10,000."""

    kind: ProblemClass
    leader: Method | None = None
    claim: int = 0
    leads: str = ""
    own: dict[str, tuple[Method, int]] = field(default_factory=dict)
    fails: dict[tuple[int, int], int] = field(default_factory=dict)
    praise: dict[tuple[int, int], int] = field(default_factory=dict)

    def told(self, researcher: str, tried: Try, claim: int | None) -> None:
        """A run's outcome; `claim` is `None` where the release rule said 'not better'."""
        leads = claim is not None and (self.leader is None or claim > self.claim)
        if leads and claim is not None:
            self.leader, self.claim, self.leads = tried.method, claim, researcher
        elif tried.is_new:
            self.blame(tried.part, tried.idea)
        if claim is not None and (researcher not in self.own or claim > self.own[researcher][1]):
            self.own[researcher] = tried.method, claim

    def blame(self, part: int, idea: int) -> None:
        self.fails[part, idea] = self.fails.get((part, idea), 0) + 1

    def commend(self, part: int, idea: int, strength: int) -> None:
        self.praise[part, idea] = self.praise.get((part, idea), 0) + strength


def choose(
    problem: Problem, arm: Arm, known: Known, stream: Stream, *, number: int, name: str, turn: int
) -> Try:
    """The next submission of researcher `number`, called `name`; its `turn` counts from 0."""
    kind = problem.kind
    own = known.own.get(name, (Method.plain(kind), 0))[0]
    follows = stream.integer(PERCENT) < FOLLOW and known.leader is not None
    base = known.leader if follows and known.leader is not None else own
    variant = f"{name}/{turn}"
    if arm.role(number) == "lazy" and name in known.own and stream.integer(PERCENT) < LAZY:
        return Try(own, 0, 0, is_new=False)
    if arm.workflow == "fixed":
        part = min(turn * kind.parts // arm.submissions, kind.parts - 1)
        idea = problem.listed(part)[(turn + number) % LISTED]
    else:
        part = _open_part(base, stream)
        idea = _free_idea(problem, arm.taste(number), known, part, stream)
    return Try(base.with_idea(part, idea, variant), part, idea)


def _open_part(base: Method, stream: Stream) -> int:
    waiting = [part for part, chosen in enumerate(base.parts) if chosen is None]
    waiting = waiting or list(range(len(base.parts)))
    return waiting[stream.integer(len(waiting))]


def _free_idea(problem: Problem, taste: Sequence[int], known: Known, part: int, stream: Stream) -> int:
    """Drawn by taste and by what was said of each idea; a cheap test may find out a wrong one."""
    weights = []
    for idea, weight in enumerate(taste):
        fails = min(known.fails.get((part, idea), 0), MOST_FAILS)
        praise = min(known.praise.get((part, idea), 0), MOST_PRAISE)
        weights.append(weight << 2 * (MOST_FAILS - fails + praise))
    idea = weighted(weights, stream)
    if not problem.is_right(part, idea) and stream.integer(PERCENT) < CHEAP_TEST:
        idea = weighted(weights, stream)
    return idea


def weighted(weights: Sequence[int], stream: Stream) -> int:
    """One place, with chances as the weights."""
    drawn = stream.integer(sum(weights))
    return int(np.searchsorted(np.cumsum(weights), drawn, side="right"))
