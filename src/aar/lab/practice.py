"""Practice: a synthetic weak-to-strong instance with known labels, to try a method on before it costs budget.

Easy and hard features in overlapping groups (Shin et al. 2024, arXiv:2412.03881), as in the problem `overlap`
but fewer: doing well here says that a method runs, not that it is good.
"""

from __future__ import annotations

import numpy as np

from aar.lab.instance import Instance, Probabilities
from aar.lab.probe import Probe, predict
from aar.lab.synthetic import OVERLAP, draw_items

TEACHER_L2 = 1e-2
CLIP = 0.02


def practice(
    rng: np.random.Generator, *, labelled: int = 200, train: int = 400, test: int = 300
) -> tuple[Instance, Probabilities]:
    """An instance, `train` items by 48 features, and the true labels [test] (0 or 1) of its test items."""
    items = draw_items(OVERLAP, labelled + train + test, rng)
    targets = items.y.astype(np.float64)
    teacher = Probe(items.easy[:labelled], l2=TEACHER_L2).fit(targets[:labelled])
    weak = np.clip(predict(teacher, items.easy[labelled : labelled + train]), CLIP, 1 - CLIP)
    instance = Instance(
        train_x=items.strong[labelled : labelled + train],
        weak=weak,
        test_x=items.strong[labelled + train :],
        class_prior=float(weak.mean()),
    )
    return instance, targets[labelled + train :]
