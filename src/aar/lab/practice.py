"""Practice: a synthetic weak-to-strong instance with known labels, to try a method on before it costs budget.

Easy and hard features in overlapping groups (Shin et al. 2024, arXiv:2412.03881): the weak teacher sees the
easy ones alone, the strong student both. It is no problem of any study: doing well here says that a method
runs, not that it is good.
"""

from __future__ import annotations

import numpy as np

from aar.lab.instance import Instance, Probabilities
from aar.lab.probe import Probe, predict

WIDTH, HARD, EASY, TOPICS = 48, 4, 4, 3
# Shares of items that show both, only the hard, only the easy feature, or a misleading easy one.
GROUPS = (0.45, 0.30, 0.15, 0.10)
HARD_SHIFT = 1.3 * np.array([1.0, 1.0, 0.0, 1.0])
EASY_SHIFT = 1.2 * np.array([1.0, 0.0, 1.0, -1.0])
SALIENCE = 0.4
TEACHER_L2 = 1e-2
CLIP = 0.02


def practice(
    rng: np.random.Generator, *, labelled: int = 200, train: int = 400, test: int = 300
) -> tuple[Instance, Probabilities]:
    """An instance, `train` items by 48 features, and the true labels [test] (0 or 1) of its test items."""
    rotation = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    hard_axis, easy_axis = _unit(rng, HARD), _unit(rng, EASY)
    count = labelled + train + test
    y = rng.integers(0, 2, count)
    side = 2.0 * y - 1
    group = rng.choice(len(GROUPS), count, p=GROUPS)
    hard = rng.normal(size=(count, HARD)) + (HARD_SHIFT[group] * side)[:, None] * hard_axis
    easy = rng.normal(size=(count, EASY)) + (EASY_SHIFT[group] * side)[:, None] * easy_axis
    sides = rng.choice([-1.0, 1.0], size=(count, TOPICS))
    topics = 1.6 * (0.6 * rng.normal(size=(count, TOPICS)) + sides)
    noise = 0.6 * rng.normal(size=(count, WIDTH - HARD - EASY - TOPICS))
    strong = (np.hstack([hard, SALIENCE * easy, topics, noise]) @ rotation).astype(np.float32)
    weak_x = easy.astype(np.float32)
    teacher = Probe(weak_x[:labelled], l2=TEACHER_L2).fit(y[:labelled].astype(np.float64))
    weak = np.clip(predict(teacher, weak_x[labelled : labelled + train]), CLIP, 1 - CLIP)
    instance = Instance(
        train_x=strong[labelled : labelled + train],
        weak=weak,
        test_x=strong[labelled + train :],
        class_prior=float(weak.mean()),
    )
    return instance, y[labelled + train :].astype(np.float64)


def _unit(rng: np.random.Generator, width: int) -> Probabilities:
    axis = rng.normal(size=width)
    unit: Probabilities = axis / np.linalg.norm(axis)
    return unit
