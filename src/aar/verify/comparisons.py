"""Comparisons of several runs: which are better than the plain student, and what the best of them is worth.

What a report claims together is tested together (Holm), and the best of so many tries is corrected for having
been picked. Pure functions of payloads: who has the opened values gets the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aar.verify.payload import Payload
from aar.verify.run_errors import covariance, run_errors
from aar.verify.statistics import BestOf, best_of, holm, mixed_p_value


@dataclass(frozen=True, slots=True)
class Compared:
    """A method's PGR less the plain student's, its p-value alone, and among all that are claimed with it."""

    method: str
    difference: float
    p_value: float
    adjusted: float


def compared(payloads: Mapping[str, Payload], *, group: int = 1) -> tuple[Compared, ...]:
    """Every method against the plain student on its own splits, in the order given; two-sided.

    `group` is their problem's (`verify.splits.Pool`). Raises `UndefinedPGR` for a run without a gap.
    """
    differences, p_values = [], []
    for payload in payloads.values():
        errors = run_errors(payload, minus="vanilla", group=group)
        deviation = math.sqrt(errors.variance)
        differences.append(float(errors.estimate))
        # The same as the plain student in every answer: no difference at all.
        p_values.append(
            mixed_p_value(differences[-1] / deviation, errors.freedom, float(errors.share_of_seeds))
            if deviation
            else 1.0
        )
    return tuple(Compared(*row) for row in zip(payloads, differences, p_values, holm(p_values), strict=True))


def best_of_runs(payloads: Sequence[Payload], *, group: int = 1) -> BestOf:
    """The run with the largest PGR, corrected for having been picked from all of them.

    All are of one problem, each under seeds of its own. Every try counts, also those that nobody claims.
    """
    runs = [run_errors(payload, group=group) for payload in payloads]
    are_items_shared = not any(payload.is_fresh for payload in payloads)
    return best_of([float(run.estimate) for run in runs], covariance(runs, are_items_shared=are_items_shared))
