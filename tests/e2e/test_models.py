"""Researchers that are models: one real study, whose small worker is killed once, that many tests read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from aar.cli.read import poll_leaves
from aar.formats.keys import Signer
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.projection import Projection
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_directory import StudyDirectory, service_uids
from aar.outside.study_file import parse_study
from aar.outside.study_run import ModelTerms, Moment, StudyRun
from aar.verify.report import Report
from aar.verify.study import verify_study
from small_study import SMALL
from small_worker import USED

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

CANARY = "canary-7d1e0f"
ATTESTATION = {"identity": "test", "digest": "0" * 64}
PRICES = {"input": "3.00", "output": "15.00", "cache_read": "0.30", "cache_write": "3.75"}
TEAM = """
[[researcher]]
model = "test/steady"

[[researcher]]
model = "test/greedy"
tokens = 5_000

[budget]
dollars = "1.50"
"""
STUDY = SMALL.replace("researchers = 2", "researchers = 3") + TEAM
TOKENS = sum(USED.values())


class Ran:
    """The study once it was closed."""

    def __init__(self, directory: Path) -> None:
        self.study = StudyDirectory(directory)
        self.environments: dict[str, bytes] = {}
        self.killed = 0
        file = parse_study(STUDY, source="models", problems=STUDY_PROBLEMS).as_written()
        self.study.create(file.text, service_uids())
        self.run = StudyRun(
            self.study,
            file,
            reviewer=Signer("reviewer-test", b"r" * 32),
            doctor=DoctorReport("ok", (), "bubblewrap", {}, ATTESTATION),
            on_moment=self.look,
            models=ModelTerms(
                prices={"test/steady": PRICES, "test/greedy": PRICES},
                brief="You are {{researcher}}.\n",
                environment={"PATH": os.environ["PATH"], "TEST_API_KEY": CANARY},
                worker=(str(Path(__file__).parent.parent / "small_worker.py"),),
            ),
        )
        self.run.run()
        self.leaves = poll_leaves(self.study)
        self.projection = Projection.of(self.leaves)
        self.report: Report = verify_study(directory)

    def look(self, moment: Moment) -> None:
        worker, spending = self.run._worker, moment.status["spending"]
        if worker is None or self.killed or spending["researcher-1"]["calls"] < 3:
            return
        pids = {**self.run.plane.pids(), "worker": worker.pid}
        self.environments = {name: Path(f"/proc/{pid}/environ").read_bytes() for name, pid in pids.items()}
        self.killed = worker.pid
        os.kill(worker.pid, signal.SIGKILL)

    def charges(self, researcher: str) -> list[Mapping[str, Any]]:
        bodies: list[Any] = [
            leaf.signed.entry.body for leaf in self.leaves if leaf.signed.entry.kind == "budget-charged"
        ]
        return [one for one in bodies if (one["researcher"], one["what"]) == (researcher, "tokens")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("models") / "study")


def test_a_study_of_models_and_a_scripted_one_runs_to_its_close_and_holds(ran: Ran) -> None:
    assert ran.report.verdict == "ok", ran.report.findings
    assert ran.projection.closed["reason"] == "tasks-done"
    said = {one.body["researcher"] for one in ran.projection.submissions.values()}
    assert {"researcher-1", "researcher-3"} == said


def test_calls_told_again_by_a_worker_that_was_killed_are_charged_once(ran: Ran) -> None:
    assert ran.killed
    lives = (ran.study.worker / "lives").read_text().split()
    assert len(lives) == 2
    ledger = [json.loads(line) for line in (ran.study.gateway / "calls.jsonl").read_text().splitlines()]
    told = {one["call"] for one in ledger}
    assert len(told) == len(ledger)
    for name in ("researcher-1", "researcher-2"):
        calls = sum(one["researcher"] == name for one in ledger)
        spent = ran.projection.spending.spent[name]
        assert (spent.calls, spent.tokens) == (calls, calls * TOKENS)
        assert (
            spent.dollars
            == calls * sum((USED[one] * Fraction(PRICES[one]) for one in USED), Fraction()) / 1_000_000
        )


def test_a_limit_stops_a_researcher_within_one_turn_and_says_so(ran: Ran) -> None:
    *before, last = [body["usage"]["limit"] for body in ran.charges("researcher-2")]
    assert last == "tokens"
    assert not any(before)
    tried = json.loads((ran.study.worker / "researcher-2.json").read_text())
    assert tried == {"lease": None, "submit": "budget", "calls": 5}
    assert "researcher-2 spent 5300 tokens, 300 over its limit" in ran.report.warnings


def test_the_task_of_who_is_at_a_limit_goes_to_another(ran: Ran) -> None:
    holders = [task.holders for task in ran.projection.tasks.values() if "researcher-2" in task.holders]
    assert holders
    assert all(one[-1] != "researcher-2" for one in holders)
    assert all(task.outcome == "done" for task in ran.projection.tasks.values())


def test_a_transcript_stands_in_the_record_once_by_its_digest(ran: Ran) -> None:
    kept = [one for body in ran.charges("researcher-1") for one in body["usage"]["transcripts"]]
    assert kept
    for one in kept:
        data = (ran.study.worker / one["name"]).read_bytes()
        assert (one["sha256"], one["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert len({one["name"] for one in kept}) == len(kept)


def test_a_providers_key_is_in_the_environment_of_the_worker_alone(ran: Ran) -> None:
    has_key = {name for name, data in ran.environments.items() if CANARY.encode() in data}
    assert has_key == {"worker"}
    assert {"gateway", "evaluator", "witness", "launcher", "worker"} == set(ran.environments)
    seen = (ran.study.worker / "researcher-1.seen").read_bytes()
    assert b"PATH" in seen
    assert CANARY.encode() not in seen


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user has one uid for all services")
def test_the_worker_has_a_uid_of_its_own_and_reads_no_key_and_no_label(ran: Ran) -> None:
    uid = service_uids().worker
    owner = (ran.study.worker / "lives").stat()
    assert owner.st_uid == uid
    assert uid not in {service_uids().gateway, service_uids().evaluator, service_uids().witness, 0}
    for folder in (ran.study.gateway, ran.study.evaluator, ran.study.operator, ran.study.log):
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.stat().st_uid != uid


def test_the_worker_ends_in_order_with_the_study(ran: Ran) -> None:
    assert (ran.study.worker / "ended").read_text() == "in order"
