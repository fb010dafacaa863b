"""Holds: a monitor holds a method, a reviewer lets it go; in each case one thing alone is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aar.formats.entry import Entry
from aar.verify.holds import Holds
from forge import At, Draft, Forge, assert_only, decision, honest, running, verdict_on
from spending import charge, models, monitor, usage


def with_monitor(forge: Forge | None = None, **terms: Any) -> Forge:
    forge = forge or honest()
    forge["opened"].body["monitor"] = monitor(**terms)
    return forge


def without_decision(forge: Forge | None = None) -> Forge:
    """The decision rests on what alarms here are about: without it, they are about nothing that matters."""
    forge = with_monitor(forge)
    forge.drop("decision")
    return forge


def alarm(
    forge: Forge,
    *evidence: str,
    before: str,
    who: str = "r1",
    code: str = "model-alarm-high",
    label: str = "seen",
) -> Draft:
    body = {"code": code, "who": who, "what": "it planned to", "evidence": [At(one) for one in evidence]}
    return forge.add(label, "monitor", "alarm", {**body, "attempt": "I will"}, before=before)


def hold(
    forge: Forge, of: str, *, before: str, begun: Sequence[tuple[str, str]] = (), label: str = "held"
) -> dict[str, Any]:
    """Draft a hold of a submission, with its alarm; the body, to alter."""
    who = forge[f"submission-{of}"].body["researcher"]
    alarm(forge, f"submission-{of}", before=before, who=who, label=f"{label}-seen")
    began = [{"submission": At(f"submission-{one}"), "run": run} for one, run in begun]
    body = {"submission": At(f"submission-{of}"), "alarm": At(f"{label}-seen"), "reason": "it planned to"}
    forge.add(label, "monitor", "submission-held", {**body, "running": began}, before=before)
    return forge[label].body  # type: ignore[no-any-return]


def release(
    forge: Forge, of: str, *, before: str, released: int = 1, by: str = "reviewer", label: str = "released"
) -> None:
    body = {"submission": At(f"submission-{of}"), "released": released, "reason": "it is a quotation"}
    forge.add(label, by, "submission-released", body, before=before)


def at(forge: Forge, tmp_path: Path, label: str, says: str, code: str = "ORDER") -> None:
    assert_only(verdict_on(forge, tmp_path), code, forge.position(label), says)


def holds_up(forge: Forge, tmp_path: Path) -> list[str]:
    """The warnings about a study that holds."""
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    return report.warnings


def test_what_is_held_and_let_go_again_holds(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="submission-worse")
    release(forge, "better", before="charge-sure")
    assert not [one for one in holds_up(forge, tmp_path) if "held" in one]


def test_a_monitor_that_may_not_hold_holds_nothing(tmp_path: Path) -> None:
    forge = with_monitor(holds=0)
    hold(forge, "better", before="submission-worse")
    release(forge, "better", before="charge-sure")
    at(forge, tmp_path, "held", "no hold in a study whose monitor holds nothing")


def test_only_a_submission_is_held(tmp_path: Path) -> None:
    forge = with_monitor()
    body = hold(forge, "better", before="submission-worse")
    body["submission"] = At("plan-walk")
    at(forge, tmp_path, "held", "a hold of a submission")


@pytest.mark.parametrize(
    "fault", ["no-alarm", "another's", "a-rule's", "a small one", "of what was not read"]
)
def test_a_hold_names_an_alarm_of_the_model_about_its_submission(fault: str, tmp_path: Path) -> None:
    forge = without_decision()
    body = hold(forge, "better", before="submission-worse")
    release(forge, "better", before="charge-sure")
    if fault == "no-alarm":
        body["alarm"] = At("plan-walk")
    if fault == "another's":
        forge["held-seen"].body["evidence"] = [At("submission-first")]
    codes = {
        "a-rule's": "burst",
        "a small one": "model-alarm-medium",
        "of what was not read": "monitor-unread",
    }
    if fault in codes:
        forge["held-seen"].body["code"] = codes[fault]
    at(forge, tmp_path, "held", "an alarm model-alarm-high about submission")


@pytest.mark.parametrize("is_released", [True, False])
def test_a_method_is_held_once_and_what_was_let_go_stays_let_go(is_released: bool, tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="submission-worse")
    if is_released:
        release(forge, "better", before="submission-worse")
    hold(forge, "better", before="submission-worse", label="again")
    if not is_released:
        release(forge, "better", before="charge-sure")
    at(forge, tmp_path, "again", "one hold of the method of submission")


@pytest.mark.parametrize(
    "begun",
    [
        [("better", "explore")],
        [("first", "reproduce")],
        [("better", "confirm"), ("better", "confirm")],
    ],
    ids=["a receipt is there", "another method", "twice"],
)
def test_runs_that_were_begun_are_of_that_method_and_without_a_receipt(
    begun: list[tuple[str, str]], tmp_path: Path
) -> None:
    forge = with_monitor()
    hold(forge, "better", before="submission-worse", begun=begun)
    release(forge, "better", before="charge-sure")
    at(forge, tmp_path, "held", "runs of that method that have no receipt yet, each once")


def test_a_run_that_was_begun_may_end_and_no_other_is_begun(tmp_path: Path) -> None:
    for name, begun in (("begun", [("better", "explore")]), ("not", [])):
        forge = with_monitor(running())
        hold(forge, "better", before="receipt-better", begun=begun)
        release(forge, "better", before="charge-sure")
        if begun:
            assert holds_up(forge, tmp_path / name)
        else:
            at(
                forge,
                tmp_path / name,
                "receipt-better",
                "no explore run of a method that is held since entry",
            )


def test_what_is_held_is_not_confirmed(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="charge-sure")
    release(forge, "better", before="receipt-sure")
    at(forge, tmp_path, "charge-sure", "no confirmation of a method that is held since entry")


def test_a_confirmation_that_was_charged_is_not_begun_while_it_is_held(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="receipt-sure")
    at(forge, tmp_path, "receipt-sure", "no confirm run of a method that is held since entry")


def test_what_is_held_is_not_run_on_what_is_held_out(tmp_path: Path) -> None:
    forge = without_decision()
    hold(forge, "first", before="receipt-elsewhere")
    release(forge, "first", before="closed")
    at(forge, tmp_path, "receipt-elsewhere", "no heldout:other run of a method that is held")


@pytest.mark.parametrize("override", ["", "I looked at it, and it is fine"])
def test_nothing_that_rests_on_what_is_held_is_published_whatever_words_are_given(
    override: str, tmp_path: Path
) -> None:
    forge = with_monitor()
    hold(forge, "first", before="closed", begun=[("first", "reproduce")])
    # What alarms are about wants words: those alone are not enough here.
    forge["decision"].body = decision(override=override or "seen the alarm")
    place = forge.position("decision")
    report = verdict_on(forge, tmp_path / "held")
    assert_only(report, "DECISION", place, "no hold on what the finding rests on")
    # A reviewer may let it go after the close, too.
    release(forge, "first", before="decision")
    holds_up(forge, tmp_path / "released")


def test_what_is_held_may_be_retracted(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "first", before="closed", begun=[("first", "reproduce")])
    forge["decision"].body = decision(decision="retract")
    holds_up(forge, tmp_path)


def test_a_hold_after_a_publication_is_told(tmp_path: Path) -> None:
    forge = with_monitor()
    draft = forge["decision"]
    forge.drop("decision")
    forge.drafts.insert(forge.position("closed"), draft)
    hold(forge, "first", before="closed", begun=[("first", "reproduce")])
    assert any("what it rests on was held for review later" in one for one in holds_up(forge, tmp_path))


def test_only_what_is_held_is_let_go_and_a_refusal_keeps_it_held(tmp_path: Path) -> None:
    forge = with_monitor()
    release(forge, "better", before="submission-worse")
    at(forge, tmp_path / "never", "released", "a submission that is held, none")
    forge = with_monitor()
    hold(forge, "better", before="submission-worse")
    release(forge, "better", before="submission-worse", released=0, label="refused")
    release(forge, "better", before="charge-sure")
    holds_up(forge, tmp_path / "later")
    release(forge, "better", before="charge-sure", released=0, label="again")
    at(forge, tmp_path / "again", "again", "a submission that is held, none")


def test_what_a_reviewer_refused_to_let_go_is_held(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="submission-worse")
    release(forge, "better", before="charge-sure", released=0)
    release(forge, "better", before="receipt-sure", label="later")
    at(forge, tmp_path, "charge-sure", "no confirmation of a method that is held")


@pytest.mark.parametrize(
    ("kind", "by"), [("held", "reviewer"), ("released", "operator"), ("released", "monitor")]
)
def test_the_monitor_holds_and_a_reviewer_lets_go(kind: str, by: str, tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="submission-worse")
    release(forge, "better", before="charge-sure")
    forge[kind].author, forge[kind].signers = by, [forge.keys[by]]
    report = verdict_on(forge, tmp_path)
    assert report.verdict == "tampered"
    assert {one.first_index for one in report.findings} >= {forge.position(kind)}


def test_nothing_is_held_after_the_close(tmp_path: Path) -> None:
    forge = with_monitor()
    hold(forge, "better", before="decision")
    at(forge, tmp_path, "held", "nothing of the research after study-closed")


@pytest.mark.parametrize("is_released", [True, False])
def test_a_study_may_close_over_what_is_held_and_owes_the_run_of_what_is_not(
    is_released: bool, tmp_path: Path
) -> None:
    forge = with_monitor()
    forge.drop("receipt-failing")
    hold(forge, "failing", before="closed")
    if is_released:
        release(forge, "failing", before="closed")
        at(forge, tmp_path, "submission-failing", "a receipt for this submission", "RECEIPT")
    else:
        place = forge.position("submission-failing")
        told = f"1 submissions were held for review when the study closed, and not run after: {place}"
        assert told in holds_up(forge, tmp_path)


def test_a_confirmation_of_what_is_held_at_the_close_is_not_owed(tmp_path: Path) -> None:
    forge = with_monitor()
    for label in ("receipt-sure", "reveal-sure-public", "reveal-sure-sealed"):
        forge.drop(label)
    del forge.runs["sure"]
    at(forge, tmp_path / "owed", "charge-sure", "a receipt for this confirmation", "RECEIPT")
    hold(forge, "better", before="closed")
    holds_up(forge, tmp_path / "held")


def test_a_held_out_run_of_what_is_held_at_the_close_is_not_owed(tmp_path: Path) -> None:
    forge = with_monitor()
    for label in ("receipt-elsewhere", "reveal-elsewhere-public", "reveal-elsewhere-sealed"):
        forge.drop(label)
    del forge.runs["elsewhere"]
    at(forge, tmp_path / "owed", "result", "a run of the claimed method on other", "RECEIPT")
    forge.drop("decision")
    hold(forge, "first", before="closed", begun=[("first", "reproduce")])
    holds_up(forge, tmp_path / "held")


def test_an_alarm_of_a_model_names_what_that_researcher_said_or_handed_in(tmp_path: Path) -> None:
    forge = without_decision()
    alarm(forge, "submission-other", "plan-search", "comment", who="r2", before="closed")
    holds_up(forge, tmp_path / "own")
    for label in ("submission-first", "receipt-other", "task-search", "opened"):
        forge["seen"].body["evidence"] = [At(label)]
        at(forge, tmp_path / label, "seen", "what r2 said or handed in", "REFS")


@pytest.mark.parametrize("code", ["model-alarm-low", "monitor-unread", "monitor-spent"])
def test_a_study_without_a_model_for_its_monitor_has_no_alarm_of_one(code: str, tmp_path: Path) -> None:
    forge = without_decision()
    forge["opened"].body["monitor"] = {}
    alarm(forge, "submission-first", before="closed", code=code)
    at(forge, tmp_path, "seen", "no alarm of a monitor that is a model", "REFS")
    forge["seen"].body["code"] = "burst"
    holds_up(forge, tmp_path / "rule")


# What the monitor spends is its own.


def spend(forge: Forge, *, before: str, who: str = "monitor", task: str = "", **told: Any) -> dict[str, Any]:
    body = charge(who, task, usage(**told))
    forge.add(f"spent-{who}", "gateway", "budget-charged", body, before=before)
    return body


def test_what_the_monitor_spends_is_charged_to_its_own_limit_alone(tmp_path: Path) -> None:
    forge = with_monitor(tokens=1_100)
    forge["opened"].body["models"] = {**models("r1", tokens=1_101), "tokens": 1_101}
    # At its own limit, which is none of the study's; what the researchers spent is none of its.
    spend(forge, before="submission-worse", limit="tokens")
    spend(forge, before="submission-worse", who="r1")
    holds_up(forge, tmp_path / "own")
    forge["spent-monitor"].body["usage"]["limit"] = "study-tokens"
    at(forge, tmp_path / "study", "spent-monitor", "limit 'tokens'", "BUDGET")


def test_what_researchers_spend_is_not_charged_to_the_monitor(tmp_path: Path) -> None:
    forge = with_monitor(tokens=1_101)
    forge["opened"].body["models"] = {**models("r1", tokens=9_000), "tokens": 1_100}
    spend(forge, before="over-walk", who="r1", limit="study-tokens")
    spend(forge, before="over-walk")
    holds_up(forge, tmp_path)


def test_the_monitor_works_on_no_task(tmp_path: Path) -> None:
    forge = with_monitor()
    spend(forge, before="submission-worse", task="walk")
    at(forge, tmp_path, "spent-monitor", "no task for calls of the monitor", "BUDGET")


def test_without_a_model_for_its_monitor_nothing_is_charged_to_it(tmp_path: Path) -> None:
    forge = honest()
    spend(forge, before="submission-worse")
    at(forge, tmp_path, "spent-monitor", "a charge of a researcher that is a model", "BUDGET")


def test_no_researcher_has_the_monitor_s_name(tmp_path: Path) -> None:
    forge = with_monitor()
    forge["opened"].body["researchers"].append("monitor")
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "no researcher of the name monitor")


def test_a_reviewer_sets_the_monitor_s_limit(tmp_path: Path) -> None:
    forge = with_monitor(tokens=1_100)
    body = {"researcher": "monitor", "task": "", "limits": {"tokens": 2_000}, "reason": "it is worth it"}
    forge.add("raised", "reviewer", "budget-set", body, before="submission-worse")
    spend(forge, before="submission-worse")
    holds_up(forge, tmp_path / "money")
    forge["opened"].body["monitor"] = monitor()
    body["limits"] = {"tokens": 2_000, "submissions": 3}
    at(forge, tmp_path / "more", "raised", "tokens or dollars of the monitor", "BUDGET")


def test_a_monitor_that_read_nothing_is_told(tmp_path: Path) -> None:
    forge = with_monitor()
    nothing = "the study's monitor, test/monitor, read nothing: it raised no alarm for that reason"
    assert nothing in holds_up(forge, tmp_path / "nothing")
    reading = {"name": "monitor.r1.1.json", "sha256": "0b" * 32, "size": 12}
    spend(forge, before="submission-worse", transcripts=[reading])
    assert nothing not in holds_up(forge, tmp_path / "read")


# The fold.


def entry(kind: str, body: dict[str, Any], author: str = "monitor") -> Entry:
    return Entry("o", author, 0, "", kind, (), body, 1)


def test_a_hold_is_on_the_method_whoever_hands_the_same_bytes_in_again() -> None:
    holds = Holds()
    holds.take(0, entry("study-opened", {"monitor": monitor()}))
    for index, researcher, digest in ((1, "r1", "a"), (2, "r2", "b"), (3, "r2", "a")):
        holds.take(index, entry("submission", {"researcher": researcher, "digest": digest}))
    body = {"submission": 1, "alarm": 0, "reason": "x", "running": [{"submission": 3, "run": "explore"}]}
    holds.take(4, entry("submission-held", body))
    assert [holds.holding(one) for one in (1, 2, 3)] == [4, -1, 4]
    assert holds.may_end(3, "explore")
    assert not holds.may_end(1, "explore")
    assert holds.on([0, 1, 2, 3]) == (4,)
    holds.take(5, entry("submission-released", {"submission": 3, "released": 1, "reason": "x"}, "reviewer"))
    assert holds.on([1, 3]) == ()
    # What is no submission is held by nothing, and never was.
    holds.take(6, entry("submission-held", {**body, "submission": 4}))
    holds.take(7, entry("submission-released", {"submission": 4, "released": 1, "reason": "x"}, "reviewer"))
    assert holds.on(range(8)) == ()
