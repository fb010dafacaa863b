"""Objectives: how the student is fitted to the targets, and what it then says of the test items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.odds import log_odds, shifted_to
from aar.lab.blocks.relabel import diffused
from aar.lab.instance import Probabilities
from aar.lab.neighbours import nearest, normalised_graph
from aar.lab.probe import WARM_ITERATIONS, Coefficients, Probe, descend, predict, scores_of, sigmoid


def _probe(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The plain student: a logistic probe on the targets."""
    fitted = Probe(state.train_x, l2=p["l2_factor"] * state.student_l2).fit(state.targets, state.weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _early_stop(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """A student stopped after a few steps of gradient descent, before it fits the teacher's mistakes."""
    fitted = descend(state.train_x, state.targets, state.weights, steps=int(p["steps"]))
    return replace(state, answer=predict(fitted, state.test_x))


def _window(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Gradient descent in which only items that the student is unsure of have a say."""
    fitted = descend(state.train_x, state.targets, state.weights, steps=int(p["steps"]), radius=p["radius"])
    return replace(state, answer=predict(fitted, state.test_x))


def refitted(
    state: State, rounds: int, change: Callable[[Probabilities, float], Probabilities]
) -> Coefficients:
    """A student fitted again and again to targets that `change` makes of its own answers.

    `change` is given the student's log-odds on the training items and how far the warm-up is, up to 1.
    """
    probe = Probe(state.train_x, l2=state.student_l2)
    fitted = probe.fit(state.targets, state.weights)
    for number in range(1, rounds + 1):
        targets = change(scores_of(fitted, state.train_x), number / rounds)
        fitted = probe.fit(targets, state.weights, iterations=WARM_ITERATIONS, start=fitted)
    return fitted


def _logconf(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Targets (1 - c) target + c 1[student above its quantile at the class prior], c warmed up from 0."""

    def change(scores: Probabilities, warm: float) -> Probabilities:
        hard = scores > np.quantile(scores, 1 - state.class_prior)
        share = p["c"] * warm
        return (1 - share) * state.targets + share * hard

    return replace(state, answer=predict(refitted(state, int(p["rounds"]), change), state.test_x))


def _product(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Targets proportional to target^weak times student^own, `own` warmed up from 0."""
    odds = log_odds(state.targets)

    def change(scores: Probabilities, warm: float) -> Probabilities:
        return sigmoid(p["weak"] * odds + p["own"] * warm * scores)

    return replace(state, answer=predict(refitted(state, int(p["rounds"]), change), state.test_x))


def _prior_match(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The plain student, its answers shifted until their mean is the class prior, or nearer to one half."""
    fitted = Probe(state.train_x, l2=state.student_l2).fit(state.targets, state.weights)
    prior = (1 - p["even"]) * state.class_prior + p["even"] * 0.5
    return replace(state, answer=shifted_to(scores_of(fitted, state.test_x), prior))


def _knn_vote(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The weighted mean target of the nearest training items; one half where none of them has weight."""
    chosen, _squared = nearest(state.test_x, state.train_x, int(p["k"]))
    weights = state.weights[chosen]
    total = weights.sum(axis=1)
    votes = (state.targets[chosen] * weights).sum(axis=1)
    return replace(state, answer=np.where(total > 0, votes / np.where(total > 0, total, 1), 0.5))


def _spread(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Label propagation on the graph of training and test items: the answer is what arrives at the latter."""
    count = len(state.targets)
    graph = normalised_graph(np.vstack([state.train_x, state.test_x]), int(p["k"]))
    start = np.zeros(graph.count)
    start[:count] = state.weights * (state.targets - state.class_prior)
    return replace(state, answer=0.5 * (1 + np.tanh(diffused(graph, start, p)[count:])))


def _zero_shot(state: State, _p: Parameters, _rng: np.random.Generator) -> State:
    """The strong model's own answers, unasked by anybody."""
    assert state.zero_shot is not None
    return replace(state, answer=state.zero_shot[1].copy())


OBJECTIVES = (
    Block(
        name="probe",
        kind="objective",
        family="baseline",
        parameters={"l2_factor": real(1e-4, 1e4, 1.0, 0.3, 1.0, 3.0, 10.0)},
        source="Burns et al. 2023, arXiv:2312.09390 (naive finetuning on weak labels)",
        step=_probe,
    ),
    Block(
        name="early_stop",
        kind="objective",
        family="simplicity",
        parameters={"steps": whole(1, 1000, 16, 4, 8, 16, 64)},
        source="Medvedev et al. 2025, arXiv:2503.02877 (early stopping)",
        step=_early_stop,
    ),
    Block(
        name="window",
        kind="objective",
        family="simplicity",
        parameters={
            "radius": real(0.01, 0.5, 0.15, 0.1, 0.15, 0.3),
            "steps": whole(1, 1000, 100, 50, 100, 200),
        },
        source="EleutherAI 2024, Experiments in weak-to-strong generalization (confidence-window loss)",
        step=_window,
    ),
    Block(
        name="logconf",
        kind="objective",
        family="confidence",
        parameters={"c": real(0, 0.95, 0.5, 0.3, 0.5, 0.75), "rounds": whole(1, 50, 8, 4, 8, 16)},
        source="Burns et al. 2023, arXiv:2312.09390 (auxiliary confidence loss)",
        step=_logconf,
        needs=("weak", "prior"),
    ),
    Block(
        name="product",
        kind="objective",
        family="confidence",
        parameters={
            "weak": real(0, 4, 1.0, 0.5, 1.0, 2.0),
            "own": real(0, 2, 1.0, 0.5, 1.0),
            "rounds": whole(1, 20, 3, 2, 3, 5),
        },
        source="openai/weak-to-strong 2023, weak_to_strong/loss.py (product loss)",
        step=_product,
    ),
    Block(
        name="prior_match",
        kind="objective",
        family="prior",
        parameters={"even": real(0, 1, 1.0, 0.0, 0.5, 1.0)},
        source="Saerens et al. 2002, Adjusting the outputs of a classifier to new a priori probabilities",
        step=_prior_match,
        needs=("weak", "prior", "test inputs"),
    ),
    Block(
        name="knn_vote",
        kind="objective",
        family="neighbourhood",
        parameters={"k": whole(1, 200, 15, 8, 15, 30)},
        source="Cover and Hart 1967, Nearest neighbor pattern classification",
        step=_knn_vote,
    ),
    Block(
        name="spread",
        kind="objective",
        family="neighbourhood",
        parameters={
            "k": whole(2, 100, 12, 6, 12, 24),
            "alpha": real(0, 0.999, 0.9, 0.8, 0.9, 0.97, 0.99),
            "steps": whole(1, 200, 50, 10, 20, 50),
        },
        source="Zhou et al. 2003, Learning with local and global consistency (test items in the graph)",
        step=_spread,
        needs=("weak", "prior", "test inputs"),
    ),
    Block(
        name="zero_shot",
        kind="objective",
        family="elicitation",
        parameters={},
        source="Wen et al. 2025, arXiv:2506.10139 (the zero-shot baseline of unsupervised elicitation)",
        step=_zero_shot,
        needs=("zero-shot", "test inputs"),
    ),
)
