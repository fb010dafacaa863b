"""Confirmations and held-out runs at the gateway: who may ask, what the evaluator is given, who is told."""

from __future__ import annotations

import base64
import hashlib
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

    def enter(self, kind: str, body: dict[str, Any], ref: int, blobs: tuple[bytes, ...] = ()) -> int:
        projection = self.service.projection
        chain = projection.chain("evaluator")
        entry = Entry(ORIGIN, "evaluator", chain.seq, chain.prev, kind, (ref,), body, 1)
        signed = sign_entry(entry, self.signers["evaluator"])
        payload = {
            "entry": base64.b64encode(signed.data).decode(),
            "blobs": [base64.b64encode(one).decode() for one in blobs],
        }
        index: int = self.evaluator.entry(payload, {})["index"]
        return index

    def receipt(self, tier: str, problem: str, released: dict[str, Any], public: bytes = b"p") -> int:
        submission = self.service.projection.submissions[self.submission]
        halves = {"public": public, "sealed": b"s"}
        body = {
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
        return self.enter("score-receipt", body, self.submission)

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


@pytest.mark.parametrize(
    ("pgr", "half", "is_alarm"),
    [("0.3001", "public", True), ("0.3000", "public", False), ("0.9000", "sealed", False)],
)
def test_a_method_that_does_well_on_the_canary_raises_an_alarm(
    study: Study, pgr: str, half: str, is_alarm: bool
) -> None:
    study.claim()
    study.control.start_closing({"reason": "stopped"}, {})
    study.work("heldout")
    receipt = study.receipt("heldout", "shortcut", {})
    index = study.reveal(receipt, half, b"p" if half == "public" else b"s", pgr)
    alarms = [one for one in study.service.projection.alarms if one["code"] == "canary"]
    assert bool(alarms) == is_alarm
    for alarm in alarms:
        assert (alarm["who"], alarm["evidence"]) == ("researcher-1", [receipt, index])
        assert "recovers 0.3001 of the gap on shortcut" in alarm["what"]


def test_an_explored_value_is_no_canary_s(study: Study) -> None:
    study.control.start_closing({"reason": "stopped"}, {})
    study.reveal(study.explored, "public", b"p", "0.9000")
    assert study.service.projection.alarms == []
