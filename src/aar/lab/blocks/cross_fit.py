"""Cross-fitting: students that answer for the items they were not trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import State
from aar.lab.instance import Probabilities
from aar.lab.probe import ITERATIONS, WARM_ITERATIONS, Coefficients, Probe, scores_of, sigmoid

FOLDS = 4


class CrossFit:
    """One student per fold over a state's training items; a second round goes on from the first."""

    def __init__(self, state: State) -> None:
        self._x = state.train_x
        self._probe = Probe(state.train_x, l2=state.student_l2)
        self._folds = min(FOLDS, len(state.targets))
        self.students: Coefficients | None = None
        self.fold: NDArray[np.intp] = np.zeros(len(state.targets), dtype=np.intp)

    def scores(
        self, targets: Probabilities, weights: Probabilities, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Each item's log-odds [n] by the student that never saw it; the folds are drawn anew."""
        count = len(targets)
        self.fold = rng.permutation(count) % self._folds
        others = weights[:, None] * (self.fold[:, None] != np.arange(self._folds))
        self.students = self._probe.fit(
            np.repeat(targets[:, None], self._folds, axis=1),
            others,
            iterations=ITERATIONS if self.students is None else WARM_ITERATIONS,
            start=self.students,
        )
        held: NDArray[np.float64] = scores_of(self.students, self._x)[np.arange(count), self.fold]
        return held

    def answers(
        self, targets: Probabilities, weights: Probabilities, rng: np.random.Generator
    ) -> Probabilities:
        """The same as P(y = 1)."""
        return sigmoid(self.scores(targets, weights, rng))
