"""Spending: a charge follows from calls and prices; in each case one thing alone is wrong."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from aar.verify.report import Report
from aar.verify.spending import (
    STUDY,
    Limit,
    Spending,
    Spent,
    charge_faults,
    cost,
    format_dollars,
    model_faults,
)
from forge import Forge, assert_only, honest, verdict_on
from spending import CALL, CALL_DOLLARS, PRICES, charge, models, usage


def with_models(**more: Any) -> Forge:
    forge = honest()
    forge["opened"].body["models"] = models("r1", **more)
    return forge


def spend(
    forge: Forge, label: str = "spent", before: str = "submission-better", **told: Any
) -> dict[str, Any]:
    """Draft a charge of r1's; the body, to alter."""
    body = charge("r1", "walk", usage(**told))
    forge.add(label, "gateway", "budget-charged", body, before=before)
    return body


def raised(forge: Forge, before: str, **changes: Any) -> None:
    body = {"researcher": "r1", "task": "", "reason": "it is worth it", "limits": {"tokens": 5_000}}
    body |= changes
    forge.add("raised", "reviewer", "budget-set", body, before=before)


def at_charge(forge: Forge, tmp_path: Path, says: str, code: str = "BUDGET", label: str = "spent") -> Report:
    report = verdict_on(forge, tmp_path)
    assert_only(report, code, forge.position(label), says)
    return report


def test_tokens_times_prices_are_exact() -> None:
    assert cost(PRICES, CALL) == CALL_DOLLARS
    odd = {"input": 1, "output": 0, "cache_read": 0, "cache_write": 0}
    assert format_dollars(cost({**PRICES, "input": "0.0003"}, odd)) == "0.0000000003"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Fraction(0), "0.00"),
        (Fraction(12), "12.00"),
        (Fraction("0.30"), "0.30"),
        (Fraction("0.0045"), "0.0045"),
        (Fraction(1, 10**10), "0.0000000001"),
    ],
)
def test_an_amount_has_one_spelling(amount: Fraction, text: str) -> None:
    assert format_dollars(amount) == text


@pytest.mark.parametrize("amount", [Fraction(1, 3), Fraction(1, 10**11), Fraction(-1)])
def test_an_amount_that_has_no_spelling_is_refused(amount: Fraction) -> None:
    with pytest.raises(ValueError, match="at most 10 digits"):
        format_dollars(amount)


def test_charges_that_add_up_hold(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge, "first", before="submission-first", calls=2)
    spend(forge, "second", before="over-walk")
    forge["second"].body |= charge("r1", "walk", usage(3, before=2))
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    assert not [one for one in report.warnings if "limit" in one]


def test_dollars_are_tokens_times_the_prices_of_the_opening(tmp_path: Path) -> None:
    forge = with_models()
    body = spend(forge)
    body["usage"]["dollars"] = "0.0046"
    at_charge(forge, tmp_path, "0.0045 dollars for these tokens of test/one")


@pytest.mark.parametrize("change", [{"calls": 2}, {"tokens": 1_101}, {"calls": 0, "tokens": 0}])
def test_calls_and_tokens_in_all_are_those_of_all_charges(change: dict[str, int], tmp_path: Path) -> None:
    forge = with_models()
    spend(forge)["usage"]["total"] |= change
    at_charge(forge, tmp_path, "1 calls and 1100 tokens of r1 in all")


def test_dollars_in_all_are_those_of_all_charges(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge)["usage"]["total"]["dollars"] = "0.004"
    at_charge(forge, tmp_path, "0.0045 dollars of r1 in all")


def test_what_is_spent_never_goes_back(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge, "first", before="submission-first")
    spend(forge)
    report = verdict_on(forge, tmp_path)
    assert {one.expected for one in report.findings} == {
        "2 calls and 2200 tokens of r1 in all",
        "0.009 dollars of r1 in all",
    }


def test_a_researcher_that_is_no_model_spends_nothing(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge)["researcher"] = "r2"
    at_charge(forge, tmp_path, "a charge of a researcher that is a model")


def test_a_study_without_models_has_no_charge_of_tokens(tmp_path: Path) -> None:
    forge = honest()
    spend(forge)
    at_charge(forge, tmp_path, "a charge of a researcher that is a model")


def test_tokens_are_charged_to_a_task_that_was_opened_or_to_none(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge)["task"] = "absent"
    at_charge(forge, tmp_path / "absent", "a charge for a task that was opened")
    forge["spent"].body["task"] = ""
    assert verdict_on(forge, tmp_path / "none").findings == []


@pytest.mark.parametrize(
    ("limits", "limit"),
    [
        ({"tokens": 1_100}, "tokens"),
        ({"dollars": "0.0045"}, "dollars"),
        ({"tokens": 1_101, "more": {"tokens": 1_100}}, "study-tokens"),
        ({"more": {"dollars": "0.0045"}}, "study-dollars"),
        ({"tokens": 1_101, "dollars": "0.0046"}, ""),
    ],
)
def test_a_charge_says_which_limit_it_reached(limits: dict[str, Any], limit: str, tmp_path: Path) -> None:
    more = limits.pop("more", {})
    forge = with_models(**limits)
    forge["opened"].body["models"] |= more
    spend(forge, before="over-walk", limit=limit)
    assert verdict_on(forge, tmp_path / "said").findings == []
    forge["spent"].body["usage"]["limit"] = "tokens" if limit != "tokens" else ""
    at_charge(forge, tmp_path / "unsaid", f"limit {limit!r}")


def test_what_was_spent_over_a_limit_is_told(tmp_path: Path) -> None:
    forge = with_models(tokens=1_000, dollars="0.004")
    spend(forge, before="over-walk", limit="tokens")
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    assert "r1 spent 1100 tokens, 100 over its limit" in report.warnings
    assert "r1 spent 0.0045 dollars, 0.0005 over its limit" in report.warnings


def test_nothing_is_handed_in_by_who_is_at_a_limit(tmp_path: Path) -> None:
    forge = with_models(tokens=1_100)
    spend(forge, before="submission-worse", limit="tokens")
    raised(forge, "charge-sure")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "BUDGET", forge.position("submission-worse"), "no submission of r1, which reached")


def test_no_confirmation_is_asked_for_by_who_is_at_a_limit(tmp_path: Path) -> None:
    forge = honest()
    who = forge["charge-sure"].body["researcher"]
    forge["opened"].body["models"] = models(who, tokens=1_100)
    body = charge(who, "", usage(limit="tokens"))
    forge.add("spent", "gateway", "budget-charged", body, before="charge-sure")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "BUDGET", forge.position("charge-sure"), f"no confirmation of {who}")


def test_nothing_is_leased_to_who_is_at_a_limit_but_a_task_may_be_taken_away(tmp_path: Path) -> None:
    forge = with_models(tokens=1_100)
    spend(forge, before="over-walk", limit="tokens")
    lease = {"task": "walk", "researcher": "r1", "until_ms": 0, "epoch": 2, "direction": ""}
    forge.add("lease", "gateway", "task-leased", lease, before="over-walk")
    assert verdict_on(forge, tmp_path / "away").findings == []
    forge["lease"].body["until_ms"] = 2**50
    at_charge(forge, tmp_path / "lease", "no lease of r1, which reached its limit, tokens", label="lease")


def test_a_raised_limit_lets_a_researcher_go_on(tmp_path: Path) -> None:
    forge = with_models(tokens=1_100)
    spend(forge, before="submission-worse", limit="tokens")
    raised(forge, "submission-worse")
    report = verdict_on(forge, tmp_path)
    assert report.findings == []
    assert not [one for one in report.warnings if "limit" in one]


def test_a_lowered_limit_holds_from_there_on(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge, before="submission-worse")
    raised(forge, "submission-worse", limits={"tokens": 1_000})
    raised(forge, "charge-sure")
    report = verdict_on(forge, tmp_path)
    assert_only(report, "BUDGET", forge.position("submission-worse"), "no submission of r1, which reached")


@pytest.mark.parametrize(
    ("who", "says"),
    [("r2", "a limit of the study, or of r1"), ("nobody", "limits of the study or of a researcher of it")],
)
def test_a_limit_is_set_of_a_model_or_of_the_study(who: str, says: str, tmp_path: Path) -> None:
    forge = with_models()
    raised(forge, "submission-worse", researcher=STUDY)
    assert verdict_on(forge, tmp_path / "study").findings == []
    forge["raised"].body["researcher"] = who
    at_charge(forge, tmp_path / "who", says, label="raised")


def test_a_study_without_models_has_no_limit_to_set(tmp_path: Path) -> None:
    forge = honest()
    raised(forge, "submission-worse", researcher=STUDY)
    at_charge(forge, tmp_path, "no researcher is a model", label="raised")


def test_only_a_reviewer_sets_a_limit(tmp_path: Path) -> None:
    forge = with_models()
    raised(forge, "submission-worse")
    forge["raised"].author, forge["raised"].signers = "operator", [forge.keys["operator"]]
    assert verdict_on(forge, tmp_path).verdict == "tampered"


TRANSCRIPT = {"name": "walk.eval", "sha256": "0b" * 32, "size": 12}


def test_a_transcript_is_told_of_once(tmp_path: Path) -> None:
    forge = with_models()
    spend(forge, transcripts=[TRANSCRIPT])
    assert verdict_on(forge, tmp_path / "once").findings == []
    forge["spent"].body["usage"]["transcripts"] = [TRANSCRIPT, TRANSCRIPT]
    at_charge(forge, tmp_path / "twice", "each transcript of r1 once")
    forge["spent"].body["usage"]["transcripts"] = [TRANSCRIPT]
    again = usage(0, before=1, transcripts=[{**TRANSCRIPT, "sha256": "0c" * 32}])
    forge.add("again", "gateway", "budget-charged", charge("r1", "walk", again), before="over-walk")
    at_charge(forge, tmp_path / "later", "each transcript of r1 once", label="again")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"researchers": models("r1", "r1")["researchers"]}, "one model for a researcher"),
        ({"researchers": models("r3")["researchers"]}, "models of researchers of the study"),
    ],
)
def test_each_model_is_one_researcher_of_the_study(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    forge = with_models()
    forge["opened"].body["models"] |= change
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, says)


def test_a_researcher_is_a_model_or_a_program(tmp_path: Path) -> None:
    forge = with_models()
    forge["opened"].body["programs"] = [{"researcher": "r1", "sha256": "0b" * 32}]
    assert_only(verdict_on(forge, tmp_path), "BODY", 0, "a model or a program for a researcher")


def test_what_all_spent_is_the_sum_of_what_each_did() -> None:
    spending = Spending()
    spending.open(models("r1", "r2"), {})
    spending.charge(charge("r1", "", usage(2)))
    spending.charge(charge("r2", "", usage(1)))
    assert spending.spent_of(STUDY) == Spent(calls=3, tokens=3_300, dollars=3 * CALL_DOLLARS)
    assert spending.reached("r2", {"r1": Spent(tokens=200_000)}) == "study-tokens"
    assert spending.reached("nobody") == ""
    assert list(charge_faults(spending, charge("r1", "", usage(1, before=2)))) == []
    assert list(model_faults({"models": {}, "monitor": {}, "researchers": ["r1"], "programs": []})) == []
    assert Limit(tokens=5, dollars=Fraction(1)).reached(Spent(tokens=5)) == "tokens"
