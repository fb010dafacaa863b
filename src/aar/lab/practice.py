"""Practice: a synthetic weak-to-strong instance with known labels, to try a method on before it costs budget.

Easy and hard features with overlap groups (Shin et al. 2024, arXiv:2412.03881). It is no problem of a study:
doing well here says that a method runs, not that it is good.
"""

from __future__ import annotations

import numpy as np

from aar.lab.instance import Instance, Probabilities
from aar.lab.probe import Probe, predict

WIDTH, HARD, EASY = 24, 4, 4
GROUPS = (0.45, 0.30, 0.15, 0.10)
HARD_SHIFT = np.array([1.0, 1.0, 0.0, 1.0])
EASY_SHIFT = np.array([1.0, 0.0, 1.0, -1.0])


def practice(rng: np.random.Generator, *, labelled: int = 150, train: int = 300, test: int = 200) -> tuple[Instance, Probabilities]:
    """An instance and the true labels (0 or 1) of its test items."""
    rotation = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    count = labelled + train + test
    y = rng.integers(0, 2, count)
    side = 2.0 * y - 1
    group = rng.choice(4, count, p=GROUPS)
    hard = rng.normal(size=(count, HARD)) + (HARD_SHIFT[group] * side * 1.3)[:, None] / HARD**0.5
    easy = rng.normal(size=(count, EASY)) + (EASY_SHIFT[group] * side * 1.2)[:, None] / EASY**0.5
    noise = 0.6 * rng.normal(size=(count, WIDTH - HARD - EASY))
    strong = (np.hstack([hard, 0.4 * easy, noise]) @ rotation).astype(np.float32)
    weak_x = easy.astype(np.float32)
    teacher = Probe(weak_x[:labelled], l2=1e-2).fit(y[:labelled].astype(np.float64))
    weak = predict(teacher, weak_x[labelled : labelled + train])
    instance = Instance(
        train_x=strong[labelled : labelled + train],
        weak=np.clip(weak, 0.02, 0.98),
        test_x=strong[labelled + train :],
        class_prior=float(weak.mean()),
    )
    return instance, y[labelled + train :].astype(np.float64)
