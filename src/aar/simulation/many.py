"""Many studies at once: the same researchers and problems in numpy, without the record, for power and means.

Researchers hand in once per round, all from what was known when the round began. What is told of a run, who
leads, what counts as failed follows the same rules as in a study with the real record (`study.py`), which a
test compares in distribution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aar.simulation.parameters import (
    CHEAP_TEST,
    CRAFT,
    FOLLOW,
    FORGED_STEP,
    IDEAS,
    LAZY,
    LISTED,
    MOST_FAILS,
    MOST_PRAISE,
    PERCENT,
    PRAISE_BARE,
    PRAISE_CITED,
    UNIT,
    Arm,
    ProblemClass,
)
from aar.simulation.problems import Problems, deviations, draw_problems, noise_table, pick
from aar.simulation.stream import Integers, Stream

STEP = UNIT // 20
NOTHING_YET = -4 * UNIT
HOLDS_WITHIN = UNIT // 10
# A claim passes the gate when it is at most so many deviations above a clean re-run.
GATE_DEVIATIONS = 2
LOG_BITS = 20
Booleans = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Of each study: PGR in 1/10,000.

    `claimed` of the method that leads at the end, `published` its true value, `sealed` what a sealed half
    measures of it, `found` the best true value among honest researchers' runs. `passes`: a clean re-run bears
    the claim out. `tries` [study, idea] counts what honest researchers tried.
    """

    claimed: Integers
    published: Integers
    sealed: Integers
    found: Integers
    passes: Booleans
    tries: Integers

    @property
    def holds(self) -> Booleans:
        """Whether the truth is at most .10 below the claim."""
        return self.published >= self.claimed - HOLDS_WITHIN

    @property
    def entropy(self) -> Integers:
        """Shannon entropy of the ideas that were tried, in 2^-20 bits."""
        logs = np.asarray([0, *(log2_fixed(one) for one in range(1, int(self.tries.sum(axis=1).max()) + 1))])
        total = self.tries.sum(axis=1)
        found: Integers = logs[total] - (self.tries * logs[self.tries]).sum(axis=1) // total
        return found


@dataclass(slots=True)
class _Method:
    """Per study, and per researcher where there is one more axis: which parts have an idea, is it right."""

    filled: Booleans
    solved: Booleans
    drops: Integers

    @classmethod
    def plain(cls, *shape: int) -> _Method:
        return cls(np.zeros(shape, np.bool_), np.zeros(shape, np.bool_), np.zeros(shape, np.int64))

    def where(self, chosen: Booleans, other: _Method) -> _Method:
        """`self` where chosen, `other` elsewhere; `chosen` is per study."""
        mask = chosen[:, None]
        return _Method(
            np.where(mask, self.filled, other.filled),
            np.where(mask, self.solved, other.solved),
            np.where(mask, self.drops, other.drops),
        )

    def true_value(self, values: Integers) -> Integers:
        found: Integers = values[self.solved.sum(axis=1)] - self.drops.sum(axis=1)
        return found

    def take(self, chosen: Booleans, other: _Method) -> None:
        """Become `other` where chosen."""
        mixed = other.where(chosen, self)
        self.filled, self.solved, self.drops = mixed.filled, mixed.solved, mixed.drops


class _Studies:
    """The state of all studies of one arm."""

    def __init__(self, kind: ProblemClass, arm: Arm, problems: Problems, stream: Stream) -> None:
        self.kind, self.arm, self.problems, self.stream = kind, arm, problems, stream
        self.count = len(problems.right)
        self.rows = np.arange(self.count)
        self.values = np.asarray(kind.values, dtype=np.int64)
        self.table = noise_table(kind)
        self.leader = _Method.plain(self.count, kind.parts)
        self.leader_claim = np.full(self.count, NOTHING_YET)
        self.own = [_Method.plain(self.count, kind.parts) for _ in range(arm.researchers)]
        self.own_rung = np.full((arm.researchers, self.count), NOTHING_YET)
        self.fails = np.zeros((self.count, kind.parts, IDEAS), np.int64)
        self.praise = np.zeros((self.count, kind.parts, IDEAS), np.int64)
        self.found = np.full(self.count, NOTHING_YET)
        self.tries = np.zeros((self.count, IDEAS), np.int64)
        self.is_forged = np.zeros(self.count, np.bool_)

    def run(self) -> None:
        for turn in range(self.arm.submissions):
            handed_in = [self.choose(one, turn) for one in range(self.arm.researchers)]
            for researcher, (method, part, idea, is_new) in enumerate(handed_in):
                if self.arm.role(researcher) == "lying":
                    self.lie()
                else:
                    self.score(researcher, method, part, idea, is_new)

    def choose(self, researcher: int, turn: int) -> tuple[_Method, Integers, Integers, Booleans]:
        """The method that a researcher hands in: a base with one part's idea put in or replaced."""
        stream, kind = self.stream, self.kind
        follows = (stream.below(np.full(self.count, PERCENT)) < FOLLOW) & (self.leader_claim > NOTHING_YET)
        base = self.leader.where(follows, self.own[researcher])
        if self.arm.workflow == "fixed":
            part = np.full(self.count, min(turn * kind.parts // self.arm.submissions, kind.parts - 1))
            idea = self.problems.listed[self.rows, part, (turn + researcher) % LISTED]
        else:
            part = self._open_part(base)
            idea = self._free_idea(researcher, part)
        is_new = np.ones(self.count, np.bool_)
        if self.arm.role(researcher) == "lazy":
            is_again = (stream.below(np.full(self.count, PERCENT)) < LAZY) & (
                self.own_rung[researcher] > NOTHING_YET
            )
            base = self.own[researcher].where(is_again, base)
            is_new = ~is_again
        return self._with(base, part, idea, is_new), part, idea, is_new

    def _open_part(self, base: _Method) -> Integers:
        """One of the parts for which the base has no idea yet; any, when it has one for each."""
        is_full = np.asarray(base.filled.all(axis=1))
        is_open = ~base.filled | is_full[:, None]
        return pick(self.stream, is_open.astype(np.int64))

    def _free_idea(self, researcher: int, part: Integers) -> Integers:
        fails, praise = self.fails[self.rows, part], self.praise[self.rows, part]
        strength = MOST_FAILS - np.minimum(fails, MOST_FAILS) + np.minimum(praise, MOST_PRAISE)
        weights = np.asarray(self.arm.taste(researcher), np.int64)[None, :] << (2 * strength)
        first, second = pick(self.stream, weights), pick(self.stream, weights)
        is_wrong = ~self.problems.right[self.rows, part, first]
        is_found_out = is_wrong & (self.stream.below(np.full(self.count, PERCENT)) < CHEAP_TEST)
        return np.where(is_found_out, second, first)

    def _with(self, base: _Method, part: Integers, idea: Integers, is_new: Booleans) -> _Method:
        is_right = self.problems.right[self.rows, part, idea]
        works = is_right & (self.stream.below(np.full(self.count, PERCENT)) < CRAFT)
        drop = np.where(is_right, 0, self.problems.drops[self.rows, part, idea])
        method = _Method(base.filled.copy(), base.solved.copy(), base.drops.copy())
        rows, at = self.rows[is_new], part[is_new]
        method.filled[rows, at] = True
        method.solved[rows, at] = works[is_new]
        method.drops[rows, at] = drop[is_new]
        return method

    def score(
        self, researcher: int, method: _Method, part: Integers, idea: Integers, is_new: Booleans
    ) -> None:
        """Run it officially: a rung of the researcher's own ladder, or the exact value of fresh items."""
        true = method.true_value(self.values)
        exact = true + self.stream.noise(deviations(self.table, true))
        rung = self.own_rung[researcher]
        if self.kind.is_fresh:
            is_told, told = np.ones(self.count, np.bool_), exact
        else:
            is_told, told = (rung == NOTHING_YET) | (exact > rung + STEP), in_steps(exact)
        leads = is_told & (told > self.leader_claim)
        is_own_best = is_told & (told > rung)
        self.leader.take(leads, method)
        self.leader_claim = np.where(leads, told, self.leader_claim)
        self.is_forged &= ~leads
        self.own[researcher].take(is_own_best, method)
        self.own_rung[researcher] = np.where(is_own_best, told, rung)
        self.fails[self.rows, part, idea] += is_new & ~leads
        self.found = np.maximum(self.found, true)
        self.tries[self.rows, idea] += is_new

    def lie(self) -> None:
        """A liar's turn, who knows the problem: words that mislead, and what the forum lets it forge."""
        stream, right = self.stream, self.problems.right
        part = stream.below(np.full(self.count, self.kind.parts))
        wrong = pick(stream, (~right[self.rows, part]).astype(np.int64))
        blamed = pick(stream, right[self.rows, part].astype(np.int64))
        self.praise[self.rows, part, wrong] += PRAISE_BARE if self.arm.is_evident else PRAISE_CITED
        if self.arm.is_evident:
            return
        self.fails[self.rows, part, blamed] += 1
        fake = _Method.plain(self.count, self.kind.parts)
        fake.filled[:] = True
        overtaken = ~self.is_forged
        claim = np.maximum(self.leader_claim, self.kind.base) + FORGED_STEP
        self.leader_claim = np.where(overtaken, claim, self.leader_claim)
        self.leader.take(overtaken, fake)
        self.is_forged |= overtaken


def in_steps(exact: Integers) -> Integers:
    """The nearest whole step of the ladder, half to even, as `verify.interval.ladder` rounds."""
    steps, rest = exact // STEP, exact % STEP
    is_up = (2 * rest > STEP) | ((2 * rest == STEP) & (steps % 2 == 1))
    found: Integers = (steps + is_up) * STEP
    return found


def log2_fixed(number: int) -> int:
    """The binary logarithm in 2^-20, by squaring: the same on every machine, as `math.log2` need not be.

    >>> log2_fixed(8) / 2**20
    3.0
    """
    whole = number.bit_length() - 1
    rest, result = (number << 60) >> whole, whole << LOG_BITS
    for bit in reversed(range(LOG_BITS)):
        rest = rest * rest >> 60
        if rest >> 61:
            rest >>= 1
            result |= 1 << bit
    return result


def simulate_many(
    kind: ProblemClass, arm: Arm, *, seed: int, runs: int, first: int = 0, repeat: int = 0
) -> Outcomes:
    """`runs` studies of that arm, on problems `first` and following of that seed: the same for every arm.

    Another `repeat` has the same problems and other dice.
    """
    problems = draw_problems(kind, seed, first, runs)
    stream = Stream("many", kind.name, arm.name, seed, first, runs, repeat)
    studies = _Studies(kind, arm, problems, stream)
    studies.run()
    published = studies.leader.true_value(studies.values)
    spread = deviations(studies.table, published)
    sealed, again = published + stream.noise(spread), published + stream.noise(spread)
    return Outcomes(
        claimed=studies.leader_claim,
        published=published,
        sealed=sealed,
        found=studies.found,
        passes=studies.leader_claim <= again + GATE_DEVIATIONS * spread,
        tries=studies.tries,
    )
