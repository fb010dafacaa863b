"""Durable appends per second and publish latency of the record, beside a JSONL hash chain on the same disk.

    python benchmarks/record_append.py [--directory DIR] [--rounds N]

The two take turns in one run, round by round, because a shared machine is never twice the same: read the
ratios. Both acknowledge after one fdatasync per batch. The chain is the least that calls itself a log: each
line carries the SHA-256 of the line before. It checks no entry, builds no tree, proves nothing; the record
parses every entry that it takes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from aar.formats.entry import Entry, sign_entry
from aar.formats.keys import COSIGNATURE, Signer, VerifierKey
from aar.outside.record.disk import Disk
from aar.outside.record.sequencer import Sequencer
from aar.outside.record.witness_client import format_request, read_answer
from aar.witness.witness import Seen, add_checkpoint

ORIGIN = "aar.local/study-00112233445566778899"
BATCH_SIZES = (1, 64, 512)
PER_ROUND_S = 0.4


class LocalWitness:
    """A witness in this process that stores nothing: what is timed is the record."""

    def __init__(self, log: VerifierKey) -> None:
        self._logs = {log.name: log}
        self._signer = Signer("witness-local", b"w" * 32, COSIGNATURE)
        self._seen: dict[str, Seen] = {}

    @property
    def vkey(self) -> VerifierKey:
        return self._signer.vkey

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        request = format_request(old_size, proof, note)
        answer = add_checkpoint(
            request, logs=self._logs, seen=self._seen, signer=self._signer, now_s=int(time.time())
        )
        if answer.seen is not None:
            self._seen[answer.origin] = answer.seen
        return read_answer(answer.status, answer.body)


class HashChain:
    """One JSON line per entry, each with the SHA-256 of the line before; one fdatasync per batch."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._previous = ""

    def append(self, batch: Sequence[bytes]) -> None:
        lines = []
        for data in batch:
            line = json.dumps({"previous": self._previous, "entry": data.decode()}).encode() + b"\n"
            self._previous = hashlib.sha256(line).hexdigest()
            lines.append(line)
        os.write(self._descriptor, b"".join(lines))
        os.fdatasync(self._descriptor)


def signed_entries(count: int) -> list[bytes]:
    """Entries of about 500 bytes."""
    author = Signer("researcher-1", b"a" * 32)
    return [
        sign_entry(
            Entry(
                ORIGIN,
                author.name,
                number,
                "0" * 64 if number else "",
                "finding",
                (),
                {"text": "x" * 180},
                number,
            ),
            author,
        ).data
        for number in range(count)
    ]


def per_second(
    append: Callable[[Sequence[bytes]], object], batch: Sequence[bytes]
) -> tuple[float, list[float]]:
    """Entries per second over one round, and the latency of each batch in ms."""
    latencies: list[float] = []
    start = now = time.perf_counter()
    while now - start < PER_ROUND_S:
        append(batch)
        before, now = now, time.perf_counter()
        latencies.append((now - before) * 1e3)
    return len(latencies) * len(batch) / (now - start), latencies


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, help="where to write (default: a new temporary directory)")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    entries = signed_entries(max(BATCH_SIZES))
    log = Signer(ORIGIN, b"l" * 32)
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)

        def opened() -> Sequencer:
            return Sequencer.open(
                public=directory / "record",
                private=directory / "private",
                signer=log,
                witnesses=[witness],
                quorum=1,
                clock_ms=lambda: time.time_ns() // 1_000_000,
                disk=Disk(),
            )

        witness = LocalWitness(log.vkey)
        sequencer = opened()
        chain = HashChain(directory / "chain.jsonl")
        print(f"entries of {len(entries[0])} bytes, {options.rounds} rounds, load {os.getloadavg()[0]:.1f}")
        print("batch   record/s    chain/s    ratio   record p50 / p99 ms")
        for size in BATCH_SIZES:
            ours, theirs, latencies = [], [], []
            for _ in range(options.rounds):
                rate, taken = per_second(sequencer.append, entries[:size])
                ours.append(rate)
                latencies += taken
                theirs.append(per_second(chain.append, entries[:size])[0])
            ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            print(
                f"{size:5} {statistics.median(ours):10.0f} {statistics.median(theirs):10.0f} {ratio:8.2f}"
                f"   {percentile(latencies, 0.5):.2f} / {percentile(latencies, 0.99):.2f}"
            )
            sequencer.publish()
        for size in (1, 64):
            published, synced = [], []
            for _ in range(20 * options.rounds):
                sequencer.append(entries[:size])
                start = time.perf_counter()
                sequencer.publish()
                middle = time.perf_counter()
                chain.append(entries[:1])
                published.append((middle - start) * 1e3)
                synced.append((time.perf_counter() - middle) * 1e3)
            middle_ms, tail_ms = percentile(published, 0.5), percentile(published, 0.99)
            print(
                f"publish {size:2} new: p50 {middle_ms:.2f} ms, p99 {tail_ms:.2f} ms, "
                f"{middle_ms / percentile(synced, 0.5):.1f} times one line of the chain"
            )
        size = sequencer.size
        sequencer.close()
        start = time.perf_counter()
        opened().close()
        print(f"open a record of {size} entries: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
