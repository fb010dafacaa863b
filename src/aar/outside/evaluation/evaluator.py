"""The evaluator's work: run what was handed in, release what its rule allows, sign, open when told to.

Budget was spent and the submission fixed in the record before anything here looks at a label, and each
run is a function of the committed secret and the snapshot: a crash in between repeats it without a second
charge and without a second answer.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.keys import Signer
from aar.outside.evaluation.bench import Bench
from aar.outside.evaluation.detectors import Reading, rerun
from aar.outside.evaluation.inspection import answered, inspect, residual_of
from aar.outside.evaluation.official_run import Problem, RunResult, deal_of, dealt_as, run_officially
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.evaluation.queries import Queries
from aar.outside.evaluation.release import confirmed, opened_numbers, release
from aar.outside.keyring import write_durably
from aar.outside.staff_client import GatewayRefused, StaffClient
from aar.verify.payload import Payload, format_payload, parse_payload
from aar.verify.splits import run_label, seeds_for

BASELINE_TIER = "baseline"
# Whether a problem has a gap at all is asked of more seeds than one official run has.
BASELINE_SEEDS = 16
BASELINE_REPLICATES = 2
PAYLOAD_TYPE = "application/vnd.aar.payload+json"
# A worker that had nothing to do for so long makes sandboxes ready; and how long it then waits for a job.
IDLE_S, WAIT_S = 1, 20
# An alarm names at most 64 entries; the gateway adds the receipt that it comes with, and its submission.
MOST_EVIDENCE = 62


class Evaluator:
    """Everything a worker thread needs; methods are safe to call from several threads."""

    def __init__(
        self,
        *,
        gateway: StaffClient,
        sandboxes: OfficialSandboxes,
        bench: Bench,
        signer: Signer,
        secret: bytes,
        problem: Problem,
        heldout: Sequence[Problem],
        draws: int,
        payloads: Path,
    ) -> None:
        self._gateway = gateway
        self._sandboxes = sandboxes
        self._bench = bench
        self._signer = signer
        self._secret = secret
        self._problem = problem
        self._problems = {one.name: one for one in (problem, *heldout)}
        self._draws = draws
        self._payloads = payloads
        self._releasing = threading.Lock()
        self._queries = Queries(lambda digest: self._stored(digest, "explore", "public"), self._residual)

    def opening(self) -> dict[str, Any]:
        """What `study-opened` says of the evaluator: commitments, and the problems' baselines."""
        return {
            "commitments": {
                "seed_secret": commit_secret(self._secret),
                "split": commit_split(split_nonce(self._secret), self._sealed_mask()),
            },
            "baselines": {name: self._baselines(problem) for name, problem in self._problems.items()},
        }

    def _baselines(self, problem: Problem) -> dict[str, Any]:
        seeds = seeds_for(self._secret, BASELINE_TIER, "", BASELINE_SEEDS)
        runs = [(seed, replicate) for seed in seeds for replicate in range(BASELINE_REPLICATES)]
        return self._bench.baselines(problem.name, runs, deal_of(self._secret, problem.pool).sealed)

    def work_forever(self) -> None:
        """Body of a worker thread: take a job, do it, ask again."""
        wait_s = IDLE_S
        while True:
            job = self._gateway.get("/v1/work", wait_s=wait_s)
            if job["do"] == "nothing":
                # There is time to make ready what the next job will want.
                self._sandboxes.fill()
                wait_s = WAIT_S
            else:
                self.do(job)
                wait_s = IDLE_S

    def do(self, job: Mapping[str, Any]) -> None:
        if job["do"] == "run":
            self._run(job)
        elif job["do"] == "open":
            for receipt in job["receipts"]:
                self._open(receipt)
        elif job["do"] == "close":
            self._gateway.post(
                "/v1/close-material",
                {
                    "seed_secret": self._secret.hex(),
                    "split_nonce": split_nonce(self._secret),
                    "sealed": self._sealed_mask(),
                },
            )

    def _sealed_mask(self) -> str:
        pool = self._problem.pool
        mask = deal_of(self._secret, pool).sealed_mask
        return base64.b64encode(mask.to_bytes((pool.width + 7) // 8, "little")).decode()

    def _run(self, job: Mapping[str, Any]) -> None:
        tier, digest, problem = job["tier"], job["digest"], job["problem"]
        label = run_label(tier, problem)
        result = self._result(label=label, problem=problem, digest=digest, snapshot=job["snapshot"].encode())
        body: dict[str, Any] = {
            "submission": job["submission"],
            "digest": digest,
            "researcher": job["researcher"],
            "tier": tier,
            "problem": problem,
            "outcome": "failed" if result.reason else "scored",
            "reason": result.reason,
            "seeds": list(result.seeds),
            "released": {},
            "commitments": {},
        }
        if result.public is not None and result.sealed is not None:
            group = self._problems[problem].pool.group
            body["commitments"] = {
                payload.half: self._commitment(payload, label, digest)
                for payload in (result.public, result.sealed)
            }
            if tier == "confirm":
                body["released"] = confirmed(result.public, draws=self._draws, group=group)
            if tier == "explore":
                # Read before others have to wait for it.
                self._queries.of(digest, problem)
                # The ladder's rungs are climbed in the order of the receipts: one release at a time.
                with self._releasing:
                    now = self._gateway.get("/v1/submission", submission=job["submission"])
                    body["released"] = release(result.public, now["released"], draws=self._draws, group=group)
                    self._append("score-receipt", body, job["submission"], readings=self._read_row(now))
                return
        readings = [
            *self._inspected(job, label, result),
            *self._compared(job, result),
        ]
        self._append("score-receipt", body, job["submission"], readings=readings)

    def _read_row(self, told: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the detectors find in all explored runs of a researcher: once, not at every further run."""
        row = self._queries.read(self._problem, told["explored"], told["digest"])
        return [
            alarm(reading, "explore", receipts)
            for reading, receipts in row
            if reading.is_alarm and reading.code not in told["alarmed"]
        ]

    def _residual(self, digest: str) -> float | None:
        """What follows from no rule over the features in a method's explored run."""
        halves = [self._stored(digest, "explore", half) for half in ("public", "sealed")]
        if halves[0] is None or halves[1] is None:
            return None
        runs, key = dealt_as(self._secret, self._problem, "explore", digest)
        sealed = deal_of(self._secret, self._problem.pool).sealed
        kept = self._bench.prepare(self._problem.name, runs, sealed, key).kept
        lines = answered(kept, halves[0], halves[1])
        return residual_of(self._secret, self._problem, "explore", digest, lines, self._bench)

    def _inspected(self, job: Mapping[str, Any], label: str, result: RunResult) -> list[dict[str, Any]]:
        """What the detectors find in a confirm, a held-out or a clean re-run."""
        readings = inspect(
            secret=self._secret,
            problem=self._problems[job["problem"]],
            label=label,
            digest=job["digest"],
            snapshot=job["snapshot"].encode(),
            result=result,
            bench=self._bench,
            sandboxes=self._sandboxes,
        )
        return [alarm(reading, label, ()) for reading in readings if reading.is_alarm]

    def _compared(self, job: Mapping[str, Any], result: RunResult) -> list[dict[str, Any]]:
        """Whether what was explored, and may have been picked, comes again under other seeds.

        A held-out run is on another problem: there is nothing that could come again.
        """
        if job["tier"] == "heldout" or result.public is None:
            return []
        explored = self._stored(job["digest"], "explore", "public")
        if explored is None:
            return []
        reading = rerun(explored, result.public, group=self._problem.pool.group)
        return [alarm(reading, job["tier"], [job["receipts"]["explore"]])] if reading.is_alarm else []

    def _append(
        self,
        kind: str,
        body: dict[str, Any],
        ref: int,
        *,
        blobs: Sequence[bytes] = (),
        readings: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        try:
            self._gateway.append([self._signer], kind, body, refs=(ref,), blobs=blobs, readings=readings)
        except GatewayRefused as refused:
            # The entry was durable before an earlier answer was lost: it is said, and said once.
            if refused.code not in ("receipt-exists", "revealed"):
                raise

    def _result(self, *, label: str, problem: str, digest: str, snapshot: bytes) -> RunResult:
        result = run_officially(
            secret=self._secret,
            problem=self._problems[problem],
            label=label,
            digest=digest,
            snapshot=snapshot,
            bench=self._bench,
            sandboxes=self._sandboxes,
        )
        for payload in (result.public, result.sealed):
            if payload is not None:
                path = self._payload_path(digest, label, payload.half)
                write_durably(path, format_payload(payload), mode=0o600)
        return result

    def _payload_path(self, digest: str, label: str, half: str) -> Path:
        return self._payloads / f"{digest}-{label.replace(':', '-')}-{half}.json"

    def _stored(self, digest: str, label: str, half: str) -> Payload | None:
        """The exact values of an earlier run; a failed one has none."""
        path = self._payload_path(digest, label, half)
        return parse_payload(path.read_bytes()) if path.exists() else None

    def _commitment(self, payload: Payload, label: str, digest: str) -> str:
        return commit_payload(
            half=payload.half,
            nonce=payload_nonce(self._secret, half=payload.half, label=label, digest=digest),
            payload_sha256=hashlib.sha256(format_payload(payload)).hexdigest(),
        )

    def _open(self, job: Mapping[str, Any]) -> None:
        problem, digest, half = job["problem"], job["digest"], job["half"]
        label = run_label(job["tier"], problem)
        path = self._payload_path(digest, label, half)
        if not path.exists():
            told = self._gateway.get("/v1/submission", submission=job["submission"])
            snapshot = told["snapshot"].encode()
            self._result(label=label, problem=problem, digest=digest, snapshot=snapshot)
        data = path.read_bytes()
        body = {
            "receipt": job["receipt"],
            "half": half,
            "nonce": payload_nonce(self._secret, half=half, label=label, digest=digest),
            "blob": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "type": PAYLOAD_TYPE},
            **opened_numbers(
                data,
                draws=self._draws if job["has_interval"] else 0,
                group=self._problems[problem].pool.group,
                compares=job["has_difference"],
            ),
        }
        self._append("score-revealed", body, job["receipt"], blobs=(data,))


def alarm(reading: Reading, label: str, receipts: Sequence[int]) -> dict[str, Any]:
    """What the monitor is to say of a run under that label; `receipts` are earlier ones that it rests on."""
    numbers = f"{reading.statistic:.4f}, threshold {reading.threshold:.4f}"
    return {
        "code": reading.code,
        "what": f"{label}: {reading.evidence} ({numbers})",
        "evidence": sorted(receipts)[:MOST_EVIDENCE],
    }
