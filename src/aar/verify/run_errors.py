"""How far off the estimates of several runs are, and how far off together: seeds, items, what they share.

The PGR is a ratio, (A - B) / (C - D) in counts. To first order its error is a sum of one term per
seed and item, (a - b - PGR (c - d)) / (C - D), which gives variances and covariances without any draw
(clustered by seeds and by items: Cameron, Gelbach and Miller 2011). Of two runs under seeds of their own only
the items are shared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from operator import mul

from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR


@dataclass(frozen=True, slots=True)
class RunErrors:
    """An estimate and its first-order errors: a sum per seed, one per item, the squares of all cells."""

    estimate: float
    by_seed: tuple[float, ...]
    by_item: tuple[float, ...]
    cells: float

    @property
    def of_seeds(self) -> float:
        """Variance from seeds drawn anew. One seed tells nothing of what another would have given: 0."""
        count = len(self.by_seed)
        return _dot(self.by_seed, self.by_seed) * count / (count - 1) if count > 1 else 0.0

    @property
    def of_items(self) -> float:
        """Variance from items drawn anew."""
        return _dot(self.by_item, self.by_item)

    @property
    def variance(self) -> float:
        """Seeds and items drawn anew; what both count, each cell's own noise, is taken off once."""
        return _variance(self.of_seeds, self.of_items, self.cells)


def run_errors(payload: Payload, *, plus: str = "student", minus: str = "weak") -> RunErrors:
    """The errors of ("plus" - "minus") / (ceiling - weak), each the name of a mask of the payload's splits.

    Raises `UndefinedPGR` where the ceiling is not above the weak teacher.
    """
    totals = {
        name: sum(_mask(one, name).bit_count() for one in payload.splits)
        for name in (plus, minus, "ceiling", "weak")
    }
    gap = totals["ceiling"] - totals["weak"]
    if gap <= 0:
        raise UndefinedPGR("the ceiling is not above the weak teacher: no gap to recover")
    estimate = (totals[plus] - totals[minus]) / gap
    by_item = [0.0] * payload.pool
    by_seed: list[float] = []
    cells = 0.0
    for seed in dict.fromkeys(one.seed for one in payload.splits):
        row = [0.0] * payload.pool
        for one in payload.splits:
            if one.seed == seed:
                for name, weight in ((plus, 1.0), (minus, -1.0), ("ceiling", -estimate), ("weak", estimate)):
                    for item in _places(_mask(one, name)):
                        row[item] += weight / gap
        by_seed.append(math.fsum(row))
        cells += _dot(row, row)
        by_item = [total + value for total, value in zip(by_item, row, strict=True)]
    return RunErrors(estimate, tuple(by_seed), tuple(by_item), cells)


def covariance(runs: Sequence[RunErrors], *, are_items_shared: bool) -> list[list[float]]:
    """Covariances [k, k] of the estimates of runs that each had seeds of its own.

    With `are_items_shared` item i is the same one in all of them, as in a fixed data set; in a procedural
    problem each run has its own and the runs are independent. The seeds' part of a variance is the mean over
    the runs: five seeds each say little of it, and the run whose variance looks smallest is no luckier than
    the one whose estimate looks best.
    """
    if not runs:
        raise ValueError("no runs: want at least one")
    of_seeds = sum(run.of_seeds for run in runs) / len(runs)
    matrix = [[0.0] * len(runs) for _run in runs]
    for row, first in enumerate(runs):
        matrix[row][row] = _variance(of_seeds, first.of_items, first.cells)
        if are_items_shared:
            for column, second in enumerate(runs[:row]):
                if len(first.by_item) != len(second.by_item):
                    raise ValueError(
                        f"pools of {len(first.by_item)} and {len(second.by_item)}: want the same items"
                    )
                matrix[row][column] = matrix[column][row] = _dot(first.by_item, second.by_item)
    return matrix


def _variance(of_seeds: float, of_items: float, cells: float) -> float:
    return max(of_seeds + of_items - cells, of_seeds, of_items)


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    total: float = sum(map(mul, first, second))
    return total


def _mask(one: SplitCounts, name: str) -> int:
    mask: int = getattr(one, name)
    return mask


def _places(mask: int) -> list[int]:
    """Positions of the set bits, ascending."""
    digits = bin(mask)[:1:-1]
    return list(compress(range(len(digits)), map("1".__eq__, digits)))
