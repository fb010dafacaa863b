"""The strong student: an L2-regularised logistic probe on fixed features.

Newton's method with a fixed upper bound of the Hessian, X'X / 4 (Boehning 1992), and Nesterov's momentum: one
inverse serves every target, weight and fold over the same features, many of them in one product. In single
precision: what it predicts is the exact optimum's class on more than 99.9 % of items (`benchmarks/lab.py`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats, Probabilities

BIAS_L2 = 1e-6
ITERATIONS = 16
# From coefficients that were fitted to almost the same targets.
WARM_ITERATIONS = 6

Coefficients = NDArray[np.float64]
# From log-odds [n] to each item's derivative of a loss [n].
Slope = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def sigmoid(scores: NDArray[np.float64]) -> Probabilities:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * scores))


def with_bias(features: Floats) -> NDArray[np.float64]:
    """The features with a column of ones at the end."""
    return np.hstack([features.astype(np.float64), np.ones((len(features), 1))])


def predict(coefficients: Coefficients, features: Floats) -> Probabilities:
    """P(y = 1) of each row: [n] for coefficients [d + 1], [n, K] for [d + 1, K]."""
    return sigmoid(scores_of(coefficients, features))


def scores_of(coefficients: Coefficients, features: Floats) -> NDArray[np.float64]:
    """Log-odds of each row, as `predict`; the product is in single precision."""
    scores: NDArray[np.float64] = (features @ coefficients[:-1].astype(np.float32)).astype(np.float64)
    scores += coefficients[-1]
    return scores


class Probe:
    """A logistic probe over one feature matrix [n, d]; `fit` may be called for many targets."""

    def __init__(self, features: Floats, *, l2: float) -> None:
        count, width = features.shape
        self._features = np.empty((count, width + 1), dtype=np.float32)
        self._features[:, :-1] = features
        self._features[:, -1] = 1
        # Both layouts: with few targets at a time, each product is the quicker in its own.
        self._columns = np.ascontiguousarray(self._features.T)
        self._penalty = np.full(width + 1, l2)
        self._penalty[-1] = BIAS_L2
        self._gram = (self._features.T @ self._features).astype(np.float64) / count
        self._inverses: dict[float, Floats] = {}

    def _inverse(self, curvature: float) -> Floats:
        """The inverse of the Hessian's bound, of a loss with second derivatives of at most `curvature`."""
        if curvature not in self._inverses:
            bound = curvature * self._gram + np.diag(self._penalty)
            self._inverses[curvature] = np.linalg.inv(bound).astype(np.float32)
        return self._inverses[curvature]

    def fit(
        self,
        targets: Probabilities,
        weights: Probabilities | None = None,
        *,
        iterations: int = ITERATIONS,
        start: Coefficients | None = None,
    ) -> Coefficients:
        """Coefficients [d + 1] for soft targets [n] in [0, 1], or [d + 1, K] for K columns; the bias is last.

        They minimise the weighted mean of the cross-entropy plus l2 / 2 times the squared coefficients.
        `weights` have the shape of `targets`, none is negative; where all are zero, so are the coefficients.
        `start` has the shape of the result; it saves iterations where it is close.
        """
        count = len(targets)
        rows = targets.reshape(count, -1).T
        share, penalty = self._shares(None if weights is None else weights.reshape(count, -1).T)
        # sigmoid(s) - t = (tanh(s / 2) - (2 t - 1)) / 2: one pass less over [K, n] in every iteration.
        wanted = np.ascontiguousarray(2 * rows - 1, dtype=np.float32)
        inverse, scale = self._inverse(0.25), np.float32(0.5 / count)
        now = np.zeros((len(rows), self._features.shape[1]), dtype=np.float32)
        if start is not None:
            now[:] = start.reshape(now.shape[::-1]).T
        before, pace = now, 1.0
        residual = np.empty(rows.shape, dtype=np.float32)
        for _iteration in range(iterations):
            next_pace = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
            ahead = now + np.float32((pace - 1) / next_pace) * (now - before)
            before, pace = now, next_pace
            np.matmul(np.float32(0.5) * ahead, self._columns, out=residual)
            np.tanh(residual, out=residual)
            residual -= wanted
            if share is not None:
                residual *= share
            now = ahead - (scale * (residual @ self._features) + penalty * ahead) @ inverse
        found = now.T.astype(np.float64)
        return found[:, 0] if targets.ndim == 1 else found

    def _shares(self, weights: Probabilities | None) -> tuple[Floats | None, Floats]:
        """Weights [K, n] of at most one, so that the bound of the unweighted Hessian holds; the penalty."""
        if weights is None:
            return None, self._penalty.astype(np.float32)
        share = weights / np.maximum(weights.max(axis=1, keepdims=True), 1e-300)
        penalty = self._penalty * share.mean(axis=1, keepdims=True)
        return np.ascontiguousarray(share, dtype=np.float32), penalty.astype(np.float32)

    def minimise(
        self,
        slope: Slope,
        *,
        curvature: float,
        iterations: int,
        start: Coefficients,
        weights: Probabilities | None = None,
    ) -> Coefficients:
        """Coefficients [d + 1] of another smooth loss than cross-entropy, from `start` downhill.

        `slope` gives each item's derivative by its log-odds [n], `curvature` bounds its second derivative.
        The momentum is dropped whenever it points uphill (O'Donoghue and Candes 2015, arXiv:1204.3982), so
        that losses which are not convex end in a minimum near the start.
        """
        count = len(self._features)
        share, penalty = self._shares(None if weights is None else weights[None])
        inverse = self._inverse(curvature)
        now: Floats = start.astype(np.float32)
        before, pace = now, 1.0
        for _iteration in range(iterations):
            next_pace = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
            ahead = now + np.float32((pace - 1) / next_pace) * (now - before)
            by_item = slope((self._features @ ahead).astype(np.float64)).astype(np.float32)
            if share is not None:
                by_item *= share[0]
            gradient: Floats = self._features.T @ by_item / np.float32(count) + penalty.reshape(-1) * ahead
            before, pace, now = now, next_pace, ahead - inverse @ gradient
            if gradient @ (now - before) > 0:
                before, pace = now, 1.0
        return now.astype(np.float64)


def descend(
    features: Floats, targets: Probabilities, weights: Probabilities, *, steps: int, radius: float = 1.0
) -> Coefficients:
    """Plain gradient descent from zero on the weighted mean cross-entropy, no penalty; [d + 1].

    The step is one over the largest curvature that the features allow, so that every step goes down. Stopping
    early is the only regularisation. Items predicted farther than
    `radius` from one half have no say in a step.
    """
    data = with_bias(features)
    curvature = float(np.linalg.eigvalsh(data.T @ data)[-1]) / (4 * len(data))
    share = weights / max(float(weights.max()), 1e-300)
    coefficients = np.zeros(data.shape[1])
    for _step in range(steps):
        own = sigmoid(data @ coefficients)
        residual = share * (own - targets) * (np.abs(own - 0.5) < radius) / len(data)
        coefficients = coefficients - data.T @ residual / curvature
    return coefficients
