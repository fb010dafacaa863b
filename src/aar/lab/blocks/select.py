"""Select and reweight: which items the student learns from, and how much from each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.cross_fit import CrossFit
from aar.lab.neighbours import components, joined, nearest, neighbour_means
from aar.lab.probe import Probe, predict


def _conf_keep(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Keep, on each side of one half, the share `q` of items whose targets are farthest from it."""
    sure = np.abs(state.targets - 0.5)
    keep = np.zeros(len(sure), dtype=bool)
    for side in (state.targets > 0.5, state.targets <= 0.5):
        if side.any():
            keep |= side & (sure >= np.quantile(sure[side], 1 - p["q"]))
    return replace(state, weights=state.weights * keep)


def _agree_keep(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Drop items whose target is on the other side of one half than the mean over its neighbours."""
    chosen, _squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    around = neighbour_means(state.targets, chosen)
    return replace(state, weights=state.weights * ((around > 0.5) == (state.targets > 0.5)))


def _keep_least(state: State, scores: NDArray[np.float64], share: float) -> State:
    """Keep the share of items with the lowest scores."""
    return replace(state, weights=state.weights * (scores <= np.quantile(scores, share)))


def _probe_keep(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """Drop the items whose target is farthest from what a student says that never saw them."""
    own = CrossFit(state).answers(state.targets, state.weights, rng)
    return _keep_least(state, np.abs(own - state.targets), 1 - p["drop"])


def _small_loss(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Drop the items that the student fits worst, though it was trained on them."""
    fitted = Probe(state.train_x, l2=state.student_l2).fit(state.targets, state.weights)
    return _keep_least(state, np.abs(predict(fitted, state.train_x) - state.targets), 1 - p["drop"])


def _topo_keep(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Keep, of each hard label, the largest connected part of the kNN graph among items of that label."""
    chosen, squared = nearest(state.train_x, state.train_x, int(p["k"]), skip_self=True)
    sides = state.targets > 0.5
    rows, columns, _distances = joined(chosen, squared)
    inside = sides[rows] == sides[columns]
    part = components(rows[inside], columns[inside], len(sides))
    keep = np.zeros(len(sides), dtype=bool)
    for side in (sides, ~sides):
        if side.any():
            keep |= side & (part == np.bincount(part[side]).argmax())
    return replace(state, weights=state.weights * keep)


def _conf_w(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Weight items by |2 target - 1| to a power."""
    return replace(state, weights=state.weights * np.abs(2 * state.targets - 1) ** p["power"])


def _anti_w(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Weight items by 1 - |2 target - 1| to a power: what the teacher is sure of counts less."""
    return replace(state, weights=state.weights * (1 - np.abs(2 * state.targets - 1)) ** p["power"])


def _overlap_w(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Weight up the confident items that look most like those that the teacher is unsure of.

    Unsure are the share `hard` of items with targets nearest one half; likeness is the mean absolute cosine
    to them. The upper half of the confident ones by likeness overlaps, and has `factor` times the weight.
    """
    sure = np.abs(state.targets - 0.5)
    unsure = sure <= np.quantile(sure, p["hard"])
    around = (state.train_x - state.train_x.mean(axis=0)).astype(np.float64)
    units = around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-12)
    if unsure.all():
        return state
    likeness = np.abs(units[~unsure] @ units[unsure].T).mean(axis=1)
    weights = state.weights.copy()
    weights[np.flatnonzero(~unsure)[likeness > np.median(likeness)]] *= p["factor"]
    return replace(state, weights=weights)


SELECT = (
    Block(
        name="conf_keep",
        kind="select",
        family="confidence",
        parameters={"q": real(0.05, 1, 0.5, 0.3, 0.5, 0.75)},
        source="Burns et al. 2023, arXiv:2312.09390 (train on confident weak labels)",
        step=_conf_keep,
    ),
    Block(
        name="agree_keep",
        kind="select",
        family="neighbourhood",
        parameters={"k": whole(1, 200, 15, 8, 15, 30)},
        source="Wilson 1972, Asymptotic properties of nearest neighbor rules using edited data",
        step=_agree_keep,
    ),
    Block(
        name="probe_keep",
        kind="select",
        family="robustness",
        parameters={"drop": real(0, 0.9, 0.25, 0.1, 0.25, 0.5)},
        source="Northcutt et al. 2021, Confident learning, arXiv:1911.00068 (cross-fitted pruning)",
        step=_probe_keep,
    ),
    Block(
        name="small_loss",
        kind="select",
        family="robustness",
        parameters={"drop": real(0, 0.9, 0.25, 0.1, 0.25, 0.5)},
        source="Jiang et al. 2018, MentorNet, arXiv:1712.05055 (the small-loss rule)",
        step=_small_loss,
    ),
    Block(
        name="topo_keep",
        kind="select",
        family="neighbourhood",
        parameters={"k": whole(1, 100, 8, 4, 8, 16)},
        source="Wu et al. 2020, A topological filter for learning with label noise, arXiv:2012.04835",
        step=_topo_keep,
    ),
    Block(
        name="conf_w",
        kind="reweight",
        family="confidence",
        parameters={"power": real(0, 8, 1.0, 0.5, 1.0, 2.0)},
        source="Ren et al. 2018, arXiv:1803.09050 (weighted examples; here the weight is confidence)",
        step=_conf_w,
    ),
    Block(
        name="anti_w",
        kind="reweight",
        family="confidence",
        parameters={"power": real(0, 8, 1.0, 0.5, 1.0, 2.0)},
        source="Lin et al. 2017, Focal loss, arXiv:1708.02002 (easy items count less; here the teacher's)",
        step=_anti_w,
    ),
    Block(
        name="overlap_w",
        kind="reweight",
        family="neighbourhood",
        parameters={"hard": real(0.05, 0.9, 0.3, 0.2, 0.3, 0.5), "factor": real(0, 20, 3.0, 2.0, 3.0, 5.0)},
        source="Shin et al. 2024, arXiv:2412.03881 (overlap density; here by share, not by change point)",
        step=_overlap_w,
    ),
)
