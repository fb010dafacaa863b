"""The study files of an A/B: the same problem, goal and budget, with the tasks of an arm's workflow.

The human's steps set the budget: as many submissions as they have pipelines. Each researcher has a task of
its own with the same part of it in every arm; a hybrid task's scope are the families of the human's steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aar.lab.blocks import BLOCKS
from aar.lab.pipeline import parse_pipeline_text
from aar.outside.comparison.plan import Budget, PlanError
from aar.outside.study_file import NO_LIMITS, Scope, Step, StudyFile, TaskSpec


def studies_of(
    template: StudyFile, default: StudyFile, problems: Sequence[str], arms: Sequence[str]
) -> dict[tuple[str, str], StudyFile]:
    """A study file for each problem and arm, as written.

    Steps are those of the template's first fixed task, the goal (title and direction) that of its first free
    one; what it lacks is the `default`'s. `PlanError` for a template that cannot be compared.
    """
    _check(template)
    steps = next((task.steps for task in (*template.tasks, *default.tasks) if task.steps), ())
    goal = next((task for task in (*template.tasks, *default.tasks) if task.workflow == "free"), None)
    if not steps or goal is None:
        raise PlanError("the default study has no fixed or no free task")
    shares = deal(steps, template.researchers)
    families = families_of(steps)
    return {
        (problem, arm): replace(
            template,
            name=f"{template.name[:40]}-{problem}-{arm}",
            problem=problem,
            heldout=(),
            confirmations=0,
            least_submissions=0,
            tasks=tuple(_task(goal, share, number, arm, families) for number, share in enumerate(shares, 1)),
        ).as_written()
        for problem in problems
        for arm in arms
    }


def budget_of(study: StudyFile) -> Budget:
    """What a study file gives a run."""
    return Budget(
        researchers=study.researchers,
        submissions=study.submissions,
        seconds=max(int(study.minutes * 60), 1),
        seeds=study.seeds,
        replicates=study.replicates,
        draws=study.draws,
    )


def deal(steps: Sequence[Step], researchers: int) -> list[tuple[Step, ...]]:
    """The steps for each researcher: pipelines are dealt in turn, so that shares differ by one at most."""
    texts = [(number, text) for number, step in enumerate(steps) for text in step.pipelines]
    if len(texts) < researchers:
        raise PlanError(
            f"the human's steps have {len(texts)} pipelines for {researchers} researchers: want one for each "
            "or more; name fewer researchers"
        )
    shares = []
    for place in range(researchers):
        mine = texts[place::researchers]
        shares.append(
            tuple(
                replace(step, pipelines=tuple(text for at, text in mine if at == number))
                for number, step in enumerate(steps)
                if any(at == number for at, _text in mine)
            )
        )
    return shares


def families_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """The families of ideas that the human's steps stand for, by name."""
    pipelines = [parse_pipeline_text(text) for step in steps for text in step.pipelines]
    return tuple(sorted({BLOCKS[name].family for pipeline in pipelines for name, _values in pipeline}))


def _task(
    goal: TaskSpec, share: Sequence[Step], number: int, arm: str, families: tuple[str, ...]
) -> TaskSpec:
    submissions = sum(len(step.pipelines) for step in share)
    return TaskSpec(
        task=f"t{number}",
        title=goal.title,
        direction=goal.direction,
        workflow=arm,
        submissions=submissions,
        steps=tuple(share) if arm == "fixed" else (),
        scope=Scope(families=families, submissions=submissions) if arm == "hybrid" else None,
    )


def _check(template: StudyFile) -> None:
    limits = [*(one.limits for one in template.team), *(one.limits for one in template.tasks)]
    limited = [one for one in limits if one != NO_LIMITS]
    others: Mapping[str, object] = {
        "[[witness]]": template.witnesses,
        "[[anchor]]": template.anchors,
        "data": template.data,
        # Every arm has the same budget: what the human's steps take, and the time.
        "limits beside submissions and the study's minutes": template.sandbox_seconds or limited,
    }
    for name, value in others.items():
        if value:
            raise PlanError(f"the study file has {name}: a comparison cannot have that yet; take it out")
