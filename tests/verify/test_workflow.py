"""Workflows: what a plan and a submission of a hybrid task may be; in each case one thing alone is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aar.verify.report import Report
from aar.verify.workflow import STRICT_ENOUGH, order_faults, plan_faults, submission_faults
from forge import At, Forge, assert_only, honest, planned, verdict_on

SCOPE = {"families": ["confidence", "channel"], "programs": 0, "submissions": 3}
WITH_PROGRAMS = {**SCOPE, "programs": 1}
STEPS = [planned("s1", "confidence", submissions=2), planned("s2", "channel", submissions=3)]


def faults_of(steps: list[dict[str, Any]], scope: dict[str, Any] = SCOPE) -> list[tuple[str, str]]:
    return list(plan_faults(scope, steps))


def leaves(families: list[str], **changes: Any) -> list[tuple[str, str]]:
    told: dict[str, Any] = {"scope": SCOPE, "steps": STEPS, "step": "s1", "before": 0, **changes}
    return list(submission_faults(told.pop("scope"), told.pop("steps"), families=families, **told))


def test_a_plan_inside_its_task_s_scope_has_no_fault() -> None:
    assert faults_of(STEPS) == []
    assert faults_of([planned("s1", "confidence", "baseline", submissions=1)]) == []
    assert faults_of([planned("s1", submissions=1)], WITH_PROGRAMS) == []


@pytest.mark.parametrize(
    ("steps", "expected", "got"),
    [
        ([STEPS[0], STEPS[0]], "steps of different names", "s1, s1"),
        ([planned("s1", "elicitation", submissions=1)], "families of the task's scope", "elicitation"),
        ([planned("s1", submissions=1)], "the families that it uses", "none, and the scope has no programs"),
        ([planned("s1", "channel", submissions=0)], "1 to 3 submissions", "0"),
        ([planned("s1", "channel", submissions=4)], "1 to 3 submissions", "4"),
    ],
)
def test_a_plan_that_leaves_the_scope_is_named(steps: list[dict[str, Any]], expected: str, got: str) -> None:
    (fault,) = faults_of(steps)
    assert expected in fault[0]
    assert fault[1] == got


def test_a_submission_inside_its_plan_has_no_fault() -> None:
    assert leaves(["confidence", "baseline"]) == []
    assert leaves(["baseline"]) == []
    assert leaves(["confidence"], before=1) == []
    assert leaves([], scope=WITH_PROGRAMS, steps=[planned("s1", submissions=1)]) == []


@pytest.mark.parametrize(
    ("families", "changes", "expected", "got"),
    [
        (["confidence"], {"step": "s9"}, "a step of the plan: s1, s2", "s9"),
        (["channel"], {}, "families of the plan, confidence", "channel"),
        (["confidence"], {"before": 2}, "at most 2 submissions", "one more"),
        ([], {}, "a pipeline of confidence", "a program of its own"),
        # Where a step names families, a program cannot be told to be of them, whatever the scope allows.
        ([], {"scope": WITH_PROGRAMS}, "a pipeline of confidence", "a program of its own"),
        # A plan from before there was a scope does not open the door to programs.
        ([], {"steps": [planned("s1", submissions=1)]}, "a pipeline of", "a program of its own"),
    ],
)
def test_a_submission_that_leaves_the_plan_is_named(
    families: list[str], changes: dict[str, Any], expected: str, got: str
) -> None:
    (fault,) = leaves(families, **changes)
    assert expected in fault[0]
    assert fault[1] == got


NAMES = ["s1", "s2", "s3"]


@pytest.mark.parametrize(
    ("step", "done", "found"),
    [
        ("s1", {}, []),
        ("s2", {"s1": [True, True]}, []),
        ("s2", {}, ["step s1 to have its receipts before step s2"]),
        ("s2", {"s1": [True, False]}, ["step s1 to have its receipts before step s2"]),
        ("s1", {"s1": [True], "s2": [False]}, ["step s1 before step s2 begins"]),
        ("s9", {"s1": [True]}, ["one of the human's steps: s1, s2, s3"]),
    ],
)
def test_a_step_opens_after_the_one_before_and_is_over_when_the_next_begins(
    step: str, done: dict[str, list[bool]], found: list[str]
) -> None:
    known = {**{name: [] for name in NAMES}, **done}
    assert [expected for expected, _got in order_faults(NAMES, step, known)] == found


# The same in a record.


def hybrid() -> Forge:
    """The honest study, one of whose tasks is hybrid."""
    forge = honest()
    forge["task-walk"].body |= {"workflow": "hybrid", "scope": dict(SCOPE)}
    forge["plan-walk"].body["steps"] = [planned("s1", "confidence", submissions=3)]
    for run in ("first", "better", "worse"):
        forge[f"submission-{run}"].body["families"] = ["confidence", "baseline"]
    return forge


def test_a_hybrid_task_worked_on_as_declared_holds(tmp_path: Path) -> None:
    report = verdict_on(hybrid(), tmp_path)
    assert (report.verdict, report.findings) == ("ok", [])


def amend(forge: Forge, *steps: dict[str, Any], before: str) -> None:
    body = {"task": "walk", "steps": list(steps), "amends": At("plan-walk")}
    forge.add("amended", "r1", "plan-declared", body, before=before).refs = [At("plan-walk")]


def test_what_the_plan_did_not_say_may_follow_when_it_is_amended(tmp_path: Path) -> None:
    forge = hybrid()
    forge["submission-better"].body |= {"families": ["channel"], "plan": At("amended")}
    forge["submission-worse"].body["plan"] = At("amended")
    amend(forge, planned("s1", "confidence", "channel", submissions=3), before="submission-better")
    assert verdict_on(forge, tmp_path).findings == []


Change = Callable[[Forge], object]


def _old_plan(forge: Forge) -> None:
    amend(forge, planned("s1", "confidence", submissions=3), before="submission-worse")


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        (
            lambda forge: forge["submission-better"].body.update(families=["channel"]),
            "submission-better",
            "families of the plan",
        ),
        (
            lambda forge: forge["plan-walk"].body["steps"][0].update(submissions=2),
            "submission-worse",
            "at most 2 submissions",
        ),
        (_old_plan, "submission-worse", "the plan declared last"),
        (
            lambda forge: forge["plan-walk"].body["steps"].append(planned("s2", "prior", submissions=1)),
            "plan-walk",
            "families of the task's scope",
        ),
    ],
    ids=["family", "count", "old plan", "plan"],
)
def test_what_left_its_declared_scope_is_reported(
    change: Change, where: str, says: str, tmp_path: Path
) -> None:
    forge = hybrid()
    change(forge)
    assert_only(verdict_on(forge, tmp_path), "BODY", forge.position(where), says)


def test_a_free_task_has_no_scope_to_leave(tmp_path: Path) -> None:
    forge = honest()
    forge["submission-better"].body["families"] = ["channel"]
    assert verdict_on(forge, tmp_path).findings == []


@pytest.mark.parametrize(("risk", "ok"), [("low", True), ("medium", False), ("high", False)])
def test_under_a_policy_that_goes_by_risk_a_risky_task_is_not_free(
    risk: str, ok: bool, tmp_path: Path
) -> None:
    assert ("free" in STRICT_ENOUGH[risk]) == ok
    forge = honest()
    forge["task-walk"].body["risk"] = risk
    assert verdict_on(forge, tmp_path / "by-name").findings == []
    forge["opened"].body["allocation"]["policy"] = "risk-tiered"
    report = verdict_on(forge, tmp_path / "by-risk")
    if ok:
        assert report.findings == []
    else:
        assert_only(report, "BODY", forge.position("task-walk"), "fixed")


# Pauses.

PAUSE = {
    "researcher": "",
    "signal": "",
    "value": "",
    "limit": "",
    "reason": "a reviewer wants to look",
    "evidence": [],
}


def paused(forge: Forge, *, before: str, until: str = "") -> Forge:
    forge.add("pause", "monitor", "queue-paused", dict(PAUSE), before=before)
    if until:
        body = {"pause": At("pause"), "reason": "looked"}
        forge.add("resume", "reviewer", "queue-resumed", body, before=until).refs = [At("pause")]
    return forge


def found(report: Report) -> list[tuple[str, int | None]]:
    return [(one.code, one.first_index) for one in report.findings]


def test_a_pause_that_a_reviewer_lifts_stops_nothing_that_came_after(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-first", until="submission-first")
    assert verdict_on(forge, tmp_path).findings == []


def test_nothing_is_handed_in_while_the_queue_is_paused(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-failing", until="receipt-failing")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("submission-failing"), "no submission before the pause")


def test_nothing_is_leased_while_the_queue_is_paused_but_a_task_may_be_taken_away(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-first", until="submission-first")
    lease = {"task": "walk", "researcher": "r1", "until_ms": 0, "epoch": 2, "direction": ""}
    forge.add("over", "gateway", "task-leased", lease, before="resume")
    assert verdict_on(forge, tmp_path / "over").findings == []
    forge["over"].body["until_ms"] = 2**50
    report = verdict_on(forge, tmp_path / "lease")
    assert_only(report, "ORDER", forge.position("over"), "no lease before the pause")
    forge["over"].at = 2**50
    report = verdict_on(forge, tmp_path / "later")
    assert_only(report, "ORDER", forge.position("over"), "no lease before the pause")


def test_no_confirmation_is_asked_for_while_the_queue_is_paused(tmp_path: Path) -> None:
    forge = paused(honest(), before="charge-sure", until="result")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("charge-sure"), "no confirmation before the pause")


def test_one_pause_holds_at_a_time(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-first", until="submission-first")
    forge.add("second", "monitor", "queue-paused", dict(PAUSE), before="resume")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("second"), "one pause at a time")


def test_what_lifts_a_pause_names_the_one_that_holds(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-first", until="submission-first")
    forge.add("again", "reviewer", "queue-resumed", {"pause": At("pause"), "reason": "x"}, before="closed")
    assert_only(verdict_on(forge, tmp_path / "none"), "ORDER", forge.position("again"), "holds, none")
    forge.drop("again")
    forge["resume"].body["pause"] = At("opened")
    report = verdict_on(forge, tmp_path / "other")
    assert found(report)[0] == ("ORDER", forge.position("resume"))


def test_only_a_reviewer_lifts_a_pause(tmp_path: Path) -> None:
    forge = paused(honest(), before="submission-first", until="submission-first")
    resume = forge["resume"]
    resume.author, resume.signers = "monitor", [forge.keys["monitor"]]
    report = verdict_on(forge, tmp_path)
    assert ("AUTHOR_KEY", forge.position("resume")) in found(report)


# Leases, steps and votes.


def lease(**changes: Any) -> dict[str, Any]:
    body = {"task": "walk", "researcher": "r2", "until_ms": 2**50, "epoch": 2, "direction": ""}
    return {**body, **changes}


def test_a_task_that_another_holds_is_not_leased(tmp_path: Path) -> None:
    forge = honest()
    # To a researcher that does nothing with it: only the lease itself is wrong.
    forge.add("taken", "gateway", "task-leased", lease(), before="over-walk")
    says = "no lease of walk to another"
    assert_only(verdict_on(forge, tmp_path / "taken"), "ORDER", forge.position("taken"), says)
    # Whatever the gateway says of the time at which it gave it.
    forge["taken"].at = 2**50
    forge["taken"].body["until_ms"] = 2**51
    assert_only(verdict_on(forge, tmp_path / "later"), "ORDER", forge.position("taken"), says)


def test_a_task_whose_lease_is_over_may_go_to_another(tmp_path: Path) -> None:
    forge = honest()
    forge.add("cut", "gateway", "task-leased", lease(researcher="r1", until_ms=0), before="over-walk")
    forge.add("taken", "gateway", "task-leased", lease(epoch=3), before="over-walk")
    assert verdict_on(forge, tmp_path).findings == []


def there_and_back(forge: Forge) -> None:
    """The task goes to another, who plans something else, and back before the last submission."""
    before = "submission-worse"
    forge.add("cut", "gateway", "task-leased", lease(researcher="r1", until_ms=0), before=before)
    forge.add("taken", "gateway", "task-leased", lease(epoch=3, until_ms=0), before=before)
    other = {"task": "walk", "steps": [planned("s2", "channel", submissions=3)], "amends": -1}
    forge.add("meanwhile", "r2", "plan-declared", other, before=before)
    forge.add("back", "gateway", "task-leased", lease(researcher="r1", epoch=4), before=before)


def test_who_comes_back_to_a_hybrid_task_goes_on_under_its_own_last_plan(tmp_path: Path) -> None:
    forge = hybrid()
    there_and_back(forge)
    assert verdict_on(forge, tmp_path).findings == []


def test_who_comes_back_to_a_hybrid_task_is_held_to_its_own_last_plan(tmp_path: Path) -> None:
    forge = hybrid()
    _old_plan(forge)
    there_and_back(forge)
    report = verdict_on(forge, tmp_path)
    assert_only(report, "BODY", forge.position("submission-worse"), "the plan declared last")


def test_leases_of_a_task_are_counted(tmp_path: Path) -> None:
    forge = honest()
    forge.add("again", "gateway", "task-leased", lease(researcher="r1", epoch=3), before="over-walk")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("again"), "lease 2 of walk")


@pytest.mark.parametrize("change", [{"task": "absent"}, {}], ids=["absent", "closed"])
def test_only_an_open_task_is_leased(change: dict[str, Any], tmp_path: Path) -> None:
    forge = honest()
    forge.add("late", "gateway", "task-leased", lease(**change), before="closed")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("late"), "a lease of an open task")


def test_only_a_researcher_of_the_study_gets_a_lease(tmp_path: Path) -> None:
    forge = honest()
    forge.add("cut", "gateway", "task-leased", lease(researcher="r1", until_ms=0), before="over-walk")
    forge.add("taken", "gateway", "task-leased", lease(researcher="nobody", epoch=3), before="over-walk")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("taken"), "a lease to a researcher of the study")


@pytest.mark.parametrize("task", ["absent", "walk"], ids=["absent", "closed"])
def test_only_an_open_task_ends(task: str, tmp_path: Path) -> None:
    forge = honest()
    body = {"task": task, "researcher": "r1", "outcome": "done", "reason": ""}
    forge.add("again", "gateway", "task-closed", body, before="closed")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("again"), "the end of an open task")


def test_a_plan_is_for_a_task_that_was_opened(tmp_path: Path) -> None:
    forge = honest()
    body = {"task": "absent", "steps": [planned()], "amends": -1}
    forge.add("astray", "r2", "plan-declared", body, before="submission-first")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("astray"), "a task that was opened")


@pytest.mark.parametrize("amended", ["submission-first", "task-walk"])
def test_a_plan_amends_an_earlier_one_of_its_task(amended: str, tmp_path: Path) -> None:
    forge = honest()
    body = {"task": "walk", "steps": [planned()], "amends": At(amended)}
    forge.add("astray", "r1", "plan-declared", body, before="submission-better").refs = [At(amended)]
    report = verdict_on(forge, tmp_path)
    assert_only(report, "BODY", forge.position("astray"), "an earlier plan for walk to amend")


def test_a_plan_is_by_who_holds_the_task(tmp_path: Path) -> None:
    forge = honest()
    body = {"task": "walk", "steps": [planned()], "amends": -1}
    forge.add("meddling", "r2", "plan-declared", body, before="submission-first")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("meddling"), "a plan of walk by who holds it, r1")


def test_a_submission_is_by_who_holds_the_task(tmp_path: Path) -> None:
    forge = honest()
    cut = lease(researcher="r1", until_ms=0)
    forge.add("cut", "gateway", "task-leased", cut, before="submission-worse")
    forge.add("taken", "gateway", "task-leased", lease(epoch=3), before="submission-worse")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("submission-worse"), "a submission of walk by who holds it")


def test_a_task_that_is_closed_takes_nothing(tmp_path: Path) -> None:
    forge = honest()
    over = forge.drafts.pop(forge.position("over-walk"))
    forge.drafts.insert(forge.position("submission-worse"), over)
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("submission-worse"), "who holds it, nobody")


def fixed(*, second: str) -> Forge:
    """The honest study, one of whose tasks has two steps; `second` is the first run of the second."""
    forge = honest()
    steps = [{"name": name, "what": "", "pipelines": ["[]"]} for name in ("s1", "s2")]
    forge["task-walk"].body |= {"workflow": "fixed", "steps": steps}
    forge[f"submission-{second}"].body["step"] = "s2"
    return forge


def test_the_human_s_steps_in_their_order_hold(tmp_path: Path) -> None:
    assert verdict_on(fixed(second="worse"), tmp_path).findings == []


def test_a_step_out_of_order_is_reported(tmp_path: Path) -> None:
    forge = fixed(second="better")
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("submission-worse"), "before step s2")


def test_a_step_before_its_forerunner_s_receipt_is_reported(tmp_path: Path) -> None:
    forge = fixed(second="worse")
    receipt = forge.drafts.pop(forge.position("receipt-better"))
    forge.drafts.insert(forge.position("submission-worse") + 1, receipt)
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("submission-worse"), "step s1 to have its receipts")


@pytest.mark.parametrize(
    ("author", "on", "code", "says"),
    [
        ("r1", "result", "BODY", "no vote for a finding of one's own"),
        ("r2", "result", "BODY", "one vote of r2"),
        ("r2", "comment", "REFS", "a vote on a finding"),
    ],
)
def test_a_vote_is_on_another_s_finding_and_once(
    author: str, on: str, code: str, says: str, tmp_path: Path
) -> None:
    forge = honest()
    forge.add("late-vote", author, "vote", {"on": At(on), "value": 1}, before="closed")
    assert_only(verdict_on(forge, tmp_path), code, forge.position("late-vote"), says)


# A pause of one researcher.


def at_entry(forge: Forge, tmp_path: Path, says: str, label: str) -> None:
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position(label), says)


def stopped(forge: Forge, before: str, *, until: str = "", author: str = "operator", **changes: Any) -> Forge:
    body = {
        "researcher": "r1",
        "signal": "",
        "value": "",
        "limit": "",
        "reason": "it wanders",
        "evidence": [],
    }
    forge.add("stop", author, "queue-paused", {**body, **changes}, before=before)
    if until:
        lifted = {"pause": At("stop"), "reason": "looked"}
        forge.add("lift", "reviewer", "queue-resumed", lifted, before=until).refs = [At("stop")]
    return forge


@pytest.mark.parametrize("author", ["operator", "reviewer", "monitor"])
def test_a_stopped_researcher_hands_nothing_in(author: str, tmp_path: Path) -> None:
    forge = stopped(honest(), "submission-worse", author=author, until="charge-sure")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("submission-worse"), "no submission of r1 before entry")


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("comment", {"on": 0, "text": "but"}),
        ("task-proposed", {"title": "t", "direction": "", "reason": ""}),
    ],
)
def test_a_stopped_researcher_says_nothing(kind: str, body: dict[str, Any], tmp_path: Path) -> None:
    forge = stopped(honest(), "submission-worse", until="submission-worse")
    forge.add("word", "r1", kind, body, before="lift")
    at_entry(forge, tmp_path, "nothing of r1 before entry", "word")


def test_the_stop_of_another_stops_nobody_else(tmp_path: Path) -> None:
    forge = stopped(honest(), "submission-worse", researcher="r2", until="receipt-worse")
    assert verdict_on(forge, tmp_path).findings == []


def test_a_researcher_whose_stop_a_reviewer_lifted_goes_on(tmp_path: Path) -> None:
    forge = stopped(honest(), "submission-worse", until="submission-worse")
    assert verdict_on(forge, tmp_path).findings == []


def test_nothing_is_leased_to_who_is_stopped_but_a_task_may_be_taken_away(tmp_path: Path) -> None:
    forge = stopped(honest(), "over-walk")
    lease = {"task": "walk", "researcher": "r1", "until_ms": 0, "epoch": 2, "direction": ""}
    forge.add("lease", "gateway", "task-leased", lease, before="over-walk")
    assert verdict_on(forge, tmp_path / "away").findings == []
    forge["lease"].body["until_ms"] = 2**50
    at_entry(forge, tmp_path / "lease", "no lease of r1 before entry", "lease")


def test_no_confirmation_is_asked_for_by_who_is_stopped(tmp_path: Path) -> None:
    forge = honest()
    who = forge["charge-sure"].body["researcher"]
    stopped(forge, "charge-sure", researcher=who, until="receipt-sure")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "ORDER", forge.position("charge-sure"), f"no confirmation of {who} before entry")


def test_a_researcher_is_stopped_once_at_a_time(tmp_path: Path) -> None:
    forge = stopped(honest(), "over-walk", until="over-walk")
    again = dict(forge["stop"].body)
    forge.add("again", "reviewer", "queue-paused", again, before="lift")
    at_entry(forge, tmp_path, "one pause of r1 at a time", "again")


def test_who_is_stopped_is_a_researcher_of_the_study(tmp_path: Path) -> None:
    forge = stopped(honest(), "over-walk", researcher="nobody")
    at_entry(forge, tmp_path, "a pause of a researcher of the study", "stop")


def test_an_operator_stops_single_researchers_and_never_the_whole_queue(tmp_path: Path) -> None:
    forge = stopped(honest(), "over-walk", researcher="")
    at_entry(forge, tmp_path, "a pause of everybody by the monitor or a reviewer", "stop")
