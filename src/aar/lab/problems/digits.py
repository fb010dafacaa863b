"""`digits`: odd or even, from scikit-learn's 1,797 handwritten digits. Bench code: it holds the labels.

The weak teacher is a shallow decision tree on 16 pooled pixels; the strong student a logistic probe on 40
spectral coordinates of all images, which are computed without any label (so the setting is transductive);
the ceiling is the same probe with true labels. A representation in which the teacher's mistakes cannot be
written down is what lets a student do better than it was taught.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks import STUDENT_L2
from aar.lab.errors import DegenerateGapError
from aar.lab.instance import Floats, Probabilities
from aar.lab.probe import Probe, predict

POOL = 1_797
FEATURES = 40
NEIGHBOURS = 12
SEALED = 400
LABELLED = 150
UNLABELLED = 750
TREE_DEPTH = 5
LEAST_GAP = 0.10
LEAST_GAP_ERRORS = 6
STATEMENT = (
    "Binary classification with a weak teacher. You never see true labels or test items. A method is a directory with "
    "method.py defining predict(instance, rng) -> P(y = 1) for instance.test_x; instance.train_x are strong features "
    "[750, 40] (float32, standardised), instance.weak the weak teacher's P(y = 1) on them, instance.class_prior its share "
    "of ones. aar.lab is importable. An official run draws 5 seeds x 8 fresh splits that nobody picks; the score is the "
    "performance gap recovered between weak teacher (0) and the same student with true labels (1). You are told a "
    "score only when it beats your best one by more than 0.05."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What the teacher and the ceiling make of one split; arrays over the items asked for, in their order."""

    weak: Probabilities
    class_prior: float
    truth: NDArray[np.bool_]
    weak_correct: NDArray[np.bool_]
    ceiling_correct: NDArray[np.bool_]


class Digits:
    """The problem with its labels. The features are computed once."""

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        images = load_digits()
        self._pixels = images.data / 16.0
        self._y = images.target % 2 == 1
        self._pooled = self._pixels.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)

    @cached_property
    def features(self) -> Floats:
        """Standardised spectral coordinates [1797, 40] of all images, without labels."""
        from sklearn.manifold import SpectralEmbedding

        embedding = SpectralEmbedding(FEATURES, affinity="nearest_neighbors", n_neighbors=NEIGHBOURS, random_state=0)
        raw = embedding.fit_transform(self._pixels)
        standardised: Floats = ((raw - raw.mean(axis=0)) / raw.std(axis=0)).astype(np.float32)
        return standardised

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the raw images, the labels and this construction's parameters."""
        parameters = f"{FEATURES} {NEIGHBOURS} {TREE_DEPTH} {STUDENT_L2} {SEALED} {LABELLED} {UNLABELLED}"
        data = self._pixels.tobytes() + self._y.tobytes() + parameters.encode()
        return hashlib.sha256(data).hexdigest()

    def teach(self, seed: int, labelled: Sequence[int], unlabelled: Sequence[int], tested: Sequence[int]) -> Taught:
        """Train the weak teacher and the ceiling of one split and look at what they get right."""
        from sklearn.tree import DecisionTreeClassifier

        tree = DecisionTreeClassifier(max_depth=TREE_DEPTH, min_samples_leaf=2, random_state=seed & 0x7FFFFFFF)
        chosen, train, test = (np.asarray(items, dtype=np.intp) for items in (labelled, unlabelled, tested))
        tree.fit(self._pooled[chosen], self._y[chosen])
        asked = tree.predict_proba(self._pooled[np.concatenate([train, test])])
        ones = asked[:, list(tree.classes_).index(True)] if True in tree.classes_ else np.zeros(len(asked))
        weak, weak_test = np.clip(ones[: len(train)], 0.02, 0.98), ones[len(train) :]
        ceiling = Probe(self.features[train], l2=STUDENT_L2).fit(self._y[train].astype(np.float64))
        truth = self._y[test]
        return Taught(
            weak=weak,
            class_prior=float(weak.mean()),
            truth=truth,
            weak_correct=(weak_test > 0.5) == truth,
            ceiling_correct=(predict(ceiling, self.features[test]) > 0.5) == truth,
        )


def check_gap(weak: Sequence[float], ceiling: Sequence[float]) -> tuple[float, float, float, float]:
    """Mean weak, ceiling, gap and its standard error over seeds; refuse a gap that makes PGR meaningless."""
    gaps = np.asarray(ceiling) - np.asarray(weak)
    gap = float(gaps.mean())
    error = float(gaps.std(ddof=1) / len(gaps) ** 0.5) if len(gaps) > 1 else 0.0
    if gap < LEAST_GAP or gap < LEAST_GAP_ERRORS * error:
        raise DegenerateGapError(
            f"gap {gap:.3f} with standard error {error:.3f}: want at least {LEAST_GAP} and {LEAST_GAP_ERRORS} standard errors"
        )
    return float(np.mean(weak)), float(np.mean(ceiling)), gap, error
