"""How far off the estimates of several runs are, and how far off together: seeds, items, what they share.

The PGR is a ratio, P / G in counts. To first order its error is a sum of one term per seed and item, (G p -
P g) / G^2, which gives variances and covariances without any draw (clustered by seeds and by items:
Cameron, Gelbach and Miller 2011). Of two runs under seeds of their own only the items are shared. Items in
groups about the same thing are right or wrong together: there an item's term is its group's. All in whole
numbers: the same on every machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import mul

from aar.verify.payload import Payload
from aar.verify.pgr import UndefinedPGR
from aar.verify.tallies import tallies


@dataclass(frozen=True, slots=True)
class RunErrors:
    """An estimate and its first-order errors: a sum per seed, one per item, the squares of all cells.

    They are G p - P g, in units of 1 / `scale`, which is G squared; the squares in units of its square.
    """

    estimate: Fraction
    scale: int
    by_seed: tuple[int, ...]
    by_item: tuple[int, ...]
    cells: int

    @property
    def of_seeds(self) -> Fraction:
        """Variance from seeds drawn anew. One seed tells nothing of what another would have given: 0."""
        count = len(self.by_seed)
        if count < 2:
            return Fraction(0)
        return Fraction(_dot(self.by_seed, self.by_seed) * count, (count - 1) * self.scale**2)

    @property
    def of_items(self) -> Fraction:
        """Variance from items drawn anew."""
        return Fraction(_dot(self.by_item, self.by_item), self.scale**2)

    @property
    def of_cells(self) -> Fraction:
        """What the two both count: the noise of each seed's answer to each item."""
        return Fraction(self.cells, self.scale**2)

    @property
    def variance(self) -> Fraction:
        """Seeds and items drawn anew; what both count is taken off once."""
        return _variance(self.of_seeds, self.of_items, self.of_cells)

    @property
    def freedom(self) -> int:
        """Degrees of freedom of what the seeds say: one less than there are; 0 where they say nothing."""
        return len(self.by_seed) - 1

    @property
    def share_of_seeds(self) -> Fraction:
        """The part of `variance` that rests on these few seeds, between 0 and 1."""
        variance = self.variance
        return self.of_seeds / variance if variance else Fraction(0)


def run_errors(payload: Payload, *, plus: str = "student", minus: str = "weak", group: int = 1) -> RunErrors:
    """The errors of ("plus" - "minus") / (ceiling - weak), each the name of a mask of the payload's splits.

    `group` neighbouring items of the pool are about the same thing, and drawn anew together. Raises
    `UndefinedPGR` where the ceiling is not above the weak teacher.
    """
    found = tallies(payload, tuple(dict.fromkeys((plus, minus, "ceiling", "weak"))), group=group)
    above, gap = (
        sum(sum(cell[one]) - sum(cell[other]) for cell in found.values())
        for one, other in ((plus, minus), ("ceiling", "weak"))
    )
    if gap <= 0:
        raise UndefinedPGR("the ceiling is not above the weak teacher: no gap to recover")
    by_seed: dict[int, int] = {}
    rows = []
    for (seed, _replicate), cell in found.items():
        row = [
            gap * (high - low) - above * (top - bottom)
            for high, low, top, bottom in zip(
                cell[plus], cell[minus], cell["ceiling"], cell["weak"], strict=True
            )
        ]
        by_seed[seed] = by_seed.get(seed, 0) + sum(row)
        rows.append(row)
    if payload.is_fresh:
        by_item = [value for row in rows for value in row]
    else:
        by_item = [sum(values) for values in zip(*rows, strict=True)]
    cells = sum(_dot(row, row) for row in rows)
    return RunErrors(Fraction(above, gap), gap**2, tuple(by_seed.values()), tuple(by_item), cells)


def covariance(runs: Sequence[RunErrors], *, are_items_shared: bool) -> list[list[float]]:
    """Covariances [k, k] of the estimates of runs that each had seeds of its own.

    With `are_items_shared` item i is the same one in all of them, as in a fixed data set; in a procedural
    problem each run has its own and the runs are independent. The seeds' part of a variance is the mean over
    the runs: five seeds each say little of it, and the run whose variance looks smallest is no luckier than
    the one whose estimate looks best.
    """
    if not runs:
        raise ValueError("no runs: want at least one")
    of_seeds = sum((run.of_seeds for run in runs), Fraction(0)) / len(runs)
    matrix = [[0.0] * len(runs) for _run in runs]
    for row, first in enumerate(runs):
        matrix[row][row] = float(_variance(of_seeds, first.of_items, first.of_cells))
        if are_items_shared:
            for column, second in enumerate(runs[:row]):
                if len(first.by_item) != len(second.by_item):
                    raise ValueError(
                        f"pools of {len(first.by_item)} and {len(second.by_item)}: want the same items"
                    )
                shared = Fraction(_dot(first.by_item, second.by_item), first.scale * second.scale)
                matrix[row][column] = matrix[column][row] = float(shared)
    return matrix


def _variance(of_seeds: Fraction, of_items: Fraction, of_cells: Fraction) -> Fraction:
    return max(of_seeds + of_items - of_cells, of_seeds, of_items)


def _dot(first: Sequence[int], second: Sequence[int]) -> int:
    total: int = sum(map(mul, first, second))
    return total
