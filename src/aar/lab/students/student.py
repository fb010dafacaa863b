"""The student protocol, and the two students that need numpy alone: a linear probe and a small network.

A teacher is a student fitted on true labels; what it predicts on unlabelled items are the weak labels.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import STUDENT_L2, Floats, Probabilities
from aar.lab.probe import ITERATIONS, Coefficients, Probe, predict, sigmoid
from aar.lab.students.errors import MalformedInputs, MalformedSettings

Inputs_contra = TypeVar("Inputs_contra", contravariant=True)


class Student(Protocol[Inputs_contra]):
    """What learns P(y = 1) from inputs with soft targets; a pure function of what `fit` is given."""

    def fit(
        self,
        inputs: Inputs_contra,
        targets: Probabilities,
        weights: Probabilities | None = None,
        *,
        seed: int,
    ) -> object:
        """Learn anew from targets [n] in [0, 1]; of the weights [n] only the ratios count."""

    def predict(self, inputs: Inputs_contra) -> Probabilities:
        """P(y = 1) of each input [m]; raises `MalformedInputs` before `fit`."""


# The same thing, fitted on true labels.
Teacher: TypeAlias = Student[Inputs_contra]


def check_targets(count: int, targets: Probabilities, weights: Probabilities | None) -> None:
    """Raise `MalformedInputs` unless each input has a probability, and a weight from 0."""
    if not count or targets.shape != (count,) or (weights is not None and weights.shape != (count,)):
        of_weights = "none" if weights is None else weights.shape
        raise MalformedInputs(
            f"{count} inputs, targets {targets.shape}, weights {of_weights}: want one each, and at least one"
        )
    # Written so that NaN is refused too.
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise MalformedInputs(f"targets go from {targets.min()} to {targets.max()}: want 0 to 1")
    if weights is not None and not (weights.min() >= 0 and np.isfinite(weights.max())):
        raise MalformedInputs(f"weights go from {weights.min()} to {weights.max()}: want finite ones from 0")


class LinearProbe:
    """An L2-regularised logistic probe on features [n, d]; see `aar.lab.probe`."""

    def __init__(self, *, l2: float = STUDENT_L2, iterations: int = ITERATIONS) -> None:
        if not l2 > 0 or iterations < 1:
            raise MalformedSettings(f"l2 {l2}, iterations {iterations}: want a penalty above 0 and 1 or more")
        self._l2 = l2
        self._iterations = iterations
        self._coefficients: Coefficients | None = None

    def fit(
        self, inputs: Floats, targets: Probabilities, weights: Probabilities | None = None, *, seed: int
    ) -> LinearProbe:
        """Find the coefficients; nothing is random, so the seed changes nothing."""
        del seed
        check_targets(len(inputs), targets, weights)
        self._coefficients = Probe(inputs, l2=self._l2).fit(targets, weights, iterations=self._iterations)
        return self

    def predict(self, inputs: Floats) -> Probabilities:
        """P(y = 1) of each row [m]."""
        if self._coefficients is None:
            raise MalformedInputs("this probe was not fitted; call fit first")
        return predict(self._coefficients, inputs)


class MLPProbe:
    """A network with one hidden layer of tanh units on features [n, d].

    It minimises the weighted mean of the cross-entropy plus l2 / 2 times the squared weights (no biases), by
    L-BFGS over all items at once from a start drawn with the seed (Glorot and Bengio 2010).
    """

    def __init__(self, *, hidden: int = 16, l2: float = STUDENT_L2, iterations: int = 200) -> None:
        if hidden < 1 or iterations < 1 or not l2 >= 0:
            raise MalformedSettings(
                f"hidden {hidden}, iterations {iterations}, l2 {l2}: want 1 or more, 1 or more, 0 or more"
            )
        self._hidden = hidden
        self._l2 = l2
        self._iterations = iterations
        self._fitted: tuple[NDArray[np.float64], int] | None = None

    def fit(
        self, inputs: Floats, targets: Probabilities, weights: Probabilities | None = None, *, seed: int
    ) -> MLPProbe:
        """Find the weights; where no item has weight the network says one half of everything."""
        # Here, so that fine-tuned students need no scipy.
        from scipy.optimize import minimize

        check_targets(len(inputs), targets, weights)
        features = inputs.astype(np.float64)
        share = np.ones(len(features)) if weights is None else weights.astype(np.float64)
        total = float(share.sum())
        width = features.shape[1]
        if total == 0:
            self._fitted = np.zeros(self._hidden * (width + 2) + 1), width
            return self
        rng = np.random.default_rng(seed)
        first = rng.uniform(-1, 1, (width, self._hidden)) * (6 / (width + self._hidden)) ** 0.5
        last = rng.uniform(-1, 1, self._hidden) * (6 / (self._hidden + 1)) ** 0.5
        start = np.concatenate([first.ravel(), np.zeros(self._hidden), last, [0.0]])
        found = minimize(
            mlp_loss,
            start,
            args=(features, targets, share / total, self._hidden, self._l2),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self._iterations},
        )
        self._fitted = np.asarray(found.x), width
        return self

    def predict(self, inputs: Floats) -> Probabilities:
        """P(y = 1) of each row [m]."""
        if self._fitted is None:
            raise MalformedInputs("this probe was not fitted; call fit first")
        flat, width = self._fitted
        if inputs.ndim != 2 or inputs.shape[1] != width:
            raise MalformedInputs(f"inputs {inputs.shape}: the probe was fitted on {width} features")
        first, first_bias, last, last_bias = _unpacked(flat, width, self._hidden)
        return sigmoid(np.tanh(inputs.astype(np.float64) @ first + first_bias) @ last + last_bias)


def mlp_loss(
    flat: NDArray[np.float64],
    features: NDArray[np.float64],
    targets: Probabilities,
    share: Probabilities,
    hidden: int,
    l2: float,
) -> tuple[float, NDArray[np.float64]]:
    """The loss of a network and its gradient; `share` [n] are weights that sum to one.

    `flat` are the weights [d, hidden] and biases [hidden] of the first layer and those of the last, [hidden]
    and one number, behind one another.
    """
    first, first_bias, last, last_bias = _unpacked(flat, features.shape[1], hidden)
    inner = np.tanh(features @ first + first_bias)
    scores = inner @ last + last_bias
    entropy = np.logaddexp(0, scores) - targets * scores
    loss = float(share @ entropy) + l2 / 2 * (float((first**2).sum()) + float((last**2).sum()))
    residual = share * (sigmoid(scores) - targets)
    back = np.outer(residual, last) * (1 - inner**2)
    gradient = np.concatenate(
        [
            (features.T @ back + l2 * first).ravel(),
            back.sum(axis=0),
            inner.T @ residual + l2 * last,
            [residual.sum()],
        ]
    )
    return loss, gradient


def _unpacked(
    flat: NDArray[np.float64], width: int, hidden: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float]:
    cut = width * hidden
    return (
        flat[:cut].reshape(width, hidden),
        flat[cut : cut + hidden],
        flat[cut + hidden : cut + 2 * hidden],
        float(flat[-1]),
    )
