"""One official run: a method snapshot in a fresh single-use sandbox, predictions out, exact values kept here.

Pure but for the sandboxes it is handed: the same secret, snapshot and label give the same payloads,
so that a run cut off by a crash is repeated, not repeated differently.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from base64 import b64decode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from struct import unpack
from typing import Any

from aar.outside.evaluation.bench import Bench, Prepared
from aar.outside.evaluation.official_sandboxes import WALL_S, OfficialSandboxes
from aar.outside.gateway.blobs import MAX_BLOB_BYTES
from aar.verify.interval import score
from aar.verify.payload import MAX_POOL, Payload, SplitCounts, format_payload
from aar.verify.pgr import UndefinedPGR
from aar.verify.splits import Deal, Pool, seeds_for

# What the bench tells of a split by item.
MASKS = ("tested", "true", "weak", "ceiling", "vanilla")
FAILURE_OF_EXIT = {3: "bad-output", 4: "exception"}
# What a receipt says of ends that have no word of their own in the record.
RECORDED_AS = {"processes": "killed", "files": "killed", "disk": "killed", "output": "bad-output"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem's name and pool, and the size of an official run on it."""

    name: str
    pool: Pool
    seeds: int
    replicates: int


class ProblemRefused(Exception):
    """No study can have this problem in this way; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Exact values of both halves, or the typed reason why there are none."""

    seeds: tuple[int, ...]
    reason: str
    public: Payload | None = None
    sealed: Payload | None = None


def pool_of(described: Mapping[str, Any]) -> Pool:
    """A problem's pool from what the bench says of it."""
    sizes = {key: int(described[key]) for key in ("sealed", "labelled", "unlabelled", "tested", "group")}
    return Pool(items=int(described["pool"]), **sizes)


def check_pool(problem: Problem) -> None:
    """Raise `ProblemRefused` unless both halves have items, and what is opened of a run fits the record."""
    pool = problem.pool
    if pool.sealed < 1 or not pool.leaves_items:
        raise ProblemRefused(
            f"{problem.name}: of {pool.width} items in groups of {pool.group}, {pool.sealed} are sealed and "
            f"{pool.labelled} + {pool.unlabelled} teach and train: one of the halves may have none to test; "
            "take more test items"
        )
    if pool.width > MAX_POOL:
        raise ProblemRefused(f"{problem.name}: {pool.width} items, at most {MAX_POOL}; take fewer")
    size_bytes = payload_bytes(problem)
    if size_bytes > MAX_BLOB_BYTES:
        raise ProblemRefused(
            f"{problem.name}: one half of a run's exact values has {size_bytes} bytes, at most "
            f"{MAX_BLOB_BYTES}; take fewer seeds, replicates or items"
        )


def payload_bytes(problem: Problem) -> int:
    """How many bytes a half of an official run's exact values may have."""
    pool = problem.pool
    all_items = (1 << pool.width) - 1
    one = SplitCounts(2**48 - 1, problem.replicates, *[all_items] * 5)
    few, more = (
        len(format_payload(Payload("public", pool.width, (one,) * count, pool.is_fresh))) for count in (1, 2)
    )
    return few + (problem.seeds * problem.replicates - 1) * (more - few)


@lru_cache(maxsize=8)
def deal_of(secret: bytes, pool: Pool) -> Deal:
    """Which items are sealed, and which each split tests."""
    return Deal(secret, pool)


def run_officially(
    *,
    secret: bytes,
    problem: Problem,
    label: str,
    digest: str,
    snapshot: bytes,
    bench: Bench,
    sandboxes: OfficialSandboxes,
) -> RunResult:
    """Run the snapshot over all its seeds and replicates; nobody can pick the seeds, all are reported.

    The label is the run's tier, and its problem where that is held out: seeds and orders derive from it.
    """
    if hashlib.sha256(snapshot).hexdigest() != digest:
        raise ValueError(f"the snapshot handed over is not {digest}")
    deal = deal_of(secret, problem.pool)
    seeds = seeds_for(secret, label, digest, problem.seeds)
    runs, key = dealt_as(secret, problem, label, digest)
    prepared = bench.prepare(problem.name, runs, deal.sealed, key)
    predictions, reason = predicted(snapshot=snapshot, prepared=prepared, sandboxes=sandboxes)
    if predictions is None:
        return RunResult(seeds=seeds, reason=reason)
    public, sealed = exact_values(problem.pool, deal.sealed_mask, runs, prepared.kept, predictions)
    try:
        for payload in (public, sealed):
            score(payload)
    except UndefinedPGR:
        # These seeds drew a teacher that is not below its ceiling: no fault of the method's, and no score.
        return RunResult(seeds=seeds, reason="no-gap")
    return RunResult(seeds=seeds, reason="", public=public, sealed=sealed)


def exact_values(
    pool: Pool,
    sealed_mask: int,
    runs: Sequence[tuple[int, int]],
    kept: Sequence[Mapping[str, Any]],
    lines: Sequence[str],
) -> tuple[Payload, Payload]:
    """The public and the sealed half of what the answers in `lines` got right: one line per split."""
    halves: dict[str, list[SplitCounts]] = {"public": [], "sealed": []}
    for (seed, replicate), told, line in zip(runs, kept, lines, strict=True):
        tested, true, weak, ceiling, vanilla = (int(told[name], 16) for name in MASKS)
        student = tested & ~(by_item(line, places_of(told)) ^ true)
        for half, mask in (("public", tested & ~sealed_mask), ("sealed", sealed_mask)):
            halves[half].append(
                SplitCounts(
                    seed=seed,
                    replicate=replicate,
                    tested=mask,
                    student=student & mask,
                    weak=weak & mask,
                    ceiling=ceiling & mask,
                    vanilla=vanilla & mask,
                )
            )
    public, sealed = (
        Payload(half, pool.width, tuple(splits), pool.is_fresh) for half, splits in halves.items()
    )
    return public, sealed


def places_of(kept: Mapping[str, Any]) -> Sequence[int]:
    """For each item of a split its place in the test order, or one beyond the last."""
    data = b64decode(kept["places"])
    return unpack(f"<{len(data) // 2}H", data)


def by_item(line: str, places: Sequence[int]) -> int:
    """A line of '0' and '1' as a mask: bit i is the mark at the place of item i, 0 for one beyond the last.

    >>> by_item("110", [1, 3, 0, 2])
    5
    """
    # The last item first; a place beyond the last reads a "0".
    return int("".join(itemgetter(*reversed(places), len(line))(line + "0")), 2) >> 1


def dealt_as(secret: bytes, problem: Problem, label: str, digest: str) -> tuple[list[tuple[int, int]], bytes]:
    """The (seed, replicate) of each split of a run, and the key that shuffles its rows and test items.

    The method sees neither item ids nor which test items are sealed: the key shuffles both.
    """
    seeds = seeds_for(secret, label, digest, problem.seeds)
    key = hmac.new(secret, f"aar-shuffle/v1\n{label}\n{digest}\n".encode(), hashlib.sha256).digest()
    return [(seed, replicate) for seed in seeds for replicate in range(problem.replicates)], key


def predicted(
    *, snapshot: bytes, prepared: Prepared, sandboxes: OfficialSandboxes
) -> tuple[list[str] | None, str]:
    """A fresh sandbox's answers to a prepared instance, a line per split; or none, and the typed reason."""
    files = {f"/submission/{name}": text.encode() for name, text in json.loads(snapshot)["files"].items()}
    files |= {f"/instance/{name}": data for name, data in prepared.files.items()}
    widths = [len(kept["truth"]) for kept in prepared.kept]
    most = sum(width + 1 for width in widths)
    with sandboxes.handed(files) as running:
        answer = running.collect(stdout_bytes=most + 1, stderr_bytes=1 << 16, timeout_s=WALL_S + 10)
    output, ended = answer.stdout, answer.exit
    if len(output) > most or answer.truncated:
        return None, "bad-output"
    if ended.reason != "exited" or ended.code != 0:
        reason = FAILURE_OF_EXIT.get(ended.code, "exception") if ended.reason == "exited" else ended.reason
        return None, RECORDED_AS.get(reason, reason)
    predictions = parse_predictions(output, widths)
    return (None, "bad-output") if predictions is None else (predictions, "")


def parse_predictions(output: bytes, widths: Sequence[int]) -> list[str] | None:
    """Exactly one line of '0' and '1' per split, of exactly its width; anything else is bad output."""
    lines = output.split(b"\n")
    if len(lines) != len(widths) + 1 or lines[-1] != b"":
        return None
    for line, width in zip(lines, widths, strict=False):
        if not re.fullmatch(b"[01]{%d}" % width, line):
            return None
    return [line.decode("ascii") for line in lines[:-1]]
