"""What a problem is to the bench: sizes, label-free features, and what teacher and ceiling make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aar.lab.errors import DegenerateGapError, MalformedSplit
from aar.lab.instance import Floats, Probabilities
from aar.verify.splits import Split, shuffled, split

LEAST_GAP = 0.10
LEAST_GAP_ERRORS = 6

Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How many items a problem has, and what each split does with them.

    A fixed data set has a `pool`, of which `sealed` are sealed for good; per split `labelled` teach the
    teacher, `unlabelled` train the student, and the rest of the public items are tested (`tested` is 0).
    Items [g * group, (g + 1) * group) are about the same thing and stand on the same side of every wall.

    A procedural problem has no pool (0): each split draws its items anew. `tested` of them are tested, of
    which the last `sealed` are the sealed half.
    """

    pool: int
    features: int
    sealed: int
    labelled: int
    unlabelled: int
    tested: int = 0
    group: int = 1

    @property
    def is_fresh(self) -> bool:
        """Whether every split draws items that nobody saw before."""
        return self.pool == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """What the teacher and the ceiling make of one split.

    `weak` [unlabelled] are the teacher's P(y = 1); the marks are over the tested items in their order.
    `votes` [unlabelled, K] are several teachers' where the problem has them, `zero_shot` the strong model's
    own answers on training and test items where the study allows them (`Instance` has the same two).
    """

    weak: Probabilities
    class_prior: float
    truth: Marks
    weak_correct: Marks
    ceiling_correct: Marks
    votes: Probabilities | None = None
    zero_shot: tuple[Probabilities, Probabilities] | None = None


class Problem(Protocol):
    """A fixed data set with its labels; only the bench constructs one."""

    sizes: Sizes
    statement: str
    student_l2: float

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what defines the problem, labels included."""

    @property
    def features(self) -> Floats:
        """The strong features of all items [pool, features], made without labels."""

    def teach(
        self,
        seed: int,
        labelled: Sequence[int],
        unlabelled: Sequence[int],
        tested: Sequence[int],
        *,
        with_votes: bool = True,
    ) -> Taught:
        """Train the weak teacher and the ceiling of one split and look at what they get right.

        Without `with_votes` there are none: on `digits` they take most of the time.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One split of a procedural problem: strong features [unlabelled, d] and [tested, d], and both judged."""

    train_x: Floats
    test_x: Floats
    taught: Taught


class FreshProblem(Protocol):
    """A problem whose items are drawn anew for every split; only the bench constructs one."""

    sizes: Sizes
    statement: str
    student_l2: float

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what defines the problem."""

    def draw(self, seed: int) -> Drawn:
        """Items, teacher and ceiling of one split: a pure function of the seed (any integer from 0)."""


AnyProblem: TypeAlias = "Problem | FreshProblem"


def deal(sizes: Sizes, seed: int, replicate: int, sealed: Sequence[int] = ()) -> Split:
    """Deal a fixed data set's public items for one replicate of one seed, groups held together.

    Shuffled groups are taken until they cover what teaches and trains; their shuffled items teach, then
    train, and what is over is not used. All other public groups are tested. With groups of one this is
    `verify.splits.split`. `MalformedSplit` unless `sealed` are whole groups and a group is left to test.
    """
    hidden = set(sealed)
    if len(hidden) != len(sealed) or not hidden <= set(range(sizes.pool)):
        raise MalformedSplit(f"sealed: {len(sealed)} ids, want some of 0 to {sizes.pool - 1}, once each")
    public = [item for item in range(sizes.pool) if item not in hidden]
    needed = sizes.labelled + sizes.unlabelled
    if sizes.group == 1:
        if needed >= len(public):
            raise MalformedSplit(
                f"{len(public)} public items, {needed} teach and train: none is left to test"
            )
        return split(seed, replicate, public, sizes.labelled, sizes.unlabelled)
    groups = sorted({item // sizes.group for item in public})
    if len(groups) * sizes.group != len(public):
        raise MalformedSplit(
            f"sealed: {len(sealed)} ids that cut a group of {sizes.group}, want whole groups"
        )
    label = b"aar-split/v1\n%d\n%d\n" % (seed, replicate)
    order = shuffled(label, groups)
    taken = -(-needed // sizes.group)
    if taken >= len(groups):
        raise MalformedSplit(f"{len(groups)} public groups, {taken} teach and train: none is left to test")
    seen = shuffled(
        label + b"items\n", [item for group in sorted(order[:taken]) for item in _members(sizes, group)]
    )
    tested = [item for group in order[taken:] for item in _members(sizes, group)]
    return Split(tuple(seen[: sizes.labelled]), tuple(seen[sizes.labelled : needed]), tuple(tested))


def _members(sizes: Sizes, group: int) -> range:
    return range(group * sizes.group, (group + 1) * sizes.group)


def check_split(pool: int, labelled: Sequence[int], unlabelled: Sequence[int], tested: Sequence[int]) -> None:
    """Raise `MalformedSplit` unless the three are of the pool, not empty, and no item stands twice."""
    items = [*labelled, *unlabelled, *tested]
    if not labelled or not unlabelled or not tested:
        raise MalformedSplit("want items to teach, to train and to test")
    if min(items) < 0 or max(items) >= pool:
        raise MalformedSplit(f"items from {min(items)} to {max(items)}: the pool has 0 to {pool - 1}")
    if len(set(items)) != len(items):
        raise MalformedSplit(
            f"{len(items) - len(set(items))} items stand twice: teach, train and test are apart"
        )


@dataclass(frozen=True, slots=True)
class Baselines:
    """Mean accuracies of weak teacher and ceiling, the gap between them and its standard error."""

    weak: float
    ceiling: float
    gap: float
    error: float


def baselines_of(taught: Sequence[tuple[int, Taught]]) -> Baselines:
    """Baselines over splits given with their seeds; refuses a gap that makes PGR meaningless.

    The error is over seeds, each the mean of its splits. With one seed it is over items, which is too small
    where splits differ, but never absent.
    """
    by_seed: dict[int, list[tuple[float, float]]] = {}
    for seed, one in taught:
        pair = (float(one.weak_correct.mean()), float(one.ceiling_correct.mean()))
        by_seed.setdefault(seed, []).append(pair)
    means = np.array([np.mean(pairs, axis=0) for pairs in by_seed.values()])
    gaps = means[:, 1] - means[:, 0]
    if len(gaps) == 1:
        gaps_of_items = np.concatenate(
            [one.ceiling_correct.astype(float) - one.weak_correct.astype(float) for _seed, one in taught]
        )
        error = float(gaps_of_items.std() / max(len(one.truth) for _seed, one in taught) ** 0.5)
    else:
        error = float(gaps.std(ddof=1) / len(gaps) ** 0.5)
    gap = float(gaps.mean())
    if gap < LEAST_GAP or gap < LEAST_GAP_ERRORS * error:
        raise DegenerateGapError(
            f"gap {gap:.4f} with standard error {error:.4f}: want at least {LEAST_GAP} and "
            f"{LEAST_GAP_ERRORS} standard errors; take a weaker teacher or a stronger student"
        )
    return Baselines(float(means[:, 0].mean()), float(means[:, 1].mean()), gap, error)
