"""Select and reweight: which items the student learns from, and how much from each."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.neighbours import nearest, neighbour_means


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


def _conf_w(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Weight items by |2 target - 1| to a power."""
    return replace(state, weights=state.weights * np.abs(2 * state.targets - 1) ** p["power"])


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
        name="conf_w",
        kind="reweight",
        family="confidence",
        parameters={"power": real(0, 8, 1.0, 0.5, 1.0, 2.0)},
        source="Ren et al. 2018, arXiv:1803.09050 (weighted examples; here the weight is confidence)",
        step=_conf_w,
    ),
)
