"""One official run: a method snapshot in a fresh single-use sandbox, predictions out, exact values kept here.

Pure but for the two sandboxes it is handed: the same secret, snapshot and label give the same payloads,
so that a run cut off by a crash is repeated, not repeated differently.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any

from aar.outside.evaluation.bench import Bench, Prepared
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.spec import SandboxSpec
from aar.verify.interval import score
from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR
from aar.verify.splits import Deal, Pool, seeds_for

WALL_S = 120.0
CPU_S = 90
MEMORY_MIB = 2048
PROCESSES = 64
FAILURE_OF_EXIT = {3: "bad-output", 4: "exception"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem's name and pool, and the size of an official run on it."""

    name: str
    pool: Pool
    seeds: int
    replicates: int


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
    launcher: LauncherClient,
    uid_slot: int,
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
    predictions, reason = predicted(
        name=f"official-{digest[:12]}-{label.replace(':', '-')}",
        snapshot=snapshot,
        prepared=prepared,
        launcher=launcher,
        uid_slot=uid_slot,
    )
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
        answers, truth, weak, ceiling, vanilla, tested = in_order_of_items(
            (line, *(told[name] for name in ("truth", "weak", "ceiling", "vanilla")), "1" * len(line)),
            told["items"],
            pool.width,
        )
        student = tested & ~(answers ^ truth)
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


def in_order_of_items(lines: Sequence[str], items: Sequence[int], width: int) -> list[int]:
    """Lines of '0' and '1' in the order of `items` as masks over `width` items: bit i is item i.

    >>> in_order_of_items(["110"], [2, 0, 3], 4)
    [5]
    """
    # Where each item stands in a line, the last item first; what was not tested reads a "0" at the end.
    places = [len(items)] * width
    for place, item in enumerate(items):
        places[~item] = place
    read = itemgetter(*places, len(items))
    return [int("".join(read(line + "0")), 2) >> 1 for line in lines]


def dealt_as(secret: bytes, problem: Problem, label: str, digest: str) -> tuple[list[tuple[int, int]], bytes]:
    """The (seed, replicate) of each split of a run, and the key that shuffles its rows and test items.

    The method sees neither item ids nor which test items are sealed: the key shuffles both.
    """
    seeds = seeds_for(secret, label, digest, problem.seeds)
    key = hmac.new(secret, f"aar-shuffle/v1\n{label}\n{digest}\n".encode(), hashlib.sha256).digest()
    return [(seed, replicate) for seed in seeds for replicate in range(problem.replicates)], key


def predicted(
    *, name: str, snapshot: bytes, prepared: Prepared, launcher: LauncherClient, uid_slot: int
) -> tuple[list[str] | None, str]:
    """A fresh sandbox's answers to a prepared instance, a line per split; or none, and the typed reason."""
    files = {f"/submission/{name}": text.encode() for name, text in json.loads(snapshot)["files"].items()}
    files |= {f"/instance/{name}": data for name, data in prepared.files.items()}
    widths = [len(kept["items"]) for kept in prepared.kept]
    with launcher.start(
        SandboxSpec(
            name=name,
            profile="official-run",
            argv=(*sandbox_python(), "-m", "aar.inside.official_run"),
            files=files,
            gateway_dir=None,
            env={},
            uid_slot=uid_slot,
            memory_mib=MEMORY_MIB,
            processes=PROCESSES,
            cpu_s=CPU_S,
            wall_s=WALL_S,
        ),
        stdin=b"",
    ) as running:
        most = sum(width + 1 for width in widths)
        answer = running.collect(stdout_bytes=most + 1, stderr_bytes=1 << 16, timeout_s=WALL_S + 10)
    output, ended = answer.stdout, answer.exit
    if len(output) > most or answer.truncated:
        return None, "bad-output"
    if ended.reason != "exited" or ended.code != 0:
        reason = FAILURE_OF_EXIT.get(ended.code, "exception") if ended.reason == "exited" else ended.reason
        return None, reason
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
