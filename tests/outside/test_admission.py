"""Admission: each rule refuses alone, and what it lets in folds into the projection."""

from __future__ import annotations

from typing import Any

import pytest

from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.entry import Entry, Leaf, sign_entry
from aar.formats.keys import Signer, format_vkey
from aar.outside.admission import Refused, check_admission
from aar.outside.allocation import next_offer
from aar.outside.projection import Projection
from aar.verify.statistics import detectable_difference
from forge import STUDY_TERMS, TASK_TERMS, planned
from spending import charge as charge_of
from spending import models, usage

ORIGIN = "aar.local/study-0123456789abcdef"
SECRET = bytes(range(32))
SEALED = "AQ=="
DIGEST = "d" * 64
ROLES = {
    "operator": "operator",
    "reviewer-a": "reviewer",
    "gateway": "gateway",
    "evaluator": "evaluator",
    "monitor": "monitor",
    "researcher-1": "researcher",
    "researcher-2": "researcher",
}
SIGNERS = {name: Signer(name, bytes([number + 1]) * 32) for number, name in enumerate([*ROLES, "stranger"])}
LOG = Signer(ORIGIN, b"L" * 32)
POOL = {"items": 8, "sealed": 1, "labelled": 1, "unlabelled": 1, "tested": 0, "group": 1}
BASELINES = {
    "weak": "0.7000",
    "ceiling": "0.9000",
    "gap": "0.2000",
    "se": "0.0100",
    "vanilla": "0.1000",
    "spread": "0.1000",
}


def opening(**changes: Any) -> dict[str, Any]:
    keys = [{"name": n, "role": r, "vkey": format_vkey(SIGNERS[n].vkey)} for n, r in ROLES.items()]
    body = {
        "name": "test",
        "problem": "digits",
        "problem_digest": DIGEST,
        "statement": "",
        "log": format_vkey(LOG.vkey),
        "keys": keys,
        "researchers": ["researcher-1", "researcher-2"],
        "witnesses": [],
        "quorum": 0,
        "anchors": [],
        "anchors_needed": 0,
        "budget": {"submissions": 3, "confirmations": 1, "seconds": 60},
        "commitments": {
            "seed_secret": commit_secret(SECRET),
            "split": commit_split(split_nonce(SECRET), SEALED),
        },
        "pool": POOL,
        "baselines": BASELINES,
        "heldout": [],
        "release": {"rule": "ladder", "step": "0.0500"},
        "runs": {"seeds": 1, "replicates": 1},
        "interval": {"method": "crossed-bootstrap", "draws": 10, "level": "0.95"},
        **STUDY_TERMS,
        "sandbox": {"backend": "bubblewrap", "verdict": "ok", "probes": 1, "digest": DIGEST, "identity": "x"},
    }
    return {**body, **changes}


class Study:
    """A record in memory: what is said is admitted or refused, and folded."""

    def __init__(self, *, isolation: str = "") -> None:
        self.isolation = isolation
        self.projection = Projection()
        self.now_ms = 1_000

    def say(
        self, author: str, kind: str, body: dict[str, Any], refs: tuple[int, ...] = (), **changes: Any
    ) -> int:
        chain = self.projection.chain(author)
        cosigners = changes.pop(
            "cosigners", ("reviewer-a",) if kind in ("study-opened", "study-closed") else ()
        )
        signer = changes.pop("signer", SIGNERS[author])
        fields = {"origin": ORIGIN, "seq": chain.seq, "prev": chain.prev, "at": 1}
        fields |= {"isolation": self.isolation, **changes}
        entry = Entry(author=author, kind=kind, refs=refs, body=body, **fields)
        signed = sign_entry(entry, signer, *(SIGNERS[name] for name in cosigners))
        check_admission(self.projection, signed)
        index = self.projection.tree_size
        self.now_ms += 1_000
        self.projection.fold(Leaf(index, self.now_ms, signed))
        return index

    def task(
        self, name: str = "t1", *, steps: tuple[str, ...] = (), submissions: int = 2, **changes: Any
    ) -> int:
        told = [{"name": step, "what": "", "pipelines": ["[]"]} for step in steps]
        body = {
            "task": name,
            "title": name,
            "direction": "",
            "workflow": "fixed" if steps else "free",
            **TASK_TERMS,
        }
        body |= {"steps": told, "submissions": submissions, **changes}
        return self.say("reviewer-a", "task-opened", body)

    def lease(
        self, researcher: str, task: str = "t1", epoch: int = 1, until_ms: int = 10**12, direction: str = ""
    ) -> int:
        body = {"task": task, "researcher": researcher, "until_ms": until_ms, "epoch": epoch}
        body["direction"] = direction
        return self.say("gateway", "task-leased", body)

    def plan(self, researcher: str, task: str = "t1", amends: int = -1, steps: Any = None) -> int:
        return self.say(
            researcher,
            "plan-declared",
            {
                "task": task,
                "steps": [planned("s")] if steps is None else steps,
                "amends": amends,
            },
        )

    def submit(self, plan: int, request: str, **changes: Any) -> int:
        body = {
            "task": "t1",
            "researcher": "researcher-1",
            "plan": plan,
            "step": "s",
            "name": "m",
            "families": [],
            "digest": DIGEST,
        }
        told = {"at": changes.pop("at", 1)}
        index = self.say("gateway", "submission", {**body, "size": 1, "request": request, **changes}, **told)
        task = changes.get("task", "t1")
        researcher = changes.get("researcher", "researcher-1")
        charge = {"researcher": researcher, "task": task, "what": "submissions", "amount": 1, "usage": {}}
        self.say("gateway", "budget-charged", {**charge, "submission": index}, (index,))
        return index

    def receipt(self, of: int, /, **changes: Any) -> int:
        refs = changes.pop("refs", (of,))
        return self.say("evaluator", "score-receipt", {**receipt_body(of), **changes}, refs)


NO_DIFFERENCE = dict.fromkeys(("difference", "difference_low", "difference_high"), "")
RELEASED = {"pgr": "0.3000", "low": "0.2000", "high": "0.4000", "improved": 1}


def nonce(half: str) -> str:
    return payload_nonce(SECRET, half=half, label="explore", digest=DIGEST)


def receipt_body(submission: int) -> dict[str, Any]:
    return {
        "submission": submission,
        "digest": DIGEST,
        "researcher": "researcher-1",
        "tier": "explore",
        "problem": "digits",
        "outcome": "scored",
        "reason": "",
        "seeds": [7],
        "released": dict(RELEASED),
        "commitments": {
            h: commit_payload(half=h, nonce=nonce(h), payload_sha256=DIGEST) for h in ("public", "sealed")
        },
    }


def finding(**changes: Any) -> dict[str, Any]:
    numbers = {key: RELEASED[key] for key in ("pgr", "low", "high")}
    body = {"type": "result", "title": "t", "text": "", "method": "m", "numbers": numbers}
    return {**body, "receipts": [], "parents": [], **changes}


@pytest.fixture
def study() -> Study:
    """Opened, one free task, leased and planned."""
    made = Study()
    made.say("operator", "study-opened", opening())
    made.task()
    made.lease("researcher-1")
    made.plan("researcher-1")
    return made


def refused(code: str, *, alarm: bool | None = None) -> Any:
    return pytest.raises(Refused, check=lambda error: error.code == code and alarm in (None, error.is_alarm))


def test_an_honest_study_is_admitted_from_its_opening_to_its_close(study: Study) -> None:
    submission = study.submit(3, "a")
    receipt = study.receipt(submission)
    cited = study.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt,))
    study.say("researcher-2", "vote", {"on": cited, "value": 1})
    study.say("researcher-2", "comment", {"on": cited, "text": "yes"}, (cited,))
    body = {
        "receipt": receipt,
        "half": "sealed",
        "nonce": nonce("sealed"),
        "pgr": "0.3",
        "low": "",
        "high": "",
        **NO_DIFFERENCE,
    }
    body |= {"blob": {"sha256": DIGEST, "size": 1, "type": "x"}, "pgr": "0.3000"}
    study.say("evaluator", "score-revealed", body, (receipt,))
    close = {
        "reason": "tasks-done",
        "seed_secret": SECRET.hex(),
        "split_nonce": split_nonce(SECRET),
        "sealed": SEALED,
    }
    study.say("operator", "study-closed", close)
    assert study.projection.closed
    assert study.projection.charged == 1
    assert study.projection.released["researcher-1"]["pgr"] == "0.3000"


def test_the_first_entry_opens_the_study_and_no_other_does(study: Study) -> None:
    with refused("order"):
        study.say("operator", "study-opened", opening())
    with refused("order"):
        Study().say("reviewer-a", "task-refused", {"proposal": 0, "reason": "x"})


def test_the_opening_needs_the_reviewers_signature_beside_the_operators() -> None:
    with refused("cosigner"):
        Study().say("operator", "study-opened", opening(), cosigners=())
    with refused("cosigner"):
        Study().say("operator", "study-opened", opening(), cosigners=("gateway",))


def test_a_name_is_enrolled_once_and_under_itself() -> None:
    keys = opening()["keys"]
    with refused("keys"):
        Study().say("operator", "study-opened", opening(keys=[*keys, keys[-1]]))
    with refused("keys"):
        renamed = [*keys[:-1], {**keys[-1], "name": "researcher-9"}]
        Study().say("operator", "study-opened", opening(keys=renamed))


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("author-sequence", {"seq": 9, "prev": "0" * 64}),
        ("author-sequence", {"seq": 1, "prev": "0" * 64}),
        ("origin", {"origin": "aar.local/study-fedcba9876543210"}),
        ("refs", {"refs": (99,)}),
        ("cosigner", {"cosigners": ("researcher-2",)}),
        ("bad-signature", {"signer": Signer("researcher-1", b"x" * 32)}),
        ("bad-signature", {"cosigners": ("stranger",)}),
    ],
)
def test_an_entry_must_be_its_authors_next_for_this_log(
    study: Study, code: str, changes: dict[str, Any]
) -> None:
    refs = changes.pop("refs", ())
    with refused(code):
        study.say("researcher-1", "comment", {"on": 0, "text": "x"}, refs, **changes)


def test_only_enrolled_authors_speak_and_only_in_their_role(study: Study) -> None:
    with refused("unknown-author"):
        study.say("stranger", "comment", {"on": 0, "text": "x"})
    with refused("wrong-role"):
        study.say("researcher-1", "task-refused", {"proposal": 0, "reason": "x"})
    with refused("bad-body"):
        study.say("researcher-1", "comment", {"on": 0})


def test_tasks_have_one_name_and_pipelines_that_are_json(study: Study) -> None:
    with refused("task-exists"):
        study.task("t1")
    body = {"task": "t9", "title": "x", "direction": "", "workflow": "fixed", "submissions": 1, **TASK_TERMS}
    with refused("pipeline"):
        study.say(
            "reviewer-a", "task-opened", {**body, "steps": [{"name": "s", "what": "", "pipelines": ["[["]}]}
        )


def test_a_proposal_is_decided_once(study: Study) -> None:
    proposal = study.say("researcher-1", "task-proposed", {"title": "x", "direction": "", "reason": ""})
    with refused("no-proposal"):
        study.say("reviewer-a", "task-refused", {"proposal": 0, "reason": "x"})
    with refused("no-task"):
        study.say("reviewer-a", "task-approved", {"proposal": proposal, "task": 0, "reason": ""})
    study.say("reviewer-a", "task-refused", {"proposal": proposal, "reason": "x"})
    with refused("proposal-decided"):
        study.say("reviewer-a", "task-refused", {"proposal": proposal, "reason": "x"})


def test_a_lease_is_on_an_open_task_for_an_enrolled_researcher_in_the_next_epoch(study: Study) -> None:
    with refused("no-task"):
        study.lease("researcher-1", "absent")
    with refused("epoch"):
        study.lease("researcher-2", epoch=1)
    with refused("no-researcher"):
        study.lease("nobody", epoch=2)
    with refused("leased"):
        study.lease("researcher-2", epoch=2)
    # One that is over when it is given takes the task away; then it is anybody's.
    study.lease("researcher-1", epoch=2, until_ms=1)
    study.lease("researcher-2", epoch=3)
    task = study.projection.tasks["t1"]
    assert (task.researcher, task.holders) == ("researcher-2", ["researcher-1", "researcher-2"])
    assert [one.researcher for one in study.projection.leases] == ["researcher-1", "researcher-2"]


def test_a_plan_is_of_the_lease_holder_and_amends_its_own(study: Study) -> None:
    with refused("not-leased"):
        study.plan("researcher-2")
    with refused("no-plan"):
        study.plan("researcher-1", amends=0)
    study.plan("researcher-1", amends=3)


def test_a_submission_is_of_the_lease_holders_own_plan_and_said_once(study: Study) -> None:
    study.submit(3, "a")
    with refused("repeated"):
        study.submit(3, "a")
    with refused("no-plan"):
        study.submit(0, "b")
    with refused("not-leased"):
        study.submit(3, "b", researcher="researcher-2")


def test_the_budgets_of_task_and_study_end_submissions() -> None:
    study = Study()
    study.say("operator", "study-opened", opening())
    study.task(submissions=2)
    study.lease("researcher-1")
    plan = study.plan("researcher-1")
    study.submit(plan, "a")
    study.submit(plan, "b")
    with refused("budget"):
        study.submit(plan, "c")
    roomy = Study()
    roomy.say("operator", "study-opened", opening())
    for name in ("t1", "t2"):
        roomy.task(name, submissions=3)
        roomy.lease("researcher-1", name)
    plan, other = roomy.plan("researcher-1"), roomy.plan("researcher-1", "t2")
    for request in "ab":
        roomy.submit(plan, request)
    roomy.submit(other, "c", task="t2")
    with refused("budget"):
        roomy.submit(other, "d", task="t2")


def test_a_task_asks_for_no_more_than_the_study_has_left(study: Study) -> None:
    with refused("budget"):
        study.task("t9", submissions=4)
    study.submit(3, "a")
    with refused("budget"):
        study.task("t9", submissions=3)
    study.task("t9", submissions=2)


def test_a_fixed_workflow_opens_a_step_when_the_one_before_has_its_receipts() -> None:
    study = Study()
    study.say("operator", "study-opened", opening())
    study.task(steps=("s1", "s2"), submissions=3)
    study.lease("researcher-1")
    plan = study.plan("researcher-1")
    with refused("step-order"):
        study.submit(plan, "x", step="s2")
    with refused("step-order"):
        study.submit(plan, "x", step="s9")
    first = study.submit(plan, "a", step="s1")
    with refused("step-order"):
        study.submit(plan, "x", step="s2")
    study.receipt(first)
    study.submit(plan, "b", step="s2")
    with refused("step-order"):
        study.submit(plan, "x", step="s1")


def test_a_charge_is_for_a_submission_of_that_researcher(study: Study) -> None:
    charge = {
        "researcher": "researcher-2",
        "task": "t1",
        "what": "submissions",
        "amount": 1,
        "submission": 3,
        "usage": {},
    }
    with refused("no-submission"):
        study.say("gateway", "budget-charged", charge)


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("no-submission", {"submission": 0}),
        ("foreign-receipt", {"digest": "e" * 64}),
        ("foreign-receipt", {"researcher": "researcher-2"}),
        ("refs", {"refs": ()}),
        ("seeds", {"seeds": [7, 8]}),
    ],
)
def test_a_receipt_is_for_its_own_submission(study: Study, code: str, changes: dict[str, Any]) -> None:
    submission = study.submit(3, "a")
    with refused(code):
        study.receipt(submission, **changes)


def test_a_submission_gets_one_receipt_of_a_tier(study: Study) -> None:
    submission = study.submit(3, "a")
    study.receipt(submission)
    with refused("receipt-exists"):
        study.receipt(submission)


CONFIRMED = {
    "pgr": "0.2500",
    "low": "0.1000",
    "high": "0.4000",
    "difference": "0.1000",
    "difference_low": "0.0500",
    "difference_high": "0.1500",
}


def confirm(study: Study, submission: int, **changes: Any) -> int:
    charge = {"researcher": "researcher-1", "task": "t1", "what": "confirmations", "amount": 1, "usage": {}}
    return study.say("gateway", "budget-charged", {**charge, "submission": submission, **changes})


def test_a_confirmation_is_charged_run_once_and_counted_apart(study: Study) -> None:
    submission = study.submit(3, "a")
    study.receipt(submission)
    charge = confirm(study, submission)
    assert study.projection.pending_confirmations() == [submission]
    assert study.projection.submissions[submission].confirmation == charge
    assert (study.projection.confirmations_left, study.projection.submissions_left) == (0, 2)
    with refused("confirmed"):
        confirm(study, submission)
    receipt = study.receipt(submission, tier="confirm", released=CONFIRMED)
    assert study.projection.pending_confirmations() == []
    assert study.projection.released["researcher-1"] == RELEASED
    numbers = {key: CONFIRMED[key] for key in ("pgr", "low", "high")}
    study.say("researcher-1", "finding", finding(numbers=numbers, receipts=[receipt]), (receipt,))


def test_what_has_no_score_is_not_confirmed(study: Study) -> None:
    submission = study.submit(3, "a")
    with refused("not-scored"):
        confirm(study, submission)
    study.receipt(submission, outcome="failed", reason="wall", released={}, commitments={})
    with refused("not-scored"):
        confirm(study, submission)


def test_a_confirmation_is_within_the_study_s_budget(study: Study) -> None:
    first, second = study.submit(3, "a"), study.submit(3, "b")
    study.receipt(first)
    study.receipt(second)
    with refused("budget"):
        confirm(study, first, amount=2)
    confirm(study, first)
    with refused("budget"):
        confirm(study, second)


def test_nothing_is_confirmed_that_was_not_charged(study: Study) -> None:
    submission = study.submit(3, "a")
    study.receipt(submission)
    with refused("not-charged"):
        study.receipt(submission, tier="confirm", released=CONFIRMED)


def closing_body() -> dict[str, Any]:
    close = {"reason": "tasks-done", "seed_secret": SECRET.hex(), "split_nonce": split_nonce(SECRET)}
    return {**close, "sealed": SEALED}


def test_a_study_is_not_closed_while_a_confirmation_waits(study: Study) -> None:
    submission = study.submit(3, "a")
    study.receipt(submission)
    confirm(study, submission)
    with refused("pending"):
        study.say("operator", "study-closed", closing_body())
    study.receipt(submission, tier="confirm", released=CONFIRMED)
    study.say("operator", "study-closed", closing_body())


@pytest.fixture
def elsewhere() -> Study:
    """A study with a problem held out and a scored submission."""
    made = Study()
    heldout = [{"name": "overlap", "digest": DIGEST, "pool": POOL, "baselines": BASELINES}]
    made.say("operator", "study-opened", opening(heldout=heldout))
    made.task()
    made.lease("researcher-1")
    made.plan("researcher-1")
    made.receipt(made.submit(3, "a"))
    return made


HELDOUT: dict[str, Any] = {"tier": "heldout", "problem": "overlap", "released": {}}


def test_only_what_a_result_claims_is_run_on_what_is_held_out(elsewhere: Study) -> None:
    with refused("not-claimed"):
        elsewhere.receipt(4, **HELDOUT)
    assert elsewhere.projection.pending_heldout() == []
    elsewhere.say("researcher-1", "finding", finding(receipts=[6]), (6,))
    assert elsewhere.projection.pending_heldout() == [(4, "overlap")]
    with refused("pending"):
        elsewhere.say("operator", "study-closed", closing_body())
    elsewhere.receipt(4, **HELDOUT)
    assert elsewhere.projection.pending_heldout() == []
    with refused("receipt-exists"):
        elsewhere.receipt(4, **HELDOUT)
    elsewhere.say("operator", "study-closed", closing_body())


def test_the_same_method_is_run_once_on_what_is_held_out(elsewhere: Study) -> None:
    elsewhere.receipt(elsewhere.submit(3, "b"))
    for receipt in (6, 9):
        elsewhere.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt,))
    assert elsewhere.projection.pending_heldout() == [(4, "overlap")]


@pytest.mark.parametrize(
    "changes", [{"problem": "overlap"}, {**HELDOUT, "problem": "digits"}, {**HELDOUT, "problem": "shortcut"}]
)
def test_a_run_is_on_a_problem_of_its_tier(elsewhere: Study, changes: dict[str, Any]) -> None:
    elsewhere.say("researcher-1", "finding", finding(receipts=[6]), (6,))
    fresh = elsewhere.submit(3, "b")
    with refused("problem"):
        elsewhere.receipt(fresh, **changes)


def test_a_reveal_opens_its_own_commitment_once(study: Study) -> None:
    receipt = study.receipt(study.submit(3, "a"))
    blob = {"sha256": DIGEST, "size": 1, "type": "x"}
    body = {"receipt": receipt, "half": "public", "nonce": nonce("public"), "blob": blob}
    body |= {"pgr": "0.3000", "low": "0.2000", "high": "0.4000", **NO_DIFFERENCE}
    with refused("commitment"):
        study.say("evaluator", "score-revealed", {**body, "nonce": nonce("sealed")}, (receipt,))
    with refused("refs"):
        study.say("evaluator", "score-revealed", body)
    with refused("no-receipt"):
        study.say("evaluator", "score-revealed", {**body, "receipt": 0}, (receipt,))
    study.say("evaluator", "score-revealed", body, (receipt,))
    with refused("revealed"):
        study.say("evaluator", "score-revealed", body, (receipt,))


@pytest.mark.parametrize(
    ("code", "author", "changes"),
    [
        ("result-without-receipt", "researcher-1", {}),
        ("no-receipt", "researcher-1", {"receipts": [0]}),
        ("foreign-receipt", "researcher-2", {"receipts": [6]}),
        (
            "numbers",
            "researcher-1",
            {"receipts": [6], "numbers": {"pgr": "0.9700", "low": "0.9", "high": "1.0"}},
        ),
        ("parents", "researcher-1", {"receipts": [6], "parents": [0]}),
    ],
)
def test_a_finding_stands_on_its_authors_own_receipts(
    study: Study, code: str, author: str, changes: dict[str, Any]
) -> None:
    assert study.receipt(study.submit(3, "a")) == 6
    if "numbers" in changes:
        changes["numbers"] = {"pgr": "0.9700", "low": "0.9000", "high": "1.0000"}
    refs = tuple({*changes.get("receipts", []), *changes.get("parents", [])})
    with refused(code):
        study.say(author, "finding", finding(**changes), refs)


def test_a_findings_refs_are_what_it_cites(study: Study) -> None:
    receipt = study.receipt(study.submit(3, "a"))
    with refused("refs"):
        study.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt, 0))


def test_votes_count_once_and_not_for_oneself(study: Study) -> None:
    receipt = study.receipt(study.submit(3, "a"))
    cited = study.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt,))
    with refused("own-vote"):
        study.say("researcher-1", "vote", {"on": cited, "value": 1})
    with refused("no-finding"):
        study.say("researcher-2", "vote", {"on": 0, "value": 1})
    study.say("researcher-2", "vote", {"on": cited, "value": 1})
    with refused("voted"):
        study.say("researcher-2", "vote", {"on": cited, "value": -1})
    with refused("no-entry"):
        study.say("researcher-2", "comment", {"on": 999, "text": "x"})


def test_a_decision_is_over_the_findings_exact_bytes_and_a_failed_checklist_needs_words(study: Study) -> None:
    receipt = study.receipt(study.submit(3, "a"))
    cited = study.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt,))
    failed = [{"item": "sealed", "outcome": "fail", "detail": ""}]
    body = {
        "decision": "publish",
        "finding": cited,
        "finding_digest": study.projection.findings[cited].digest,
    }
    body |= {"checklist": failed, "claimed": "", "reproduced": "", "sealed": "", "override": "", "note": ""}
    with refused("no-finding"):
        study.say("reviewer-a", "decision", {**body, "finding": 0}, (0,))
    with refused("decision-bytes"):
        study.say("reviewer-a", "decision", {**body, "finding_digest": DIGEST}, (cited,))
    with refused("refs"):
        study.say("reviewer-a", "decision", {**body, "override": "why"})
    with refused("decision"):
        study.say("reviewer-a", "decision", body, (cited,))
    with refused("decision"):
        study.say("reviewer-a", "decision", {**body, "checklist": []}, (cited,))
    with refused("decision"):
        study.say("reviewer-a", "decision", {**body, "override": "I looked", "sealed": "0.9000"}, (cited,))
    study.say("reviewer-a", "decision", {**body, "override": "I looked"}, (cited,))
    assert study.projection.findings[cited].decision == "publish"


def test_a_row_of_explored_runs_is_a_researchers_own_scored_ones_in_their_order(study: Study) -> None:
    first, second = study.submit(3, "a"), study.submit(3, "b", digest="e" * 64)
    late = study.receipt(second, digest="e" * 64)
    failed = {"outcome": "failed", "reason": "exception", "released": {}, "commitments": {}}
    study.receipt(first, **failed)
    study.receipt(first, tier="reproduce", released={})
    assert study.projection.explored_by("researcher-1") == [{"receipt": late, "digest": "e" * 64}]
    assert study.projection.explored_by("researcher-2") == []


def test_a_decision_to_publish_over_an_alarm_needs_words(study: Study) -> None:
    receipt = study.receipt(study.submit(3, "a"))
    cited = study.say("researcher-1", "finding", finding(receipts=[receipt]), (receipt,))
    alarm = {"code": "undistillable", "who": "researcher-1", "what": "", "evidence": [receipt], "attempt": ""}
    index = study.say("monitor", "alarm", alarm, (receipt,))
    body = {
        "decision": "publish",
        "finding": cited,
        "finding_digest": study.projection.findings[cited].digest,
        "checklist": [{"item": "verified", "outcome": "pass", "detail": ""}],
    }
    body |= {"claimed": "", "reproduced": "", "sealed": "", "override": "", "note": ""}
    idea = {**finding(type="hypothesis", parents=[cited]), "numbers": {}}
    child = study.say("researcher-2", "finding", idea, (cited,))
    told = {**body, "finding": child, "finding_digest": study.projection.findings[child].digest}
    with pytest.raises(Refused, match=f"no alarm about what the finding rests on.*alarms {index}"):
        study.say("reviewer-a", "decision", told, (child,))
    study.say("reviewer-a", "decision", {**told, "decision": "refine"}, (child,))
    study.say("reviewer-a", "decision", {**told, "override": "a false alarm: I read it"}, (child,))
    assert study.projection.findings[child].decision == "publish"


def test_the_close_opens_what_the_opening_committed_to_and_ends_the_research(study: Study) -> None:
    close = {
        "reason": "stopped",
        "seed_secret": SECRET.hex(),
        "split_nonce": split_nonce(SECRET),
        "sealed": SEALED,
    }
    with refused("commitment"):
        study.say("operator", "study-closed", {**close, "seed_secret": "0" * 64})
    with refused("commitment"):
        study.say("operator", "study-closed", {**close, "sealed": "Ag=="})
    submission = study.submit(3, "a")
    with refused("pending"):
        study.say("operator", "study-closed", close)
    study.receipt(submission)
    study.say("operator", "study-closed", close)
    with refused("study-closed"):
        study.task("t2")
    with refused("study-closed"):
        study.say("researcher-1", "comment", {"on": 0, "text": "x"})
    with refused("study-closed"):
        study.receipt(submission)
    study.say("reviewer-a", "comment", {"on": 0, "text": "x"}, (0,))


def test_a_researcher_keeps_its_task_and_an_expired_lease_is_open_again(study: Study) -> None:
    offer = next_offer(study.projection, "researcher-1", now_ms=0)
    assert offer is not None
    assert offer.task.name == "t1"
    assert next_offer(study.projection, "researcher-2", now_ms=0) is None
    expired = next_offer(study.projection, "researcher-2", now_ms=10**12)
    assert expired is not None
    assert expired.task is offer.task


# A hybrid workflow.

SCOPE = {"families": ["confidence", "channel"], "programs": 0, "submissions": 2}


@pytest.fixture
def hybrid(study: Study) -> Study:
    """The study with a hybrid task that researcher-2 holds, and a plan for it."""
    study.task("h", workflow="hybrid", scope=SCOPE, submissions=2)
    study.lease("researcher-2", "h")
    return study


def hand_in(study: Study, plan: int, **changes: Any) -> int:
    told = {"task": "h", "researcher": "researcher-2", "families": ["confidence", "baseline"], **changes}
    return study.submit(plan, f"r{study.projection.tree_size}", **told)


def test_a_plan_stays_inside_its_task_s_scope(hybrid: Study) -> None:
    with refused("scope", alarm=True):
        hybrid.plan("researcher-2", "h", steps=[planned("s", "elicitation", submissions=1)])
    hybrid.plan("researcher-2", "h", steps=[planned("s", "confidence", submissions=1)])


def test_a_submission_stays_inside_its_plan_until_that_is_amended(hybrid: Study) -> None:
    plan = hybrid.plan("researcher-2", "h", steps=[planned("s", "confidence", submissions=1)])
    with refused("scope", alarm=True):
        hand_in(hybrid, plan, families=["channel"])
    with refused("scope", alarm=True):
        hand_in(hybrid, plan, families=[])
    with refused("scope", alarm=True):
        hand_in(hybrid, plan, step="another")
    hand_in(hybrid, plan)
    with refused("scope", alarm=True):
        hand_in(hybrid, plan)
    steps = [planned("s", "confidence", "channel", submissions=2)]
    amended = hybrid.plan("researcher-2", "h", amends=plan, steps=steps)
    with refused("old-plan"):
        hand_in(hybrid, plan)
    hand_in(hybrid, amended, families=["channel"])


# Pauses.

PAUSE = {"researcher": "", "signal": "", "value": "", "limit": "", "reason": "to look at it", "evidence": []}


def test_while_the_queue_is_paused_nothing_is_leased_or_handed_in(study: Study) -> None:
    study.task("t2")
    pause = study.say("monitor", "queue-paused", PAUSE)
    with refused("paused"):
        study.submit(3, "a")
    with refused("paused"):
        study.lease("researcher-2", "t2")
    # To take a task from somebody is no new work.
    study.lease("researcher-1", epoch=2, until_ms=1)
    with refused("paused"):
        study.say("reviewer-a", "queue-paused", PAUSE)
    study.say("reviewer-a", "queue-resumed", {"pause": pause, "reason": "looked"}, (pause,))
    assert study.projection.paused == -1
    study.submit(3, "a")
    study.lease("researcher-2", "t2")


def test_while_the_queue_is_paused_no_confirmation_is_asked_for(study: Study) -> None:
    submission = study.submit(3, "a")
    study.receipt(submission)
    charge = {"researcher": "researcher-1", "task": "t1", "what": "confirmations", "amount": 1, "usage": {}}
    charge["submission"] = submission
    pause = study.say("monitor", "queue-paused", PAUSE)
    with refused("paused"):
        study.say("gateway", "budget-charged", charge, (submission,))
    study.say("reviewer-a", "queue-resumed", {"pause": pause, "reason": "looked"}, (pause,))
    study.say("gateway", "budget-charged", charge, (submission,))


def test_only_the_pause_that_holds_is_lifted_and_only_by_a_reviewer(study: Study) -> None:
    with refused("not-paused"):
        study.say("reviewer-a", "queue-resumed", {"pause": 0, "reason": "x"}, (0,))
    pause = study.say("reviewer-a", "queue-paused", PAUSE)
    with refused("not-paused"):
        study.say("reviewer-a", "queue-resumed", {"pause": 0, "reason": "x"}, (0,))
    with refused("refs"):
        study.say("reviewer-a", "queue-resumed", {"pause": pause, "reason": "x"})
    with refused("wrong-role", alarm=True):
        study.say("monitor", "queue-resumed", {"pause": pause, "reason": "x"}, (pause,))
    study.say("reviewer-a", "queue-resumed", {"pause": pause, "reason": "x"}, (pause,))


# Stops and models.


def stop_of(researcher: str) -> dict[str, Any]:
    return {**PAUSE, "researcher": researcher}


def test_a_stopped_researcher_gets_nothing_and_others_do(study: Study) -> None:
    study.task("t2")
    stop = study.say("operator", "queue-paused", stop_of("researcher-1"))
    with refused("stopped"):
        study.submit(3, "a")
    with refused("stopped"):
        study.lease("researcher-1", "t2")
    with refused("stopped"):
        study.say("reviewer-a", "queue-paused", stop_of("researcher-1"))
    study.lease("researcher-1", epoch=2, until_ms=1)
    study.lease("researcher-2", epoch=3)
    with refused("stopped"):
        study.say("researcher-1", "task-proposed", {"title": "t", "direction": "", "reason": ""})
    with refused("wrong-role", alarm=True):
        study.say("operator", "queue-resumed", {"pause": stop, "reason": "x"}, (stop,))
    study.say("reviewer-a", "queue-resumed", {"pause": stop, "reason": "looked"}, (stop,))
    assert study.projection.stops == {}
    study.lease("researcher-1", "t2")


def test_an_operator_stops_single_researchers_of_the_study_only(study: Study) -> None:
    with refused("wrong-role", alarm=True):
        study.say("operator", "queue-paused", PAUSE)
    with refused("no-researcher"):
        study.say("operator", "queue-paused", stop_of("researcher-3"))


@pytest.fixture
def modelled() -> Study:
    made = Study()
    made.say("operator", "study-opened", opening(models=models("researcher-1", tokens=2_200)))
    made.task()
    made.lease("researcher-1")
    made.plan("researcher-1")
    return made


def spend(study: Study, told: dict[str, Any], **changes: Any) -> int:
    return study.say("gateway", "budget-charged", {**charge_of("researcher-1", "t1", told), **changes})


def test_tokens_are_charged_and_a_limit_ends_what_may_be_asked_for(modelled: Study) -> None:
    spend(modelled, usage())
    modelled.submit(3, "a")
    spend(modelled, usage(1, before=1, limit="tokens"))
    with refused("budget"):
        modelled.submit(3, "b")
    with refused("budget"):
        modelled.lease("researcher-1", epoch=2)
    modelled.lease("researcher-1", epoch=2, until_ms=1)
    limit = {"researcher": "researcher-1", "task": "", "limits": {"tokens": 5_000}, "reason": "x"}
    modelled.say("reviewer-a", "budget-set", limit)
    modelled.lease("researcher-1", epoch=3)
    with refused("wrong-role", alarm=True):
        modelled.say("operator", "budget-set", limit)
    with refused("no-limit"):
        modelled.say("reviewer-a", "budget-set", {**limit, "researcher": "researcher-2"})


def of_sandboxes(amount_ms: int, total_ms: int, limit: str = "", **changes: Any) -> dict[str, Any]:
    body = {"researcher": "researcher-1", "task": "t1", "what": "sandbox", "amount": amount_ms}
    return {**body, "submission": -1, "usage": {"total": total_ms, "limit": limit}, **changes}


def limited(limits: dict[str, int], **of_task: Any) -> Study:
    """A study in which researcher-1, who is no model, has these limits, and its task those."""
    made = Study()
    told = [{"researcher": "researcher-1", "limits": limits}] if limits else []
    made.say("operator", "study-opened", opening(limits=told))
    made.task(**({"limits": of_task} if of_task else {}))
    made.lease("researcher-1")
    made.plan("researcher-1")
    return made


def test_what_sandboxes_used_is_charged_and_a_limit_of_it_ends_what_may_be_asked_for() -> None:
    study = limited({"sandbox_seconds": 2})
    study.say("gateway", "budget-charged", of_sandboxes(1_500, 1_500))
    study.submit(3, "a")
    with refused("budget"):
        study.say("gateway", "budget-charged", of_sandboxes(500, 500))
    with refused("no-task"):
        study.say("gateway", "budget-charged", of_sandboxes(500, 2_000, "sandbox-seconds", task="t9"))
    study.say("gateway", "budget-charged", of_sandboxes(500, 2_000, "sandbox-seconds"))
    with refused("budget"):
        study.submit(3, "b")
    with refused("budget"):
        study.lease("researcher-1", epoch=2)
    study.lease("researcher-1", epoch=2, until_ms=1)


def test_time_for_which_a_task_was_held_counts_up_to_the_entry_itself() -> None:
    study = limited({"seconds": 5})
    # Held for a second when the plan came, the last entry; the next one comes so much later.
    with refused("budget"):
        study.submit(3, "a", at=study.now_ms + 4_000)
    study.submit(3, "a", at=study.now_ms + 3_999)


def test_a_task_at_its_limit_takes_nothing_more_and_may_be_closed_as_that() -> None:
    study = limited({}, sandbox_seconds=2)
    closed = {"task": "t1", "researcher": "researcher-1", "outcome": "budget", "reason": "x"}
    with refused("budget"):
        study.say("gateway", "task-closed", closed)
    study.say("gateway", "budget-charged", of_sandboxes(2_000, 2_000, "task-sandbox-seconds"))
    with refused("budget"):
        study.submit(3, "a")
    with refused("budget"):
        study.lease("researcher-1", epoch=2)
    study.say("gateway", "task-closed", closed)
    with refused("no-limit"):
        more = {"researcher": "", "task": "t1", "limits": {"sandbox_seconds": 3}, "reason": "x"}
        study.say("reviewer-a", "budget-set", more)


def test_how_many_submissions_there_may_be_is_as_it_was_set_last() -> None:
    study = limited({})
    less = {"researcher": "", "task": "t1", "limits": {"submissions": 1}, "reason": "x"}
    study.say("reviewer-a", "budget-set", less)
    study.submit(3, "a")
    with refused("budget"):
        study.submit(3, "b")
    study.say("reviewer-a", "budget-set", {**less, "limits": {"submissions": 2}})
    study.say("reviewer-a", "budget-set", {**less, "task": "", "limits": {"submissions": 1}})
    with refused("budget"):
        study.submit(3, "b")
    study.say("reviewer-a", "budget-set", {**less, "task": "", "limits": {"submissions": 2, "seconds": 9}})
    study.submit(3, "b")
    assert study.projection.seconds_left(study.now_ms) == 9 - study.projection.active_ms / 1000
    with refused("no-limit"):
        study.say("reviewer-a", "budget-set", {**less, "task": "t9"})


def test_limits_of_nobody_in_the_study_are_refused() -> None:
    with refused("limits"):
        told = [{"researcher": "researcher-9", "limits": {"seconds": 1}}]
        Study().say("operator", "study-opened", opening(limits=told))


def test_a_charge_that_does_not_follow_from_prices_and_calls_is_refused(modelled: Study) -> None:
    with refused("budget"):
        spend(modelled, usage(dollars="0.01"))
    with refused("budget"):
        spend(modelled, usage(before=1))
    with refused("budget"):
        spend(modelled, usage(), researcher="researcher-2")
    with refused("no-task"):
        spend(modelled, usage(), task="t9")
    spend(modelled, usage(), task="")


def test_models_that_contradict_the_rest_of_the_opening_are_refused() -> None:
    with refused("models"):
        Study().say("operator", "study-opened", opening(models=models("researcher-9")))


def test_time_in_which_nothing_ran_is_not_charged(study: Study) -> None:
    used = study.projection.active_ms
    study.now_ms += 10_000_000
    study.task("t2")
    assert study.projection.active_ms - used <= 20_000
    assert 0 < study.projection.seconds_left(study.now_ms) < 60


def test_a_study_says_what_its_seeds_cannot_tell_from_chance() -> None:
    projection = Projection()
    assert projection.detectable_difference is None
    projection.opened = {"runs": {"seeds": 5}, "baselines": BASELINES}
    assert projection.detectable_difference == round(detectable_difference(0.1, 5), 4)
    projection.opened = {"runs": {"seeds": 1}, "baselines": BASELINES}
    assert projection.detectable_difference is None


# A study without a sandbox.


@pytest.fixture
def bare() -> Study:
    study = Study(isolation="none")
    sandbox = {"backend": "bare", "verdict": "none", "probes": 0, "digest": DIGEST, "identity": "none"}
    study.say("operator", "study-opened", opening(sandbox=sandbox))
    study.task()
    study.lease("researcher-1")
    return study


def test_where_nothing_is_isolated_every_entry_says_so(bare: Study) -> None:
    bare.plan("researcher-1")
    with refused("isolation"):
        bare.say("researcher-1", "finding", finding(type="insight", numbers={}), isolation="")


def test_where_sandboxes_are_no_entry_denies_it(study: Study) -> None:
    with refused("isolation"):
        study.say("researcher-1", "finding", finding(type="insight", numbers={}), isolation="none")


def test_where_nothing_is_isolated_nothing_is_handed_in_scored_or_published(bare: Study) -> None:
    plan = bare.plan("researcher-1")
    insight = bare.say("researcher-1", "finding", finding(type="insight", numbers={}))
    with refused("no-isolation"):
        bare.submit(plan, "a")
    with refused("no-isolation"):
        bare.receipt(plan)
    body = {
        "decision": "publish",
        "finding": insight,
        "finding_digest": bare.projection.findings[insight].digest,
        "checklist": [{"item": "verified", "outcome": "pass", "detail": ""}],
        **dict.fromkeys(("claimed", "reproduced", "sealed", "override", "note"), ""),
    }
    with refused("no-isolation"):
        bare.say("reviewer-a", "decision", body, (insight,))
    bare.say("reviewer-a", "decision", {**body, "decision": "refine"}, (insight,))
