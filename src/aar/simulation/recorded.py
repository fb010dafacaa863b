"""A study on the real record: sequencer, admission, desks and witness as they are, clock and keys our own.

Everything is said through the desks that a gateway serves, in this process. What a researcher is refused
becomes an alarm by the same code as in a running study, and `verify_study` reads what lies on the disk.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aar.formats.entry import Entry, SignedEntry, sign_entry
from aar.formats.keys import COSIGNATURE, Signer, VerifierKey, format_skey, format_vkey
from aar.formats.policy import Policy, format_policy
from aar.outside.admission import Refused
from aar.outside.evaluation.release import interval_method, release_terms
from aar.outside.gateway.blobs import Blobs
from aar.outside.gateway.record_service import Draft, FrozenClock, RecordService
from aar.outside.gateway.researcher_desk import ResearcherDesk
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk, Staff
from aar.outside.keyring import Keyring
from aar.outside.monitor.monitor import Monitor
from aar.outside.record.sequencer import Sequencer
from aar.outside.record.witness_client import format_request, read_answer
from aar.outside.review import decision_body, evidence
from aar.outside.study_directory import FORMAT, MARKER
from aar.simulation.choosing import Known, Problem, Try, seeded
from aar.simulation.evaluator import (
    DRAWS,
    ModelledEvaluator,
    baselines,
    commitments,
    decimal,
    pool_of,
    units,
)
from aar.simulation.parameters import PRAISE_BARE, SEEDS, Arm
from aar.simulation.stream import Stream
from aar.verify.report import Report
from aar.verify.study import verify_study
from aar.witness.store import WitnessStore
from aar.witness.witness import Seen, add_checkpoint

# A Tuesday in November 2023: any time would do, as long as it is always the same.
START_MS = 1_700_000_000_000
REVIEWER, WITNESS = "reviewer-sim", "witness-sim"
STAFF = {"operator": "operator", REVIEWER: "reviewer", "gateway": "gateway", "monitor": "monitor"}


class Clock:
    """The time of a simulation, in Unix ms."""

    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class OwnWitness:
    """The witness's own answers, without a process between."""

    def __init__(self, directory: Path, signer: Signer, log: VerifierKey, clock: Clock) -> None:
        self._store = WitnessStore(directory)
        (directory / "state").mkdir()
        self._signer, self._clock = signer, clock
        self._logs = {log.name: log}
        self._seen: dict[str, Seen] = {}

    @property
    def vkey(self) -> VerifierKey:
        return self._signer.vkey

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Signature lines; raises `WitnessConflict` and `WitnessError` as a client of it would."""
        answer = add_checkpoint(
            format_request(old_size, proof, note),
            logs=self._logs,
            seen=self._seen,
            signer=self._signer,
            now_s=self._clock() // 1000,
        )
        if answer.seen is not None:
            self._store.save(answer.origin, answer.seen)
            self._seen[answer.origin] = answer.seen
        return read_answer(answer.status, answer.body)


class PublishingService(RecordService):
    """Publishes after every batch: in one thread there is nobody else to do it."""

    def __init__(
        self, sequencer: Sequencer, keyring: Keyring, monitor: Monitor, *, origin: str, clock: Clock
    ) -> None:
        self._publisher = sequencer
        super().__init__(
            sequencer,
            keyring,
            origin=origin,
            clock=FrozenClock(clock),
            on_fatal=_raise,
            monitor=monitor,
        )

    def append(
        self, entries: Sequence[Draft | SignedEntry], *, before_write: Callable[[], object] | None = None
    ) -> range:
        indices = super().append(entries, before_write=before_write)
        self._publisher.publish()
        return indices


def _raise(error: BaseException) -> None:
    raise error


class RecordedStudy:
    """One study in a directory; researchers are called `researcher-1` and so on."""

    def __init__(self, directory: Path, problem: Problem, arm: Arm, clock: Clock) -> None:
        self.directory, self.arm, self._problem, self._clock = directory, arm, problem, clock
        self._secret = self._seeded("secret")
        for name in ("record", "gateway", "witness"):
            (directory / name).mkdir()
        self.origin = "aar.local/study-" + self._seeded("origin").hex()[:16]
        made = iter(range(1_000))
        self._keyring = Keyring(
            directory / "gateway", lambda count: self._seeded(f"key {next(made)}")[:count]
        )
        log = self._keyring.open(self.origin, "log")
        witness = Signer(WITNESS, self._seeded("witness"), COSIGNATURE)
        self.policy = format_policy(Policy.with_one_witness(log.vkey, "local", witness.vkey)).encode()
        self._lay_out(witness)
        self._sequencer = Sequencer.open(
            public=directory / "record",
            private=directory / "gateway",
            signer=log,
            witnesses=[OwnWitness(directory / "witness", witness, log.vkey, clock)],
            quorum=1,
            clock_ms=clock,
        )
        self.blobs = Blobs(directory / "record" / "blobs", directory / "gateway")
        self.service = PublishingService(
            self._sequencer, self._keyring, Monitor(self.blobs.find), origin=self.origin, clock=clock
        )
        self.staff = Staff(self.service, self.blobs)
        self.names = [f"researcher-{number}" for number in range(1, arm.researchers + 1)]
        self.desks = {
            name: ResearcherDesk(self.service, self.blobs, name, is_closing=lambda: bool(self.staff.closing))
            for name in self.names
        }
        self._control = ControlDesk(self.staff, self.desks, stop=_nothing)
        self._evaluator = ModelledEvaluator(
            self.staff, EvaluatorDesk(self.staff), problem, self._secret, self._as_evaluator
        )
        self.known = Known(problem.kind)
        self._read_to = 0
        self._handed_in: dict[int, tuple[str, Try]] = {}
        self._open(log, witness)

    def _lay_out(self, witness: Signer) -> None:
        """What makes the directory a study to `aar verify`, and to `aar redteam record` with all its keys."""
        marker = json.dumps({"format": FORMAT, "origin": self.origin}) + "\n"
        (self.directory / MARKER).write_text(marker, "utf-8")
        (self.directory / "policy").write_bytes(self.policy)
        (self.directory / "witness" / "witness.key").write_text(format_skey(witness) + "\n", "ascii")

    def _seeded(self, what: str) -> bytes:
        return seeded(self._problem, self.arm.name, what)

    def close_files(self) -> None:
        """Let go of the directory."""
        self._sequencer.close()

    # What the staff does.

    def _sign(
        self, authors: Sequence[str], kind: str, body: dict[str, Any], refs: Sequence[int]
    ) -> SignedEntry:
        chain = self.service.projection.chain(authors[0])
        entry = Entry(self.origin, authors[0], chain.seq, chain.prev, kind, tuple(refs), body, self._clock())
        return sign_entry(entry, *(self._keyring.open(name) for name in authors))

    def _as_evaluator(self, kind: str, body: dict[str, Any], refs: tuple[int, ...]) -> SignedEntry:
        return self._sign(["evaluator"], kind, body, refs)

    def _say(self, authors: Sequence[str], kind: str, body: dict[str, Any], refs: Sequence[int] = ()) -> int:
        return self.service.append([self._sign(authors, kind, body, refs)])[0]

    def _open(self, log: Signer, witness: Signer) -> None:
        roles = {**STAFF, "evaluator": "evaluator", **dict.fromkeys(self.names, "researcher")}
        keys = [
            {"name": name, "role": role, "vkey": format_vkey(self._keyring.open(name).vkey)}
            for name, role in roles.items()
        ]
        kind, pool = self._problem.kind, pool_of(self._problem.kind)
        budget = self.arm.researchers * self.arm.submissions
        body: dict[str, Any] = {
            "name": self.arm.name,
            "problem": kind.name,
            "problem_digest": hashlib.sha256(kind.name.encode()).hexdigest(),
            "statement": f"a modelled problem of {kind.parts} parts, like {kind.like}",
            "log": format_vkey(log.vkey),
            "keys": keys,
            "researchers": self.names,
            "witnesses": [format_vkey(witness.vkey)],
            "quorum": 1,
            "anchors": [],
            "anchors_needed": 0,
            "budget": {"submissions": budget, "confirmations": 0, "seconds": 10_000_000},
            "commitments": commitments(self._secret, pool),
            "pool": asdict(pool),
            "baselines": baselines(kind),
            "heldout": [],
            "release": release_terms(is_fresh=kind.is_fresh),
            "runs": {"seeds": SEEDS, "replicates": 1},
            "interval": {
                "method": interval_method(is_fresh=kind.is_fresh),
                "draws": DRAWS,
                "level": "0.95",
            },
            "allocation": {"policy": "directed", "directions": []},
            "oversight": {"purpose": "", "human": {}, "limits": [], "downstream": []},
            "comparison": {},
            "programs": [],
            "models": {},
            "monitor": {},
            "limits": [],
            "sandbox": {
                "backend": "none",
                "verdict": "ok",
                "probes": 0,
                "digest": "0" * 64,
                "identity": "simulated",
            },
        }
        self._say(["operator", REVIEWER], "study-opened", body)
        for number in range(self.arm.researchers):
            self._say([REVIEWER], "task-opened", self._task(number))

    def _task(self, number: int) -> dict[str, Any]:
        parts = range(self._problem.kind.parts)
        steps = [
            {
                "name": f"part-{part}",
                "what": "the human's list for this part",
                "pipelines": [json.dumps([part, idea]) for idea in self._problem.listed(part)],
            }
            for part in parts
        ]
        is_fixed = self.arm.workflow == "fixed"
        return {
            "task": f"t{number + 1}",
            "title": "recover the gap",
            "direction": f"direction {number + 1}" if self.arm.is_directed else "as you like",
            "workflow": self.arm.workflow,
            "steps": steps if is_fixed else [],
            "scope": {},
            "submissions": self.arm.submissions,
            "limits": {},
            "priority": 0,
            "risk": "low",
        }

    # What researchers do; each through its own desk.

    def begin(self, name: str) -> None:
        """Lease the next task of the queue and declare a plan for it."""
        task = self.desks[name].lease({}, {})["task"]
        steps = [{"name": f"part-{part}", "what": "try ideas"} for part in range(self._problem.kind.parts)]
        self.desks[name].plan({"task": task["task"], "steps": steps, "amends": -1}, {})

    def _task_of(self, name: str) -> Any:
        return next(one for one in self.service.projection.tasks.values() if one.researcher == name)

    def amend(self, name: str, part: int) -> None:
        """Say in the plan that another part comes next: a deviation that an auditor reads."""
        task = self._task_of(name)
        steps = [{"name": f"part-{part}", "what": f"now this, after entry {task.plan}"}]
        self.desks[name].plan({"task": task.name, "steps": steps, "amends": task.plan}, {})

    def hand_in(self, name: str, tried: Try, request: str) -> int | None:
        """One official run; the released PGR if it is this run's own, else `None`. Also posts the finding."""
        desk, task = self.desks[name], self._task_of(name)
        title = f"idea {tried.idea} for part {tried.part}"
        handed = {"task": task.name, "plan": task.plan, "step": f"part-{tried.part}"}
        submission = desk.submit(
            {**handed, "name": title, "files": tried.files(request), "request": request}, {}
        )["index"]
        self._evaluator.work()
        receipt = desk.receipt({}, {"submission": str(submission)})["receipt"]
        released = receipt["released"]
        parents = self._parents(tried)
        told = bool(released["improved"])
        finding = {
            "type": "result" if told else "insight",
            "title": title + (" reaches " + released["pgr"] if told else " is not better"),
            "text": "One official run; the numbers are the receipt's.",
            "method": title,
            "numbers": {key: released[key] for key in ("pgr", "low", "high")} if told else {},
            "receipts": [receipt["index"]],
            "parents": parents,
        }
        desk.finding(finding, {})
        return units(released["pgr"]) if told else None

    def _parents(self, tried: Try) -> list[int]:
        """The newest finding of the researcher who leads, when this builds on its method."""
        leader = self.known.leader
        if leader is None or not any(one and one in leader.parts for one in tried.method.parts):
            return []
        results = [
            index
            for index, one in self.service.projection.findings.items()
            if one.author == self.known.leads and one.body["type"] == "result"
        ]
        return results[-1:]

    def end(self, name: str) -> None:
        """The task's budget is spent."""
        told = {"task": self._task_of(name).name, "outcome": "done", "reason": "the budget is spent"}
        self.desks[name].done(told, {})

    def read(self, name: str) -> Known:
        """What the forum says by now, through the asker's own desk; receipts count, words draw a little."""
        told = self.desks[name].forum({}, {"since": str(self._read_to)})
        for entry in told["entries"]:
            body = entry["body"]
            if entry["kind"] == "submission":
                files = self.desks[name].snapshot({}, {"submission": str(entry["index"])})["files"]
                self._handed_in[entry["index"]] = body["researcher"], Try.of(files)
            elif entry["kind"] == "score-receipt":
                released = body["released"]
                author, tried = self._handed_in[body["submission"]]
                self.known.told(author, tried, units(released["pgr"]) if released["improved"] else None)
            elif entry["kind"] == "finding" and body["type"] == "insight" and not body["receipts"]:
                part, _, idea = body["method"].partition(":")
                self.known.commend(int(part), int(idea), PRAISE_BARE)
        self._read_to = told["tree_size"]
        return self.known

    # How it ends.

    def close(self, reason: str = "tasks-done") -> None:
        """Open what was released, reveal the secret under two signatures."""
        self._control.start_closing({"reason": reason}, {})
        self._evaluator.work()
        material = self.staff.close_material
        self._say(["operator", REVIEWER], "study-closed", {"reason": reason, **material})

    def verify(self, **options: Any) -> Report:
        """What anybody finds who holds the study's policy."""
        return verify_study(self.directory, policy=self.policy, pause=_no_pause, **options)

    def review_leader(self) -> str:
        """The reviewer has the leading result run again and decides on it; `publish`, `refine` or nothing."""
        findings = self.service.projection.findings
        results = {index: one for index, one in findings.items() if one.body["type"] == "result"}
        if not results:
            return ""
        number = max(results, key=lambda index: (units(results[index].body["numbers"]["pgr"]), -index))
        self._control.reproduce({"finding": number}, {})
        self._evaluator.work()
        self._evaluator.work()
        found = evidence(
            self.service.projection,
            self.service.projection.findings[number],
            record_verdict=self.verify().verdict,
        )
        decision = "refine" if found.failed else "publish"
        body = decision_body(decision, found, note="", override="", checklist=found.checklist)
        self._say([REVIEWER], "decision", body, (number,))
        return decision

    def attempt(self, name: str, verb: str, payload: dict[str, Any]) -> str:
        """Something that a compromised researcher tries through its own socket: the refusal's code, or ''."""
        try:
            self.desks[name].verbs()["POST", f"/v1/{verb}"](payload, {})
        except Refused as refused:
            self.desks[name].refused(refused, f"/v1/{verb}", json.dumps(payload)[:200])
            return refused.code
        return ""


def claim_text(claim: int) -> dict[str, str]:
    """A claim in 1/10,000 as a finding states it."""
    return {"pgr": decimal(claim), "low": decimal(claim), "high": decimal(claim)}


def random_of(problem: Problem, arm: Arm, name: str) -> Stream:
    """The dice of one researcher in one study."""
    return Stream("researcher", problem.kind.name, arm.name, problem.seed, problem.number, name)


def _nothing() -> None:
    """Nobody has to be told that the simulated gateway stops."""


def _no_pause(_seconds: float) -> None:
    """Nobody else writes to a simulated record: there is nothing to wait for."""
