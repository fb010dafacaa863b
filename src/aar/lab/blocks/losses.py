"""Losses: objectives that fit the student by something else than cross-entropy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, real
from aar.lab.blocks.odds import log_odds
from aar.lab.probe import Probe, Slope, predict, sigmoid

Array = NDArray[np.float64]

ITERATIONS = 60
# log 0 in the reverse cross-entropy (Wang et al. 2019 take -4), and the surest label of a reverse KL.
LOG_NOTHING = -4.0
LEAST_SLOPE = 0.05


def _gce(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Generalised cross-entropy, (1 - f_y^q) / q: what the student finds unlikely counts less."""
    q = p["q"]

    def slope(scores: Array) -> Array:
        own = sigmoid(scores)
        found: Array = (1 - state.targets) * (1 - own) ** q * own - state.targets * own**q * (1 - own)
        return found

    return _minimised(state, slope, 0.25)


def _sce(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Symmetric cross-entropy: cross-entropy plus `reverse` times that of the label under the student."""
    with np.errstate(divide="ignore"):
        ones = np.maximum(np.log(state.targets), LOG_NOTHING)
        zeros = np.maximum(np.log(1 - state.targets), LOG_NOTHING)

    def slope(scores: Array) -> Array:
        own = sigmoid(scores)
        found: Array = own - state.targets + p["reverse"] * own * (1 - own) * (zeros - ones)
        return found

    return _minimised(state, slope, 0.25 + 0.1 * p["reverse"] * -LOG_NOTHING)


def _reverse_kl(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """KL(student || target), which seeks a mode: where the student cannot follow, it gives one side up."""
    odds = np.clip(log_odds(state.targets), LOG_NOTHING, -LOG_NOTHING)
    forward = p["forward"]

    def slope(scores: Array) -> Array:
        own = sigmoid(scores)
        return (1 - forward) * own * (1 - own) * (scores - odds) + forward * (own - state.targets)

    return _minimised(state, slope, 1.0)


def _entropy(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """(1 - c) cross-entropy + c times the student's own entropy: sure of itself, without hardening."""
    c = p["c"]

    def slope(scores: Array) -> Array:
        own = sigmoid(scores)
        return (1 - c) * (own - state.targets) - c * scores * own * (1 - own)

    return _minimised(state, slope, 0.25)


def _forward(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Forward correction: the student is fitted through a channel, which anchor items estimate.

    The anchors are the items at which a plain student is the surest of either label; what it says there is
    how often that label is flipped.
    """
    fitted = Probe(state.train_x, l2=state.student_l2).fit(state.targets, state.weights)
    own = predict(fitted, state.train_x)
    low, high = np.quantile(own, [1 - p["anchor"], p["anchor"]])
    # A channel that hardly tells the two apart cannot be inverted.
    rise = max(high - low, LEAST_SLOPE)

    def slope(scores: Array) -> Array:
        own = sigmoid(scores)
        seen = np.clip(low + rise * own, 1e-6, 1 - 1e-6)
        found: Array = (seen - state.targets) / (seen * (1 - seen)) * rise * own * (1 - own)
        return found

    return _minimised(state, slope, 0.25)


def _minimised(state: State, slope: Slope, curvature: float) -> State:
    """The student at the loss's minimum near the plain student."""
    probe = Probe(state.train_x, l2=state.student_l2)
    found = probe.minimise(
        slope,
        curvature=curvature,
        iterations=ITERATIONS,
        start=probe.fit(state.targets, state.weights),
        weights=state.weights,
    )
    return replace(state, answer=predict(found, state.test_x))


LOSSES = (
    Block(
        name="gce",
        kind="objective",
        family="robustness",
        parameters={"q": real(0, 1, 0.7, 0.3, 0.5, 0.7)},
        source="Zhang and Sabuncu 2018, Generalized cross entropy, arXiv:1805.07836",
        step=_gce,
    ),
    Block(
        name="sce",
        kind="objective",
        family="robustness",
        parameters={"reverse": real(0, 10, 1.0, 0.5, 1.0, 3.0)},
        source="Wang et al. 2019, Symmetric cross entropy, arXiv:1908.06112",
        step=_sce,
    ),
    Block(
        name="forward",
        kind="objective",
        family="channel",
        parameters={"anchor": real(0.6, 1, 0.97, 0.9, 0.97, 0.99)},
        source="Patrini et al. 2017, arXiv:1609.03683 (forward correction, anchors at the 97 % quantile)",
        step=_forward,
    ),
    Block(
        name="reverse_kl",
        kind="objective",
        family="robustness",
        parameters={"forward": real(0, 1, 0.0, 0.0, 0.25, 0.5)},
        source="Yao et al. 2025, Revisiting weak-to-strong generalization, arXiv:2502.11107 (reverse KL)",
        step=_reverse_kl,
    ),
    Block(
        name="entropy",
        kind="objective",
        family="confidence",
        parameters={"c": real(0, 0.95, 0.5, 0.3, 0.5, 0.75)},
        source="EleutherAI 2024, Experiments in weak-to-strong generalization (entropy loss)",
        step=_entropy,
    ),
)
