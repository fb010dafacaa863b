"""The analysis of an A/B, as its plan states it: a pure function of the plan and of what the runs came to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from aar.outside.comparison.assignment import Run, assign
from aar.outside.comparison.intervals import Estimate, estimate, pooled
from aar.outside.comparison.outcome import Outcome
from aar.outside.comparison.plan import Plan
from aar.verify.statistics import binomial_interval, holm

Outcomes = Mapping[int, Outcome]
REFERENCE = "fixed"
ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One arm less another on a class of problems (or on all), within blocks.

    `keeps_up` of `blocks` have `other` no further than the margin behind `one`; `share` is Wilson's interval
    of that. `adjusted` is the p-value of no difference, `adjusted_margin` twice the one-sided one of `other`
    being the margin or more behind; both after Holm, over all comparisons of all classes (those over all
    problems among themselves).
    """

    problem: str
    one: str
    other: str
    difference: Estimate
    blocks: int
    keeps_up: int
    share: tuple[float, float]
    adjusted: float
    adjusted_margin: float
    alpha: float

    @property
    def winner(self) -> str:
        """The arm that is ahead, or nothing: never one from an interval that includes 0."""
        if not self.difference.is_apart_from_0 or self.adjusted > self.alpha:
            return ""
        return self.one if self.difference.mean > 0 else self.other

    @property
    def is_competitive(self) -> bool:
        """Whether `other` is shown to be less than the margin behind `one`."""
        return self.adjusted_margin <= self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """What auditing an arm's runs takes, on a class of problems: means per run, and per publishable finding.

    A ratio is one of sums over the runs; `None` where no finding could be published.
    """

    problem: str
    arm: str
    runs: int
    entries: float
    deviations: float
    minutes: float
    publishable: float
    entries_per_finding: float | None
    deviations_per_finding: float | None
    minutes_per_finding: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy:
    """Shannon entropy of idea families, in bits: `course[k]` after k + 1 submissions, the mean over the runs
    that made so many; `last` after all of a run's."""

    problem: str
    arm: str
    course: tuple[float, ...]
    last: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """The mean value of an arm on a class of problems; `without` runs had nothing to publish."""

    problem: str
    arm: str
    pgr: Estimate
    without: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """Everything that the plan states, of the blocks that are whole."""

    blocks: int
    left_out: int
    levels: tuple[Level, ...]
    comparisons: tuple[Comparison, ...]
    overall: tuple[Comparison, ...]
    efforts: tuple[Effort, ...]
    entropies: tuple[Entropy, ...]


def analyse(plan: Plan, outcomes: Outcomes) -> Analysis:
    """Of the runs by number; runs of a block that is not whole are left out and counted."""
    runs = assign(plan)
    whole = _whole_blocks(plan, runs, outcomes)
    used = [run for run in runs if run.block in whole]
    cells = {
        (problem, arm): [outcomes[run.number] for run in used if run.problem == problem and run.arm == arm]
        for problem in plan.problems
        for arm in plan.arms
    }
    cells = {cell: found for cell, found in cells.items() if found}
    level = float(plan.level)
    return Analysis(
        blocks=len(whole),
        left_out=sum(run.number in outcomes for run in runs) - len(used),
        levels=tuple(_level(problem, arm, found, level) for (problem, arm), found in cells.items()),
        comparisons=_comparisons(plan, cells),
        overall=_overall(plan, cells),
        efforts=_efforts(plan, cells),
        entropies=tuple(_entropy(problem, arm, found, level) for (problem, arm), found in cells.items()),
    )


def is_decided(plan: Plan, analysis: Analysis) -> bool:
    """What the stop rule asks: every interval of every class lies on one side of 0, or within the margin."""
    margin = float(plan.margin)
    return all(
        one.difference.low is not None
        and one.difference.high is not None
        and (
            one.difference.is_apart_from_0 or (-margin < one.difference.low and one.difference.high < margin)
        )
        for one in analysis.comparisons
    )


def entropy_bits(families: Iterable[Sequence[str]]) -> float:
    """Shannon entropy of the families of submissions; one that has several counts as a part of each.

    >>> entropy_bits([["a"], ["b"], ["a", "b"]])
    1.0
    """
    weights: dict[str, float] = {}
    for names in families:
        for name in names:
            weights[name] = weights.get(name, 0.0) + 1 / len(names)
    total = math.fsum(weights.values())
    return abs(-math.fsum(one / total * math.log2(one / total) for one in weights.values())) if total else 0.0


def pairs_of(plan: Plan) -> list[tuple[str, str]]:
    """(one, other) of each comparison; where the fixed workflow is compared it is the other."""
    return [
        (second, first) if first == REFERENCE or second != REFERENCE else (first, second)
        for first, second in combinations(plan.arms, 2)
    ]


def _whole_blocks(plan: Plan, runs: Sequence[Run], outcomes: Outcomes) -> set[tuple[str, int]]:
    done: dict[tuple[str, int], int] = {}
    for run in runs:
        if run.number in outcomes:
            done[run.block] = done.get(run.block, 0) + 1
    return {block for block, count in done.items() if count == len(plan.arms)}


Cells = Mapping[tuple[str, str], Sequence[Outcome]]


def _values(found: Sequence[Outcome]) -> list[float]:
    return [float(one.pgr) for one in found]


def _differences(cells: Cells, problem: str, one: str, other: str) -> list[float]:
    """Within blocks: both lists are in the order of the repeats."""
    return [
        first - second
        for first, second in zip(_values(cells[problem, one]), _values(cells[problem, other]), strict=True)
    ]


def _comparisons(plan: Plan, cells: Cells) -> tuple[Comparison, ...]:
    rows = []
    for problem in plan.problems:
        for one, other in pairs_of(plan):
            if (problem, one) in cells:
                differences = _differences(cells, problem, one, other)
                found = estimate(differences, float(plan.level))
                if found is not None:
                    rows.append((problem, one, other, found, differences))
    return _adjusted(plan, rows)


def _overall(plan: Plan, cells: Cells) -> tuple[Comparison, ...]:
    """Over all problems, each counting the same; nothing of one alone, or while one has no whole block."""
    rows = []
    for one, other in pairs_of(plan):
        if len(plan.problems) > 1 and all((problem, one) in cells for problem in plan.problems):
            parts = [_differences(cells, problem, one, other) for problem in plan.problems]
            found = pooled(parts, float(plan.level))
            if found is not None:
                rows.append((ALL, one, other, found, [value for part in parts for value in part]))
    return _adjusted(plan, rows)


def _adjusted(
    plan: Plan, rows: Sequence[tuple[str, str, str, Estimate, Sequence[float]]]
) -> tuple[Comparison, ...]:
    """Comparisons that are claimed together: problem, one, other, estimate, differences of each."""
    adjusted = holm([found.p_value() for *_names, found, _differences in rows])
    margin = float(plan.margin)
    adjusted_margin = holm([found.p_value_not_below(margin) for *_names, found, _differences in rows])
    return tuple(
        _comparison(plan, *row, adjusted=p, adjusted_margin=q)
        for row, p, q in zip(rows, adjusted, adjusted_margin, strict=True)
    )


def _comparison(
    plan: Plan,
    problem: str,
    one: str,
    other: str,
    found: Estimate,
    differences: Sequence[float],
    *,
    adjusted: float,
    adjusted_margin: float,
) -> Comparison:
    # What decimals of two to four places differ by, is not what floats do.
    keeps_up = sum(round(value, 6) <= float(plan.margin) for value in differences)
    return Comparison(
        problem=problem,
        one=one,
        other=other,
        difference=found,
        blocks=len(differences),
        keeps_up=keeps_up,
        share=binomial_interval(keeps_up, len(differences), level=float(plan.level)),
        adjusted=adjusted,
        adjusted_margin=adjusted_margin,
        alpha=float(1 - plan.level),
    )


def _level(problem: str, arm: str, found: Sequence[Outcome], level: float) -> Level:
    mean = estimate(_values(found), level)
    if mean is None:
        raise ValueError(f"no runs of {problem}/{arm}")
    return Level(problem=problem, arm=arm, pgr=mean, without=sum(one.receipt < 0 for one in found))


def _efforts(plan: Plan, cells: Cells) -> tuple[Effort, ...]:
    rows = [_effort(problem, arm, found) for (problem, arm), found in cells.items()]
    for arm in plan.arms:
        everything = [one for (_problem, of), found in cells.items() if of == arm for one in found]
        if everything and len(plan.problems) > 1:
            rows.append(_effort(ALL, arm, everything))
    return tuple(rows)


def _effort(problem: str, arm: str, found: Sequence[Outcome]) -> Effort:
    findings = sum(one.publishable for one in found)

    def per_finding(total: float) -> float | None:
        return total / findings if findings else None

    return Effort(
        problem=problem,
        arm=arm,
        runs=len(found),
        entries=fmean(one.entries for one in found),
        deviations=fmean(one.deviations for one in found),
        minutes=fmean(one.reading_minutes for one in found),
        publishable=findings / len(found),
        entries_per_finding=per_finding(sum(one.entries for one in found)),
        deviations_per_finding=per_finding(sum(one.deviations for one in found)),
        minutes_per_finding=per_finding(math.fsum(one.reading_minutes for one in found)),
    )


def _entropy(problem: str, arm: str, found: Sequence[Outcome], level: float) -> Entropy:
    courses = [
        [entropy_bits(one.families[: count + 1]) for count in range(len(one.families))] for one in found
    ]
    longest = max(map(len, courses), default=0)
    return Entropy(
        problem=problem,
        arm=arm,
        course=tuple(
            fmean(course[place] for course in courses if len(course) > place) for place in range(longest)
        ),
        last=estimate([course[-1] for course in courses if course], level),
    )
