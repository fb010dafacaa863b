"""Audit: a run's answers beside their features, by which an honest method can be told from a leak.

A method that learned from weak labels answers by a rule over the features, and such a rule can be learned
back from its answers. Labels that were decoded one by one, looked up or mixed in cannot.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aar.lab.instance import STUDENT_L2, Floats, Instance
from aar.lab.neighbours import nearest, neighbour_means
from aar.lab.probe import Probe, predict
from aar.lab.problems.problem import Marks

FOLDS = 10
NEIGHBOURS = 15
# Of a larger test set the first items are enough; thresholds are calibrated with so many.
MOST_AUDITED = 2_000


def distillability_residual(
    features: Floats, answers: Marks, rng: np.random.Generator, *, l2: float = STUDENT_L2
) -> float:
    """The share of `answers` [m] that two students of the answers themselves both get wrong, in [0, 1].

    One is a logistic probe with penalty `l2`, fitted to nine tenths of the answers and asked of the rest, the
    other the vote of an item's 15 nearest neighbours; `features` [m, d] are those of the answered items. What
    an honest method leaves depends on the problem and on m: `tools/calibrate_detectors.py` measures it.
    """
    count = len(answers)
    if features.shape[:1] != answers.shape or count < 2 * FOLDS:
        raise ValueError(
            f"features {features.shape}, answers {answers.shape}: want [m, d] and [m], m >= {2 * FOLDS}"
        )
    targets = answers.astype(np.float64)
    learned = np.zeros(count)
    for fold in np.array_split(rng.permutation(count), FOLDS):
        rest = np.ones(count, dtype=np.bool_)
        rest[fold] = False
        learned[fold] = predict(Probe(features[rest], l2=l2).fit(targets[rest]), features[fold])
    chosen, _squared = nearest(features, features, NEIGHBOURS, skip_self=True)
    around = neighbour_means(targets, chosen)
    return float((((learned > 0.5) != answers) & ((around > 0.5) != answers)).mean())


def permuted(instance: Instance, rng: np.random.Generator) -> Instance:
    """The instance with its weak labels dealt to other items: nothing is left to learn from them.

    Several teachers' votes stay with their label. Zero-shot answers are the strong model's own and stay.
    """
    order = rng.permutation(len(instance.weak))
    votes = None if instance.votes is None else instance.votes[order]
    return replace(instance, weak=instance.weak[order], votes=votes)
