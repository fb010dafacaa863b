"""Synthetic items: an easy and a hard feature of the label, in overlapping groups, among nuisance.

The weak teacher sees the easy feature alone, the strong student both, turned by a random rotation (Shin et
al. 2024, arXiv:2412.03881). Rotation and axes are drawn with the items: who has read this file knows the
shape of the data, and not the direction in which the truth lies.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Blocks of dimensions, how far each moves with the label (in its own standard deviations), its scale.

    `shares` are of items that show both features, only the hard one, only the easy one, and a misleading
    easy one. With `is_bimodal` the easy feature of hard-only items takes a random side instead of the middle.
    """

    width: int
    hard: int
    easy: int
    topics: int
    shares: tuple[float, float, float, float]
    hard_shift: float
    easy_shift: float
    hard_scale: float
    easy_scale: float
    nuisance_scale: float
    is_bimodal: bool


# Of the problem `overlap` and of practice data.
OVERLAP = Recipe(
    width=48,
    hard=4,
    easy=4,
    topics=3,
    shares=(0.45, 0.30, 0.15, 0.10),
    hard_shift=1.3,
    easy_shift=1.2,
    hard_scale=1.0,
    easy_scale=0.4,
    nuisance_scale=0.6,
    is_bimodal=False,
)


@dataclass(frozen=True, slots=True)
class Items:
    """Strong features [n, width], what the weak teacher sees [n, easy], and the labels [n]."""

    strong: Floats
    easy: Floats
    y: NDArray[np.bool_]


# Topics have the highest variance, and two modes each, as a truth might have.
TOPIC_SCALE, TOPIC_SPREAD = 1.6, 0.6
_HARD_SIDE = np.array([1.0, 1.0, 0.0, 1.0])
_EASY_SIDE = np.array([1.0, 0.0, 1.0, -1.0])
_HARD_ONLY = 1


def draw_items(recipe: Recipe, count: int, rng: np.random.Generator) -> Items:
    """`count` items of the recipe; a pure function of the generator."""
    rotation = np.linalg.qr(rng.normal(size=(recipe.width, recipe.width)))[0]
    hard_axis, easy_axis = _unit(rng, recipe.hard), _unit(rng, recipe.easy)
    y = rng.integers(0, 2, count)
    side = 2.0 * y - 1
    group = rng.choice(len(recipe.shares), count, p=recipe.shares)
    easy_side = _EASY_SIDE[group] * side
    if recipe.is_bimodal:
        easy_side = np.where(group == _HARD_ONLY, rng.choice([-1.0, 1.0], size=count), easy_side)
    hard = _shifted(rng, recipe.hard_shift * _HARD_SIDE[group] * side, hard_axis)
    easy = _shifted(rng, recipe.easy_shift * easy_side, easy_axis)
    sides = rng.choice([-1.0, 1.0], size=(count, recipe.topics))
    topics = TOPIC_SCALE * (TOPIC_SPREAD * rng.normal(size=(count, recipe.topics)) + sides)
    rest = recipe.width - recipe.hard - recipe.easy - recipe.topics
    nuisance = recipe.nuisance_scale * rng.normal(size=(count, rest))
    blocks = np.hstack([recipe.hard_scale * hard, recipe.easy_scale * easy, topics, nuisance])
    return Items((blocks @ rotation).astype(np.float32), easy.astype(np.float32), y == 1)


def _shifted(
    rng: np.random.Generator, shift: NDArray[np.float64], axis: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Unit Gaussians [n, width of the axis], each moved along the axis."""
    moved: NDArray[np.float64] = rng.normal(size=(len(shift), len(axis))) + shift[:, None] * axis
    return moved


def _unit(rng: np.random.Generator, width: int) -> NDArray[np.float64]:
    axis = rng.normal(size=width)
    unit: NDArray[np.float64] = axis / np.linalg.norm(axis)
    return unit
