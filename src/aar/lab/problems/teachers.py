"""Linear weak teachers, alone and bagged, and the ceiling: what most problems are taught and judged by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats, Probabilities
from aar.lab.probe import Probe, predict
from aar.lab.problems.problem import Marks, Taught

# A teacher is never surer of an answer than this.
CLIP = 0.02
# Teachers that vote, each taught by as many items drawn with repetition from the same labelled ones.
VOTERS = 7
# One-hot features are rare ones, whose coefficients settle slowly.
TEACHER_ITERATIONS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """One split's rows of something: of those that teach, train and test."""

    labelled: Floats
    unlabelled: Floats
    tested: Floats

    @classmethod
    def of(cls, rows: Sequence[Floats]) -> Parts:
        """The three, in this order."""
        labelled, unlabelled, tested = rows
        return cls(labelled=labelled, unlabelled=unlabelled, tested=tested)


def bootstrap_counts(count: int, voters: int, rng: np.random.Generator) -> Probabilities:
    """How often each of `count` items stands in each voter's sample [count, voters]."""
    return rng.multinomial(count, np.full(count, 1 / count), size=voters).T.astype(np.float64)


def taught_linearly(
    seen: Parts,
    strong: Parts,
    y: tuple[Marks, Marks, Marks],
    *,
    teacher_l2: float,
    student_l2: float,
    rng: np.random.Generator,
    with_votes: bool = True,
    zero_shot: tuple[Probabilities, Probabilities] | None = None,
) -> Taught:
    """A split taught by a logistic teacher on what it has `seen`, and judged.

    `y` are the labels of labelled, unlabelled and tested items. The ceiling is the student's probe on true
    labels. `rng` draws the voters' samples alone: the teacher itself depends on no chance.
    """
    y_labelled, y_unlabelled, truth = y
    targets = np.repeat(y_labelled.astype(np.float64)[:, None], 1 + VOTERS, axis=1)
    counts = bootstrap_counts(len(y_labelled), VOTERS, rng)
    weights = np.hstack([np.ones((len(y_labelled), 1)), counts])
    teachers = Probe(seen.labelled, l2=teacher_l2).fit(targets, weights, iterations=TEACHER_ITERATIONS)
    told = np.clip(predict(teachers, seen.unlabelled), CLIP, 1 - CLIP)
    ceiling = Probe(strong.unlabelled, l2=student_l2).fit(y_unlabelled.astype(np.float64))
    return Taught(
        weak=told[:, 0],
        class_prior=float(told[:, 0].mean()),
        truth=truth,
        weak_correct=is_one(predict(teachers[:, 0], seen.tested)) == truth,
        ceiling_correct=is_one(predict(ceiling, strong.tested)) == truth,
        votes=told[:, 1:] if with_votes else None,
        zero_shot=zero_shot,
    )


def is_one(probabilities: Probabilities) -> NDArray[np.bool_]:
    """The answers that probabilities stand for."""
    return probabilities > 0.5
