"""Training: objectives that change how the student is trained, not what loss it is trained by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.represent import centred, leading
from aar.lab.instance import Floats, Probabilities
from aar.lab.neighbours import Indices, nearest, neighbour_means
from aar.lab.probe import WARM_ITERATIONS, Probe, predict, scores_of, sigmoid

Array = NDArray[np.float64]

COHERENCE_NEIGHBOURS = 8
POPULATION = 16


def _mixup(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """The student on random interpolations between items and between their targets."""
    count, copies = len(state.targets), int(p["copies"])
    share = rng.beta(p["alpha"], p["alpha"], copies * count)
    one = np.tile(np.arange(count), copies)
    other = np.concatenate([rng.permutation(count) for _copy in range(copies)])
    part = share.astype(np.float32)[:, None]
    items = part * state.train_x[one] + (1 - part) * state.train_x[other]
    # A pair weighs what its two ends weigh, in their shares; so do their targets within it.
    ends = share * state.weights[one], (1 - share) * state.weights[other]
    weights = ends[0] + ends[1]
    mixed = ends[0] * state.targets[one] + ends[1] * state.targets[other]
    targets = np.where(weights > 0, mixed / np.where(weights > 0, weights, 1), 0.5)
    fitted = Probe(items, l2=state.student_l2).fit(np.clip(targets, 0, 1), weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _coteach(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Two students on halves of the items; each learns from those that the other one fits best.

    The share that is dropped grows from 0 to `drop` over the rounds; the answer is the mean of both.
    """
    count = len(state.targets)
    half = rng.permutation(count) % 2
    own = half[:, None] == np.arange(2)
    targets = np.repeat(state.targets[:, None], 2, axis=1)
    probe = Probe(state.train_x, l2=state.student_l2)
    pair = probe.fit(targets, state.weights[:, None] * own)
    rounds = int(p["rounds"])
    for number in range(1, rounds + 1):
        loss = np.abs(predict(pair, state.train_x) - targets)
        keep = np.zeros_like(own)
        for student in range(2):
            mine = own[:, student]
            if mine.any():
                by_peer = loss[:, 1 - student]
                least = np.quantile(by_peer[mine], 1 - p["drop"] * number / rounds)
                keep[:, student] = mine & (by_peer <= least)
        pair = probe.fit(targets, state.weights[:, None] * keep, iterations=WARM_ITERATIONS, start=pair)
    return replace(state, answer=predict(pair, state.test_x).mean(axis=1))


def coherence(
    scores: Array, chosen: Indices, targets: Probabilities, prior: float, weak: float
) -> NDArray[np.float64]:
    """How coherent the answers of K students are [K], without any true label; log-odds are [n, K].

    The mean of: agreement of an item's answer with the mean answer of its neighbours, agreement with the weak
    label times `weak`, both of answers and labels in [-1, 1]; less the squared distance of the mean answer
    from the class prior's, times 4.
    """
    answers = 2 * sigmoid(scores) - 1
    around = neighbour_means(answers, chosen)
    agreed = (answers * around).mean(axis=0) + weak * (answers * (2 * targets - 1)[:, None]).mean(axis=0)
    found: NDArray[np.float64] = agreed - 4 * (answers.mean(axis=0) - (2 * prior - 1)) ** 2
    return found


def _evolve(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """An evolution strategy over the probe's coefficients, from the plain student, on coherence alone.

    Pairs of opposite steps, each principal direction in its own deviation; ranks instead of values. The best
    student that was met is taken, the plain one included.
    """
    items = centred(state)
    axes, deviations = leading(items, items.shape[1])
    scale = np.where(deviations > 1e-6 * max(float(deviations[0]), 1e-12), deviations, np.inf)
    chosen, _squared = nearest(state.train_x, state.train_x, COHERENCE_NEIGHBOURS, skip_self=True)
    fitted = Probe(state.train_x, l2=state.student_l2).fit(state.targets, state.weights)
    along: Floats = ((state.train_x - state.train_x.mean(axis=0)) @ (axes / scale)).astype(np.float32)
    plain = scores_of(fitted, state.train_x)
    # A step moves the log-odds by a multiple of their own spread along whitened directions.
    spread = max(float(plain.std()), 1e-3) / along.shape[1] ** 0.5
    moved = np.zeros(along.shape[1] + 1)
    best, most = (
        moved,
        float(coherence(plain[:, None], chosen, state.targets, state.class_prior, p["weak"])[0]),
    )
    for _generation in range(int(p["generations"])):
        draws = rng.normal(size=(len(moved), POPULATION // 2))
        steps = p["size"] * spread * np.hstack([draws, -draws])
        tried = moved[:, None] + steps
        scores = plain[:, None] + (along @ tried[:-1].astype(np.float32)).astype(np.float64) + tried[-1]
        values = coherence(scores, chosen, state.targets, state.class_prior, p["weak"])
        if values.max() > most:
            best, most = tried[:, int(values.argmax())], float(values.max())
        ranks = values.argsort().argsort() / (POPULATION - 1) - 0.5
        moved = moved + steps @ ranks / POPULATION * 4
    test = (state.test_x - state.train_x.mean(axis=0)) @ (axes / scale)
    scores = scores_of(fitted, state.test_x) + test @ best[:-1] + best[-1]
    return replace(state, answer=sigmoid(scores))


TRAINING = (
    Block(
        name="mixup",
        kind="objective",
        family="robustness",
        parameters={"alpha": real(0.05, 8, 1.0, 0.2, 1.0, 4.0), "copies": whole(1, 8, 2, 1, 2, 4)},
        source="Zhang et al. 2018, mixup, arXiv:1710.09412",
        step=_mixup,
    ),
    Block(
        name="coteach",
        kind="objective",
        family="robustness",
        parameters={"drop": real(0, 0.9, 0.3, 0.2, 0.3, 0.5), "rounds": whole(1, 30, 6, 3, 6, 10)},
        source="Han et al. 2018, Co-teaching, arXiv:1804.06872",
        step=_coteach,
    ),
    Block(
        name="evolve",
        kind="objective",
        family="elicitation",
        parameters={
            "generations": whole(1, 400, 60, 30, 60, 120),
            "size": real(0.01, 3, 0.3, 0.1, 0.3, 1.0),
            "weak": real(0, 4, 0.5, 0.0, 0.5, 1.0),
        },
        source="Qiu et al. 2025, Evolution strategies at scale, arXiv:2509.24372 (here on a probe)",
        step=_evolve,
        needs=("weak", "prior", "test inputs"),
    ),
)
