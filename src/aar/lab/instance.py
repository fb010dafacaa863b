"""An instance: what a method is given. There are no true labels in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MalformedInstance

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One weak-to-strong problem instance.

    `train_x` [n, d] are strong features of unlabelled items, `weak` [n] the weak teacher's P(y = 1) on them,
    `test_x` [m, d] the items to predict, `class_prior` the weak teacher's estimate of the share of ones.
    """

    train_x: Floats
    weak: Probabilities
    test_x: Floats
    class_prior: float

    def __post_init__(self) -> None:
        """Raise `MalformedInstance` unless the shapes fit and the probabilities are some."""
        shapes = f"train {self.train_x.shape}, weak {self.weak.shape}, test {self.test_x.shape}"
        if self.train_x.ndim != 2 or self.test_x.ndim != 2 or not len(self.train_x):
            raise MalformedInstance(f"{shapes}: want [n, d], [n], [m, d] with n > 0")
        if self.weak.shape != self.train_x.shape[:1] or self.train_x.shape[1] != self.test_x.shape[1]:
            raise MalformedInstance(f"{shapes}: want [n, d], [n], [m, d]")
        # Written so that NaN is refused too.
        if not (self.weak.min() >= 0 and self.weak.max() <= 1):
            raise MalformedInstance(f"weak goes from {self.weak.min()} to {self.weak.max()}: want 0 to 1")
        if not 0 <= self.class_prior <= 1:
            raise MalformedInstance(f"class prior {self.class_prior}: want 0 to 1")
