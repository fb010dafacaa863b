"""The closed set of kinds: who signs what, and the exact shape of each body."""

from __future__ import annotations

from typing import Any

import pytest

from aar.formats.errors import MalformedBody
from aar.formats.kinds import KINDS, MAX_TEXT_CHARACTERS, ROLES, check_body, kind_named
from every_format import BODIES, CONFIRMED, RECEIPT
from forge import opening
from spending import models, monitor

COMMENT = {"on": 3, "text": "well"}
STEP = {"name": "s1", "what": "", "pipelines": ["[]"]}
FIXED = {
    "task": "walk",
    "title": "Walk",
    "direction": "",
    "workflow": "fixed",
    "steps": [STEP],
    "scope": {},
    "submissions": 3,
    "limits": {},
    "priority": 0,
    "risk": "low",
}
FAILED = {**RECEIPT, "outcome": "failed", "reason": "wall", "released": {}, "commitments": {}}


def refused(kind: str, body: Any, says: str) -> None:
    with pytest.raises(MalformedBody, match=says):
        check_body(kind, body)


@pytest.mark.parametrize(("kind", "body"), [*BODIES, ("comment", COMMENT), ("task-opened", FIXED)])
def test_a_body_of_its_kinds_shape_is_accepted(kind: str, body: Any):
    check_body(kind, body)


def test_a_kind_outside_the_closed_set_is_refused_by_name():
    with pytest.raises(MalformedBody, match="kind 'gossip' is not one of"):
        kind_named("gossip")
    refused("gossip", {}, "kind 'gossip' is not one of")


def test_every_kind_has_a_role_that_exists_to_sign_it():
    for kind in KINDS.values():
        assert kind.authors
        assert {*kind.authors, *filter(None, [kind.cosigner])} <= set(ROLES), kind.name


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_refuses_a_body_that_is_no_object_or_an_empty_one(kind: str):
    refused(kind, [], "want an object with exactly")
    refused(kind, {}, "want an object with exactly")


def test_a_field_too_many_or_too_few_is_refused():
    refused("comment", {**COMMENT, "mood": 1}, "comment: got 'mood' beside, want .* exactly on, text")
    refused("comment", {"on": 3}, "comment: got none of text, want .* exactly on, text")
    refused("comment", {"on": 3, "mood": 1}, "comment: got none of text and 'mood' beside, want")


def test_a_field_too_many_or_too_few_in_an_object_of_a_body_is_refused():
    for step in ({**STEP, "more": 1}, {"name": "s1", "what": ""}, []):
        refused("task-opened", {**FIXED, "steps": [step]}, r"steps\[0\]: .* exactly name, pipelines, what")


def test_a_value_inside_an_object_of_a_body_is_checked_too():
    refused("task-opened", {**FIXED, "steps": [{**STEP, "name": "a b"}]}, r"steps\[0\].name")
    refused("task-opened", {**FIXED, "steps": [{**STEP, "pipelines": [""]}]}, r"steps\[0\].pipelines\[0\]")


@pytest.mark.parametrize("text", ["", "x" * (MAX_TEXT_CHARACTERS + 1), 1, [], {}])
def test_text_has_a_least_and_a_greatest_length(text: Any):
    refused("comment", {**COMMENT, "text": text}, "comment.text: .* want text of 1 to 8000 characters")


@pytest.mark.parametrize("digest", ["", "0A" * 32, "0a" * 31, "0a" * 32 + "\n", 7])
def test_a_digest_is_64_lower_case_hex_digits(digest: Any):
    refused("redaction", {"sha256": digest, "reason": "so"}, "redaction.sha256: .* 64 lower-case hex digits")


@pytest.mark.parametrize("name", ["", "a b", ".a", "a" * 65, "é", 7])
def test_a_name_is_of_letters_digits_and_three_signs(name: Any):
    refused("task-opened", {**FIXED, "task": name}, "task-opened.task: .* a name of letters")


@pytest.mark.parametrize("decimal", ["", "0.5", ".50", "+0.50", "0,50", "00.50", "0.50000", 1])
def test_a_decimal_has_two_to_four_digits_behind_its_point(decimal: Any):
    released = {**RECEIPT["released"], "pgr": decimal}  # type: ignore[dict-item]
    refused("score-receipt", {**RECEIPT, "released": released}, "released.pgr: .* a decimal")


@pytest.mark.parametrize("index", [-1, 2**53, "3", []])
def test_an_index_is_an_integer_from_0(index: Any):
    refused("comment", {**COMMENT, "on": index}, "comment.on: .* an integer from 0 to")


def test_a_word_is_one_of_its_closed_set():
    refused("task-opened", {**FIXED, "workflow": "loose"}, "task-opened.workflow: .* one of 'fixed', 'free'")


@pytest.mark.parametrize("seeds", [[], [1] * 1_001, "1", {}])
def test_a_list_has_a_least_and_a_greatest_length(seeds: Any):
    refused("score-receipt", {**RECEIPT, "seeds": seeds}, "seeds: .* a list of 1 to 1000 items")


def test_each_item_of_a_list_is_checked():
    refused("score-receipt", {**RECEIPT, "seeds": [1, 2**48]}, r"seeds\[1\]: .* an integer")


def test_what_may_be_empty_is_empty_or_whole():
    for commitments in ({"public": "0b" * 32}, {"public": "0b" * 32, "sealed": "0b"}):
        refused("score-receipt", {**RECEIPT, "commitments": commitments}, "score-receipt.commitments")


def test_a_scored_receipt_has_no_reason_and_a_failed_one_has():
    refused("score-receipt", {**RECEIPT, "reason": "wall"}, "score-receipt.reason: 'wall' with .* 'scored'")
    refused("score-receipt", {**FAILED, "reason": ""}, "score-receipt.reason: '' with outcome 'failed'")


def test_a_scored_receipt_commits_to_both_halves_and_a_failed_one_to_none():
    refused("score-receipt", {**RECEIPT, "commitments": {}}, "score-receipt.commitments: a scored run")
    commitments = RECEIPT["commitments"]
    refused("score-receipt", {**FAILED, "commitments": commitments}, "score-receipt.commitments: a scored")


def test_a_receipt_releases_a_value_exactly_when_an_explore_or_a_confirm_run_was_scored():
    says = "score-receipt.released: present exactly when"
    refused("score-receipt", {**RECEIPT, "released": {}}, says)
    refused("score-receipt", {**RECEIPT, "tier": "reproduce"}, says)
    refused("score-receipt", {**FAILED, "released": RECEIPT["released"]}, says)
    refused("score-receipt", {**RECEIPT, "tier": "heldout"}, says)
    refused("score-receipt", {**CONFIRMED, "released": {}}, says)
    for tier in ("reproduce", "heldout"):
        check_body("score-receipt", {**RECEIPT, "tier": tier, "released": {}})
    check_body("score-receipt", {**FAILED, "tier": "confirm"})


def test_what_a_receipt_releases_has_the_shape_of_its_tier():
    says = "in the shape of its tier"
    refused("score-receipt", {**RECEIPT, "released": CONFIRMED["released"]}, says)
    refused("score-receipt", {**CONFIRMED, "released": RECEIPT["released"]}, says)
    fewer = {key: one for key, one in CONFIRMED["released"].items() if key != "low"}  # type: ignore[attr-defined]
    refused("score-receipt", {**CONFIRMED, "released": fewer}, "released: .* exactly difference")
    refused("score-receipt", {**RECEIPT, "released": []}, "released: .* exactly high, improved")


def test_a_fixed_workflow_has_steps_and_a_free_one_has_none():
    says = "a fixed workflow has the human's steps"
    refused("task-opened", {**FIXED, "steps": []}, says)
    refused("task-opened", {**FIXED, "workflow": "free"}, says)
    check_body("task-opened", {**FIXED, "workflow": "free", "steps": []})


def test_a_vote_is_for_or_against():
    refused("vote", {"on": 3, "value": 0}, "vote.value: got 0, want 1 or -1")


HYBRID = next(body for kind, body in BODIES if kind == "task-opened" and body["workflow"] == "hybrid")
SCOPE: Any = HYBRID["scope"]
PLAN: Any = next(body for kind, body in BODIES if kind == "plan-declared")
PAUSE: Any = next(body for kind, body in BODIES if kind == "queue-paused")
SUBMISSION: dict[str, Any] = {
    "task": "walk",
    "researcher": "r1",
    "plan": 3,
    "step": "s1",
    "name": "m",
    "families": ["prior"],
    "digest": "0a" * 32,
    "size": 1,
    "request": "a",
}
LEASE = {"task": "walk", "researcher": "r1", "until_ms": 1, "epoch": 1, "direction": ""}


def test_a_hybrid_task_has_a_scope_and_no_steps_and_another_has_none():
    says = "task-opened.scope: a hybrid workflow has a scope"
    refused("task-opened", {**HYBRID, "scope": {}}, says)
    refused("task-opened", {**HYBRID, "workflow": "free"}, says)
    refused("task-opened", {**FIXED, "scope": SCOPE}, says)
    refused("task-opened", {**HYBRID, "steps": [STEP]}, "task-opened.steps: a fixed workflow")


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("task-opened", {**HYBRID, "scope": {**SCOPE, "families": []}}, "families: .* 1 to 64 items"),
        ("task-opened", {**HYBRID, "scope": {**SCOPE, "families": ["a b"]}}, r"families\[0\]: .* a name"),
        ("task-opened", {**HYBRID, "scope": {**SCOPE, "programs": 2}}, "programs: .* from 0 to 1"),
        ("task-opened", {**HYBRID, "scope": {**SCOPE, "submissions": 0}}, "submissions: .* from 1 to"),
        ("task-opened", {**HYBRID, "scope": {"families": ["a"]}}, "exactly families, programs, submissions"),
        ("task-opened", {**HYBRID, "priority": 10}, "priority: .* from 0 to 9"),
        ("task-opened", {**HYBRID, "risk": ""}, "risk: .* one of 'low', 'medium', 'high'"),
        (
            "plan-declared",
            {**PLAN, "steps": [{"name": "s1", "what": ""}]},
            "exactly families, name",
        ),
        (
            "plan-declared",
            {**PLAN, "steps": [{**PLAN["steps"][0], "submissions": -1}]},
            "submissions: .* from 0 to",
        ),
        (
            "plan-declared",
            {**PLAN, "steps": [{**PLAN["steps"][0], "families": ["a b"]}]},
            r"families\[0\]: .* a name",
        ),
        ("submission", {**SUBMISSION, "families": ["a b"]}, r"families\[0\]: .* a name"),
        ("task-leased", {**LEASE, "direction": 1}, "direction: .* 0 to"),
        ("queue-paused", {**PAUSE, "signal": "x" * 65}, "signal: .* 0 to 64"),
        ("queue-paused", {**PAUSE, "value": "x" * 33}, "value: .* 0 to 32"),
        ("queue-paused", {**PAUSE, "limit": "x" * 201}, "limit: .* 0 to 200"),
        ("queue-paused", {**PAUSE, "reason": ""}, "reason: .* 1 to"),
        ("queue-paused", {**PAUSE, "evidence": [-1]}, r"evidence\[0\]: .* an integer from 0"),
        ("queue-resumed", {"pause": -1, "reason": "x"}, "pause: .* an integer from 0"),
        ("queue-resumed", {"pause": 1, "reason": ""}, "reason: .* 1 to"),
    ],
)
def test_what_bounds_a_task_or_pauses_a_queue_has_its_shape(kind: str, body: Any, says: str):
    check_body("submission", SUBMISSION)
    check_body("task-leased", LEASE)
    refused(kind, body, says)


OPENED: Any = opening()
LIMIT = {"signal": "x", "side": "above", "value": "1.00", "action": "pause"}
HUMAN = {"pgr": "0.23", "hours": "1.00", "source": "a table"}
DOWNSTREAM = {"name": "x", "kind": "other", "gate": "none", "researchers": []}
PROGRAM = {"researcher": "r1", "sha256": "ab" * 32}


def terms(**changes: Any) -> dict[str, Any]:
    return {**OPENED["oversight"], **changes}


def test_the_queue_is_paused_by_the_monitor_or_the_staff_and_resumed_by_a_reviewer():
    assert KINDS["queue-paused"].authors == ("monitor", "reviewer", "operator")
    assert KINDS["queue-resumed"].authors == ("reviewer",)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("allocation", {"policy": "fair", "directions": []}, "policy: .* one of 'directed'"),
        ("allocation", {"policy": "directed", "directions": [""]}, r"directions\[0\]: .* 1 to 2000"),
        ("oversight", {**OPENED["oversight"], "purpose": "profit"}, "purpose: .* one of ''"),
        (
            "oversight",
            {**OPENED["oversight"], "human": {"pgr": "0.23"}},
            "exactly hours, pgr, source",
        ),
        (
            "oversight",
            {
                **OPENED["oversight"],
                "limits": [{**LIMIT, "value": 1}],
            },
            "value: .* a decimal",
        ),
        (
            "oversight",
            {
                **OPENED["oversight"],
                "limits": [{**LIMIT, "action": "stop"}],
            },
            "action: .* one of 'notify'",
        ),
        (
            "oversight",
            {**OPENED["oversight"], "downstream": [{"name": "x", "kind": "other", "gate": "none"}]},
            "exactly gate, kind, name, researchers",
        ),
        ("oversight", terms(limits=[{**LIMIT, "signal": "a b"}]), "signal: .* a name"),
        ("oversight", terms(limits=[{**LIMIT, "side": "beside"}]), "side: .* one of 'above', 'below'"),
        ("oversight", terms(human={**HUMAN, "hours": "1"}), "hours: .* a decimal"),
        ("oversight", terms(human={**HUMAN, "source": ""}), "source: .* 1 to 1000"),
        ("oversight", terms(human={**HUMAN, "source": "x" * 1_001}), "source: .* 1 to 1000"),
        ("oversight", terms(downstream=[{**DOWNSTREAM, "gate": ""}]), "gate: .* a name"),
        ("oversight", terms(downstream=[{**DOWNSTREAM, "kind": ""}]), "kind: .* a name"),
        ("oversight", terms(downstream=[{**DOWNSTREAM, "researchers": [1]}]), r"researchers\[0\]: .* a name"),
        ("sandbox", {**OPENED["sandbox"], "verdict": "leak"}, "verdict: .* one of 'ok', 'none'"),
        ("sandbox", {**OPENED["sandbox"], "verdict": "none"}, "'none' with verdict 'none': 'bare' has the"),
        ("sandbox", {**OPENED["sandbox"], "backend": "bare"}, "'bare' with verdict 'ok': 'bare' has the"),
        ("programs", [{**PROGRAM, "researcher": "a b"}], "researcher: .* a name"),
        ("programs", [PROGRAM] * 513, "0 to 512 items"),
        ("comparison", {"plan": "{}", "run": -1}, "run: .* an integer from 0"),
        ("comparison", {"plan": ""}, "comparison: .* exactly plan, run"),
        ("comparison", {"plan": "", "run": 0}, "plan: .* 2 to"),
        ("programs", [{"researcher": "r1", "sha256": "ab"}], "sha256: .* 64 lower-case hex"),
    ],
)
def test_the_terms_of_a_study_have_their_shape(field: str, value: Any, says: str):
    check_body("study-opened", OPENED)
    refused("study-opened", {**OPENED, field: value}, says)


CHARGES = [body for kind, body in BODIES if kind == "budget-charged"]
OF_TOKENS: Any = CHARGES[0]
OF_A_RUN: Any = CHARGES[1]
OF_SANDBOXES: Any = CHARGES[2]
USAGE: Any = OF_TOKENS["usage"]
SET: Any = next(body for kind, body in BODIES if kind == "budget-set")
MODELS: Any = models("r1")
MODEL: Any = MODELS["researchers"][0]


def used(**changes: Any) -> dict[str, Any]:
    return {**OF_TOKENS, "usage": {**USAGE, **changes}}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("budget-charged", {**OF_TOKENS, "task": "a b"}, "task: .* a name"),
        ("budget-charged", {**OF_TOKENS, "task": "x" * 65}, "task: .* 0 to 64"),
        ("budget-charged", {**OF_TOKENS, "submission": -2}, "submission: .* from -1"),
        ("budget-charged", {**OF_TOKENS, "amount": -1}, "amount: .* from 0"),
        ("budget-charged", {**OF_TOKENS, "amount": 1_112}, "amount: got 1112, want the sum"),
        ("budget-charged", {**OF_TOKENS, "usage": {}}, "tokens and sandboxes have a usage"),
        (
            "budget-charged",
            {**OF_TOKENS, "submission": 3},
            "tokens and sandboxes have a usage and no submission",
        ),
        ("budget-charged", used(calls=-1), "calls: .* from 0"),
        ("budget-charged", used(input=-1), "input: .* from 0"),
        ("budget-charged", used(dollars="0.50000"), "dollars: .* amount of dollars"),
        ("budget-charged", used(dollars="0.12345678901"), "dollars: .* amount of dollars"),
        ("budget-charged", used(dollars="-1.00"), "dollars: .* amount of dollars"),
        ("budget-charged", used(dollars="01.00"), "dollars: .* amount of dollars"),
        ("budget-charged", used(total={**USAGE["total"], "calls": -1}), "total.calls: .* from 0"),
        ("budget-charged", used(total={**USAGE["total"], "tokens": -1}), "total.tokens: .* from 0"),
        ("budget-charged", used(total={**USAGE["total"], "dollars": "1"}), "total.dollars: .* amount"),
        ("budget-charged", used(limit="seconds"), "limit: .* one of ''"),
        (
            "budget-charged",
            {**OF_TOKENS, "usage": OF_SANDBOXES["usage"]},
            "that of another charge than of tok",
        ),
        ("budget-charged", {**OF_SANDBOXES, "usage": USAGE}, "that of another charge than of sandbox"),
        ("budget-charged", {**OF_SANDBOXES, "usage": {}}, "sandboxes have a usage"),
        ("budget-charged", {**OF_SANDBOXES, "submission": 3}, "sandboxes have a usage and no submission"),
        ("budget-charged", {**OF_SANDBOXES, "task": "a b"}, "task: .* a name"),
        ("budget-charged", {**OF_SANDBOXES, "usage": {"total": -1, "limit": ""}}, "total: .* from 0"),
        ("budget-charged", {**OF_SANDBOXES, "usage": {"total": 1, "limit": "x"}}, "limit: .* one of ''"),
        ("budget-charged", used(transcripts=[{"name": "a"}]), "exactly name, sha256, size"),
        (
            "budget-charged",
            used(transcripts=[{"name": "../a", "sha256": "0a" * 32, "size": 1}]),
            "name: .* a file's name",
        ),
        ("budget-charged", used(calls=0), "no call wants no tokens"),
        ("budget-charged", {**OF_A_RUN, "amount": 0}, "amount: .* from 1"),
        ("budget-charged", {**OF_A_RUN, "task": ""}, "task: .* a name"),
        ("budget-charged", {**OF_A_RUN, "usage": USAGE}, "runs have it the other way"),
        ("budget-charged", {**OF_A_RUN, "submission": -1}, "runs have it the other way"),
        (
            "budget-set",
            {**SET, "limits": {}},
            "limits: .* with some of dollars, sandbox_seconds, seconds, subm",
        ),
        ("budget-set", {**SET, "limits": {"turns": 1}}, "limits: .* with some of dollars"),
        ("budget-set", {**SET, "limits": {"tokens": 0}}, "tokens: .* from 1"),
        ("budget-set", {**SET, "limits": {"dollars": "1"}}, "dollars: .* amount"),
        ("budget-set", {**SET, "limits": {"seconds": 0}}, "seconds: .* from 1"),
        ("budget-set", {**SET, "limits": {"sandbox_seconds": 0}}, "sandbox_seconds: .* from 1"),
        ("budget-set", {**SET, "limits": {"submissions": 0}}, "submissions: .* from 1"),
        ("budget-set", {**SET, "task": "x" * 65}, "task: .* 0 to 64"),
        ("budget-set", {**SET, "researcher": "r1", "task": "t1"}, "limits of one of them, or neither"),
        ("task-opened", {**HYBRID, "limits": {"submissions": 1}}, "limits: .* with some of dollars"),
        ("task-opened", {**HYBRID, "limits": {"dollars": "x"}}, "limits.dollars: .* amount"),
        ("study-opened", {**OPENED, "limits": {}}, "limits: .* a list"),
        (
            "study-opened",
            {**OPENED, "limits": [{"researcher": "r1", "limits": {}}]},
            "some of sandbox_seconds",
        ),
        (
            "study-opened",
            {**OPENED, "limits": [{"researcher": "r1", "limits": {"tokens": 1}}]},
            "some of sandbox_seconds, seconds, submissions",
        ),
        ("budget-set", {**SET, "reason": ""}, "reason: .* 1 to"),
        ("budget-set", {**SET, "researcher": "x" * 65}, "researcher: .* 0 to 64"),
        ("queue-paused", {**PAUSE, "researcher": "x" * 65}, "researcher: .* 0 to 64"),
        ("study-opened", {**OPENED, "models": {**MODELS, "tokens": 0}}, "tokens: .* from 1"),
        ("study-opened", {**OPENED, "models": {**MODELS, "brief": ""}}, "brief: .* 64 lower-case"),
        ("study-opened", {**OPENED, "models": {**MODELS, "dollars": 1}}, "dollars: .* amount"),
        ("study-opened", {**OPENED, "models": {**MODELS, "researchers": []}}, "researchers: .* 1 to 512"),
        (
            "study-opened",
            {**OPENED, "models": {**MODELS, "researchers": [{**MODEL, "model": ""}]}},
            "model: .* 1 to 200",
        ),
        (
            "study-opened",
            {
                **OPENED,
                "models": {
                    **MODELS,
                    "researchers": [{**MODEL, "prices": {**MODEL["prices"], "input": "0.00001"}}],
                },
            },
            "input: .* dollars for a million",
        ),
        (
            "study-opened",
            {**OPENED, "models": {**MODELS, "researchers": [{**MODEL, "agent": {"name": "codex"}}]}},
            "agent: .* exactly name, sha256",
        ),
        (
            "study-opened",
            {
                **OPENED,
                "models": {
                    **MODELS,
                    "researchers": [{**MODEL, "agent": {"name": "gemini", "sha256": "00" * 32}}],
                },
            },
            "agent.name: .* one of 'claude-code', 'codex'",
        ),
        (
            "study-opened",
            {**OPENED, "models": {**MODELS, "researchers": [{**MODEL, "prices": {"input": "1.00"}}]}},
            "exactly cache_read, cache_write, input, output",
        ),
    ],
)
def test_what_models_spend_and_may_spend_has_its_shape(kind: str, body: Any, says: str):
    check_body("study-opened", {**OPENED, "models": MODELS})
    refused(kind, body, says)


def test_a_charge_without_a_call_tells_of_a_transcript():
    nothing = dict.fromkeys(("calls", "input", "output", "cache_read", "cache_write"), 0)
    check_body("budget-charged", {**used(**nothing), "amount": 0})
    refused("budget-charged", {**used(**nothing, transcripts=[]), "amount": 0}, "a transcript to tell of")


HELD: Any = next(body for kind, body in BODIES if kind == "submission-held")
RELEASED: Any = next(body for kind, body in BODIES if kind == "submission-released")
WATCHED: Any = {**OPENED, "monitor": monitor()}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("submission-held", {**HELD, "reason": ""}, "reason: .* 1 to"),
        ("submission-held", {**HELD, "alarm": -1}, "alarm: .* from 0"),
        ("submission-held", {**HELD, "running": [{"submission": 4, "run": ""}]}, "run: .* 1 to 80"),
        ("submission-held", {**HELD, "running": [{"submission": 4}]}, "exactly run, submission"),
        ("submission-held", {**HELD, "running": 257 * HELD["running"]}, "0 to 256"),
        ("submission-released", {**RELEASED, "released": 2}, "released: .* from 0 to 1"),
        ("submission-released", {**RELEASED, "reason": ""}, "reason: .* 1 to"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "model": ""}}, "model: .* 1 to 200"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "tokens": 0}}, "tokens: .* from 1"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "dollars": "1"}}, "dollars: .* amount"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "prices": {}}}, "exactly cache_read"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "instructions": ""}}, "64 lower-case"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "every_turns": 0}}, "every_turns: .* from 1"),
        ("study-opened", {**WATCHED, "monitor": {**monitor(), "holds": 2}}, "holds: .* from 0 to 1"),
    ],
)
def test_a_monitor_and_what_it_holds_have_their_shapes(kind: str, body: Any, says: str):
    check_body("study-opened", WATCHED)
    refused(kind, body, says)


def test_the_monitor_holds_and_a_reviewer_lets_go():
    assert KINDS["submission-held"].authors == ("monitor",)
    assert KINDS["submission-released"].authors == ("reviewer",)
