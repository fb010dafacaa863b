"""Workflows: whether a plan and a submission keep to the human's steps, or to the scope that was declared.

One set of rules for whoever admits an entry and whoever verifies it later. The human's scope bounds the plan,
the plan bounds what is handed in; whoever wants to leave it amends the plan first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Body = Mapping[str, Any]
# The plain student at the end of a pipeline is no idea of anybody's: every plan may use it.
PLAIN_FAMILY = "baseline"

# How strict a task's workflow has to be, by its risk, where the study's policy goes by risk.
STRICT_ENOUGH = {"low": ("free", "hybrid", "fixed"), "medium": ("hybrid", "fixed"), "high": ("fixed",)}


def plan_faults(scope: Body, steps: Sequence[Body]) -> Iterator[tuple[str, str]]:
    """(expected, got) for each step of a hybrid task's plan that its task's scope does not allow.

    A step states its families, and a number of submissions. Without families it is for programs of the
    researcher's own, where the scope has those.
    """
    names = [step["name"] for step in steps]
    if len(set(names)) < len(names):
        yield "steps of different names", ", ".join(names)
    for step in steps:
        where = f"step {step['name']}"
        beyond = _beyond(step["families"], scope["families"])
        if beyond:
            yield f"{where}: families of the task's scope, {', '.join(scope['families'])}", ", ".join(beyond)
        if not step["families"] and not scope["programs"]:
            yield f"{where}: the families that it uses", "none, and the scope has no programs"
        if not 1 <= step["submissions"] <= scope["submissions"]:
            yield f"{where}: 1 to {scope['submissions']} submissions", f"{step['submissions']}"


def submission_faults(
    scope: Body, steps: Sequence[Body], *, step: str, families: Sequence[str], before: int
) -> Iterator[tuple[str, str]]:
    """(expected, got) for each way in which a submission leaves its plan; `before` of it were in its step."""
    planned = next((one for one in steps if one["name"] == step), None)
    if planned is None:
        yield f"a step of the plan: {', '.join(one['name'] for one in steps)}", step
        return
    if not families and (planned["families"] or not scope["programs"]):
        yield f"{step}: a pipeline of {', '.join(planned['families'])}", "a program of its own"
    beyond = _beyond(families, planned["families"])
    if beyond:
        yield f"{step}: families of the plan, {', '.join(planned['families']) or 'none'}", ", ".join(beyond)
    if before >= planned["submissions"]:
        yield f"{step}: at most {planned['submissions']} submissions", "one more"


def order_faults(
    names: Sequence[str], step: str, done: Mapping[str, Sequence[bool]]
) -> Iterator[tuple[str, str]]:
    """(expected, got) where a step of a fixed workflow is out of the human's order `names`.

    `done` has, by step, whether each submission to it has its receipt: a step opens when the one before was
    run and all of it is known, and is over when the next has begun.
    """
    if step not in names:
        yield f"one of the human's steps: {', '.join(names)}", step
        return
    place = names.index(step)
    for earlier in names[:place]:
        if not done[earlier] or not all(done[earlier]):
            yield f"step {earlier} to have its receipts before step {step}", "none, or not all of them"
    for later in names[place + 1 :]:
        if done[later]:
            yield f"step {step} before step {later} begins", "after it"


def _beyond(families: Sequence[str], allowed: Sequence[str]) -> list[str]:
    return [one for one in families if one != PLAIN_FAMILY and one not in allowed]
