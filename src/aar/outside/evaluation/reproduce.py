"""Reproducing a receipt: its official run again, from the record alone and the study's secret.

The secret is what the study's close reveals, or what the evaluator holds. The method is the snapshot that the
record names, the problem is the package's own, and both are checked against their digests first. Nobody is
asked: whoever has the study's public bytes can do it. A study on a data set of its own needs that as well,
which is not public: its labels are in it.

A run is met exactly when both halves give the bytes that the receipt committed to. Another machine may round
otherwise and move an item at the edge of one half: there an opened value is met within a tolerance in PGR.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from aar.formats.commitments import commit_payload, commit_secret, payload_nonce
from aar.lab.problems import JSONL
from aar.outside.evaluation.bench import Bench, BenchFailed
from aar.outside.evaluation.official_run import Problem, RunResult, run_officially
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.projection import Projection
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.study_data import DataUnusable, read_data
from aar.verify.interval import decimal4, score
from aar.verify.payload import Payload, format_payload
from aar.verify.splits import Pool, run_label

Verdict = Literal["met", "not-met", "cannot-judge"]


class CannotJudge(Exception):
    """Nothing can be said either way; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """What a run gave again. Values are by half, `committed` only where the record opened them."""

    receipt: int
    verdict: Verdict
    is_exact: bool
    reason: str
    tolerance: Fraction
    label: str = ""
    reproduced: Mapping[str, str] = field(default_factory=dict)
    committed: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {
            "receipt": self.receipt,
            "verdict": self.verdict,
            "exact": self.is_exact,
            "reason": self.reason,
            "tolerance": float(self.tolerance),
            "run": self.label,
            "reproduced": dict(self.reproduced),
            "committed": dict(self.committed),
        }


def reproduce_receipt(
    projection: Projection,
    record: Path,
    receipt: int,
    *,
    secret: bytes | None,
    tolerance: Fraction,
    data: Path | None = None,
) -> Reproduction:
    """Run a receipt's method again in a clean sandbox and compare; `CannotJudge` if nothing can be said.

    `secret`: the evaluator's, for a study that is not closed; `tolerance` is in PGR: 0 wants the same masks.
    `data`: the directory of the study's data set, if it has one.
    """
    body = projection.receipts.get(receipt)
    if body is None:
        known = ", ".join(map(str, list(projection.receipts)[:20])) or "none"
        raise CannotJudge(f"entry {receipt} is not a score receipt; receipts are at {known}")
    key = _secret_of(projection, secret)
    pool, digest = _terms_of(projection, body["problem"])
    snapshot = _snapshot_of(projection, record, body["digest"])
    files = _files_of(body["problem"], data)
    launcher = Launcher.spawn({"official-run", "bench"})
    try:
        client = LauncherClient(launcher.sockets[0])
        bench = Bench(client, files)
        try:
            found = bench.describe(body["problem"])["digest"]
            if found != digest:
                whose = "these data's" if files else "this package's"
                mend = "give the data" if files else "take the version"
                raise CannotJudge(
                    f"problem {body['problem']} is another one here: the study's has digest {digest}, "
                    f"{whose} {found}; {mend} that the study was run with"
                )
            label = run_label(body["tier"], body["problem"])
            runs = projection.opened["runs"]
            problem = Problem(
                name=body["problem"], pool=pool, seeds=runs["seeds"], replicates=runs["replicates"]
            )
            result = run_officially(
                secret=key,
                problem=problem,
                label=label,
                digest=body["digest"],
                snapshot=snapshot,
                bench=bench,
                sandboxes=OfficialSandboxes(client),
            )
        except BenchFailed as error:
            raise CannotJudge(f"the problem could not be taught here: {error}") from error
        finally:
            bench.close()
    finally:
        launcher.close()
    return _compared(projection, receipt, result, secret=key, label=label, tolerance=tolerance)


def _secret_of(projection: Projection, given: bytes | None) -> bytes:
    if given is None:
        if not projection.closed:
            raise CannotJudge("the study is open: its seeds are known to the evaluator alone (--secret FILE)")
        given = bytes.fromhex(projection.closed["seed_secret"])
    if commit_secret(given) != projection.opened["commitments"]["seed_secret"]:
        raise CannotJudge("the secret is not the one that study-opened committed to")
    return given


def _terms_of(projection: Projection, problem: str) -> tuple[Pool, str]:
    opened = projection.opened
    if problem == opened["problem"]:
        return Pool(**opened["pool"]), opened["problem_digest"]
    for one in opened["heldout"]:
        if one["name"] == problem:
            return Pool(**one["pool"]), one["digest"]
    raise CannotJudge(f"problem {problem} is none of the study's")


def _files_of(problem: str, data: Path | None) -> dict[str, bytes] | None:
    if problem != JSONL:
        return None
    if data is None:
        raise CannotJudge(
            f"problem {problem} is a data set that is not public: give its directory (--data DIR)"
        )
    try:
        return read_data(data)
    except DataUnusable as error:
        raise CannotJudge(str(error)) from error


def _snapshot_of(projection: Projection, record: Path, digest: str) -> bytes:
    try:
        data = (record / "blobs" / digest).read_bytes()
    except FileNotFoundError as error:
        why = "was redacted" if digest in projection.redacted else "is not in this copy of the record"
        raise CannotJudge(f"the method's snapshot {digest} {why}") from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise CannotJudge(f"blob {digest} has other bytes than its name says")
    return data


def _compared(
    projection: Projection, receipt: int, result: RunResult, *, secret: bytes, label: str, tolerance: Fraction
) -> Reproduction:
    """The run again against what the receipt committed to, and what of it was opened."""
    body = projection.receipts[receipt]
    halves = {one.half: one for one in (result.public, result.sealed) if one is not None}
    reproduced = {half: decimal4(score(payload).pgr) for half, payload in halves.items()}
    opened = {half: projection.revealed.get((receipt, half)) for half in ("public", "sealed")}
    committed = {half: str(told["pgr"]) for half, told in opened.items() if told is not None}

    def told(verdict: Verdict, reason: str, *, is_exact: bool = False) -> Reproduction:
        return Reproduction(
            receipt=receipt,
            verdict=verdict,
            is_exact=is_exact,
            reason=reason,
            tolerance=tolerance,
            label=label,
            reproduced=reproduced,
            committed=committed,
        )

    if list(result.seeds) != body["seeds"]:
        return told("not-met", "the receipt names other seeds than the secret gives")
    if body["outcome"] == "failed" or not halves:
        if result.reason == body["reason"]:
            return told("met", f"the run fails again: {result.reason}", is_exact=True)
        return told(
            "not-met", f"the receipt says {body['reason'] or 'scored'}, the run {result.reason or 'scored'}"
        )
    if {half: _commitment(payload, secret, label, body) for half, payload in halves.items()} == dict(
        body["commitments"]
    ):
        return told("met", "both halves are the committed ones, item by item", is_exact=True)
    if tolerance == 0:
        return told("not-met", "other items are right than were committed to; --tolerance compares PGR")
    if not committed:
        raise CannotJudge("the values differ, and none of them is open: how far apart they are is not known")
    apart = max(abs(Fraction(reproduced[half]) - Fraction(value)) for half, value in committed.items())
    is_met = apart <= tolerance
    return told("met" if is_met else "not-met", f"opened values and these are {float(apart):.4f} apart")


def _commitment(payload: Payload, secret: bytes, label: str, body: Mapping[str, Any]) -> str:
    return commit_payload(
        half=payload.half,
        nonce=payload_nonce(secret, half=payload.half, label=label, digest=body["digest"]),
        payload_sha256=hashlib.sha256(format_payload(payload)).hexdigest(),
    )
