"""What a run came to: the sealed value of what leads by explored values, and the reading that it takes."""

from __future__ import annotations

import pytest

from aar.formats.entry import Leaf, parse_leaf
from aar.outside.comparison.outcome import leading, outcome_of
from aar.verify.leaderboard import Row
from forge import At, Forge, honest, planned


def leaves_of(forge: Forge) -> list[Leaf]:
    return [parse_leaf(data) for data in forge.leaves()]


def row(method: str, explored: str | None, heldout: str | None, *receipts: int, decision: str = "") -> Row:
    return Row(
        0,
        method,
        "r1",
        method,
        explored_pgr=explored,
        heldout_pgr=heldout,
        receipts=list(receipts),
        decision=decision,
    )


def test_the_value_is_the_sealed_one_of_what_leads_by_explored_values() -> None:
    forge = honest()
    outcome = outcome_of(leaves_of(forge))
    assert outcome.method == "method better"
    assert outcome.pgr == forge.runs["better"].exact("sealed")["pgr"]
    assert outcome.receipt == forge.position("receipt-better")


def test_a_larger_sealed_value_of_what_does_not_lead_is_not_picked() -> None:
    rows = [row("lucky", "0.3000", "0.9000", 3), row("leader", "0.5000", "0.4000", 5)]
    found = leading(rows)
    assert found is not None
    assert found.method == "leader"


def test_of_equal_explored_values_the_first_leads() -> None:
    found = leading([row("late", "0.5000", "0.9000", 8), row("early", "0.5000", "0.4000", 5)])
    assert found is not None
    assert found.method == "early"


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [row("sealed still", "0.9000", None, 3)],
        [row("retracted", "0.9000", "0.9000", 3, decision="retract")],
        [row("not better", None, "0.9000", 3)],
    ],
)
def test_what_is_not_open_or_was_retracted_does_not_lead(rows: list[Row]) -> None:
    assert leading(rows) is None


def test_a_run_with_nothing_open_counts_as_the_teachers_level() -> None:
    forge = honest()
    forge.drop(*(one for one in (f"reveal-{run}-sealed" for run in ("first", "better", "worse", "other"))))
    outcome = outcome_of(leaves_of(forge))
    assert (outcome.pgr, outcome.receipt, outcome.method) == ("0.00", -1, "")
    assert outcome.publishable == 0


def test_a_result_whose_claim_its_sealed_value_bears_out_could_be_published() -> None:
    assert outcome_of(leaves_of(honest())).publishable == 1


def test_a_claim_that_the_sealed_value_does_not_bear_out_could_not() -> None:
    forge = honest()
    reveal = forge["reveal-first-sealed"]
    before = reveal.body
    reveal.body = lambda: {**before(), "high": "-0.5000"}
    assert outcome_of(leaves_of(forge)).publishable == 0


def test_a_finding_that_an_alarm_is_about_could_not_be_published() -> None:
    forge = honest()
    forge["alarm"].body["evidence"] = [At("result")]
    assert outcome_of(leaves_of(forge)).publishable == 0


def test_words_of_findings_plans_and_comments_are_read_and_nothing_else() -> None:
    outcome = outcome_of(leaves_of(honest()))
    # Two plans, "s1" and what it says; two findings, "it" and "so"; the comment "well done".
    words = 2 * len(f"s1 {planned()['what']}".split()) + 2 * 2 + 2
    assert (outcome.words, outcome.texts) == (words, 5)
    assert outcome.reading_minutes == pytest.approx(words / 238 + 5 / 4)


def test_an_amended_plan_is_a_deviation_and_only_its_new_steps_are_read() -> None:
    forge = honest()
    before = outcome_of(leaves_of(forge))
    steps = [planned(), {**planned("s2"), "what": "three more words"}]
    body = {"task": "search", "steps": steps, "amends": At("plan-search")}
    forge.add("plan-again", "r2", "plan-declared", body, before="over-search")
    after = outcome_of(leaves_of(forge))
    assert (before.amended, after.amended, after.deviations) == (0, 1, 1)
    assert after.words - before.words == len(["s2", "three", "more", "words"])


@pytest.mark.parametrize(("code", "counts"), [("scope", 1), ("step-order", 1), ("odd", 0)])
def test_alarms_about_scope_and_step_order_are_deviations(code: str, counts: int) -> None:
    forge = honest()
    forge["alarm"].body["code"] = code
    assert outcome_of(leaves_of(forge)).alarms == counts


def test_families_are_those_that_the_gateway_read_and_the_plain_student_counts_only_alone() -> None:
    forge = honest()
    for name, families in (("first", ["baseline"]), ("better", ["confidence", "baseline"])):
        forge[f"submission-{name}"].body["families"] = families
    outcome = outcome_of(leaves_of(forge))
    assert outcome.families[:2] == (("baseline",), ("confidence",))
    assert len(outcome.families) == outcome.submissions == 5
