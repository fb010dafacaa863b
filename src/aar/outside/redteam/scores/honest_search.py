"""What a release rule costs a researcher who only searches: hill climbs over real methods on real digits.

Every method is run once on each of many splits of `digits`. A climb then asks for the mean of five of the
explored splits, as an official run would give it, moves on what its rule tells, and is judged on splits that
no climb ever asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aar.lab.experiment import sample
from aar.lab.pipeline import parse_pipeline, run_pipeline
from aar.lab.problems.digits import Digits
from aar.outside.redteam.scores.rules import RULES, is_better

EXPLORED, HELD_OUT, SEEDS = 12, 8, 5
STEPS = 60
# Seeds of the command lie this far apart, so that no two share a split.
SPLITS_APART = 1_000
CLIMBS = 300
LIMIT = 0.02

_FIRST: tuple[tuple[str, dict[str, float]], ...] = (
    ("harden", {}), ("balance", {}), ("knn", {"k": 10}), ("knn", {"k": 40}), ("label_prop", {"k": 6}),
    ("label_prop", {"k": 12, "alpha": 0.97}), ("self_train", {"rounds": 2}), ("conf_keep", {"q": 0.5}),
    ("agree_keep", {}), ("conf_w", {"power": 2.0}),
)  # fmt: skip
_LAST: tuple[tuple[str, dict[str, float]], ...] = (
    ("probe", {}), ("early_stop", {"steps": 16}), ("logconf", {}), ("knn_vote", {"k": 15}),
)  # fmt: skip


def candidates() -> list[list[Any]]:
    """Pipelines of one, two and three blocks, as a researcher would write them; the plain baseline first."""
    short: list[list[Any]] = [[[*first], [*last]] for first in _FIRST for last in _LAST]
    deep = [[["conf_keep", {"q": 0.5}], [*first], ["probe", {}]] for first in _FIRST[2:6]]
    deep += [[[*first], ["harden", {}], ["probe", {}]] for first in _FIRST[2:6]]
    return [*short, *deep]


@dataclass(frozen=True, slots=True)
class Cost:
    """Mean held-out PGR that climbs end at under a rule, and how much less that is than with exact values."""

    rule: str
    held_out: float
    cost: float
    error: float


def scores_on_digits(seed: int) -> NDArray[np.float64]:
    """PGR of every candidate on every split [candidates, EXPLORED + HELD_OUT]; 15 s of processor time."""
    problem = Digits()
    pipelines = [parse_pipeline(one) for one in candidates()]
    found = np.zeros((len(pipelines), EXPLORED + HELD_OUT))
    for number in range(EXPLORED + HELD_OUT):
        drawn = sample(problem, seed * SPLITS_APART + number)
        taught = drawn.taught
        weak, gap = taught.weak_correct.mean(), taught.ceiling_correct.mean() - taught.weak_correct.mean()
        for row, pipeline in enumerate(pipelines):
            answer = run_pipeline(pipeline, drawn.instance, np.random.default_rng([seed, number, row]))
            found[row, number] = (((answer > 0.5) == taught.truth).mean() - weak) / gap
    return found


def costs(scores: NDArray[np.float64], rules: Sequence[str], seed: int, climbs: int = CLIMBS) -> list[Cost]:
    """Every rule's cost over the same climbs: the same first method, proposals and splits asked for."""
    ends = {
        rule: np.array(
            [_climb(scores, rule, np.random.default_rng([seed, number])) for number in range(climbs)]
        )
        for rule in rules
    }
    exact = ends["exact"]
    return [
        Cost(
            rule,
            float(end.mean()),
            float((exact - end).mean()),
            float((exact - end).std(ddof=1) / climbs**0.5),
        )
        for rule, end in ends.items()
    ]


@cache
def _near() -> tuple[tuple[int, ...], ...]:
    """For each candidate the others that have one of its blocks."""
    blocks = [{json.dumps(block) for block in one} for one in candidates()]
    return tuple(
        tuple(other for other, has in enumerate(blocks) if other != row and has & own)
        for row, own in enumerate(blocks)
    )


def _climb(scores: NDArray[np.float64], rule: str, rng: np.random.Generator) -> float:
    """The held-out PGR of the method that one climb ends at."""
    release = RULES[rule](np.random.default_rng(int(rng.integers(1 << 32))))
    near = _near()
    current, best = 0, None
    for asked in range(STEPS):
        # Mostly a neighbour of the best so far, at times anything: then it cannot get stuck.
        anywhere, place = rng.random(2)
        choice = range(len(near)) if anywhere < 0.2 else near[current]
        proposed = 0 if not asked else choice[int(place * len(choice))]
        splits = rng.permutation(EXPLORED)[:SEEDS]
        told = release.tell(float(scores[proposed, splits].mean()))
        if told is None:
            break
        if is_better(told, best):
            current, best = proposed, told
    return float(scores[current, EXPLORED:].mean())
