"""The evaluator's work: run what was handed in, release what the ladder allows, sign, open when told to.

Budget was spent and the submission fixed in the record before anything here looks at a label, and each
run is a function of the committed secret and the snapshot: a crash in between repeats it without a second
charge and without a second answer.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from aar.formats.commitments import commit_payload, commit_secret, commit_split, payload_nonce, split_nonce
from aar.formats.keys import Signer
from aar.outside.evaluation.bench import Bench
from aar.outside.evaluation.official_run import Problem, RunResult, run_officially, sealed_of
from aar.outside.keyring import write_durably
from aar.outside.sandbox.client import LauncherClient
from aar.outside.staff_client import GatewayRefused, StaffClient
from aar.verify.interval import crossed_bootstrap, decimal4, ladder, score
from aar.verify.payload import Payload, format_payload, parse_payload
from aar.verify.splits import seeds_for

LADDER_STEP = Fraction(1, 20)
BASELINE_TIER = "baseline"
# Whether a problem has a gap at all is asked of more seeds than one official run has.
BASELINE_SEEDS = 16
BASELINE_REPLICATES = 2
PAYLOAD_TYPE = "application/vnd.aar.payload+json"
FIRST_RUN_UID_SLOT = 100


class Evaluator:
    """Everything a worker thread needs; methods are safe to call from several threads."""

    def __init__(
        self,
        *,
        gateway: StaffClient,
        launcher: LauncherClient,
        bench: Bench,
        signer: Signer,
        secret: bytes,
        problem: Problem,
        draws: int,
        payloads: Path,
    ) -> None:
        self._gateway = gateway
        self._launcher = launcher
        self._bench = bench
        self._signer = signer
        self._secret = secret
        self._problem = problem
        self._draws = draws
        self._payloads = payloads
        self._releasing = threading.Lock()

    def opening(self) -> dict[str, Any]:
        """What `study-opened` says of the evaluator: commitments, and the problem's baselines."""
        sealed = sealed_of(self._secret, self._problem)
        seeds = seeds_for(self._secret, BASELINE_TIER, "", BASELINE_SEEDS)
        runs = [(seed, replicate) for seed in seeds for replicate in range(BASELINE_REPLICATES)]
        baselines = self._bench.baselines(runs, sealed)
        return {
            "commitments": {
                "seed_secret": commit_secret(self._secret),
                "split": commit_split(split_nonce(self._secret), self._sealed_mask()),
            },
            "baselines": {key: baselines[key] for key in ("weak", "ceiling", "gap", "se")},
        }

    def work_forever(self, worker: int) -> None:
        """Body of a worker thread: take a job, do it, ask again."""
        while True:
            job = self._gateway.get("/v1/work", wait_s=20)
            self.do(job, worker)

    def do(self, job: Mapping[str, Any], worker: int) -> None:
        if job["do"] == "run":
            self._run(job, worker)
        elif job["do"] == "open":
            for receipt in job["receipts"]:
                self._open(receipt, worker)
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
        sealed = sealed_of(self._secret, self._problem)
        mask = sum(1 << item for item in sealed)
        return base64.b64encode(mask.to_bytes((self._problem.pool + 7) // 8, "little")).decode()

    def _run(self, job: Mapping[str, Any], worker: int) -> None:
        tier, digest = job["tier"], job["digest"]
        result = self._result(tier=tier, digest=digest, snapshot=job["snapshot"].encode(), worker=worker)
        body: dict[str, Any] = {
            "submission": job["submission"],
            "digest": digest,
            "researcher": job["researcher"],
            "tier": tier,
            "outcome": "failed" if result.reason else "scored",
            "reason": result.reason,
            "seeds": list(result.seeds),
            "released": {},
            "commitments": {},
        }
        if result.public is not None and result.sealed is not None:
            body["commitments"] = {
                payload.half: self._commitment(payload, tier, digest)
                for payload in (result.public, result.sealed)
            }
            if tier == "explore":
                # The ladder's rungs are climbed in the order of the receipts: one release at a time.
                with self._releasing:
                    now = self._gateway.get("/v1/submission", submission=job["submission"])
                    body["released"] = release(result.public, now["released"], draws=self._draws)
                    self._append("score-receipt", body, job["submission"], ())
                return
        self._append("score-receipt", body, job["submission"], ())

    def _append(self, kind: str, body: dict[str, Any], ref: int, blobs: tuple[bytes, ...]) -> None:
        try:
            self._gateway.append([self._signer], kind, body, refs=(ref,), blobs=blobs)
        except GatewayRefused as refused:
            # The entry was durable before an earlier answer was lost: it is said, and said once.
            if refused.code not in ("receipt-exists", "revealed"):
                raise

    def _result(self, *, tier: str, digest: str, snapshot: bytes, worker: int) -> RunResult:
        result = run_officially(
            secret=self._secret,
            problem=self._problem,
            tier=tier,
            digest=digest,
            snapshot=snapshot,
            bench=self._bench,
            launcher=self._launcher,
            uid_slot=FIRST_RUN_UID_SLOT + worker,
        )
        for payload in (result.public, result.sealed):
            if payload is not None:
                path = self._payload_path(digest, tier, payload.half)
                write_durably(path, format_payload(payload), mode=0o600)
        return result

    def _payload_path(self, digest: str, tier: str, half: str) -> Path:
        return self._payloads / f"{digest}-{tier}-{half}.json"

    def _commitment(self, payload: Payload, tier: str, digest: str) -> str:
        return commit_payload(
            half=payload.half,
            nonce=payload_nonce(self._secret, half=payload.half, tier=tier, digest=digest),
            payload_sha256=hashlib.sha256(format_payload(payload)).hexdigest(),
        )

    def _open(self, job: Mapping[str, Any], worker: int) -> None:
        tier, digest, half = job["tier"], job["digest"], job["half"]
        path = self._payload_path(digest, tier, half)
        if not path.exists():
            told = self._gateway.get("/v1/submission", submission=job["submission"])
            self._result(tier=tier, digest=digest, snapshot=told["snapshot"].encode(), worker=worker)
        data = path.read_bytes()
        body = {
            "receipt": job["receipt"],
            "half": half,
            "nonce": payload_nonce(self._secret, half=half, tier=tier, digest=digest),
            "blob": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "type": PAYLOAD_TYPE},
            **exact_numbers(data, draws=self._draws if job["has_interval"] else 0),
        }
        self._append("score-revealed", body, job["receipt"], (data,))


def release(public: Payload, previous: Mapping[str, str], *, draws: int) -> dict[str, Any]:
    """What a researcher is told of an explored score: a rung of the ladder, or its previous answer again."""
    rung = ladder(Fraction(previous["pgr"]) if previous else None, score(public).pgr, LADDER_STEP)
    if rung is None:
        return {**previous, "improved": 0}
    interval = crossed_bootstrap(public, draws=draws)
    # The interval leaves by the same door as the value: only with a new rung, and in whole rungs.
    low = min((Fraction(interval.low) / LADDER_STEP).__floor__() * LADDER_STEP, rung)
    high = max((Fraction(interval.high) / LADDER_STEP).__ceil__() * LADDER_STEP, rung)
    return {"pgr": decimal4(rung), "low": decimal4(low), "high": decimal4(high), "improved": 1}


def exact_numbers(data: bytes, *, draws: int) -> dict[str, str]:
    """PGR and its interval from payload bytes, as the verifier will compute them again.

    With 0 draws the interval is left out: nothing of it was ever released, so there is nothing to compare.
    """
    payload = parse_payload(data)
    pgr = decimal4(score(payload).pgr)
    if not draws:
        return {"pgr": pgr, "low": "", "high": ""}
    interval = crossed_bootstrap(payload, draws=draws)
    return {"pgr": pgr, "low": decimal4(interval.low), "high": decimal4(interval.high)}
