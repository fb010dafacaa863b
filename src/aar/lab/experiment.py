"""One experiment's data: a problem, a seed and a replicate to an instance and what the bench keeps to itself.

Fixed data sets and procedural problems look alike from here on. A sandbox never holds what this needs: it
makes labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from aar.lab.errors import MalformedSplit
from aar.lab.instance import Floats, Instance
from aar.lab.problems.problem import AnyProblem, FreshProblem, Problem, Taught, deal

# Official seeds have 48 bits: the replicates of one never meet those of another.
REPLICATE_BITS = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One split: what a method is given, and the truth with the marks of teacher and ceiling."""

    instance: Instance
    taught: Taught


def sample(problem: AnyProblem, seed: int, replicate: int = 0, sealed: Sequence[int] = ()) -> Sampled:
    """The split of one replicate of one seed; a pure function of its arguments.

    A fixed data set deals the items that are not `sealed` (ids of the pool, whole groups) and tests all that
    neither teach nor train. A procedural problem draws its items and takes no `sealed`: the last
    `sizes.sealed` of its test items are the sealed half. `MalformedSplit` says what does not fit.
    """
    if seed < 0 or replicate < 0:
        raise MalformedSplit(f"seed {seed}, replicate {replicate}: want integers from 0")
    if problem.sizes.is_fresh:
        if sealed:
            raise MalformedSplit(f"{len(sealed)} sealed items of a problem that draws its items anew")
        drawn = cast(FreshProblem, problem).draw(draw_seed(seed, replicate))
        return _sampled(drawn.train_x, drawn.test_x, drawn.taught, problem.student_l2)
    fixed = cast(Problem, problem)
    one = deal(fixed.sizes, seed, replicate, sealed)
    taught = fixed.teach(seed + replicate, one.labelled, one.unlabelled, one.tested)
    train = np.asarray(one.unlabelled, dtype=np.intp)
    test = np.asarray(one.tested, dtype=np.intp)
    return _sampled(fixed.features[train], fixed.features[test], taught, fixed.student_l2)


def draw_seed(seed: int, replicate: int) -> int:
    """The seed that a procedural problem draws a replicate from: the seed itself for the first.

    >>> draw_seed(7, 0), draw_seed(7, 1) == 7 + 2**48
    (7, True)
    """
    return seed + (replicate << REPLICATE_BITS)


def _sampled(train_x: Floats, test_x: Floats, taught: Taught, student_l2: float) -> Sampled:
    instance = Instance(
        train_x=train_x,
        weak=taught.weak,
        test_x=test_x,
        class_prior=taught.class_prior,
        student_l2=student_l2,
        votes=taught.votes,
        zero_shot=taught.zero_shot,
    )
    return Sampled(instance=instance, taught=taught)
