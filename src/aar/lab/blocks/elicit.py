"""Elicit: labels from a direction or groups that the strong space has already; weak labels name the ends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, real, whole
from aar.lab.blocks.mixture import lloyd, spread_out, squared_distances, two_gaussians
from aar.lab.blocks.odds import log_odds
from aar.lab.blocks.represent import centred, leading, whitened
from aar.lab.probe import sigmoid

TWO_MEANS_STEPS = 20
K_MEANS_STEPS = 25
CCS_STEPS = 100
# The length of a direction in whitened space: log-odds of an item one deviation out.
CCS_LENGTH = 3.0


def _components_of(state: State, k: int) -> NDArray[np.float64]:
    """Training items on the leading principal components of all items [n, k]."""
    items = centred(state)
    axes, _deviations = leading(items, k)
    return items[: len(state.targets)] @ axes


def _named(state: State, scores: NDArray[np.float64]) -> State:
    """Scores as soft labels, turned so that they go along with the targets."""
    along = scores @ (state.targets - state.targets.mean())
    return replace(state, targets=sigmoid(scores if along >= 0 else -scores))


def _pc1(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The first principal component as the truth direction: its scores, in deviations, are the log-odds."""
    return _named(state, p["scale"] * whitened(state, 1)[: len(state.targets), 0])


def _halves(state: State) -> NDArray[np.bool_]:
    return state.targets > np.median(state.targets)


def _twomeans(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """2-means on principal components, started at the weak classes' means; the label is which is nearer."""
    points = _components_of(state, int(p["pcs"]))
    upper = _halves(state)
    if not upper.any():
        return state
    centres = lloyd(
        points, np.stack([points[~upper].mean(axis=0), points[upper].mean(axis=0)]), TWO_MEANS_STEPS
    )
    far = np.sqrt(squared_distances(points, centres))
    return replace(state, targets=sigmoid(p["scale"] * (far[:, 0] - far[:, 1])))


def _gmm(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Two Gaussians on principal components, started at the weak classes."""
    points = _components_of(state, int(p["pcs"]))
    upper = _halves(state)
    if not upper.any():
        return state
    return replace(state, targets=two_gaussians(points, upper.astype(np.float64), int(p["steps"])))


def _ccs(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The direction along which items are the most clearly either-or, without looking at labels.

    Contrast pairs are each item and its mirror image in the mean: they are consistent whatever the direction,
    so what is left of the loss is its confidence term, min(p, 1 - p)^2, at a fixed length. Descent starts at
    every principal axis and at the difference of the weak classes; the lowest end is taken.
    """
    train = whitened(state, int(p["pcs"]))[: len(state.targets)]
    apart = train.T @ (state.targets - state.targets.mean())
    starts = np.column_stack(
        [np.eye(train.shape[1]), apart if np.linalg.norm(apart) > 0 else np.eye(train.shape[1], 1)]
    )
    axes = CCS_LENGTH * starts / np.linalg.norm(starts, axis=0)
    for _step in range(CCS_STEPS):
        scores = train @ axes
        unsure = sigmoid(-np.abs(scores))
        slope = train.T @ (-2 * np.sign(scores) * unsure**2 * (1 - unsure)) / len(train)
        # Along the sphere: length is given, only the angle is looked for.
        axes = axes - p["rate"] * slope * CCS_LENGTH
        axes = CCS_LENGTH * axes / np.maximum(np.linalg.norm(axes, axis=0), 1e-12)
    loss = (sigmoid(-np.abs(train @ axes)) ** 2).mean(axis=0)
    return _named(state, train @ axes[:, int(loss.argmin())])


def _cluster_vote(state: State, p: Parameters, rng: np.random.Generator) -> State:
    """k-means on the training items; every cluster gets its weighted mean target."""
    points = state.train_x.astype(np.float64)
    points = points - points.mean(axis=0)
    centres = lloyd(points, spread_out(points, min(int(p["k"]), len(points)), rng), K_MEANS_STEPS)
    mine = squared_distances(points, centres).argmin(axis=1)
    total = np.bincount(mine, weights=state.weights, minlength=len(centres))
    votes = np.bincount(mine, weights=state.weights * state.targets, minlength=len(centres))
    means = np.where(total > 0, votes / np.where(total > 0, total, 1), 0.5)
    return replace(state, targets=means[mine])


def _poe(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """A product of experts: the target to one power times the strong model's zero-shot answer to another."""
    assert state.zero_shot is not None
    own, _test = state.zero_shot
    odds = p["weak"] * log_odds(state.targets) + p["zero_shot"] * log_odds(own)
    return replace(state, targets=sigmoid(odds))


ELICIT = (
    Block(
        name="pc1",
        kind="relabel",
        family="elicitation",
        parameters={"scale": real(0.1, 10, 2.0, 1.0, 2.0, 4.0)},
        source="Burns et al. 2022, arXiv:2212.03827 (the top component; here without contrast pairs)",
        step=_pc1,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="twomeans",
        kind="relabel",
        family="elicitation",
        parameters={"pcs": whole(1, 64, 4, 2, 4, 8), "scale": real(0.1, 10, 2.0, 1.0, 2.0, 4.0)},
        source="MacQueen 1967 (k-means), as a truth direction after Burns et al. 2022, arXiv:2212.03827",
        step=_twomeans,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="gmm",
        kind="relabel",
        family="elicitation",
        parameters={"pcs": whole(1, 32, 4, 2, 4, 8), "steps": whole(1, 200, 30, 10, 30, 60)},
        source="Dempster et al. 1977 (EM), as a truth direction after Burns et al. 2022, arXiv:2212.03827",
        step=_gmm,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="ccs",
        kind="relabel",
        family="elicitation",
        parameters={"pcs": whole(1, 64, 8, 4, 8, 16), "rate": real(0.01, 10, 1.0, 0.3, 1.0, 3.0)},
        source="Burns et al. 2022, arXiv:2212.03827 (contrast-consistent search; here on mirror images)",
        step=_ccs,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="cluster_vote",
        kind="relabel",
        family="neighbourhood",
        parameters={"k": whole(2, 200, 30, 15, 30, 60)},
        source="Blum and Chawla 2001 (labels from clusters of the data); MacQueen 1967 (k-means)",
        step=_cluster_vote,
    ),
    Block(
        name="poe",
        kind="relabel",
        family="elicitation",
        parameters={"weak": real(0, 4, 1.0, 0.0, 0.5, 1.0), "zero_shot": real(0, 4, 1.0, 0.5, 1.0, 2.0)},
        source="Hinton 2002 (products of experts); Wen et al. 2025, arXiv:2506.10139 (zero-shot labels)",
        step=_poe,
        needs=("weak", "zero-shot"),
    ),
)
