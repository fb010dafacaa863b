"""Objectives: how the student is fitted to the targets, and what it then says of the test items."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.neighbours import nearest
from aar.lab.probe import Probe, descend, predict


def _probe(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The plain student: a logistic probe on the targets."""
    fitted = Probe(state.train_x, l2=p["l2_factor"] * state.student_l2).fit(state.targets, state.weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _early_stop(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """A student stopped after a few steps of gradient descent, before it fits the teacher's mistakes."""
    fitted = descend(state.train_x, state.targets, state.weights, steps=int(p["steps"]))
    return replace(state, answer=predict(fitted, state.test_x))


def _logconf(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Targets (1 - c) target + c 1[student above its quantile at the class prior], c warmed up from 0."""
    probe = Probe(state.train_x, l2=state.student_l2)
    fitted = probe.fit(state.targets, state.weights)
    for share in np.linspace(0, p["c"], int(p["rounds"]) + 1)[1:]:
        own = predict(fitted, state.train_x)
        hard = own > np.quantile(own, 1 - state.class_prior)
        fitted = probe.fit((1 - share) * state.targets + share * hard, state.weights)
    return replace(state, answer=predict(fitted, state.test_x))


def _knn_vote(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The weighted mean target of the nearest training items; one half where none of them has weight."""
    chosen, _squared = nearest(state.test_x, state.train_x, int(p["k"]))
    weights = state.weights[chosen]
    total = weights.sum(axis=1)
    votes = (state.targets[chosen] * weights).sum(axis=1)
    return replace(state, answer=np.where(total > 0, votes / np.where(total > 0, total, 1), 0.5))


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
        name="logconf",
        kind="objective",
        family="confidence",
        parameters={"c": real(0, 0.95, 0.5, 0.3, 0.5, 0.75), "rounds": whole(1, 50, 8, 4, 8, 16)},
        source="Burns et al. 2023, arXiv:2312.09390 (auxiliary confidence loss)",
        step=_logconf,
    ),
    Block(
        name="knn_vote",
        kind="objective",
        family="neighbourhood",
        parameters={"k": whole(1, 200, 15, 8, 15, 30)},
        source="Cover and Hart 1967, Nearest neighbor pattern classification",
        step=_knn_vote,
    ),
)
