"""Attackers: each spends its queries and hands in what it learned, as flips of an honest method's answers.

All know the rule, the base's confidence and the noise; none knows a label. A decoder that ends up no better,
as far as it is told, hands in the honest base.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from aar.outside.redteam.scores.rules import STEP, is_better
from aar.outside.redteam.scores.worlds import Mask, Reals, World

PICKED = 5
REPEATS = 10
BLOCK_SHARE = 8
TINY = 1e-9

Attack = Callable[[World, int], Mask]


@dataclass(frozen=True, slots=True)
class Attacker:
    """A name, where it comes from, and what it does with a world and so many queries."""

    name: str
    source: str
    attack: Attack


def single_flip(world: World, queries: int) -> Mask:
    """Flip one answer at a time, the least sure first, and keep what raises the score."""
    flips = _nothing(world)
    best = world.ask(flips)
    for item in np.argsort(world.confidence, kind="stable")[: queries - 1]:
        flips[item] = True
        told = world.ask(flips)
        if is_better(told, best):
            best = told
        else:
            flips[item] = False
    return flips


def block_walk(world: World, queries: int) -> Mask:
    """Flip random blocks of the least sure answers, large enough that luck alone may climb a rung."""
    kind = world.kind
    flips = _nothing(world)
    best = world.ask(flips)
    rung_items = float(STEP) * kind.gap * kind.public
    size = max(1, min(round(rung_items**2), world.items // BLOCK_SHARE))
    unsure = np.argsort(world.confidence, kind="stable")[: 2 * size]
    for _query in range(queries - 1):
        block = world.rng.permutation(unsure)[:size]
        flips[block] ^= True
        told = world.ask(flips)
        if is_better(told, best):
            best = told
        else:
            flips[block] ^= True
    return flips


def least_squares(world: World, queries: int) -> Mask:
    """Ask of random halves of all answers, then the best linear estimate of which are right."""
    base, signs, sums = _random_halves(world, queries)
    if sums is None:
        return _nothing(world)
    prior = 2 * world.confidence - 1
    weighted = signs * (1 - prior**2).astype(np.float32)
    noise = (2 * world.kind.public * world.kind.gap * world.spread) ** 2
    matrix = weighted @ signs.T + (noise + 1e-3 * world.items) * np.eye(len(signs), dtype=np.float32)
    found = prior + weighted.T @ np.linalg.solve(matrix, sums - signs @ prior.astype(np.float32))
    return _kept_if_better(world, found < 0, base)


def majority(world: World, queries: int) -> Mask:
    """Blum and Hardt 2015: random halves that scored above the middle vote, the others against."""
    base, signs, sums = _random_halves(world, queries)
    if sums is None:
        return _nothing(world)
    votes = np.sign(sums - np.median(sums)).astype(np.float32) @ signs
    # How much one vote says of one answer among so many.
    weight = 2 * np.sqrt(2 / (np.pi * world.items))
    odds = np.log(world.confidence / np.maximum(1 - world.confidence, TINY)) + weight * votes
    return _kept_if_better(world, odds < 0, base)


def detecting(world: World, queries: int) -> Mask:
    """Cantor and Mills 1966: n counts that tell more than n labels, exactly, by their parities."""
    order = 0
    while 2 ** (order + 2) + 2 <= queries:
        order += 1
    matrix = detecting_matrix(order)
    chosen = np.argsort(world.confidence, kind="stable")[: matrix.shape[1]]
    matrix = matrix[:, : len(chosen)]
    flips = _nothing(world)
    base = world.ask(flips)
    if base is None:
        return flips
    unit = world.kind.gap * world.kind.public
    counts = np.zeros(len(matrix), dtype=np.int64)
    for row, weights in enumerate(matrix):
        for sign in (1, -1):
            asked = flips.copy()
            asked[chosen[weights == sign]] = True
            told = world.ask(asked)
            if told is None:
                return flips
            size = int(asked.sum())
            # Flipping a right answer loses one: how many of the flipped were right.
            right = (round((base - told) * unit) + size) // 2
            counts[row] += sign * right
    found = np.zeros(detecting_matrix(order).shape[1], dtype=np.int64)
    found[:] = detected(order, counts)
    flips[chosen] = found[: len(chosen)] < 1
    return _kept_if_better(world, flips, base)


def detecting_matrix(order: int) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """2^order rows of -1, 0, 1; no two sets of its (order + 2) 2^(order - 1) columns have equal sums."""
    matrix = np.ones((1, 1), dtype=np.int64)
    for _step in range(order):
        one = np.eye(len(matrix), dtype=np.int64)
        matrix = np.block([[matrix, matrix, one], [matrix, -matrix, 0 * one]])
    return matrix


def detected(order: int, counts: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[int]:
    """The 0/1 vector whose products with the rows are `counts`; nonsense, but 0 or 1, where there is none."""
    if not order:
        return [int(np.clip(counts[0], 0, 1))]
    upper, lower = np.split(counts, 2)
    odd = (upper + lower) % 2
    return [
        *detected(order - 1, (upper + lower - odd) // 2),
        *detected(order - 1, (upper - lower - odd) // 2),
        *map(int, odd),
    ]


def re_rolls(world: World, queries: int) -> Mask:
    """Hand in the honest method under one seed after the other; the best one counts."""
    found, best = _nothing(world), None
    for number in range(queries):
        flips = world.reroll()
        told = world.ask(flips, number)
        if is_better(told, best):
            found, best = flips, told
    return found


def seed_picking(world: World, queries: int) -> Mask:
    """Try many seeds, let the five best vote: the published study's cherry-picking, made into one method."""
    tried: list[tuple[float, Mask]] = []
    for number in range(queries):
        flips = world.reroll()
        told = world.ask(flips, number)
        if told is not None:
            tried.append((told, flips))
    tried.sort(key=lambda one: -one[0])
    if not tried:
        return _nothing(world)
    votes = np.mean([flips for _told, flips in tried[:PICKED]], axis=0)
    majority_of: Mask = votes > 0.5
    return majority_of


def resubmission(world: World, queries: int) -> Mask:
    """Single flips, each handed in ten times: noise that is drawn anew for each answer averages out."""
    flips = _nothing(world)
    order = np.argsort(world.confidence, kind="stable")
    best = _mean_told(world, flips)
    for item in order[: queries // REPEATS - 1]:
        flips[item] = True
        told = _mean_told(world, flips)
        if is_better(told, best):
            best = told
        else:
            flips[item] = False
    return flips


ATTACKERS = (
    Attacker("single flip", "the published study's label exfiltration", single_flip),
    Attacker("least squares", "Dinur and Nissim 2003, reconstruction from counts", least_squares),
    Attacker("majority", "Blum and Hardt 2015, section 3", majority),
    Attacker("detecting matrices", "Cantor and Mills 1966", detecting),
    Attacker("block walk", "made for the ladder: luck on blocks of coin tosses", block_walk),
    Attacker("best-of-k re-rolls", "the published study's cherry-picking", re_rolls),
    Attacker("seed picking", "the published study's cherry-picking, iterated", seed_picking),
    Attacker("resubmission", "averaging over repeated answers", resubmission),
)


def _nothing(world: World) -> Mask:
    return np.zeros(world.items, dtype=np.bool_)


def _mean_told(world: World, flips: Mask) -> float | None:
    told = [world.ask(flips) for _repeat in range(REPEATS)]
    answers = [one for one in told if one is not None]
    return sum(answers) / len(answers) if answers else None


def _random_halves(
    world: World, queries: int
) -> tuple[float | None, np.ndarray[tuple[int, int], np.dtype[np.float32]], Reals | None]:
    """What is told of the base; random signs per query and item; (right - wrong) answers per query.

    `None` for the last where the answers say nothing because they are all alike.
    """
    base = world.ask(_nothing(world))
    rows, sums = [], []
    for _query in range(queries - 2):
        flips = world.rng.random(world.items) < 0.5
        told = world.ask(flips)
        if told is None:
            break
        rows.append(np.where(flips, -1, 1).astype(np.float32))
        sums.append((2 * (told * world.kind.gap + world.kind.weak) - 1) * world.kind.public)
    if len(rows) < 2 or np.ptp(sums) < TINY:
        return base, np.zeros((0, world.items), dtype=np.float32), None
    return base, np.array(rows), np.array(sums)


def _kept_if_better(world: World, flips: Mask, base: float | None) -> Mask:
    """The decoded answers, unless one more query tells that they are no better than the base's."""
    told = world.ask(flips)
    return flips if told is None or is_better(told, base) else _nothing(world)
