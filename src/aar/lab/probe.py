"""The strong student: an L2-regularised logistic probe on fixed features.

Newton's method with a fixed upper bound of the Hessian, X'X / 4 (Boehning 1992), and Nesterov's momentum: one
inverse serves every target and every weight over the same features, many of them in one product.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats, Probabilities

BIAS_L2 = 1e-6
ITERATIONS = 25

Coefficients = NDArray[np.float64]


def sigmoid(scores: NDArray[np.float64]) -> Probabilities:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * scores))


def with_bias(features: Floats) -> NDArray[np.float64]:
    """The features with a column of ones at the end."""
    return np.hstack([features.astype(np.float64), np.ones((len(features), 1))])


def predict(coefficients: Coefficients, features: Floats) -> Probabilities:
    """P(y = 1) of each row: [n] for coefficients [d + 1], [n, K] for [d + 1, K]."""
    return sigmoid(with_bias(features) @ coefficients)


class Probe:
    """A logistic probe over one feature matrix [n, d]; `fit` may be called for many targets."""

    def __init__(self, features: Floats, *, l2: float) -> None:
        self._features = with_bias(features)
        count, width = self._features.shape
        self._penalty = np.full((width, 1), l2)
        self._penalty[-1] = BIAS_L2
        bound = self._features.T @ self._features / (4 * count) + np.diag(self._penalty[:, 0])
        self._inverse = np.linalg.inv(bound)

    def fit(
        self, targets: Probabilities, weights: Probabilities | None = None, *, iterations: int = ITERATIONS
    ) -> Coefficients:
        """Coefficients [d + 1] for soft targets [n] in [0, 1], or [d + 1, K] for K columns; the bias is last.

        They minimise the weighted mean of the cross-entropy plus l2 / 2 times the squared coefficients.
        `weights` have the shape of `targets`, none is negative; where all are zero, so are the coefficients.
        """
        columns = targets.reshape(len(targets), -1)
        if weights is None:
            share = np.ones_like(columns)
        else:
            share = weights.reshape(columns.shape)
            # With weights of at most one the bound of the unweighted Hessian holds.
            share = share / np.maximum(share.max(axis=0), 1e-300)
        count = len(columns)
        penalty = self._penalty * share.mean(axis=0)
        now = np.zeros((self._features.shape[1], columns.shape[1]))
        before, pace = now, 1.0
        for _iteration in range(iterations):
            next_pace = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
            ahead = now + (pace - 1) / next_pace * (now - before)
            before, pace = now, next_pace
            residual = share * (sigmoid(self._features @ ahead) - columns) / count
            now = ahead - self._inverse @ (self._features.T @ residual + penalty * ahead)
        return now[:, 0] if targets.ndim == 1 else now


def descend(features: Floats, targets: Probabilities, weights: Probabilities, *, steps: int) -> Coefficients:
    """Plain gradient descent from zero on the weighted mean cross-entropy, no penalty; [d + 1].

    The step is one over the largest curvature that the features allow, so that every step goes down. Stopping
    early is the only regularisation.
    """
    data = with_bias(features)
    curvature = float(np.linalg.norm(data, ord=2)) ** 2 / (4 * len(data))
    share = weights / max(float(weights.max()), 1e-300)
    coefficients = np.zeros(data.shape[1])
    for _step in range(steps):
        residual = share * (sigmoid(data @ coefficients) - targets) / len(data)
        coefficients = coefficients - data.T @ residual / curvature
    return coefficients
