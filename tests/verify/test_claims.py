"""What entries claim: each lie that the keys can sign, and the one check that tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aar.formats.commitments import commit_split
from aar.formats.strict import encode_base64
from aar.verify.interval import interval_of
from forge import (
    DRAWS,
    FRESH,
    GROUPED,
    ITEMS,
    At,
    DigestOf,
    Forge,
    assert_ok,
    assert_only,
    closing,
    decision,
    ends,
    failed_receipt,
    finding,
    honest,
    planned,
    publication,
    receipt,
    reveal,
    running,
    sha256,
    task,
    verdict_on,
)

OTHER_HASH = "5a" * 32


@pytest.fixture
def forge() -> Forge:
    return honest()


# The honest study.


def test_an_honest_study_holds_and_every_opened_value_is_derived_again(forge: Forge, tmp_path: Path) -> None:
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    assert (report.receipts, report.opened) == (8, 14)


def test_a_study_that_still_runs_holds(tmp_path: Path) -> None:
    report = verdict_on(running(), tmp_path)
    assert_ok(report)
    assert (report.receipts, report.opened) == (6, 0)


# Order.


def test_research_after_the_close_is_reported(forge: Forge, tmp_path: Path) -> None:
    forge.add("late", "reviewer", "task-opened", task("more", 1))
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("late"), "nothing of the research")


def test_a_researcher_is_silent_after_the_close(forge: Forge, tmp_path: Path) -> None:
    forge.add("late", "r1", "comment", {"on": At("result"), "text": "wait"})
    assert_only(verdict_on(forge, tmp_path), "ORDER", forge.position("late"), "nothing of the research")


def test_a_reviewer_may_speak_after_the_close(forge: Forge, tmp_path: Path) -> None:
    forge.add("late", "reviewer", "comment", {"on": At("result"), "text": "thank you"})
    assert_ok(verdict_on(forge, tmp_path))


def test_no_explored_run_comes_after_the_close(forge: Forge, tmp_path: Path) -> None:
    """From then on everybody knows the seeds."""
    late = forge["receipt-failing"]
    forge.drop("receipt-failing")
    forge.drafts.append(late)
    place = forge.position("receipt-failing")
    assert_only(verdict_on(forge, tmp_path), "ORDER", place, "no explore run after the close")


# What is counted, not believed.


def test_scored_receipts_that_stay_closed_after_the_close_are_counted(forge: Forge, tmp_path: Path) -> None:
    assert not any("not opened" in one for one in verdict_on(forge, tmp_path).warnings)
    forge.drop("reveal-worse-public")
    report = verdict_on(forge, tmp_path / "hidden")
    assert_ok(report)
    assert "the study is closed, and 1 of 7 scored receipts are not opened" in report.warnings


def test_while_a_study_is_open_its_seeds_are_said_not_to_be_judged(tmp_path: Path) -> None:
    forge = running()
    assert not any("the study is open" in one for one in verdict_on(forge, tmp_path).warnings)
    reveal(forge, "other", "public")
    report = verdict_on(forge, tmp_path / "opened")
    assert_ok(report)
    assert any("the study is open" in one for one in report.warnings)


# The terms of the study.


@pytest.mark.parametrize("name", ["sealed", "labelled", "unlabelled"])
def test_a_pool_must_leave_items_to_test(forge: Forge, tmp_path: Path, name: str) -> None:
    pool = forge["opened"].body["pool"]
    pool[name] += pool["items"] - pool["sealed"] - pool["labelled"] - pool["unlabelled"]
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "leaves items to test")


@pytest.mark.parametrize("step", ["0.00", "-0.05"])
def test_a_ladder_without_a_step_is_no_terms(forge: Forge, tmp_path: Path, step: str) -> None:
    forge["opened"].body["release"]["step"] = step
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "a step above 0")


@pytest.mark.parametrize(
    ("release", "method"),
    [
        ({"rule": "exact", "step": "0.0500"}, "crossed-bootstrap"),
        ({"rule": "ladder", "step": "0.0500"}, "t-over-seeds"),
    ],
)
def test_the_rules_are_those_that_the_items_call_for(
    forge: Forge, tmp_path: Path, release: dict[str, str], method: str
) -> None:
    """Exact values of a fixed data set would give its labels away, query by query."""
    forge["opened"].body["release"] = release
    forge["opened"].body["interval"]["method"] = method
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "ladder and crossed-bootstrap, which its items")


@pytest.mark.parametrize(
    "change", [{"sealed": 12, "tested": 12}, {"group": 2}, {"items": 40, "sealed": 3}], ids=str
)
def test_a_pool_of_a_problem_held_out_must_leave_items_too(
    forge: Forge, tmp_path: Path, change: dict[str, int]
) -> None:
    fresh = {"items": 0, "sealed": 10, "labelled": 8, "unlabelled": 8, "tested": 30, "group": 1}
    forge["opened"].body["heldout"][0]["pool"] = {**fresh, **change}
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "a pool of other that leaves items to test")


@pytest.mark.parametrize("names", [["masks"], ["other", "other"]])
def test_problems_are_held_out_once_and_are_others(forge: Forge, tmp_path: Path, names: list[str]) -> None:
    one = forge["opened"].body["heldout"][0]
    forge["opened"].body["heldout"] = [{**one, "name": name} for name in names]
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "problems held out once each")


# The close.


def test_the_revealed_secret_is_the_committed_one(forge: Forge, tmp_path: Path) -> None:
    forge["opened"].body["commitments"]["seed_secret"] = OTHER_HASH
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", forge.position("closed"), "the seed secret")


def test_the_revealed_sealed_items_follow_from_the_secret(forge: Forge, tmp_path: Path) -> None:
    other = encode_base64(bytes([0xFF, 0x0F, 0, 0, 0]))
    forge["closed"].body["sealed"] = other
    forge["opened"].body["commitments"]["split"] = commit_split(closing()["split_nonce"], other)
    assert_only(
        verdict_on(forge, tmp_path), "RECEIPT", forge.position("closed"), "sealed items that the secret gives"
    )


def test_the_revealed_split_nonce_follows_from_the_secret(forge: Forge, tmp_path: Path) -> None:
    forge["closed"].body["split_nonce"] = OTHER_HASH
    forge["opened"].body["commitments"]["split"] = commit_split(OTHER_HASH, closing()["sealed"])
    assert_only(
        verdict_on(forge, tmp_path), "RECEIPT", forge.position("closed"), "sealed items that the secret gives"
    )


def test_the_revealed_sealed_items_are_the_committed_ones(forge: Forge, tmp_path: Path) -> None:
    forge["opened"].body["commitments"]["split"] = OTHER_HASH
    assert_only(
        verdict_on(forge, tmp_path),
        "RECEIPT",
        forge.position("closed"),
        "sealed items that study-opened committed",
    )


# Submissions, budgets, charges.


def test_a_submission_s_snapshot_is_there(forge: Forge, tmp_path: Path) -> None:
    path = f"blobs/{forge['submission-first'].body['digest']}"
    files = forge.files()
    del files[f"record/{path}"]
    assert_only(
        verdict_on(forge, tmp_path, files=files),
        "MISSING",
        forge.position("submission-first"),
        "the bytes that the entry names",
        resource=path,
    )


def test_a_snapshot_that_a_reviewer_redacted_may_be_gone(forge: Forge, tmp_path: Path) -> None:
    digest = forge["submission-first"].body["digest"]
    forge.add("redaction", "reviewer", "redaction", {"sha256": digest, "reason": "hazardous"})
    files = forge.files()
    del files[f"record/blobs/{digest}"]
    assert_ok(verdict_on(forge, tmp_path, files=files))


def test_a_submission_is_to_an_open_task(forge: Forge, tmp_path: Path) -> None:
    forge["submission-first"].body["task"] = "nowhere"
    forge["charge-first"].body["task"] = "nowhere"
    assert_only(
        verdict_on(forge, tmp_path),
        "BUDGET",
        forge.position("submission-first"),
        "submission to an open task",
    )


def test_a_task_is_opened_once(forge: Forge, tmp_path: Path) -> None:
    """Opened again under its old name it would have a second budget."""
    forge.add("again", "reviewer", "task-opened", task("walk", 99), before="closed")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", forge.position("again"), "a task opened once")


def test_a_task_s_budget_is_not_overspent(forge: Forge, tmp_path: Path) -> None:
    forge["task-search"].body["submissions"] = 1
    place = forge.position("submission-failing")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "at most 1 submissions to search")


def test_the_study_s_budget_is_not_overspent(forge: Forge, tmp_path: Path) -> None:
    forge["opened"].body["budget"]["submissions"] = 4
    place = forge.position("submission-failing")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "at most 4 submissions")


def test_a_submission_belongs_to_a_plan_of_its_researcher(forge: Forge, tmp_path: Path) -> None:
    forge["submission-first"].body["plan"] = At("plan-search")
    assert_only(verdict_on(forge, tmp_path), "BODY", forge.position("submission-first"), "a plan of r1")


def test_a_plan_is_for_the_task_of_the_submission(forge: Forge, tmp_path: Path) -> None:
    plan = {"task": "search", "steps": [planned()], "amends": -1}
    # It held that task for a moment before the other did.
    lease = {"task": "search", "researcher": "r1", "until_ms": 0, "epoch": 1, "direction": ""}
    forge.add("lease-extra", "gateway", "task-leased", lease, before="lease-search")
    forge["lease-search"].body["epoch"] = 2
    forge.add("plan-extra", "r1", "plan-declared", plan, before="lease-search")
    forge["submission-first"].body["plan"] = At("plan-extra")
    assert_only(
        verdict_on(forge, tmp_path), "BODY", forge.position("submission-first"), "a plan of r1 for walk"
    )


def test_a_comment_is_no_plan(forge: Forge, tmp_path: Path) -> None:
    forge.add("talk", "r1", "comment", {"on": 1, "text": "plan: none"}, before="submission-first")
    forge["submission-first"].body["plan"] = At("talk")
    assert_only(verdict_on(forge, tmp_path), "BODY", forge.position("submission-first"), "a plan of r1")


@pytest.mark.parametrize(
    "change",
    [{"submission": At("opened")}, {"researcher": "r2"}, {"task": "search"}],
    ids=lambda one: str(*one),
)
def test_a_charge_is_for_a_submission_of_that_researcher_and_task(
    forge: Forge, tmp_path: Path, change: dict[str, Any]
) -> None:
    body = {**forge["charge-first"].body, **change}
    forge.add("extra", "gateway", "budget-charged", body, before="closed")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", forge.position("extra"), "a charge for a submission")


def test_a_submission_without_a_charge_is_reported(forge: Forge, tmp_path: Path) -> None:
    forge.drop("charge-first")
    place = forge.position("submission-first")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "one charge for this submission")


def test_a_submission_is_charged_once(forge: Forge, tmp_path: Path) -> None:
    forge.add("extra", "gateway", "budget-charged", forge["charge-first"].body, before="closed")
    place = forge.position("submission-first")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "one charge for this submission")


def test_a_submission_costs_one_submission(forge: Forge, tmp_path: Path) -> None:
    forge["charge-first"].body["amount"] = 2
    place = forge.position("submission-first")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "one charge for this submission")


# Receipts.


@pytest.mark.parametrize(
    "change",
    [{"submission": At("opened")}, {"digest": OTHER_HASH}, {"researcher": "r1"}],
    ids=lambda one: str(*one),
)
def test_a_receipt_is_for_the_method_and_researcher_of_its_submission(
    forge: Forge, tmp_path: Path, change: dict[str, Any]
) -> None:
    body = failed_receipt(forge, "failing") | change
    forge.add("second", "evaluator", "score-receipt", body, before="closed")
    place = forge.position("second")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "that submission's method and researcher")


def test_a_submission_has_one_receipt_of_a_tier(forge: Forge, tmp_path: Path) -> None:
    forge.add("second", "evaluator", "score-receipt", failed_receipt(forge, "failing"), before="closed")
    place = forge.position("second")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "one explore receipt for submission")


@pytest.mark.parametrize("count", [1, 3])
def test_a_receipt_reports_all_seeds_of_a_run(tmp_path: Path, count: int) -> None:
    forge = running()
    seeds = forge["receipt-failing"].body["seeds"]
    forge["receipt-failing"].body["seeds"] = (seeds * 2)[:count]
    place = forge.position("receipt-failing")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "2 seeds")


def test_a_receipt_s_seeds_follow_from_the_secret(forge: Forge, tmp_path: Path) -> None:
    forge["receipt-failing"].body["seeds"] = [1, 2]
    place = forge.position("receipt-failing")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "seeds that the committed secret gives")


def test_seeds_cannot_be_judged_before_the_secret_is_out(tmp_path: Path) -> None:
    forge = running()
    forge["receipt-failing"].body["seeds"] = [1, 2]
    assert_ok(verdict_on(forge, tmp_path))


# What the ladder released, judged from released values alone.


@pytest.mark.parametrize("change", [{"low": "0.7000"}, {"high": "0.6000"}], ids=lambda one: str(*one))
def test_a_released_value_lies_in_its_interval(tmp_path: Path, change: dict[str, str]) -> None:
    forge = running()
    forge["receipt-other"].body["released"] |= change
    place = forge.position("receipt-other")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "low <= pgr <= high")


def test_a_new_rung_is_above_the_last_one(tmp_path: Path) -> None:
    forge = running()
    first = forge["receipt-first"].body["released"]
    forge["receipt-better"].body["released"] = dict(first)
    forge["receipt-worse"].body["released"] = {**first, "improved": 0}
    place = forge.position("receipt-better")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, f"a rung above {first['pgr']}")


@pytest.mark.parametrize("name", ["pgr", "low", "high"])
def test_what_is_not_better_is_answered_with_the_previous_answer(tmp_path: Path, name: str) -> None:
    forge = running()
    other = {"pgr": "0.9500", "low": "0.7000", "high": "1.4000"}[name]
    forge["receipt-worse"].body["released"][name] = other
    place = forge.position("receipt-worse")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the previous answer again")


def test_a_first_score_is_a_rung(tmp_path: Path) -> None:
    forge = running()
    forge["receipt-other"].body["released"]["improved"] = 0
    place = forge.position("receipt-other")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the previous answer again")


def test_each_researcher_has_a_ladder_of_its_own(tmp_path: Path) -> None:
    forge = running()
    assert forge["receipt-other"].body["released"]["pgr"] < forge["receipt-better"].body["released"]["pgr"]
    assert_ok(verdict_on(forge, tmp_path))


# Findings.


def test_a_result_cites_a_receipt(forge: Forge, tmp_path: Path) -> None:
    forge["result"].body |= {"receipts": [], "numbers": {}}
    report = verdict_on(forge, tmp_path)
    # Without a receipt there are no numbers either: both are said.
    assert [(one.code, one.first_index) for one in report.findings] == [
        ("RECEIPT", forge.position("result"))
    ] * 2
    assert "a result that cites a receipt" in report.findings[0].expected


@pytest.mark.parametrize("cited", [At("opened"), At("receipt-other")])
def test_a_finding_cites_receipts_of_its_author(forge: Forge, tmp_path: Path, cited: At) -> None:
    forge.add("idea", "r1", "finding", finding(type="insight", receipts=[cited]), before="closed")
    assert_only(
        verdict_on(forge, tmp_path), "RECEIPT", forge.position("idea"), "explore or confirm receipts of r1"
    )


def test_a_finding_does_not_cite_a_reproduction(tmp_path: Path) -> None:
    forge = running()
    forge.runs["again"] = honest().runs["again"]
    body = receipt(forge, "again", "first", released={})
    forge.add("receipt-again", "evaluator", "score-receipt", body)
    forge.add("idea", "r1", "finding", finding(type="insight", receipts=[At("receipt-again")]))
    assert_only(
        verdict_on(forge, tmp_path), "RECEIPT", forge.position("idea"), "explore or confirm receipts of r1"
    )


def test_the_numbers_of_a_finding_are_those_of_a_receipt_it_cites(forge: Forge, tmp_path: Path) -> None:
    forge["result"].body["numbers"] = {**forge["result"].body["numbers"], "pgr": "0.7500"}
    place = forge.position("result")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "numbers that a cited receipt released")


def test_a_result_has_numbers(forge: Forge, tmp_path: Path) -> None:
    forge["result"].body["numbers"] = {}
    place = forge.position("result")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "numbers that a cited receipt released")


def test_a_hypothesis_with_numbers_owes_a_receipt(forge: Forge, tmp_path: Path) -> None:
    forge["hypothesis"].body["numbers"] = forge["result"].body["numbers"]
    forge.drop("decision")
    place = forge.position("hypothesis")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "numbers that a cited receipt released")


def test_a_failed_receipt_may_be_cited_but_has_no_numbers(forge: Forge, tmp_path: Path) -> None:
    body = finding(type="error", receipts=[At("receipt-failing")])
    forge.add("idea", "r2", "finding", body, before="closed")
    assert_ok(verdict_on(forge, tmp_path))


def test_a_closed_study_has_a_receipt_for_each_submission(forge: Forge, tmp_path: Path) -> None:
    forge.drop("receipt-failing")
    place = forge.position("submission-failing")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "a receipt for this submission")


def test_a_study_that_still_runs_may_owe_a_receipt(tmp_path: Path) -> None:
    forge = running()
    forge.drop("receipt-failing")
    assert_ok(verdict_on(forge, tmp_path))


def test_the_parents_of_a_finding_are_findings(forge: Forge, tmp_path: Path) -> None:
    forge["hypothesis"].body["parents"] = [At("result"), At("opened")]
    place = forge.position("hypothesis")
    assert_only(verdict_on(forge, tmp_path), "REFS", place, "parents that are findings")


def test_a_finding_is_not_its_own_parent_s_parent(forge: Forge, tmp_path: Path) -> None:
    forge["result"].body["parents"] = [At("hypothesis")]
    assert_only(verdict_on(forge, tmp_path), "REFS", forge.position("result"), "parents that are findings")


def test_a_finding_is_not_its_own_parent(forge: Forge, tmp_path: Path) -> None:
    forge["hypothesis"].body["parents"] = [At("hypothesis")]
    place = forge.position("hypothesis")
    assert_only(verdict_on(forge, tmp_path), "REFS", place, "parents that are findings")


# Decisions.


def test_a_decision_is_over_the_bytes_of_the_finding(forge: Forge, tmp_path: Path) -> None:
    forge["decision"].body["finding_digest"] = DigestOf("result")
    assert_only(verdict_on(forge, tmp_path), "DECISION", forge.position("decision"), "the bytes of finding")


def test_a_decision_is_over_a_finding(forge: Forge, tmp_path: Path) -> None:
    forge["decision"].body |= {"finding": At("comment"), "finding_digest": DigestOf("comment")}
    assert_only(verdict_on(forge, tmp_path), "DECISION", forge.position("decision"), "the bytes of finding")


@pytest.mark.parametrize("override", ["", " \n"])
@pytest.mark.parametrize("outcomes", [["pass", "fail"], []])
def test_publishing_takes_a_checklist_that_holds(
    forge: Forge, tmp_path: Path, outcomes: list[str], override: str
) -> None:
    checklist = [{"item": "verified", "outcome": outcome, "detail": ""} for outcome in outcomes]
    forge["decision"].body |= {"checklist": checklist, "override": override}
    place = forge.position("decision")
    assert_only(verdict_on(forge, tmp_path), "DECISION", place, "a checklist that holds")


@pytest.mark.parametrize("change", [{"override": "I looked at it myself"}, {"decision": "retract"}])
def test_a_failed_checklist_is_overridden_in_words_or_not_published(
    forge: Forge, tmp_path: Path, change: dict[str, str]
) -> None:
    checklist = [{"item": "verified", "outcome": "fail", "detail": ""}]
    forge["decision"].body = decision(checklist=checklist, **change)
    assert_ok(verdict_on(forge, tmp_path))


# Decisions over an alarm.

GROUNDS = [
    "hypothesis",
    "result",
    "receipt-first",
    "submission-first",
    "receipt-elsewhere",
    "receipt-again",
]


def alarmed(forge: Forge, *evidence: str, before: str = "decision") -> None:
    """Add an alarm about these entries."""
    about = [At(label) for label in evidence]
    body = {"code": "odd", "who": "r1", "what": "it looked odd", "evidence": about, "attempt": ""}
    forge.add("second alarm", "monitor", "alarm", body, before=before).refs = list(about)


@pytest.mark.parametrize("ground", GROUNDS)
def test_what_an_alarm_is_about_is_not_published_without_the_reviewers_words(
    forge: Forge, tmp_path: Path, ground: str
) -> None:
    """The hypothesis builds on the result, and that on the first receipt."""
    alarmed(forge, "comment", ground)
    place = forge.position("decision")
    wanted = "no alarm about what the finding rests on"
    assert_only(verdict_on(forge, tmp_path), "DECISION", place, wanted)


@pytest.mark.parametrize("change", [{"override": "I looked at it myself"}, {"decision": "retract"}])
def test_an_alarm_is_overridden_in_words_or_nothing_is_published(
    forge: Forge, tmp_path: Path, change: dict[str, str]
) -> None:
    alarmed(forge, "receipt-first")
    forge["decision"].body = decision(**change)
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    assert not any("came later" in one for one in report.warnings), "the reviewer knew of it"


@pytest.mark.parametrize("other", ["comment", "receipt-other", "submission-better", "receipt-worse"])
def test_an_alarm_about_other_work_stands_in_nobodys_way(forge: Forge, tmp_path: Path, other: str) -> None:
    alarmed(forge, other)
    assert_ok(verdict_on(forge, tmp_path))


def test_an_alarm_that_came_later_does_not_undo_a_decision_and_is_pointed_out(
    forge: Forge, tmp_path: Path
) -> None:
    alarmed(forge, "receipt-first", before="")
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    (warning,) = [one for one in report.warnings if "came later" in one]
    finding, decided, late = map(forge.position, ("hypothesis", "decision", "second alarm"))
    assert f"finding {finding} was published in entry {decided}" in warning
    assert warning.endswith(f": {late}")


@pytest.mark.parametrize("change", [{"decision": "retract"}, {"decision": "refine"}])
def test_of_what_is_no_longer_published_no_later_alarm_is_pointed_out(
    forge: Forge, tmp_path: Path, change: dict[str, str]
) -> None:
    forge.add("second decision", "reviewer", "decision", decision(**change))
    alarmed(forge, "receipt-first", before="")
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    assert not any("came later" in one for one in report.warnings)


def test_no_alarm_about_other_work_is_pointed_out(forge: Forge, tmp_path: Path) -> None:
    alarmed(forge, "receipt-other", before="")
    assert not any("came later" in one for one in verdict_on(forge, tmp_path).warnings)


# Decisions on a score: the values side by side, and what bears them out.


@pytest.fixture
def published(forge: Forge) -> Forge:
    forge["decision"].body = publication(forge)
    return forge


def test_a_result_that_was_borne_out_is_published(published: Forge, tmp_path: Path) -> None:
    assert_ok(verdict_on(published, tmp_path))


@pytest.mark.parametrize("name", ["claimed", "reproduced", "sealed"])
def test_the_values_decided_on_are_those_of_the_record(published: Forge, tmp_path: Path, name: str) -> None:
    published["decision"].body = publication(published, **{name: "0.9999"}, override="I say so")
    assert_only(verdict_on(published, tmp_path), "DECISION", published.position("decision"), f"{name} 0.")


@pytest.mark.parametrize("name", ["claimed", "reproduced", "sealed"])
def test_a_reviewer_may_leave_values_blank(published: Forge, tmp_path: Path, name: str) -> None:
    published["decision"].body = publication(published, **{name: ""}, override="I say so")
    assert_ok(verdict_on(published, tmp_path))


@pytest.mark.parametrize("name", ["reproduced", "sealed"])
def test_publishing_a_score_takes_both_opened_values(published: Forge, tmp_path: Path, name: str) -> None:
    published["decision"].body[name] = ""
    place = published.position("decision")
    assert_only(verdict_on(published, tmp_path), "DECISION", place, f"a {name} value that bears out 0.7000")


@pytest.mark.parametrize("run", ["again", "first"])
def test_publishing_a_score_takes_values_that_bear_it_out(published: Forge, tmp_path: Path, run: str) -> None:
    half, name = ("public", "reproduced") if run == "again" else ("sealed", "sealed")
    payload = published.runs[run].payloads[half]
    # A student that is never right: even the wide interval that two seeds give ends below what is claimed.
    poor = [replace(one, student=0) for one in payload.splits]
    published.runs[run].payloads[half] = replace(payload, splits=tuple(poor))
    place = published.position("decision")
    assert_only(verdict_on(published, tmp_path), "DECISION", place, f"a {name} value that bears out 0.7000")
    published["decision"].body["override"] = "the claim stands for another reason"
    assert_ok(verdict_on(published, tmp_path / "overruled"))


def test_a_value_opened_after_the_decision_does_not_bear_it_out(published: Forge, tmp_path: Path) -> None:
    published.drop("reveal-first-sealed")
    reveal(published, "first", "sealed")
    report = verdict_on(published, tmp_path)
    # It was not there to be copied, nor to be judged by.
    assert {(one.code, one.first_index) for one in report.findings} == {
        ("DECISION", published.position("decision"))
    }
    assert report.findings[0].expected == "sealed left blank"


def test_an_idea_with_a_score_is_published_like_a_result(published: Forge, tmp_path: Path) -> None:
    published["result"].body["type"] = "insight"
    published["decision"].body["sealed"] = ""
    place = published.position("decision")
    assert_only(verdict_on(published, tmp_path), "DECISION", place, "a sealed value that bears out")


def retract(forge: Forge, label: str, name: str, *, decision_on: str = "retract") -> None:
    body = decision(decision=decision_on, finding=At(label), finding_digest=DigestOf(label))
    forge.add(name, "reviewer", "decision", body, before="decision")


def test_what_builds_on_a_retracted_finding_is_not_published(forge: Forge, tmp_path: Path) -> None:
    retract(forge, "result", "retraction")
    place = forge.position("decision")
    assert_only(verdict_on(forge, tmp_path), "DECISION", place, "parents that stand")
    forge["decision"].body["override"] = "the hypothesis does not need it"
    assert_ok(verdict_on(forge, tmp_path / "overruled"))


def test_an_ancestor_that_was_retracted_counts_as_a_parent_does(forge: Forge, tmp_path: Path) -> None:
    idea = finding(type="insight", parents=[At("hypothesis")])
    forge.add("idea", "r1", "finding", idea, before="closed").refs = [At("hypothesis")]
    retract(forge, "result", "retraction")
    forge["decision"].body |= {"finding": At("idea"), "finding_digest": DigestOf("idea")}
    assert_only(verdict_on(forge, tmp_path), "DECISION", forge.position("decision"), "parents that stand")


def test_a_retraction_that_was_taken_back_flags_nothing(forge: Forge, tmp_path: Path) -> None:
    retract(forge, "result", "retraction")
    retract(forge, "result", "second-thought", decision_on="refine")
    assert_ok(verdict_on(forge, tmp_path))


def test_a_result_states_the_rung_of_its_own_method(forge: Forge, tmp_path: Path) -> None:
    """A receipt that was told "not better" repeats another method's rung: it is no evidence for its own."""
    unmoved = forge["receipt-worse"].body["released"]
    numbers = {key: unmoved[key] for key in ("pgr", "low", "high")}
    borrowed = finding(numbers=numbers, receipts=[At("receipt-worse")])
    forge.add("borrowed", "r1", "finding", borrowed, before="closed").refs = [At("receipt-worse")]
    place = forge.position("borrowed")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "numbers that a cited receipt released")


# Opened values. The run "again" is a reproduction, so that no rung of a ladder hangs on it.


def test_only_a_scored_receipt_is_opened(forge: Forge, tmp_path: Path) -> None:
    for label in ("opened", "receipt-failing"):
        forge.drop("extra")
        extra = reveal(forge, "again", "public", receipt=forge.position(label))
        extra.label = "extra"
        place = forge.position("extra")
        assert_only(verdict_on(forge, tmp_path / label), "RECEIPT", place, "a scored receipt to open")


@pytest.mark.parametrize("change", [{"nonce": OTHER_HASH}, {"half": "sealed"}], ids=lambda one: str(*one))
def test_opened_values_are_the_committed_ones(forge: Forge, tmp_path: Path, change: dict[str, str]) -> None:
    forge.drop("reveal-again-public")
    reveal(forge, "again", "public", **change)
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the commitment of receipt")


def test_a_value_is_opened_once(forge: Forge, tmp_path: Path) -> None:
    reveal(forge, "again", "sealed").label = "twice"
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", forge.position("twice"), "the sealed half of receipt")


def test_opened_values_are_of_the_stated_size(forge: Forge, tmp_path: Path) -> None:
    data = forge.runs["again"].data("sealed")
    forge.drop("reveal-again-sealed")
    blob = {"sha256": sha256(data).hex(), "size": len(data) + 1, "type": "application/json"}
    reveal(forge, "again", "sealed", blob=blob)
    place = forge.position("reveal-again-sealed")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, f"{len(data) + 1} bytes")


def test_a_commitment_s_nonce_follows_from_the_secret(forge: Forge, tmp_path: Path) -> None:
    forge.runs["again"].nonces["public"] = OTHER_HASH
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the nonce that the committed secret gives")


def test_opened_values_are_there(forge: Forge, tmp_path: Path) -> None:
    path = f"blobs/{sha256(forge.runs['again'].data('public')).hex()}"
    files = forge.files()
    del files[f"record/{path}"]
    place = forge.position("reveal-again-public")
    report = verdict_on(forge, tmp_path, files=files)
    assert_only(report, "MISSING", place, "the bytes that the entry names", resource=path)


def test_opened_values_that_were_redacted_are_not_counted_as_derived(forge: Forge, tmp_path: Path) -> None:
    digest = sha256(forge.runs["again"].data("public")).hex()
    forge.add("redaction", "reviewer", "redaction", {"sha256": digest, "reason": "hazardous"})
    files = forge.files()
    del files[f"record/blobs/{digest}"]
    report = verdict_on(forge, tmp_path, files=files)
    assert_ok(report)
    assert report.opened == 13
    assert "1 opened values were redacted: none of them is on the leaderboard" in report.warnings


def test_a_held_out_value_whose_bytes_were_redacted_is_on_no_leaderboard(
    forge: Forge, tmp_path: Path
) -> None:
    """Else an evaluator and a reviewer together could show any number: nobody can derive it again."""
    forge.drop("reveal-better-sealed")
    reveal(forge, "better", "sealed", pgr="1.0000", low="0.9900", high="1.0000")
    digest = sha256(forge.runs["better"].data("sealed")).hex()
    forge.add("redaction", "reviewer", "redaction", {"sha256": digest, "reason": "hazardous"})
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    row = next(row for row in report.leaderboard if row["method"] == "method better")
    assert (row["heldout_pgr"], row["high"]) == (None, float(forge.runs["better"].rung()["high"]))


def test_opened_bytes_are_a_payload(forge: Forge, tmp_path: Path) -> None:
    forge.runs["again"].data = lambda half: b'{"half":"%s"}' % half.encode()  # type: ignore[method-assign]
    forge.drop("reveal-again-sealed")
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "exact values of a half")


def test_values_without_a_gap_are_no_score(forge: Forge, tmp_path: Path) -> None:
    again = forge.runs["again"]
    flat = [replace(one, ceiling=one.weak) for one in again.payloads["public"].splits]
    exact = again.exact("public")
    again.exact = lambda _half: exact  # type: ignore[method-assign]
    again.payloads["public"] = replace(again.payloads["public"], splits=tuple(flat))
    forge.drop("reveal-again-sealed")
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "exact values of a half")


@pytest.mark.parametrize("name", ["pgr", "low", "high"])
def test_opened_numbers_are_derived_from_the_masks(forge: Forge, tmp_path: Path, name: str) -> None:
    forge.drop("reveal-again-public")
    reveal(forge, "again", "public", **{name: "0.1234"})
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, forge.runs["again"].exact("public")["pgr"])


@pytest.mark.parametrize("name", ["low", "high"])
def test_an_explored_value_that_moved_nothing_is_opened_without_an_interval(
    forge: Forge, tmp_path: Path, name: str
) -> None:
    forge.drop("reveal-worse-public")
    reveal(forge, "worse", "public", **{name: forge.runs["worse"].exact("public")[name]})
    place = forge.position("reveal-worse-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "'low': '', 'high': ''")


@pytest.mark.parametrize(("run", "half"), [("other", "public"), ("worse", "sealed"), ("again", "public")])
@pytest.mark.parametrize("name", ["low", "high"])
def test_all_other_values_are_opened_with_their_interval(
    forge: Forge, tmp_path: Path, run: str, half: str, name: str
) -> None:
    forge.drop(f"reveal-{run}-{half}")
    reveal(forge, run, half, **{name: ""})
    place = forge.position(f"reveal-{run}-{half}")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, forge.runs[run].exact(half)[name])


def test_the_opened_half_is_the_half_it_says(forge: Forge, tmp_path: Path) -> None:
    again = forge.runs["again"]
    again.payloads["public"] = again.payloads["sealed"]
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the public half")


def test_opened_values_are_of_all_seeds_and_replicates_in_their_order(forge: Forge, tmp_path: Path) -> None:
    again, place = forge.runs["again"], forge.position("reveal-again-public")
    honest_payload = again.payloads["public"]
    for name, splits in (
        ("one left out", honest_payload.splits[:-1]),
        ("one twice", (*honest_payload.splits, honest_payload.splits[0])),
        ("turned round", honest_payload.splits[::-1]),
    ):
        again.payloads["public"] = replace(honest_payload, splits=splits)
        report = verdict_on(forge, tmp_path / name)
        assert_only(report, "RECEIPT", place, "all seeds and replicates")


def test_opened_values_are_over_the_study_s_pool(forge: Forge, tmp_path: Path) -> None:
    again = forge.runs["again"]
    splits = [replace(one, tested=one.tested | 1 << ITEMS) for one in again.payloads["public"].splits]
    again.payloads["public"] = replace(again.payloads["public"], pool=ITEMS + 1, splits=tuple(splits))
    place = forge.position("reveal-again-public")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "masks over 40 items")


@pytest.mark.parametrize("half", ["public", "sealed"])
def test_the_tested_items_follow_from_the_seeds(forge: Forge, tmp_path: Path, half: str) -> None:
    again = forge.runs["again"]
    splits = list(again.payloads[half].splits)
    more = next(1 << item for item in range(ITEMS) if not splits[-1].tested >> item & 1)
    splits[-1] = replace(splits[-1], tested=splits[-1].tested | more)
    again.payloads[half] = replace(again.payloads[half], splits=tuple(splits))
    place = forge.position(f"reveal-again-{half}")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "the test items that the seeds give")


def test_tested_items_cannot_be_judged_before_the_secret_is_out(tmp_path: Path) -> None:
    forge = running()
    other = forge.runs["other"]
    swapped = {"public": replace(other.payloads["sealed"], half="public")}
    other.payloads |= swapped
    forge["receipt-other"].body["released"] = other.rung()
    reveal(forge, "other", "public")
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    assert report.opened == 1


# The ladder, judged from opened values.


def test_a_better_score_is_told(forge: Forge, tmp_path: Path) -> None:
    unmoved = {**forge["receipt-first"].body["released"], "improved": 0}
    forge["receipt-better"].body["released"] = unmoved
    forge["receipt-worse"].body["released"] = dict(unmoved)
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", forge.position("receipt-better"), "a new rung for")


def test_a_score_that_is_not_better_is_not_told_as_one(forge: Forge, tmp_path: Path) -> None:
    forge["receipt-worse"].body["released"] |= {"pgr": "1.1000", "improved": 1}
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", forge.position("receipt-worse"), "no new rung for")


@pytest.mark.parametrize(
    "change", [{"pgr": "0.7000"}, {"low": "0.2000"}, {"high": "1.0000"}], ids=lambda one: str(*one)
)
def test_a_rung_and_its_interval_follow_from_the_exact_values(
    forge: Forge, tmp_path: Path, change: dict[str, str]
) -> None:
    rung = forge["receipt-other"].body["released"]["pgr"]
    forge["receipt-other"].body["released"] |= change
    place = forge.position("receipt-other")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, f"'pgr': '{rung}'")


def test_a_rung_is_judged_while_an_earlier_value_is_closed(forge: Forge, tmp_path: Path) -> None:
    """What was released before is public: a value hidden for ever shields no later one."""
    forge.drop("reveal-first-public")
    unmoved = {**forge["receipt-first"].body["released"], "improved": 0}
    forge["receipt-better"].body["released"] = unmoved
    forge["receipt-worse"].body["released"] = dict(unmoved)
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", forge.position("receipt-better"), "a new rung for")


# A study whose problem draws fresh items.


@pytest.fixture
def fresh() -> Forge:
    return honest(FRESH)


def test_a_study_of_fresh_items_holds(fresh: Forge, tmp_path: Path) -> None:
    report = verdict_on(fresh, tmp_path)
    assert_ok(report)
    assert (report.receipts, report.opened) == (8, 14)


@pytest.mark.parametrize("step", ["0.0500", "-0.0100"])
def test_exact_values_have_no_step(fresh: Forge, tmp_path: Path, step: str) -> None:
    fresh["opened"].body["release"]["step"] = step
    report = verdict_on(fresh, tmp_path)
    if step.startswith("-"):
        assert_ok(report)
    else:
        assert_only(report, "BODY", 0, "none for exact values")


def test_of_fresh_items_every_value_is_told(tmp_path: Path) -> None:
    forge = running(FRESH)
    forge["receipt-worse"].body["released"]["improved"] = 0
    place = forge.position("receipt-worse")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "a value of its own")


@pytest.mark.parametrize("name", ["pgr", "low", "high"])
def test_of_fresh_items_the_exact_values_are_told(fresh: Forge, tmp_path: Path, name: str) -> None:
    released = fresh["receipt-other"].body["released"]
    released[name] = {"pgr": "0.6000", "low": "0.1000", "high": "1.5000"}[name]
    place = fresh.position("receipt-other")
    exact = fresh.runs["other"].exact("public")["pgr"]
    assert_only(verdict_on(fresh, tmp_path), "RECEIPT", place, f"'pgr': '{exact}'")


def test_masks_of_fresh_items_say_so(fresh: Forge, tmp_path: Path) -> None:
    again = fresh.runs["again"]
    again.payloads["public"] = replace(again.payloads["public"], is_fresh=False)
    place = fresh.position("reveal-again-public")
    again_told = {**again.exact("public"), **ends("", interval_of(again.payloads["public"], draws=DRAWS))}
    fresh["reveal-again-public"].body = lambda: {
        "receipt": fresh.position("receipt-again"),
        **again.opened("public"),
        **again_told,
    }
    assert_only(verdict_on(fresh, tmp_path), "RECEIPT", place, "masks over 40 fresh items")


@pytest.mark.parametrize("half", ["public", "sealed"])
def test_the_fresh_items_of_a_half_are_the_same_places_in_each_split(
    fresh: Forge, tmp_path: Path, half: str
) -> None:
    again = fresh.runs["again"]
    splits = list(again.payloads[half].splits)
    splits[-1] = replace(splits[-1], tested=splits[-1].tested | (1 if half == "sealed" else 1 << 39))
    again.payloads[half] = replace(again.payloads[half], splits=tuple(splits))
    place = fresh.position(f"reveal-again-{half}")
    assert_only(verdict_on(fresh, tmp_path), "RECEIPT", place, "the test items that the seeds give")


# A study whose items come in groups.


def test_a_study_of_grouped_items_holds(tmp_path: Path) -> None:
    assert_ok(verdict_on(honest(GROUPED), tmp_path))


# Confirmations.


def test_a_confirmation_is_charged_before_it_is_run(forge: Forge, tmp_path: Path) -> None:
    forge.drop("charge-sure")
    place = forge.position("receipt-sure")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "a confirmation that was charged for before")


def test_a_submission_is_confirmed_once(forge: Forge, tmp_path: Path) -> None:
    forge["opened"].body["budget"]["confirmations"] = 2
    forge.add("again", "gateway", "budget-charged", forge["charge-sure"].body, before="closed")
    place = forge.position("again")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "one confirmation of a submission")


def test_a_confirmation_costs_one(forge: Forge, tmp_path: Path) -> None:
    forge["charge-sure"].body["amount"] = 2
    place = forge.position("charge-sure")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "charged as 1")


def test_the_budget_of_confirmations_is_kept(forge: Forge, tmp_path: Path) -> None:
    forge["opened"].body["budget"]["confirmations"] = 0
    place = forge.position("charge-sure")
    assert_only(verdict_on(forge, tmp_path), "BUDGET", place, "at most 0 confirmations")


def test_a_closed_study_has_a_receipt_for_each_confirmation(forge: Forge, tmp_path: Path) -> None:
    forge.drop("receipt-sure", "reveal-sure-public", "reveal-sure-sealed")
    place = forge.position("charge-sure")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "a receipt for this confirmation")


def test_no_confirmation_comes_after_the_close(forge: Forge, tmp_path: Path) -> None:
    late = forge["receipt-sure"]
    forge.drop("receipt-sure", "reveal-sure-public", "reveal-sure-sealed")
    forge.drafts.append(late)
    place = forge.position("receipt-sure")
    assert_only(verdict_on(forge, tmp_path), "ORDER", place, "no confirm run after the close")


@pytest.mark.parametrize("name", ["pgr", "low", "high", "difference", "difference_low", "difference_high"])
def test_a_confirmed_value_is_the_exact_one(forge: Forge, tmp_path: Path, name: str) -> None:
    made = forge.runs["sure"]
    forge["receipt-sure"].body["released"] = lambda: {**made.exact("public"), name: "0.1234"}
    place = forge.position("receipt-sure")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "'difference':")


@pytest.mark.parametrize("run", ["sure", "elsewhere"])
@pytest.mark.parametrize("name", ["difference", "difference_low", "difference_high"])
def test_an_opened_difference_is_derived_again(forge: Forge, tmp_path: Path, run: str, name: str) -> None:
    made = forge.runs[run]
    forge.drop(f"reveal-{run}-sealed")
    reveal(forge, run, "sealed", before="decision", **{name: "0.1234"})
    place = forge.position(f"reveal-{run}-sealed")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, made.exact("sealed")[name])


def test_an_explored_half_states_no_difference(forge: Forge, tmp_path: Path) -> None:
    forge.drop("reveal-first-sealed")
    reveal(forge, "first", "sealed", before="decision", difference="0.1000")
    place = forge.position("reveal-first-sealed")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "'difference': ''")


def test_a_result_may_state_a_confirmed_value(forge: Forge, tmp_path: Path) -> None:
    exact = forge.runs["sure"].exact("public")
    numbers = {key: exact[key] for key in ("pgr", "low", "high")}
    body = finding(numbers=numbers, receipts=[At("receipt-sure")])
    forge.add("sure", "r1", "finding", body, before="closed")
    # Its method is another's than the one that was run elsewhere.
    place = forge.position("sure")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "a run of the claimed method on other")
    forge["opened"].body["heldout"] = []
    forge.drop("receipt-elsewhere", "reveal-elsewhere-public", "reveal-elsewhere-sealed")
    del forge.runs["elsewhere"]
    assert_ok(verdict_on(forge, tmp_path / "none"))


# Problems held out.


def test_what_a_result_claims_is_run_on_what_is_held_out(forge: Forge, tmp_path: Path) -> None:
    forge.drop("receipt-elsewhere", "reveal-elsewhere-public", "reveal-elsewhere-sealed")
    del forge.runs["elsewhere"]
    place = forge.position("result")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "a run of the claimed method on other")


@pytest.mark.parametrize(
    ("run", "problem"),
    [("elsewhere", "masks"), ("elsewhere", "third"), ("other", "other"), ("sure", "other")],
)
def test_a_run_is_on_a_problem_of_its_tier(forge: Forge, tmp_path: Path, run: str, problem: str) -> None:
    forge["receipt-" + run].body["problem"] = problem
    forge.drop(f"reveal-{run}-public", f"reveal-{run}-sealed")
    del forge.runs[run]
    report = verdict_on(forge, tmp_path)
    assert ("RECEIPT", forge.position("receipt-" + run)) in [
        (one.code, one.first_index) for one in report.findings if "a problem of the study's" in one.expected
    ]


def test_a_held_out_run_is_made_once(forge: Forge, tmp_path: Path) -> None:
    forge.add("again", "evaluator", "score-receipt", forge["receipt-elsewhere"].body, before="closed")
    place = forge.position("again")
    assert_only(verdict_on(forge, tmp_path), "RECEIPT", place, "one heldout:other receipt for submission")
