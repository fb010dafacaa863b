"""Log-odds: the scale on which labels are multiplied, sharpened and shifted."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Probabilities
from aar.lab.probe import sigmoid

EDGE = 1e-6
BISECTIONS = 60


def log_odds(probabilities: Probabilities) -> NDArray[np.float64]:
    """log p / (1 - p), finite: nothing is surer than 1 - 1e-6."""
    inside = np.clip(probabilities, EDGE, 1 - EDGE)
    odds: NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds


def shifted_to(odds: NDArray[np.float64], prior: float) -> Probabilities:
    """The probabilities of log-odds with one number added to all of them so that their mean is `prior`."""
    low, high = -50.0, 50.0
    for _halving in range(BISECTIONS):
        middle = (low + high) / 2
        if sigmoid(odds + middle).mean() < prior:
            low = middle
        else:
            high = middle
    return sigmoid(odds + (low + high) / 2)
