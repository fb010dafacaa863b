"""Confirmations and held-out runs at the gateway: who may ask, what the evaluator is given, who is told."""

from __future__ import annotations

import base64
import hashlib
import time
from pathlib import Path
from typing import Any

import pytest

from aar.formats.commitments import commit_payload
from aar.formats.entry import Entry, sign_entry
from aar.outside.admission import Refused
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk, summary
from outside.test_admission import BASELINES, CONFIRMED, DIGEST, NO_DIFFERENCE, POOL, RELEASED
from outside.test_gateway import Gateway
from record.world import ORIGIN

HELDOUT = [{"name": "shortcut", "digest": DIGEST, "pool": POOL, "baselines": BASELINES}]


class Study(Gateway):
    """A gateway with a problem held out, and the evaluator's key at hand."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, heldout=HELDOUT)
        self.evaluator = EvaluatorDesk(self.staff)
        self.control = ControlDesk(self.staff, self.desks, stop=lambda: None)
        task, plan = self.plan("researcher-1")
        self.submission = self.submit("researcher-1", task, plan, "a")
        self.work("explore")
        self.explored = self.receipt("explore", "digits", RELEASED)

    def work(self, tier: str, do: str = "run") -> dict[str, Any]:
        job = self.evaluator.work(None, {})
        assert job["do"] == do, job
        assert do != "run" or job["tier"] == tier
        return job

    def signed(self, kind: str, body: dict[str, Any], ref: int) -> str:
        chain = self.service.projection.chain("evaluator")
        entry = Entry(ORIGIN, "evaluator", chain.seq, chain.prev, kind, (ref,), body, 1)
        return base64.b64encode(sign_entry(entry, self.signers["evaluator"]).data).decode()

    def enter(self, kind: str, body: dict[str, Any], ref: int, blobs: tuple[bytes, ...] = ()) -> int:
        payload = {
            "entry": self.signed(kind, body, ref),
            "blobs": [base64.b64encode(one).decode() for one in blobs],
        }
        index: int = self.evaluator.entry(payload, {})["index"]
        return index

    def receipt(self, tier: str, problem: str, released: dict[str, Any]) -> int:
        return self.enter("score-receipt", self.body(tier, problem, released), self.submission)

    def body(self, tier: str, problem: str, released: dict[str, Any]) -> dict[str, Any]:
        submission = self.service.projection.submissions[self.submission]
        halves = {"public": b"p", "sealed": b"s"}
        return {
            "submission": self.submission,
            "digest": submission.body["digest"],
            "researcher": "researcher-1",
            "tier": tier,
            "problem": problem,
            "outcome": "scored",
            "reason": "",
            "seeds": [7],
            "released": released,
            "commitments": {half: commitment(half, data) for half, data in halves.items()},
        }

    def hand_in(
        self, tier: str, released: dict[str, Any], *readings: Any, kind: str = "score-receipt"
    ) -> int:
        """The receipt of a run, and what the detectors read in it."""
        body = self.body(tier, "digits", released)
        payload = {"entry": self.signed(kind, body, self.submission), "readings": list(readings)}
        index: int = self.evaluator.receipt(payload, {})["index"]
        return index

    def reveal(self, receipt: int, half: str, data: bytes, pgr: str) -> int:
        blob = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "type": "x"}
        body = {"receipt": receipt, "half": half, "nonce": "0" * 64, "blob": blob, "pgr": pgr}
        body |= {"low": pgr, "high": pgr, **NO_DIFFERENCE}
        return self.enter("score-revealed", body, receipt, (data,))

    def claim(self) -> int:
        numbers = {key: RELEASED[key] for key in ("pgr", "low", "high")}
        body = {"type": "result", "title": "t", "text": "", "method": "m", "numbers": numbers}
        told = self.desks["researcher-1"].finding({**body, "receipts": [self.explored], "parents": []}, {})
        index: int = told["index"]
        return index

    def heard(self) -> list[tuple[str, str]]:
        """Kind and tier of all that a researcher can read."""
        entries = self.desks["researcher-2"].forum(None, {})["entries"]
        return [(one["kind"], one["body"].get("tier", "")) for one in entries]


def commitment(half: str, data: bytes) -> str:
    return commit_payload(half=half, nonce="0" * 64, payload_sha256=hashlib.sha256(data).hexdigest())


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study(tmp_path)


def test_a_confirmation_is_charged_given_out_and_told_to_who_asked(study: Study) -> None:
    mine = study.desks["researcher-1"]
    wanted = {"submission": str(study.submission), "tier": "confirm"}
    with pytest.raises(Refused, match="nobody asked for a confirmation"):
        mine.receipt(None, wanted)
    charge = mine.confirm({"submission": study.submission}, {})["index"]
    assert mine.confirm({"submission": study.submission}, {})["index"] == charge, "asked again, charged once"
    assert mine.receipt(None, wanted) == {"receipt": None}
    told = summary(study.service.projection, now_ms=0)
    assert (told["pending"], told["budgets"]["confirmations"]) == (1, {"budget": 2, "used": 1})
    assert study.work("confirm")["submission"] == study.submission
    assert study.evaluator.work(None, {}) == {"do": "nothing"}
    receipt = study.receipt("confirm", "digits", CONFIRMED)
    answer = mine.receipt(None, wanted)["receipt"]
    assert (answer["index"], answer["released"]) == (receipt, CONFIRMED)
    assert mine.receipt(None, {"submission": str(study.submission)})["receipt"]["released"] == RELEASED
    assert mine.study(None, {})["budget"]["confirmations_left"] == 1
    assert ("score-receipt", "confirm") not in study.heard()


def test_a_confirmation_that_a_crash_cut_off_is_given_again_and_not_charged_again(study: Study) -> None:
    study.desks["researcher-1"].confirm({"submission": study.submission}, {})
    study.work("confirm")
    assert study.evaluator.work(None, {}) == {"do": "nothing"}
    study.evaluator.hello({}, {})
    study.work("confirm")
    assert study.service.projection.confirmed == 1


@pytest.mark.parametrize("number", [0, 10**6])
def test_only_a_submission_of_ones_own_is_confirmed(study: Study, number: int) -> None:
    with pytest.raises(Refused, match="is not a submission of researcher-2"):
        study.desks["researcher-2"].confirm({"submission": study.submission}, {})
    with pytest.raises(Refused, match="is not a submission of researcher-1"):
        study.desks["researcher-1"].confirm({"submission": number}, {})


def test_no_tier_but_two_is_told(study: Study) -> None:
    for tier in ("heldout", "reproduce", ""):
        with pytest.raises(Refused, match="want explore or confirm"):
            study.desks["researcher-1"].receipt(None, {"submission": str(study.submission), "tier": tier})


def test_at_the_end_what_results_claim_is_run_elsewhere_then_all_is_opened(study: Study) -> None:
    study.claim()
    assert study.evaluator.work(None, {}) == {"do": "nothing"}
    study.control.start_closing({"reason": "stopped"}, {})
    job = study.work("heldout")
    assert (job["problem"], job["submission"]) == ("shortcut", study.submission)
    assert study.evaluator.work(None, {}) == {"do": "nothing"}, "nothing is opened before all is run"
    receipt = study.receipt("heldout", "shortcut", {})
    opened = study.work("", "open")["receipts"]
    assert {(one["receipt"], one["half"], one["has_difference"]) for one in opened} == {
        *((receipt, half, True) for half in ("public", "sealed")),
        *((study.explored, half, False) for half in ("public", "sealed")),
    }
    assert {one["problem"] for one in opened} == {"shortcut", "digits"}
    assert ("score-receipt", "heldout") not in study.heard()


def test_a_reviewer_may_ask_before_the_end(study: Study) -> None:
    finding = study.claim()
    with pytest.raises(Refused, match="not a result that claims"):
        study.control.heldout({"finding": study.explored}, {})
    assert study.control.heldout({"finding": finding}, {}) == {"problems": ["shortcut"]}
    study.work("heldout")
    assert study.evaluator.work(None, {}) == {"do": "nothing"}
    receipt = study.receipt("heldout", "shortcut", {})
    opened = study.work("", "open")["receipts"]
    assert [(one["receipt"], one["half"]) for one in opened] == [(receipt, "public"), (receipt, "sealed")]
    assert study.evaluator.work(None, {}) == {"do": "nothing"}


def test_without_problems_held_out_a_reviewer_is_told(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    control = ControlDesk(gateway.staff, gateway.desks, stop=lambda: None)
    with pytest.raises(Refused, match="not a result that claims"):
        control.heldout({"finding": 0}, {})


# What the detectors read comes with the receipt of the run.


@pytest.fixture
def confirming(study: Study) -> Study:
    """A study whose evaluator was given a confirm run."""
    study.desks["researcher-1"].confirm({"submission": study.submission}, {})
    study.work("confirm")
    return study


def reading(*evidence: object, code: str = "not-reproduced", what: str = "PGR became less") -> dict[str, Any]:
    return {"code": code, "what": what, "evidence": list(evidence)}


def test_an_alarm_is_the_monitors_and_names_the_receipts_it_rests_on(confirming: Study) -> None:
    told = (reading(confirming.explored), reading(code="undistillable", what="x" * 3_000))
    receipt = confirming.hand_in("confirm", CONFIRMED, *told)
    first, second = confirming.service.projection.alarms
    assert (first["code"], first["who"], first["what"]) == (
        "not-reproduced",
        "researcher-1",
        "PGR became less",
    )
    assert first["evidence"] == [confirming.explored, confirming.submission, receipt]
    assert (second["evidence"], len(second["what"])) == ([confirming.submission, receipt], 2_000)
    assert (first["index"], second["index"]) == (receipt + 1, receipt + 2)
    entry = confirming.service.leaves[first["index"]].signed.entry
    assert (entry.author, set(entry.refs)) == ("monitor", set(first["evidence"]))


def test_a_receipt_handed_in_again_says_no_alarm_again(confirming: Study) -> None:
    confirming.hand_in("confirm", CONFIRMED, reading())
    with pytest.raises(Refused, match="has its confirm receipt already"):
        confirming.hand_in("confirm", CONFIRMED, reading())
    assert [one["code"] for one in confirming.service.projection.alarms] == [
        "not-reproduced",
        "receipt-exists",
    ]


@pytest.mark.parametrize(
    ("told", "code"),
    [
        (reading(10**6), "refs"),
        (reading(code="Not A Name"), "bad-body"),
        (reading({}), "bad-request"),
        (reading(True), "bad-request"),
        ("undistillable", "bad-request"),
        ({"code": "undistillable"}, "bad-request"),
    ],
)
def test_a_reading_that_cannot_be_an_alarm_leaves_no_receipt_behind(
    confirming: Study, told: Any, code: str
) -> None:
    size = confirming.service.projection.tree_size
    with pytest.raises(Refused) as refused:
        confirming.hand_in("confirm", CONFIRMED, told)
    assert refused.value.code == code
    assert confirming.service.projection.tree_size == size
    assert confirming.fatal == []


def test_readings_come_with_a_receipt_of_its_shape_and_with_nothing_else(confirming: Study) -> None:
    with pytest.raises(Refused, match="readings come with a score-receipt, got a finding"):
        confirming.hand_in("confirm", CONFIRMED, reading(), kind="finding")
    with pytest.raises(Refused, match="released"):
        confirming.hand_in("confirm", {}, reading())


def test_no_researcher_reads_an_alarm(confirming: Study) -> None:
    before = confirming.heard()
    confirming.hand_in("confirm", CONFIRMED, reading())
    (alarm,) = confirming.service.projection.alarms
    while confirming.service.published_size <= alarm["index"]:
        time.sleep(0.01)
    assert confirming.heard() == before
    for desk in confirming.desks.values():
        with pytest.raises(Refused, match="is not for researchers"):
            desk.inclusion(None, {"index": str(alarm["index"])})


def test_the_evaluator_is_told_what_was_explored_and_what_was_said(confirming: Study) -> None:
    told = confirming.evaluator.submission(None, {"submission": str(confirming.submission)})
    digest = told["digest"]
    assert told["explored"] == [{"receipt": confirming.explored, "digest": digest}]
    assert (told["receipts"], told["alarmed"]) == ({"explore": confirming.explored}, [])
    confirming.hand_in("confirm", CONFIRMED, reading(code="queries-below-weak"))
    told = confirming.evaluator.submission(None, {"submission": str(confirming.submission)})
    assert told["alarmed"] == ["queries-below-weak"]
    assert told["explored"] == [{"receipt": confirming.explored, "digest": digest}]
    task, plan = confirming.plan("researcher-2")
    other = confirming.submit("researcher-2", task, plan, "b")
    told = confirming.evaluator.submission(None, {"submission": str(other)})
    assert (told["explored"], told["alarmed"]) == ([], [])
