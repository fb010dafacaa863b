"""`digits`: odd or even, from scikit-learn's 1,797 handwritten digits. Bench code: it holds the labels.

The weak teacher is a shallow decision tree on 16 pooled pixels; the strong student a logistic probe on 40
spectral coordinates of all images, which are computed without any label (so the setting is transductive);
the ceiling is the same probe with true labels. A representation in which the teacher's mistakes cannot be
written down is what lets a student do better than it was taught.

The coordinates are stored (tools/embed_digits.py): to compute them takes longer than the splits of a small
study, and another machine rounds them otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MalformedData
from aar.lab.instance import STUDENT_L2, Floats, Probabilities
from aar.lab.probe import Probe, predict
from aar.lab.problems.problem import Sizes, Taught, check_split

SIZES = Sizes(pool=1_797, features=40, sealed=400, labelled=150, unlabelled=750)
NEIGHBOURS = 12
TREE_DEPTH = 5
LEAF_ITEMS = 2
# Trees that vote, each on as many items drawn with repetition from the same labelled ones.
VOTERS = 7
CLIP = 0.02

FEATURES_FILE = Path(__file__).resolve().parents[1] / "data" / "digits-features.npy"

Items = NDArray[np.intp]

STATEMENT = (
    "Binary classification with a weak teacher. You never see true labels or test items. A method is a "
    "directory with method.py defining predict(instance, rng) -> P(y = 1) for instance.test_x; "
    "instance.train_x are strong features [750, 40] (float32, standardised), instance.weak the weak "
    "teacher's P(y = 1) on them, instance.votes [n, K] the same of several teachers, instance.class_prior "
    "the weak teacher's share of ones. aar.lab is importable. An "
    "official run draws fresh splits under seeds that nobody picks; the score is the performance gap "
    "recovered between weak teacher (0) and the same student with true labels (1). You are told a score "
    "only when it beats your best one by more than 0.05."
)


class Digits:
    """The problem with its labels. The features are read once."""

    sizes = SIZES
    statement = STATEMENT
    student_l2 = STUDENT_L2

    def __init__(self) -> None:
        from sklearn.datasets import load_digits

        images = load_digits()
        self._pixels = images.data / 16.0
        self._y = images.target % 2 == 1
        pooled = self._pixels.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
        # Sums of 4 pixels of 17 levels: exact in single precision, which is what a tree reads.
        self._pooled = pooled.astype(np.float32)

    @cached_property
    def features(self) -> Floats:
        """Standardised spectral coordinates [1797, 40] of all images, without labels."""
        try:
            stored = np.load(FEATURES_FILE, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise MalformedData(str(FEATURES_FILE), 0, f"{error}; install the package again") from error
        if stored.shape != (SIZES.pool, SIZES.features) or stored.dtype != np.float32:
            told = f"{stored.dtype} {stored.shape}, want float32 {(SIZES.pool, SIZES.features)}"
            raise MalformedData(str(FEATURES_FILE), 0, f"{told}; run tools/embed_digits.py")
        features: Floats = stored
        return features

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the raw images, the labels and this construction's parameters.

        Not over the spectral coordinates: their last bits are another machine's business.
        """
        construction = (
            f"digits/v2 {SIZES} {NEIGHBOURS} {TREE_DEPTH} {LEAF_ITEMS} {VOTERS} {CLIP} {STUDENT_L2}\n"
        )
        data = construction.encode() + self._pixels.astype("<f8").tobytes() + self._y.astype("u1").tobytes()
        return hashlib.sha256(data).hexdigest()

    def teach(
        self,
        seed: int,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        tested: Sequence[int],
        *,
        with_votes: bool = True,
    ) -> Taught:
        """Train weak teacher and ceiling of one split; about 8 ms of processor time, 3 without votes."""
        check_split(SIZES.pool, labelled, unlabelled, tested)
        taught, train, test = (np.asarray(items, dtype=np.intp) for items in (labelled, unlabelled, tested))
        ones = self._answers(taught, np.concatenate([train, test]), seed)
        weak = np.clip(ones[: len(train)], CLIP, 1 - CLIP)
        ceiling = Probe(self.features[train], l2=STUDENT_L2).fit(self._y[train].astype(np.float64))
        truth = self._y[test]
        return Taught(
            weak=weak,
            class_prior=float(weak.mean()),
            truth=truth,
            weak_correct=(ones[len(train) :] > 0.5) == truth,
            ceiling_correct=(predict(ceiling, self.features[test]) > 0.5) == truth,
            votes=self._votes(seed, taught, train) if with_votes else None,
        )

    def _votes(self, seed: int, taught: Items, asked: Items) -> Probabilities:
        """P(odd) of the `asked` items [n, VOTERS] from trees on samples of the `taught` ones."""
        drawn = np.random.default_rng(seed).integers(0, len(taught), size=(VOTERS, len(taught)))
        votes = np.stack([self._answers(taught[own], asked, seed) for own in drawn], axis=1)
        return np.clip(votes, CLIP, 1 - CLIP)

    def _answers(self, taught: Items, asked: Items, seed: int) -> Probabilities:
        """P(odd) of the `asked` items from a tree that learnt from the `taught` ones, repetitions too."""
        from sklearn import config_context
        from sklearn.tree import DecisionTreeClassifier

        # What scikit-learn asks of its input before a tree is grown takes longer than the tree.
        with config_context(skip_parameter_validation=True, assume_finite=True):
            tree = DecisionTreeClassifier(
                max_depth=TREE_DEPTH, min_samples_leaf=LEAF_ITEMS, random_state=seed & 0x7FFFFFFF
            )
            tree.fit(self._pooled[taught], self._y[taught], check_input=False)
            if True not in tree.classes_:
                # A teacher that saw one class only knows no other.
                return np.zeros(len(asked))
            both = tree.predict_proba(self._pooled[asked], check_input=False)
        answers: Probabilities = both[:, list(tree.classes_).index(True)]
        return answers
