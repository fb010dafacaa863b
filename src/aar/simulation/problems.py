"""Modelled problems: which ideas are right for which part, what wrong ones cost, what the human lists."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from aar.simulation.parameters import (
    CRAFT,
    HARM,
    IDEAS,
    LISTED,
    PERCENT,
    POPULARITY,
    SEEDS,
    UNIT,
    ProblemClass,
)
from aar.simulation.stream import Integers, Stream

# Noise is tabulated by PGR from -1 to 2 in hundredths, for exactness rather than for speed.
_GRID_LOW, _GRID_HIGH, _GRID_STEP = -UNIT, 2 * UNIT, 100


@dataclass(frozen=True, slots=True)
class Problems:
    """Problems of one class, the first axis counts them.

    `right` [problem, part, idea]; `drops` [problem, part, idea], what a wrong idea costs in PGR; `listed`
    [problem, part, place], the ideas of a fixed workflow's steps.
    """

    kind: ProblemClass
    right: npt.NDArray[np.bool_]
    drops: Integers
    listed: Integers


def draw_problems(kind: ProblemClass, seed: int, first: int, count: int) -> Problems:
    """`count` problems of a class from number `first` on, the same for every arm of an experiment.

    Problem n is the same however many are drawn at once.
    """
    shape = (count, kind.parts, IDEAS)
    right = np.empty(shape, dtype=np.bool_)
    drops = np.empty(shape, dtype=np.int64)
    listed = np.empty((count, kind.parts, LISTED), dtype=np.int64)
    for block, start, end in _blocks(first, count):
        stream = Stream("problems", kind.name, seed, block)
        whole = _draw_block(kind, stream)
        wanted = slice(start - block * _BLOCK, end - block * _BLOCK)
        place = slice(start - first, end - first)
        right[place], drops[place], listed[place] = (one[wanted] for one in whole)
    return Problems(kind, right, drops, listed)


_BLOCK = 256


def _blocks(first: int, count: int) -> list[tuple[int, int, int]]:
    """(block, first and last+1 of what is wanted) for each block that is touched."""
    return [
        (block, max(first, block * _BLOCK), min(first + count, (block + 1) * _BLOCK))
        for block in range(first // _BLOCK, -(-(first + count) // _BLOCK))
    ]


def _draw_block(kind: ProblemClass, stream: Stream) -> tuple[npt.NDArray[np.bool_], Integers, Integers]:
    shape = (_BLOCK, kind.parts, IDEAS)
    order = _ranks(stream, shape)
    right = order < kind.right
    drops = stream.below(np.full(shape, HARM + 1))
    listed = np.empty((_BLOCK, kind.parts, LISTED), dtype=np.int64)
    weights = np.where(right, 0, np.asarray(POPULARITY, dtype=np.int64))
    for place in range(LISTED):
        chosen = pick(stream, weights.reshape(-1, IDEAS)).reshape(_BLOCK, kind.parts)
        listed[:, :, place] = chosen
        np.put_along_axis(weights, chosen[:, :, None], 0, axis=2)
    # One of the list is right with the class's chance, at any place of it.
    is_known = stream.below(np.full((_BLOCK, kind.parts), PERCENT)) < kind.known
    place_of_right = stream.below(np.full((_BLOCK, kind.parts), LISTED))
    a_right_one = pick(stream, right.astype(np.int64).reshape(-1, IDEAS)).reshape(_BLOCK, kind.parts)
    there = np.take_along_axis(listed, place_of_right[:, :, None], axis=2)[:, :, 0]
    np.put_along_axis(
        listed, place_of_right[:, :, None], np.where(is_known, a_right_one, there)[:, :, None], axis=2
    )
    return right, drops, listed


def _ranks(stream: Stream, shape: tuple[int, ...]) -> Integers:
    """Along the last axis a random order: the place of each entry in it."""
    words = (stream.words(*shape) << np.uint64(8)) | np.arange(shape[-1], dtype=np.uint64)
    return np.argsort(np.argsort(words, axis=-1, kind="stable"), axis=-1, kind="stable").astype(np.int64)


def pick(stream: Stream, weights: Integers) -> Integers:
    """Per row of `weights` [row, choice] one choice, with chances as the weights, of which one is above 0."""
    sums = np.cumsum(weights, axis=1)
    drawn = stream.below(sums[:, -1])
    return np.asarray((sums <= drawn[:, None]).sum(axis=1), dtype=np.int64)


def works(seed: int, problem: int, part: int, idea: int, variant: str) -> bool:
    """Whether a right idea was done well enough in this variant of it: the same whenever it is run."""
    return Stream("craft", seed, problem, part, idea, variant).integer(PERCENT) < CRAFT


def noise_table(kind: ProblemClass) -> Integers:
    """The standard deviation of a run's PGR about the truth, by PGR from -1 to 2 in steps of .01.

    Of `SEEDS` seeds with `kind.items` items each, on which student, weak teacher and ceiling are right
    independently of each other: PGR = (student - weak) / (ceiling - weak) to first order.
    """
    return np.asarray([_deviation(kind, pgr) for pgr in range(_GRID_LOW, _GRID_HIGH + 1, _GRID_STEP)])


def deviations(table: Integers, pgr: Integers) -> Integers:
    """Look up the deviation at each PGR."""
    found: Integers = table[np.clip((pgr - _GRID_LOW) // _GRID_STEP, 0, len(table) - 1)]
    return found


def accuracy_at(kind: ProblemClass, pgr: int) -> int:
    """The accuracy of a student of that PGR, in 1/10,000, within 0 and 1."""
    return min(max(kind.weak + kind.gap * pgr // UNIT, 0), UNIT)


def _deviation(kind: ProblemClass, pgr: int) -> int:
    student, weak = accuracy_at(kind, pgr), kind.weak
    ceiling = kind.weak + kind.gap
    # In units of UNIT^4: a weight squared times a variance.
    variance = (
        UNIT**2 * student * (UNIT - student)
        + (UNIT - pgr) ** 2 * weak * (UNIT - weak)
        + pgr**2 * ceiling * (UNIT - ceiling)
    )
    return math.isqrt(variance // (kind.items * SEEDS * kind.gap**2))
