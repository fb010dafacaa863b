"""What a block is: a named step between two states of an experiment, its parameters and its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from aar.lab.instance import STUDENT_L2, Floats, Instance, Probabilities

KINDS = ("aggregate", "represent", "relabel", "select", "reweight", "objective")
# What a block may read beside the strong features of training items. Every instance has the first three.
NEEDS = ("weak", "prior", "test inputs", "votes", "zero-shot")
ALWAYS = frozenset({"weak", "prior", "test inputs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """An experiment between two blocks.

    `targets` and `weights` [n] belong to the rows of `train_x`; `answer` [m] is P(y = 1) on the rows of
    `test_x` once an objective ran. `student_l2` is the penalty wherever a block fits a student on the way.
    `votes` and `zero_shot` are the instance's.
    """

    train_x: Floats
    targets: Probabilities
    weights: Probabilities
    test_x: Floats
    class_prior: float
    student_l2: float = STUDENT_L2
    votes: Probabilities | None = None
    zero_shot: tuple[Probabilities, Probabilities] | None = None
    answer: Probabilities | None = None

    @classmethod
    def of(cls, instance: Instance) -> State:
        """Where every pipeline starts: the weak labels as targets, all weights one."""
        return cls(
            train_x=instance.train_x,
            targets=instance.weak,
            weights=np.ones(len(instance.weak)),
            test_x=instance.test_x,
            class_prior=instance.class_prior,
            student_l2=instance.student_l2,
            votes=instance.votes,
            zero_shot=instance.zero_shot,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that a parameter may take; `grid` are the ones worth trying first, ascending."""

    low: float
    high: float
    default: float
    grid: tuple[float, ...]
    is_whole: bool = False


def whole(low: int, high: int, default: int, *grid: int) -> Range:
    """A range of whole numbers."""
    return Range(low=low, high=high, default=default, grid=grid, is_whole=True)


def real(low: float, high: float, default: float, *grid: float) -> Range:
    """A range of real numbers."""
    return Range(low=low, high=high, default=default, grid=grid)


Parameters = Mapping[str, float]
Step = Callable[[State, Parameters, np.random.Generator], State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One step; `family` is the idea it stands for, `source` where the idea is from, `needs` what it reads.

    `version` goes up when the same parameters would lead elsewhere, beyond rounding: a method's text names it
    from 2 on, so that a figure belongs to the code that gave it.
    """

    name: str
    kind: str
    family: str
    parameters: Mapping[str, Range]
    source: str
    step: Step
    needs: tuple[str, ...] = ("weak",)
    version: int = 1
