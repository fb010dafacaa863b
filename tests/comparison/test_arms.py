"""The arms: the same goal and budget for all, and of the template only what can be compared."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.comparison.arms import budget_of, deal, studies_of
from aar.outside.comparison.plan import PlanError
from aar.outside.study_file import AnchorSpec, Limits, ResearcherSpec, Step, StudyFile, parse_study

PROBLEMS, ARMS = ("claims", "digits", "overlap"), ("fixed", "free", "hybrid")


def embedded(name: str = "comparison") -> StudyFile:
    text = resources.files("aar.outside.studies").joinpath(f"{name}.toml").read_text("utf-8")
    return parse_study(text, source=name, problems=STUDY_PROBLEMS)


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 6))
def test_every_pipeline_is_dealt_once_in_the_humans_order_and_shares_differ_by_one_at_most(
    counts: list[int], researchers: int
) -> None:
    steps = [
        Step(name=f"s{at}", what="", pipelines=tuple(f"{at}.{number}" for number in range(count)))
        for at, count in enumerate(counts)
    ]
    if sum(counts) < researchers:
        with pytest.raises(PlanError, match="name fewer researchers"):
            deal(steps, researchers)
        return
    shares = [[text for step in share for text in step.pipelines] for share in deal(steps, researchers)]
    assert sorted(text for share in shares for text in share) == sorted(
        text for step in steps for text in step.pipelines
    )
    assert all(share == sorted(share) for share in shares)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("name", ["comparison", "claims", "digits"])
def test_every_arm_has_the_same_goal_and_budget_on_every_problem(name: str) -> None:
    studies = studies_of(embedded(name), embedded(), PROBLEMS, ARMS)
    assert set(studies) == {(problem, arm) for problem in PROBLEMS for arm in ARMS}
    assert len({budget_of(study) for study in studies.values()}) == 1
    assert len({(task.title, task.direction) for study in studies.values() for task in study.tasks}) == 1
    assert len({tuple(task.submissions for task in study.tasks) for study in studies.values()}) == 1
    for (problem, arm), study in studies.items():
        assert (study.problem, study.heldout, study.confirmations) == (problem, (), 0)
        assert {task.workflow for task in study.tasks} == {arm}
        assert len(study.tasks) == study.researchers


def test_what_is_written_is_what_was_derived() -> None:
    for study in studies_of(embedded(), embedded(), PROBLEMS, ARMS).values():
        read = parse_study(study.text, source="derived", problems=STUDY_PROBLEMS)
        assert replace(read, least_submissions=0) == study


def test_a_hybrid_task_is_free_within_the_families_of_the_humans_steps() -> None:
    study = studies_of(embedded(), embedded(), ("claims",), ARMS)["claims", "hybrid"]
    assert study.tasks[0].scope is not None
    assert study.tasks[0].scope.families == ("baseline", "confidence", "neighbourhood", "self-training")


def test_a_template_without_steps_or_without_an_open_goal_takes_the_embedded_ones() -> None:
    template = embedded("digits")
    free = [task for task in template.tasks if task.workflow == "free"]
    for tasks in (template.tasks[:1], tuple(free)):
        study = studies_of(replace(template, tasks=tasks), embedded(), ("digits",), ARMS)["digits", "fixed"]
        assert study.submissions == 12


@pytest.mark.parametrize(
    "template",
    [
        replace(embedded(), sandbox_seconds=9),
        replace(embedded(), team=(ResearcherSpec(limits=Limits(submissions=3)),)),
        replace(embedded(), tasks=(replace(embedded().tasks[0], limits=Limits(minutes=3)),)),
    ],
)
def test_limits_that_the_arms_would_not_all_have_are_refused(template: StudyFile) -> None:
    with pytest.raises(
        PlanError, match="has limits beside submissions .*: a comparison cannot have that yet"
    ):
        studies_of(template, embedded(), PROBLEMS, ARMS)


def test_what_runs_would_share_is_refused() -> None:
    template = embedded()
    anchor = AnchorSpec(name="vault", kind="directory", path="/mnt/vault")
    with pytest.raises(PlanError, match=r"has \[\[anchor\]\]: a comparison cannot have that yet"):
        studies_of(replace(template, anchors=(anchor,)), template, PROBLEMS, ARMS)
    with pytest.raises(PlanError, match="has data"):
        studies_of(replace(template, data="/data"), template, PROBLEMS, ARMS)
