"""The strong student: an L2-regularised logistic probe on fixed features.

Newton's method with the fixed upper bound of the Hessian, X'X / 4 (Boehning 1992), and Nesterov momentum: one
factorisation of the features serves every target and weight that shares them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats, Probabilities

BIAS_L2 = 1e-6
ITERATIONS = 25


def sigmoid(scores: NDArray[np.float64]) -> Probabilities:
    """The logistic function, without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * scores))


class Probe:
    """A logistic probe over one feature matrix [n, d]; `fit` may be called for many targets."""

    def __init__(self, features: Floats, *, l2: float) -> None:
        self._features = with_bias(features)
        count, width = self._features.shape
        self._penalty = np.full(width, l2)
        self._penalty[-1] = BIAS_L2
        bound = self._features.T @ self._features / (4 * count) + np.diag(self._penalty)
        self._inverse = np.linalg.inv(bound)

    def fit(
        self, targets: Probabilities, weights: Probabilities | None = None, *, iterations: int = ITERATIONS
    ) -> NDArray[np.float64]:
        """Coefficients [d + 1], the bias last, for soft targets [n] in [0, 1] and weights [n] in [0, 1]."""
        count, width = self._features.shape
        now = np.zeros(width)
        before = now
        pace = 1.0
        for _iteration in range(iterations):
            next_pace = (1 + (1 + 4 * pace * pace) ** 0.5) / 2
            ahead = now + (pace - 1) / next_pace * (now - before)
            before, pace = now, next_pace
            residual = (sigmoid(self._features @ ahead) - targets) / count
            if weights is not None:
                residual = residual * weights
            now = ahead - self._inverse @ (self._features.T @ residual + self._penalty * ahead)
        return now


def with_bias(features: Floats) -> NDArray[np.float64]:
    """The features with a column of ones at the end."""
    return np.hstack([features.astype(np.float64), np.ones((len(features), 1))])


def predict(coefficients: NDArray[np.float64], features: Floats) -> Probabilities:
    """P(y = 1) of each row."""
    return sigmoid(with_bias(features) @ coefficients)
