"""One official run: a method snapshot in a fresh single-use sandbox, predictions out, exact values kept here.

Pure but for the two sandboxes it is handed: the same secret, snapshot and tier give the same payloads,
so that a run cut off by a crash is repeated, not repeated differently.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from aar.outside.evaluation.bench import Bench
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.spec import SandboxSpec
from aar.verify.payload import Payload, SplitCounts
from aar.verify.splits import sealed_items, seeds_for, split

WALL_S = 120.0
CPU_S = 90
MEMORY_MIB = 2048
PROCESSES = 64
FAILURE_OF_EXIT = {3: "bad-output", 4: "exception"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The sizes of a problem's pool and of an official run."""

    name: str
    pool: int
    sealed: int
    labelled: int
    unlabelled: int
    seeds: int
    replicates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """Exact values of both halves, or the typed reason why there are none."""

    seeds: tuple[int, ...]
    reason: str
    public: Payload | None = None
    sealed: Payload | None = None


def public_items(secret: bytes, problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The public and the sealed items of a study's pool."""
    sealed = sealed_items(secret, problem.pool, problem.sealed)
    hidden = set(sealed)
    return tuple(item for item in range(problem.pool) if item not in hidden), sealed


def run_officially(
    *,
    secret: bytes,
    problem: Problem,
    tier: str,
    digest: str,
    snapshot: bytes,
    bench: Bench,
    launcher: LauncherClient,
    uid_slot: int,
) -> RunResult:
    """Run the snapshot over all its seeds and replicates; nobody can pick the seeds, all are reported."""
    if hashlib.sha256(snapshot).hexdigest() != digest:
        raise ValueError(f"the snapshot handed over is not {digest}")
    public, sealed = public_items(secret, problem)
    seeds = seeds_for(secret, tier, digest, problem.seeds)
    splits = [
        (seed, replicate, split(seed, replicate, public, problem.labelled, problem.unlabelled))
        for seed in seeds
        for replicate in range(problem.replicates)
    ]
    # The method sees neither item ids nor which test items are sealed: rows and test order are shuffled.
    shuffle = random.Random(int.from_bytes(hashlib.sha256(secret + digest.encode() + tier.encode()).digest(), "big"))
    row_order = list(range(problem.pool))
    shuffle.shuffle(row_order)
    row_of = {item: row for row, item in enumerate(row_order)}
    prepared = bench.prepare(splits, sealed, row_order)
    orders: list[list[int]] = []
    told = []
    for (_seed, _replicate, one), weak in zip(splits, prepared.splits, strict=True):
        items = [*one.tested, *sealed]
        order = list(range(len(items)))
        shuffle.shuffle(order)
        orders.append(order)
        told.append(
            {
                "train": [row_of[item] for item in one.unlabelled],
                "test": [row_of[items[position]] for position in order],
                "weak": weak["weak"],
                "class_prior": weak["class_prior"],
                "rng": shuffle.getrandbits(48),
            }
        )
    files = {f"/submission/{name}": text.encode() for name, text in json.loads(snapshot)["files"].items()}
    files["/instance/features.npy"] = prepared.features
    files["/instance/splits.json"] = json.dumps({"splits": told}).encode()
    with launcher.start(
        SandboxSpec(
            name=f"official-{digest[:12]}-{tier}",
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
        most = sum(len(order) + 1 for order in orders)
        answer = running.collect(stdout_bytes=most + 1, stderr_bytes=1 << 16, timeout_s=WALL_S + 10)
    output, ended = answer.stdout, answer.exit
    if len(output) > most or answer.truncated:
        return RunResult(seeds=seeds, reason="bad-output")
    if ended.reason != "exited" or ended.code != 0:
        reason = FAILURE_OF_EXIT.get(ended.code, "exception") if ended.reason == "exited" else ended.reason
        return RunResult(seeds=seeds, reason=reason)
    predictions = parse_predictions(output, [len(order) for order in orders])
    if predictions is None:
        return RunResult(seeds=seeds, reason="bad-output")
    halves: dict[str, list[SplitCounts]] = {"public": [], "sealed": []}
    for (seed, replicate, one), weak, order, line in zip(splits, prepared.splits, orders, predictions, strict=True):
        items = [*one.tested, *sealed]
        predicted = [""] * len(items)
        for place, position in enumerate(order):
            predicted[position] = line[place]
        student = [got == want for got, want in zip(predicted, weak["truth"], strict=True)]
        marks = (student, [c == "1" for c in weak["weak_correct"]], [c == "1" for c in weak["ceiling_correct"]])
        for half, start, end in (("public", 0, len(one.tested)), ("sealed", len(one.tested), len(items))):
            halves[half].append(
                SplitCounts(
                    seed=seed,
                    replicate=replicate,
                    tested=_mask(items[start:end], [True] * (end - start)),
                    student=_mask(items[start:end], marks[0][start:end]),
                    weak=_mask(items[start:end], marks[1][start:end]),
                    ceiling=_mask(items[start:end], marks[2][start:end]),
                )
            )
    return RunResult(
        seeds=seeds,
        reason="",
        public=Payload(half="public", pool=problem.pool, splits=tuple(halves["public"])),
        sealed=Payload(half="sealed", pool=problem.pool, splits=tuple(halves["sealed"])),
    )


def parse_predictions(output: bytes, widths: Sequence[int]) -> list[str] | None:
    """Exactly one line of '0' and '1' per split, of exactly its width; anything else is bad output."""
    lines = output.split(b"\n")
    if len(lines) != len(widths) + 1 or lines[-1] != b"":
        return None
    for line, width in zip(lines, widths, strict=False):
        if not re.fullmatch(b"[01]{%d}" % width, line):
            return None
    return [line.decode("ascii") for line in lines[:-1]]


def _mask(items: Sequence[int], marks: Sequence[bool]) -> int:
    mask = 0
    for item, is_marked in zip(items, marks, strict=True):
        if is_marked:
            mask |= 1 << item
    return mask
