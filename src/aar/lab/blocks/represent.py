"""Represent: other coordinates for training and test items alike, found without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, whole


def _components(state: State, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scores of all items, training first, on the `k` leading components, and each component's deviation."""
    both = np.vstack([state.train_x, state.test_x]).astype(np.float64)
    centred = both - both.mean(axis=0)
    _left, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:k].T, sizes[:k] / len(both) ** 0.5


def _placed(state: State, scores: NDArray[np.float64]) -> State:
    all_x = scores.astype(np.float32)
    count = len(state.targets)
    return replace(state, train_x=all_x[:count], test_x=all_x[count:])


def _pca(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Project on the leading principal components of all items."""
    scores, _deviations = _components(state, int(p["k"]))
    return _placed(state, scores)


def _whiten(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The leading principal components, each scaled to variance one."""
    scores, deviations = _components(state, int(p["k"]))
    # A component without any variance stays at zero.
    return _placed(state, scores / np.where(deviations > 1e-9, deviations, np.inf))


REPRESENT = (
    Block(
        name="pca",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 512, 30, 10, 20, 30, 35)},
        source="Pearson 1901, On lines and planes of closest fit to systems of points in space",
        step=_pca,
    ),
    Block(
        name="whiten",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 512, 30, 10, 20, 30, 40)},
        source="Hyvarinen and Oja 2000, Independent component analysis (whitening)",
        step=_whiten,
    ),
)
