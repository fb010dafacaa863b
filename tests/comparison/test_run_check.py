"""Whether a record is of the run it is taken for: each thing that can be otherwise, alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from aar.formats.entry import Entry, Leaf, format_leaf, parse_leaf, sign_entry
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.comparison.arms import budget_of, studies_of
from aar.outside.comparison.assignment import Run, assign, origin_of
from aar.outside.comparison.plan import format_plan
from aar.outside.comparison.run_check import RunUnusable, check_run, plan_entered
from aar.outside.study_file import parse_study
from comparison_plans import a_plan
from forge import STRANGER

TEXT = resources.files("aar.outside.studies").joinpath("comparison.toml").read_text("utf-8")
TEMPLATE = parse_study(TEXT, source="embedded", problems=STUDY_PROBLEMS)
STUDIES = studies_of(TEMPLATE, TEMPLATE, ("claims", "digits"), ("fixed", "free"))
PLAN = a_plan(budget=budget_of(TEMPLATE))
RUN: Run = assign(PLAN)[2]
STUDY = STUDIES[RUN.problem, RUN.arm]
OPENED: dict[str, Any] = {
    "comparison": {"plan": format_plan(PLAN), "run": 3},
    "problem": RUN.problem,
    "researchers": ["researcher-1", "researcher-2"],
    "programs": [],
    "models": {},
    "monitor": {},
    "limits": [],
    "budget": {"submissions": 12, "confirmations": 0, "seconds": 180},
    "runs": {"seeds": 3, "replicates": 3},
    "interval": {"draws": 100},
    "heldout": [],
    "allocation": {"policy": "directed", "directions": []},
}
Bodies = list[tuple[str, dict[str, Any]]]


def bodies() -> Bodies:
    opened = ("study-opened", copy.deepcopy(OPENED))
    tasks = [("task-opened", task.as_body()) for task in STUDY.tasks]
    return [opened, *tasks, ("study-closed", {"reason": "tasks-done"})]


def leaves_of(entries: Bodies, origin: str = origin_of(PLAN, RUN)) -> list[Leaf]:
    """Entries as they are read from a record that was verified before: nobody looks at a signature here."""
    return [
        parse_leaf(
            format_leaf(
                at, 1, sign_entry(Entry(origin, STRANGER.name, 0, "", kind, (), body, 1), STRANGER).data
            )
        )
        for at, (kind, body) in enumerate(entries)
    ]


def test_a_closed_run_on_the_plans_terms_is_one() -> None:
    check_run(leaves_of(bodies()), PLAN, RUN, STUDY)


CHANGES: list[tuple[str, Callable[[Bodies], object]]] = [
    ("its entry 0 says nothing of a comparison", lambda all_: all_[0][1].update(comparison={})),
    ("its entry 0 says run 4, want run 3", lambda all_: all_[0][1]["comparison"].update(run=4)),
    ("problem not as planned", lambda all_: all_[0][1].update(problem="overlap")),
    ("researchers not as planned", lambda all_: all_[0][1]["researchers"].append("researcher-3")),
    ("programs not as planned", lambda all_: all_[0][1]["programs"].append({"researcher": "researcher-1"})),
    ("limits not as planned", lambda all_: all_[0][1]["limits"].append({"researcher": "researcher-1"})),
    ("budget not as planned", lambda all_: all_[0][1]["budget"].update(submissions=24)),
    ("budget not as planned", lambda all_: all_[0][1]["budget"].update(confirmations=1)),
    ("budget not as planned", lambda all_: all_[0][1]["budget"].update(seconds=181)),
    ("seeds and replicates not as planned", lambda all_: all_[0][1]["runs"].update(replicates=9)),
    ("draws not as planned", lambda all_: all_[0][1]["interval"].update(draws=300)),
    ("heldout not as planned", lambda all_: all_[0][1]["heldout"].append({"name": "shortcut"})),
    ("allocation not as planned", lambda all_: all_[0][1]["allocation"].update(policy="undirected")),
    ("tasks not as planned", lambda all_: all_[1][1].update(direction="neighbours, I hear")),
    ("tasks not as planned", lambda all_: all_.insert(2, ("task-opened", {**all_[1][1], "task": "more"}))),
    ("is not closed", lambda all_: all_.pop()),
]


@pytest.mark.parametrize(("says", "change"), CHANGES, ids=range(len(CHANGES)))
def test_what_is_otherwise_than_planned_is_refused(says: str, change: Callable[[Bodies], object]) -> None:
    entries = bodies()
    change(entries)
    with pytest.raises(RunUnusable, match=f"run 003:? {says}"):
        check_run(leaves_of(entries), PLAN, RUN, STUDY)


def test_another_plan_is_refused() -> None:
    entries = bodies()
    entries[0][1]["comparison"]["plan"] = format_plan(replace(PLAN, margin="0.50"))
    with pytest.raises(RunUnusable, match="carries another plan than run 001"):
        check_run(leaves_of(entries), PLAN, RUN, STUDY)


def test_a_log_of_another_name_is_refused() -> None:
    with pytest.raises(RunUnusable, match=r"has origin aar\.local/study-0000000000000000, want"):
        check_run(leaves_of(bodies(), "aar.local/study-0000000000000000"), PLAN, RUN, STUDY)


def test_the_plan_is_read_from_the_first_entry() -> None:
    assert plan_entered(leaves_of(bodies()), 3) == format_plan(PLAN)
