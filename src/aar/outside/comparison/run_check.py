"""Whether a record is of the run that it is taken for, and was run on the terms that the plan fixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.comparison.arms import budget_of
from aar.outside.comparison.assignment import Run, origin_of
from aar.outside.comparison.plan import Plan, format_plan
from aar.outside.study_file import StudyFile


class RunUnusable(Exception):
    """A run's record does not hold, or is not of this comparison; the message is one line."""


class RunUnjudged(RunUnusable):
    """A run's record cannot be verified, or is not there: that accuses nobody."""


def plan_entered(leaves: Sequence[Leaf], number: int) -> str:
    """The plan that a run's first entry carries; `RunUnusable` where it is not of run `number`."""
    opened: Any = leaves[0].signed.entry.body
    comparison = opened["comparison"]
    if comparison.get("run") != number:
        says = f"run {comparison['run']}" if comparison else "nothing of a comparison"
        raise RunUnusable(f"run {number:03}: its entry 0 says {says}, want run {number}")
    return str(comparison["plan"])


def check_run(leaves: Sequence[Leaf], plan: Plan, run: Run, study_file: StudyFile) -> None:
    """`RunUnusable` unless a verified record is a closed one of this run, on its study file's terms."""
    name = f"run {run.number:03}"
    if plan_entered(leaves, run.number) != format_plan(plan):
        raise RunUnusable(f"{name} carries another plan than run 001: it is not of this comparison")
    origin = leaves[0].signed.entry.origin
    if origin != origin_of(plan, run):
        raise RunUnusable(f"{name} has origin {origin}, want {origin_of(plan, run)}")
    said, wanted = _terms_of(leaves), _terms_wanted(study_file)
    for term, value in wanted.items():
        if said[term] != value:
            raise RunUnusable(f"{name}: {term} not as planned: {said[term]!r:.120}")
    if all(leaf.signed.entry.kind != "study-closed" for leaf in leaves):
        raise RunUnusable(f"{name} is not closed: nothing can be said of it yet")


def _terms_of(leaves: Sequence[Leaf]) -> Mapping[str, object]:
    opened: Any = leaves[0].signed.entry.body
    return {
        "problem": opened["problem"],
        "researchers": len(opened["researchers"]),
        "programs": opened["programs"],
        "models": opened["models"],
        "monitor": opened["monitor"],
        "limits": opened["limits"],
        "budget": opened["budget"],
        "seeds and replicates": opened["runs"],
        "draws": opened["interval"]["draws"],
        "heldout": opened["heldout"],
        "allocation": opened["allocation"],
        "tasks": [leaf.signed.entry.body for leaf in leaves if leaf.signed.entry.kind == "task-opened"],
    }


def _terms_wanted(study_file: StudyFile) -> Mapping[str, object]:
    budget = budget_of(study_file)
    return {
        "problem": study_file.problem,
        "researchers": budget.researchers,
        # The built-in researcher in every arm.
        "programs": [],
        "models": {},
        "monitor": {},
        "limits": [],
        "budget": {
            "submissions": budget.submissions,
            "confirmations": study_file.confirmations,
            "seconds": budget.seconds,
        },
        "seeds and replicates": {"seeds": budget.seeds, "replicates": budget.replicates},
        "draws": budget.draws,
        "heldout": [],
        "allocation": {"policy": study_file.allocation, "directions": list(study_file.directions)},
        "tasks": [task.as_body() for task in study_file.tasks],
    }
