"""An instance: what a method is given. There are no true labels in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MalformedInstance

Floats = NDArray[np.float32]
Probabilities = NDArray[np.float64]

# The student's penalty where a problem says nothing else.
STUDENT_L2 = 1e-2


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One weak-to-strong problem instance.

    `train_x` [n, d] are strong features of unlabelled items, `weak` [n] the weak teacher's P(y = 1) on them,
    `test_x` [m, d] the items to predict, `class_prior` the weak teacher's estimate of the share of ones.
    `student_l2` is the penalty of this problem's student and of its ceiling. Where a problem has them,
    `votes` [n, K] are the opinions P(y = 1) of several weak teachers, and `zero_shot` the strong model's own
    unsupervised answers [n] and [m] on training and test items; else they are `None`.
    """

    train_x: Floats
    weak: Probabilities
    test_x: Floats
    class_prior: float
    student_l2: float = STUDENT_L2
    votes: Probabilities | None = None
    zero_shot: tuple[Probabilities, Probabilities] | None = None

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
        if not self.student_l2 > 0:
            raise MalformedInstance(f"student_l2 {self.student_l2}: want a penalty above 0")
        if self.votes is not None and (self.votes.ndim != 2 or len(self.votes) != len(self.weak)):
            raise MalformedInstance(f"votes {self.votes.shape}: want [{len(self.weak)}, K]")
        if self.zero_shot is not None:
            own, test = self.zero_shot
            if own.shape != self.weak.shape or test.shape != self.test_x.shape[:1]:
                raise MalformedInstance(f"zero_shot {own.shape}, {test.shape}: want [n], [m]")
