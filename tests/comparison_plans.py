"""Plans and outcomes of comparisons for tests, made of numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from aar.outside.comparison.assignment import assign
from aar.outside.comparison.outcome import Outcome
from aar.outside.comparison.plan import Budget, Plan

BUDGET = Budget(researchers=2, submissions=12, seconds=180, seeds=3, replicates=4, draws=200)
OUTCOME = Outcome(
    pgr="0.5000",
    method="probe",
    researcher="researcher-1",
    receipt=20,
    reason="tasks-done",
    submissions=12,
    entries=90,
    amended=2,
    alarms=0,
    words=476,
    texts=8,
    publishable=2,
    families=(("baseline",), ("confidence", "baseline")),
)


def a_plan(
    arms: Sequence[str] = ("fixed", "free"), problems: Sequence[str] = ("claims", "digits"), **other: Any
) -> Plan:
    plan = Plan(
        nonce="0123456789abcdef",
        arms=tuple(arms),
        problems=tuple(problems),
        repeats=4,
        seed=1,
        budget=BUDGET,
        margin="0.05",
        looks=0,
        files={
            (problem, arm): f"{number:064x}"
            for number, (problem, arm) in enumerate((problem, arm) for problem in problems for arm in arms)
        },
    )
    return replace(plan, **other)


def outcomes_of(plan: Plan, values: dict[tuple[str, str], Sequence[float]]) -> dict[int, Outcome]:
    """Outcomes by run number: `values` has those of a problem and arm by repeat; fewer leave runs out."""
    return {
        run.number: replace(OUTCOME, pgr=f"{values[run.problem, run.arm][run.repeat - 1]:.4f}")
        for run in assign(plan)
        if run.repeat <= len(values[run.problem, run.arm])
    }
