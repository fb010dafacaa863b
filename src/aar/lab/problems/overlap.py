"""`overlap`: easy and hard features in overlapping groups, drawn afresh for every split.

After Shin et al. 2024 (arXiv:2412.03881): a weak teacher that sees the easy feature alone is right on the
items that show both, and from those a student can learn the hard one. Three topics of high variance lie in
wait for methods that take the largest variance for the truth.
"""

from __future__ import annotations

import hashlib

import numpy as np

from aar.lab.errors import MalformedSplit
from aar.lab.problems.problem import Drawn, Sizes
from aar.lab.problems.teachers import CLIP, VOTERS, Parts, taught_linearly
from aar.lab.synthetic import OVERLAP, Recipe, draw_items

TEACHER_L2 = 1e-2


class Overlapping:
    """A procedural problem of one recipe; it holds no labels until it draws some."""

    def __init__(self, name: str, recipe: Recipe, sizes: Sizes, *, student_l2: float, statement: str) -> None:
        self.sizes = sizes
        self.statement = statement
        self.student_l2 = student_l2
        self._name = name
        self._recipe = recipe

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the construction's name and parameters."""
        told = f"{self._name}/v1 {self._recipe} {self.sizes} {TEACHER_L2} {self.student_l2} {CLIP} {VOTERS}\n"
        return hashlib.sha256(told.encode()).hexdigest()

    def draw(self, seed: int) -> Drawn:
        """Items, teacher and ceiling of one split; 15 to 20 ms of processor time."""
        if seed < 0:
            raise MalformedSplit(f"seed {seed}: want an integer from 0")
        sizes = self.sizes
        rng = np.random.default_rng([*self._name.encode(), seed])
        items = draw_items(self._recipe, sizes.labelled + sizes.unlabelled + sizes.tested, rng)
        cuts = [sizes.labelled, sizes.labelled + sizes.unlabelled]
        strong = Parts.of(np.split(items.strong, cuts))
        y_labelled, y_unlabelled, truth = np.split(items.y, cuts)
        taught = taught_linearly(
            Parts.of(np.split(items.easy, cuts)),
            strong,
            (y_labelled, y_unlabelled, truth),
            teacher_l2=TEACHER_L2,
            student_l2=self.student_l2,
            rng=rng,
        )
        return Drawn(train_x=strong.unlabelled, test_x=strong.tested, taught=taught)


def statement_of(sizes: Sizes) -> str:
    """What a study says about a procedural problem."""
    return (
        "Binary classification with a weak teacher. You never see true labels or test items. A method is a "
        "directory with method.py defining predict(instance, rng) -> P(y = 1) for instance.test_x; "
        f"instance.train_x are strong features [{sizes.unlabelled}, {sizes.features}] (float32), "
        "instance.weak the weak teacher's P(y = 1) on them, instance.votes [n, K] the same of several "
        "teachers, instance.class_prior the weak teacher's share of ones. aar.lab is importable. An official "
        "run draws new items under seeds that nobody picks; the score is the performance gap recovered "
        "between weak teacher (0) and the same student with true labels (1), and is told as it is."
    )


def overlap() -> Overlapping:
    """The problem `overlap`."""
    sizes = Sizes(pool=0, features=OVERLAP.width, labelled=400, unlabelled=2_000, tested=4_000, sealed=2_000)
    return Overlapping("overlap", OVERLAP, sizes, student_l2=0.05, statement=statement_of(sizes))
