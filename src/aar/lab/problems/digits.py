"""`digits`: odd or even, from scikit-learn's 1,797 handwritten digits. Bench code: it holds the labels.

The weak teacher is a shallow decision tree on 16 pooled pixels; the strong student a logistic probe on 40
spectral coordinates of all images, which are computed without any label (so the setting is transductive);
the ceiling is the same probe with true labels. A representation in which the teacher's mistakes cannot be
written down is what lets a student do better than it was taught.

Of scikit-learn only the file of the images is read: to import it takes longer than all splits of a small
study. Its coordinates are stored (tools/embed_digits.py), its tree is grown again (`aar.lab.problems.tree`).
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import MalformedData
from aar.lab.instance import STUDENT_L2, Floats, Probabilities
from aar.lab.probe import Probe, predict
from aar.lab.problems.problem import Sizes, Taught, check_split
from aar.lab.problems.tree import tree_answers

SIZES = Sizes(pool=1_797, features=40, sealed=400, labelled=150, unlabelled=750)
NEIGHBOURS = 12
TREE_DEPTH = 5
LEAF_ITEMS = 2
# Trees that vote, each on as many items drawn with repetition from the same labelled ones.
VOTERS = 7
CLIP = 0.02
# A pixel has 17 levels, so that a sum of four of them is a whole number up to this.
POOLED_LEVELS = 64

FEATURES_FILE = Path(__file__).resolve().parents[1] / "data" / "digits-features.npy"
# In the package scikit-learn.
IMAGES_FILE = "datasets/data/digits.csv.gz"

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
        rows = images()
        self._pixels = rows[:, :-1] / 16.0
        self._y = rows[:, -1] % 2 == 1
        pooled = self._pixels.reshape(-1, 4, 2, 4, 2).mean(axis=(2, 4)).reshape(-1, 16)
        # By columns, and in sixty-fourths: that is exact.
        self._pooled = np.ascontiguousarray((pooled * POOLED_LEVELS).astype(np.int16).T)

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
        return tree_answers(
            self._pooled, self._y, taught, asked, depth=TREE_DEPTH, leaf=LEAF_ITEMS, seed=seed & 0x7FFFFFFF
        )


def images() -> NDArray[np.float64]:
    """Pixels from 0 to 16, and the digit [1797, 65], out of scikit-learn's file of them."""
    package = find_spec("sklearn")
    folders = list(package.submodule_search_locations or ()) if package else []
    if not folders:
        raise MalformedData(IMAGES_FILE, 0, "there is no scikit-learn here, which has the digits; install it")
    path = Path(folders[0], IMAGES_FILE)
    try:
        with gzip.open(path, "rt", encoding="ascii") as lines:
            rows = np.loadtxt(lines, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError) as error:
        raise MalformedData(str(path), 0, f"{error}; install scikit-learn again") from error
    if rows.shape != (SIZES.pool, 65):
        raise MalformedData(
            str(path), 0, f"{rows.shape}, want {(SIZES.pool, 65)}; install scikit-learn again"
        )
    return rows
