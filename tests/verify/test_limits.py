"""Limits of time, sandboxes, submissions, tasks: derived from entries; each time one thing alone is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aar.formats.kinds import KINDS
from aar.verify.claims import CLAIMING
from aar.verify.limits import STUDY, Account, limit_faults, sandbox_limit
from aar.verify.report import Report
from forge import START_MS, Forge, assert_only, honest, task, verdict_on
from spending import charge, models, usage


def limited(*, of_task: dict[str, Any] | None = None, **limits: int) -> Forge:
    """The honest study, in which r1 has these limits, and its task, walk, has those."""
    forge = honest()
    if limits:
        forge["opened"].body["limits"] = [{"researcher": "r1", "limits": limits}]
    forge["task-walk"].body["limits"] = of_task or {}
    return forge


def study_limited(sandbox_seconds: int) -> Forge:
    forge = honest()
    told = [{"researcher": STUDY, "limits": {"sandbox_seconds": sandbox_seconds}}]
    forge["opened"].body["limits"] = told
    return forge


def use(
    forge: Forge,
    label: str = "used",
    before: str = "submission-better",
    *,
    amount_ms: int = 2_000,
    before_ms: int = 0,
    limit: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """Draft a charge of r1's sandboxes; the body, to alter."""
    body: dict[str, Any] = {"researcher": "r1", "task": "walk", "what": "sandbox", "amount": amount_ms}
    body |= {"submission": -1, "usage": {"total": before_ms + amount_ms, "limit": limit}, **changes}
    forge.add(label, "gateway", "budget-charged", body, before=before)
    return body


def raised(forge: Forge, before: str, limits: dict[str, Any], label: str = "raised", **changes: Any) -> None:
    body = {"researcher": "r1", "task": "", "limits": limits, "reason": "it is worth it", **changes}
    forge.add(label, "reviewer", "budget-set", body, before=before)


def at(forge: Forge, tmp_path: Path, label: str, says: str, code: str = "BUDGET") -> Report:
    report = verdict_on(forge, tmp_path)
    assert_only(report, code, forge.position(label), says)
    return report


def held_s(forge: Forge, label: str) -> int:
    """Seconds for which r1 held its task when the entry with that label came: one passes for each entry."""
    return forge.position(label) - forge.position("lease-walk")


# Charges of sandboxes.


def test_charges_of_sandboxes_that_add_up_hold(tmp_path: Path) -> None:
    forge = limited(sandbox_seconds=60, of_task={"sandbox_seconds": 60})
    use(forge, "first", "submission-first")
    use(forge, "second", "over-walk", before_ms=2_000, task="")
    use(forge, "third", "closed", before_ms=4_000, amount_ms=0)
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    assert not [one for one in report.warnings if "limit" in one]


def test_what_sandboxes_used_in_all_is_the_sum_of_the_charges(tmp_path: Path) -> None:
    forge = limited()
    use(forge)["usage"]["total"] = 1_999
    at(forge, tmp_path, "used", "2000 processor ms of the sandboxes of r1 in all")


def test_sandboxes_are_those_of_a_researcher_of_the_study(tmp_path: Path) -> None:
    forge = limited()
    use(forge)["researcher"] = "r3"
    at(forge, tmp_path, "used", "a charge of a researcher of the study")


def test_sandboxes_are_charged_to_a_task_that_was_opened_or_to_none(tmp_path: Path) -> None:
    forge = limited()
    use(forge)["task"] = "absent"
    at(forge, tmp_path, "used", "a charge for a task that was opened")


@pytest.mark.parametrize(
    ("forge", "limit"),
    [
        (lambda: limited(sandbox_seconds=2), "sandbox-seconds"),
        (lambda: study_limited(2), "study-sandbox-seconds"),
        (lambda: limited(of_task={"sandbox_seconds": 2}), "task-sandbox-seconds"),
        (lambda: limited(sandbox_seconds=3, of_task={"sandbox_seconds": 3}), ""),
    ],
)
def test_a_charge_says_which_limit_on_sandboxes_it_reached(forge: Any, limit: str, tmp_path: Path) -> None:
    made = forge()
    use(made, before="over-walk", limit=limit)
    assert verdict_on(made, tmp_path / "said").findings == []
    made["used"].body["usage"]["limit"] = "minutes" if limit else "sandbox-seconds"
    at(made, tmp_path / "unsaid", "used", f"limit {limit!r}, by what r1 used")


def test_a_charge_may_tell_of_time_that_is_over_and_of_no_other(tmp_path: Path) -> None:
    forge = limited()
    use(forge, before="over-walk", limit="minutes")
    held = held_s(forge, "used")
    forge["opened"].body["limits"] = [{"researcher": "r1", "limits": {"seconds": held}}]
    assert verdict_on(forge, tmp_path / "over").findings == []
    forge["opened"].body["limits"][0]["limits"]["seconds"] = held + 1
    at(forge, tmp_path / "early", "used", "limit ''")
    forge["used"].body["usage"]["limit"] = "task-minutes"
    at(forge, tmp_path / "other", "used", "limit ''")
    forge["task-walk"].body["limits"] = {"seconds": held}
    assert verdict_on(forge, tmp_path / "task").findings == []


def test_time_that_is_over_when_a_charge_is_entered_hides_no_limit_of_the_study(tmp_path: Path) -> None:
    forge = study_limited(2)
    use(forge, before="over-walk", limit="study-sandbox-seconds")
    held = held_s(forge, "used")
    forge["opened"].body["limits"] += [{"researcher": "r1", "limits": {"seconds": held}}]
    assert verdict_on(forge, tmp_path).findings == []


def test_time_passes_with_every_entry_of_whatever_kind(tmp_path: Path) -> None:
    forge = limited()
    use(forge, before="over-walk", limit="minutes")
    # 30 seconds between two entries, 15 of them before what a reviewer says in between.
    for draft in forge.drafts[forge.position("refusal") :]:
        draft.received_ms = START_MS + 1000 * forge.position(draft.label) + 28_000
    forge["refusal"].received_ms = START_MS + 1000 * forge.position("refusal") + 14_000
    held = held_s(forge, "used") + 28
    forge["opened"].body["limits"] = [{"researcher": "r1", "limits": {"seconds": held}}]
    assert verdict_on(forge, tmp_path).findings == []
    assert set(KINDS) == CLAIMING


def test_what_sandboxes_used_over_a_limit_is_told(tmp_path: Path) -> None:
    forge = limited(sandbox_seconds=1, of_task={"sandbox_seconds": 1})
    use(forge, before="over-walk", limit="sandbox-seconds", amount_ms=2_500)
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    assert "r1 used 2.5 CPU-s of sandboxes, 1.5 over its limit" in report.warnings
    assert "task walk used 2.5 CPU-s of sandboxes, 1.5 over its limit" in report.warnings


# What comes after a limit.


LIMIT = {
    "sandbox-seconds": {"sandbox_seconds": 2},
    "minutes": {"seconds": 0},
    "submissions": {"submissions": 2},
}


def reached(word: str, before: str) -> Forge:
    """r1 is at that limit from the entry before that one on."""
    forge = limited(**LIMIT[word])
    use(forge, before=before, limit=word if word == "sandbox-seconds" else "")
    if word == "minutes":
        # The charge is the last thing before it, a second earlier.
        forge["opened"].body["limits"][0]["limits"]["seconds"] = held_s(forge, before)
    return forge


@pytest.mark.parametrize("word", sorted(LIMIT))
def test_nothing_is_handed_in_by_who_is_at_a_limit(word: str, tmp_path: Path) -> None:
    forge = reached(word, "submission-worse")
    raised(forge, "charge-sure", {"sandbox_seconds": 99, "seconds": 99, "submissions": 99})
    at(forge, tmp_path, "submission-worse", f"no submission of r1, which reached its limit, {word}")


@pytest.mark.parametrize("word", sorted(LIMIT))
def test_a_raised_limit_lets_a_researcher_go_on(word: str, tmp_path: Path) -> None:
    forge = reached(word, "submission-worse")
    raised(forge, "submission-worse", {"sandbox_seconds": 99, "seconds": 99, "submissions": 99})
    assert verdict_on(forge, tmp_path).findings == []


def test_a_lowered_limit_holds_from_there_on_and_what_it_does_not_name_stays(tmp_path: Path) -> None:
    forge = limited(sandbox_seconds=99, submissions=9)
    raised(forge, "submission-worse", {"submissions": 2})
    raised(forge, "charge-sure", {"seconds": 999}, "again")
    at(forge, tmp_path, "submission-worse", "no submission of r1, which reached its limit, submissions")


@pytest.mark.parametrize("word", ["sandbox-seconds", "minutes"])
def test_no_confirmation_is_asked_for_by_who_is_at_a_limit(word: str, tmp_path: Path) -> None:
    at(
        reached(word, "charge-sure"),
        tmp_path,
        "charge-sure",
        f"no confirmation of r1, which reached its limit, {word}",
    )


def test_who_has_handed_in_all_that_it_may_still_has_it_confirmed(tmp_path: Path) -> None:
    assert verdict_on(limited(submissions=3), tmp_path).findings == []


@pytest.mark.parametrize("word", sorted(LIMIT))
def test_nothing_is_leased_to_who_is_at_a_limit_but_a_task_may_be_taken_away(
    word: str, tmp_path: Path
) -> None:
    forge = reached(word, "over-walk")
    lease = {"task": "walk", "researcher": "r1", "until_ms": 0, "epoch": 2, "direction": ""}
    forge.add("lease", "gateway", "task-leased", lease, before="over-walk")
    forge["opened"].body["limits"][0]["limits"] |= {"submissions": 3}
    assert verdict_on(forge, tmp_path / "away").findings == []
    forge["lease"].body["until_ms"] = 2**50
    says = f"no lease of r1, which reached its limit, {word}"
    at(forge, tmp_path / "lease", "lease", says)
    # Whatever the gateway says of the time at which it gave it.
    forge["lease"].at = 2**50
    at(forge, tmp_path / "later", "lease", says)


def test_all_sandboxes_together_have_a_limit_that_stops_everybody(tmp_path: Path) -> None:
    forge = study_limited(2)
    use(forge, before="submission-other", limit="study-sandbox-seconds")
    raised(forge, "submission-failing", {"sandbox_seconds": 99}, researcher=STUDY)
    at(forge, tmp_path, "submission-other", "no submission of r2, which reached its limit, study-sandbox-sec")


# Tasks.


OF_A_TASK: dict[str, dict[str, Any]] = {
    "task-tokens": {"tokens": 1_100},
    "task-dollars": {"dollars": "0.0045"},
    "task-sandbox-seconds": {"sandbox_seconds": 2},
    "task-minutes": {"seconds": 0},
}


def task_reached(word: str, before: str) -> Forge:
    """The task walk is at that limit from the entry before that one on."""
    forge = limited(of_task=dict(OF_A_TASK[word]))
    forge["opened"].body["models"] = models("r1")
    money = word if word in ("task-tokens", "task-dollars") else ""
    forge.add("spent", "gateway", "budget-charged", charge("r1", "walk", usage(limit=money)), before=before)
    use(forge, before=before, limit=word if word == "task-sandbox-seconds" else "")
    if word == "task-minutes":
        forge["task-walk"].body["limits"]["seconds"] = held_s(forge, before)
    return forge


MORE = {"tokens": 9_000, "dollars": "9.00", "sandbox_seconds": 99, "seconds": 99}


@pytest.mark.parametrize("word", sorted(OF_A_TASK))
def test_nothing_is_handed_in_to_a_task_at_its_limit(word: str, tmp_path: Path) -> None:
    forge = task_reached(word, "submission-worse")
    raised(forge, "charge-sure", MORE, researcher="", task="walk")
    at(forge, tmp_path, "submission-worse", f"no submission of walk, which reached its limit, {word}")


@pytest.mark.parametrize("word", sorted(OF_A_TASK))
def test_a_raised_limit_of_a_task_lets_it_go_on(word: str, tmp_path: Path) -> None:
    forge = task_reached(word, "submission-worse")
    raised(forge, "submission-worse", MORE, researcher="", task="walk")
    assert verdict_on(forge, tmp_path).findings == []


@pytest.mark.parametrize("word", ["task-tokens", "task-minutes"])
def test_nothing_of_a_task_at_its_limit_is_confirmed_or_leased(word: str, tmp_path: Path) -> None:
    forge = task_reached(word, "charge-sure")
    at(forge, tmp_path / "confirmed", "charge-sure", "no confirmation of walk")
    forge = task_reached(word, "over-walk")
    lease = {"task": "walk", "researcher": "r1", "until_ms": 2**50, "epoch": 2, "direction": ""}
    forge.add("lease", "gateway", "task-leased", lease, before="over-walk")
    at(forge, tmp_path / "leased", "lease", "no lease of walk")


@pytest.mark.parametrize("word", ["task-tokens", "task-dollars"])
def test_a_charge_of_tokens_says_which_limit_of_its_task_it_reached(word: str, tmp_path: Path) -> None:
    forge = task_reached(word, "over-walk")
    forge["spent"].body["usage"]["limit"] = ""
    at(forge, tmp_path, "spent", f"limit {word!r}")


@pytest.mark.parametrize(
    "forge",
    [
        *(lambda word=word: task_reached(word, "over-walk") for word in sorted(OF_A_TASK)),
        *(lambda word=word: reached(word, "over-walk") for word in ("minutes", "sandbox-seconds")),
        # Its submissions are used up as it is opened, and so are the study's.
        lambda: shrunk("task"),
        lambda: shrunk("study"),
        lambda: shrunk("time"),
    ],
)
def test_a_task_is_closed_as_budget_at_a_limit(forge: Any, tmp_path: Path) -> None:
    made = forge()
    made["over-walk"].body["outcome"] = "budget"
    assert verdict_on(made, tmp_path).findings == []


def shrunk(what: str) -> Forge:
    """The honest study with more room in it, but for what is named."""
    forge = honest()
    forge["task-walk"].body = task("walk", 3 if what == "task" else 4)
    submissions = 5 if what == "study" else 9
    forge["opened"].body["budget"] |= {"submissions": submissions, "seconds": 99}
    if what == "time":
        raised(forge, "over-walk", {"seconds": 10}, researcher="")
    return forge


def test_a_task_is_not_closed_as_budget_before_a_limit_was_reached(tmp_path: Path) -> None:
    forge = shrunk("")
    forge["over-walk"].body["outcome"] = "budget"
    at(forge, tmp_path, "over-walk", "a limit that was reached, of walk, of who had it or of the study")


def test_a_task_is_not_closed_as_budget_for_a_limit_of_who_did_not_have_it(tmp_path: Path) -> None:
    forge = shrunk("")
    forge["opened"].body["limits"] = [{"researcher": "r2", "limits": {"submissions": 2}}]
    forge["over-walk"].body |= {"outcome": "budget", "researcher": "r2"}
    at(forge, tmp_path, "over-walk", "a limit that was reached, of walk, of who had it or of the study")


# Setting limits.


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"researcher": "", "task": "absent"}, "limits of a task that was opened"),
        ({"researcher": "r3"}, "limits of the study or of a researcher of it"),
        ({"limits": {"tokens": 5}}, "none: no researcher is a model"),
        ({"researcher": "", "limits": {"dollars": "5.00"}}, "none: no researcher is a model"),
    ],
)
def test_a_limit_is_set_of_what_has_one(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    forge = limited()
    raised(forge, "submission-worse", {"seconds": 99})
    assert verdict_on(forge, tmp_path / "set").findings == []
    forge["raised"].body |= changes
    at(forge, tmp_path / "wrong", "raised", says)


def test_no_limit_is_set_of_a_task_that_was_closed(tmp_path: Path) -> None:
    forge = limited()
    raised(forge, "closed", {"seconds": 99}, researcher="", task="walk")
    at(forge, tmp_path, "raised", "limits of a task that is open")


@pytest.mark.parametrize("of", ["task", "study"])
def test_how_many_submissions_there_may_be_is_as_it_was_set_last(of: str, tmp_path: Path) -> None:
    forge = honest()
    name = "walk" if of == "task" else ""
    raised(forge, "submission-worse", {"submissions": 2}, researcher="", task=name)
    raised(forge, "charge-worse", {"submissions": 9}, "again", researcher="", task=name)
    at(forge, tmp_path, "submission-worse", "at most 2 submissions")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ([("r1", {"seconds": 1}), ("r1", {"seconds": 2})], "limits of a researcher once"),
        ([("r3", {"seconds": 1})], "limits of researchers of the study"),
        ([("", {"seconds": 1})], "a study's seconds and submissions in its budget"),
        ([("", {"submissions": 1})], "a study's seconds and submissions in its budget"),
    ],
)
def test_limits_of_an_opening_are_of_its_researchers_once(
    limits: list[tuple[str, dict[str, int]]], says: str
) -> None:
    told = [{"researcher": name, "limits": one} for name, one in limits]
    (fault,) = limit_faults({"limits": told, "researchers": ["r1", "r2"]})
    assert says in fault[0]
    good = [
        {"researcher": "r2", "limits": {"seconds": 1}},
        {"researcher": "", "limits": {"sandbox_seconds": 1}},
    ]
    assert list(limit_faults({"limits": good, "researchers": ["r1", "r2"]})) == []


def test_faults_of_the_limits_of_an_opening_are_reported(tmp_path: Path) -> None:
    forge = limited()
    forge["opened"].body["limits"] = [{"researcher": "r3", "limits": {"submissions": 9}}]
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "limits of researchers of the study")


# Time.


def account(**limits: int) -> Account:
    made = Account()
    budget = {"seconds": 1_000, "submissions": 9}
    told = [{"researcher": "r1", "limits": limits}] if limits else []
    made.open({"researchers": ["r1", "r2"], "budget": budget, "limits": told})
    for name in ("a", "b"):
        made.open_task({"task": name, "limits": {}, "submissions": 3})
    made.pass_time(1_000)
    return made


def lease(made: Account, task_name: str, researcher: str, until_ms: int = 10**9) -> None:
    made.lease({"task": task_name, "researcher": researcher, "until_ms": until_ms})


def test_a_task_is_held_until_it_is_closed_or_anothers() -> None:
    made = account()
    lease(made, "a", "r1")
    made.pass_time(3_000)
    lease(made, "a", "r2")
    made.pass_time(7_000)
    made.close_task({"task": "a"})
    made.pass_time(9_000)
    assert (made.held_ms("r1", 9_000), made.held_ms("r2", 9_000)) == (2_000, 4_000)
    assert (made.held_on_ms("a", 9_000), made.held_on_ms("b", 9_000)) == (6_000, 0)


def test_a_lease_that_runs_out_or_is_over_when_it_is_said_holds_nothing() -> None:
    made = account()
    lease(made, "a", "r1", until_ms=4_000)
    assert made.held_ms("r1", 3_000) == 2_000
    made.pass_time(9_000)
    lease(made, "a", "r1", until_ms=9_000)
    made.pass_time(12_000)
    assert made.held_ms("r1", 12_000) == 3_000


def test_a_time_in_which_the_study_was_stopped_is_not_held() -> None:
    made = account()
    lease(made, "a", "r1")
    made.pass_time(86_400_000)
    assert made.held_ms("r1", 86_400_000) == made.active_ms == 20_000
    assert made.held_ms("r1", 2 * 86_400_000) == made.active_until_ms(2 * 86_400_000) == 40_000


def test_who_holds_two_tasks_at_once_spends_its_time_once() -> None:
    made = account()
    lease(made, "a", "r1")
    lease(made, "b", "r1")
    made.pass_time(5_000)
    assert made.held_ms("r1", 5_000) == made.held_on_ms("a", 5_000) == made.held_on_ms("b", 5_000) == 4_000


def test_a_limit_is_reached_at_the_millisecond_and_by_what_no_entry_has_yet() -> None:
    made = account(seconds=5, sandbox_seconds=2)
    lease(made, "a", "r1")
    assert [made.reached("r1", now) for now in (5_999, 6_000)] == ["", "minutes"]
    assert [made.reached("r1", more_ms={"r1": more}) for more in (1_999, 2_000)] == ["", "sandbox-seconds"]
    assert made.reached("r1", 9_000, more_ms={"r2": 9_000}) == "minutes"
    assert made.reached("r2", 9_000) == made.reached("nobody") == made.task_reached("nothing") == ""
    assert sandbox_limit(made, "r1", "a", 1_000, 6_000) == ("", ("minutes",))
    assert sandbox_limit(made, "r1", "a", 2_000, 6_000) == ("sandbox-seconds", ())
