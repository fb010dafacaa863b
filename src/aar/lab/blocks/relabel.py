"""Relabel: other targets than the weak teacher's, from the strong space or from the student itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.instance import Probabilities
from aar.lab.neighbours import nearest, neighbour_means, normalised_graph
from aar.lab.probe import Probe, predict, sigmoid

FOLDS = 4
BISECTIONS = 60
EDGE = 1e-6


def _knn(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Mix each target with the mean over its neighbours."""
    chosen, _squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    around = neighbour_means(state.targets, chosen)
    return replace(state, targets=(1 - p["mix"]) * state.targets + p["mix"] * around)


def _label_prop(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """f <- alpha S f + (1 - alpha) y over the kNN graph of the training items, y around the class prior.

    Diffusion shrinks f; its scale is restored by its own mean size before it is a probability again.
    """
    graph = normalised_graph(state.train_x, int(p["k"]))
    start = (state.targets - state.class_prior).astype(np.float32)
    value = start
    for _step in range(int(p["steps"])):
        value = p["alpha"] * (graph @ value) + (1 - p["alpha"]) * start
    scores = value.astype(np.float64)
    size = max(float(np.abs(scores).mean()), 1e-12)
    return replace(state, targets=0.5 * (1 + np.tanh(scores / size)))


def _self_train(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Students relabel the items that they were not trained on, a few times over."""
    probe = Probe(state.train_x, l2=state.student_l2)
    count = len(state.targets)
    folds = min(FOLDS, count)
    targets = state.targets
    for _round in range(int(p["rounds"])):
        fold = rng.permutation(count) % folds
        others = state.weights[:, None] * (fold[:, None] != np.arange(folds))
        students = probe.fit(np.repeat(targets[:, None], folds, axis=1), others)
        own = predict(students, state.train_x)[np.arange(count), fold]
        targets = (1 - p["mix"]) * targets + p["mix"] * own
    return replace(state, targets=targets)


def shifted_to(targets: Probabilities, prior: float) -> Probabilities:
    """The targets with one number added to all log-odds so that their mean is `prior`."""
    inside = np.clip(targets, EDGE, 1 - EDGE)
    odds = np.log(inside / (1 - inside))
    low, high = -50.0, 50.0
    for _halving in range(BISECTIONS):
        middle = (low + high) / 2
        if sigmoid(odds + middle).mean() < prior:
            low = middle
        else:
            high = middle
    return sigmoid(odds + (low + high) / 2)


def _balance(state: State, _p: Parameters, _rng: np.random.Generator) -> State:
    """Bring the mean target back to the weak teacher's class prior."""
    return replace(state, targets=shifted_to(state.targets, state.class_prior))


def _harden(state: State, _p: Parameters, _rng: np.random.Generator) -> State:
    """Hard labels: 1 where the target is above one half."""
    return replace(state, targets=(state.targets > 0.5).astype(np.float64))


RELABEL = (
    Block(
        name="knn",
        kind="relabel",
        family="neighbourhood",
        parameters={"k": whole(1, 200, 20, 5, 10, 20, 40), "mix": real(0, 1, 1.0, 0.5, 0.8, 1.0)},
        source="EleutherAI 2024, Experiments in weak-to-strong generalization (kNN averaging)",
        step=_knn,
    ),
    Block(
        name="label_prop",
        kind="relabel",
        family="neighbourhood",
        parameters={
            "k": whole(2, 100, 12, 6, 12, 24),
            "alpha": real(0, 0.999, 0.9, 0.8, 0.9, 0.97, 0.99),
            "steps": whole(1, 200, 50, 10, 20, 50),
        },
        source="Zhou et al. 2003, Learning with local and global consistency",
        step=_label_prop,
    ),
    Block(
        name="self_train",
        kind="relabel",
        family="self-training",
        parameters={"rounds": whole(1, 10, 2, 1, 2, 4), "mix": real(0, 1, 1.0, 0.5, 1.0)},
        source="Furlanello et al. 2018, Born-again neural networks, arXiv:1805.04770",
        step=_self_train,
    ),
    Block(
        name="balance",
        kind="relabel",
        family="prior",
        parameters={},
        source="Saerens et al. 2002, Adjusting the outputs of a classifier to new a priori probabilities",
        step=_balance,
    ),
    Block(
        name="harden",
        kind="relabel",
        family="confidence",
        parameters={},
        source="Burns et al. 2023, arXiv:2312.09390 (hard weak labels)",
        step=_harden,
    ),
)
