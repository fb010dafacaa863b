"""Checkpoints that `aar witness serve` cosigns per second, beside the bare fdatasync rate of the same disk.

    python benchmarks/witness.py [--directory DIR] [--rounds N] [--seconds S]

Each caller is a log of its own that grows by one entry per request, on one kept connection, as many logs
share a public witness; with one caller the rate is that of a single log. The two take turns in one run, round
by round, because a shared machine is never twice the same: read the ratios. An answered checkpoint costs the
witness two fsyncs (file, directory), an Ed25519 verification and a signature.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.keys import Signer, format_vkey
from aar.formats.note import Note, format_note
from aar.outside.record.tree import Tree, hash_leaf
from aar.outside.record.witness_client import format_request

CALLERS = (1, 4)
MOST_REQUESTS = 20_000


def requests_of(signer: Signer, count: int) -> list[bytes]:
    """The requests of a log that grows by one entry each time."""
    tree, requests = Tree(), []
    for size in range(1, count + 1):
        tree.append(hash_leaf(b"entry %d" % size))
        text = format_checkpoint_text(Checkpoint(signer.name, size, tree.root()))
        note = format_note(Note(text, (signer.sign(text),)))
        requests.append(format_request(size - 1, tree.prove_consistency(size - 1), note))
    return requests


def syncs_per_s(directory: Path, seconds: float) -> float:
    """Appends of 512 bytes to a preallocated file, each with its fdatasync."""
    path = directory / "sync"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        os.pwrite(descriptor, bytes(1 << 20), 0)
        os.fsync(descriptor)
        started, count = time.monotonic(), 0
        while time.monotonic() - started < seconds:
            os.pwrite(descriptor, b"x" * 512, count % 2048 * 512)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.monotonic() - started)
    finally:
        os.close(descriptor)


class Caller:
    """One log, one connection."""

    def __init__(self, port: int, requests: Sequence[bytes]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._requests = iter(requests)
        self.latencies_s: list[float] = []

    def call_until(self, deadline: float) -> None:
        for request in self._requests:
            started = time.monotonic()
            self._connection.request("POST", "/add-checkpoint", request)
            answer = self._connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise SystemExit(f"the witness answered {answer.status}: {body!r}")
            ended = time.monotonic()
            self.latencies_s.append(ended - started)
            if ended >= deadline:
                return
        raise SystemExit("a caller ran out of requests: raise MOST_REQUESTS")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--directory", type=Path, help="where to write; default: the system's temporary one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement in each round")
    options = parser.parse_args()
    total = sum(CALLERS)
    signers = [Signer(f"log.example/{number}", bytes([number + 1]) * 32) for number in range(total)]
    count = min(MOST_REQUESTS, int(2500 * options.rounds * options.seconds))
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        directory = Path(folder)
        arguments = ["--state", str(directory / "w"), "--listen", "127.0.0.1:0"]
        for signer in signers:
            arguments += ["--log", format_vkey(signer.vkey)]
        program = [sys.executable, "-m", "aar", "witness", "serve", *arguments]
        with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as witness:
            assert witness.stdout is not None
            line = ""
            while not line.startswith("listening"):
                line = witness.stdout.readline()
            port = int(line.split()[2].rstrip(";").rpartition(":")[2])
            callers = [Caller(port, requests_of(signer, count)) for signer in signers]
            groups = {}
            for number in CALLERS:
                groups[number], callers = callers[:number], callers[number:]
            measure(groups, directory, options.rounds, options.seconds)
            witness.terminate()


def measure(groups: dict[int, list[Caller]], directory: Path, rounds: int, seconds: float) -> None:
    syncs: list[float] = []
    rates: dict[int, list[float]] = {number: [] for number in groups}
    for _round in range(rounds):
        syncs.append(syncs_per_s(directory, seconds / 2))
        for number, group in groups.items():
            before = sum(len(caller.latencies_s) for caller in group)
            started = time.monotonic()
            threads = [
                threading.Thread(target=caller.call_until, args=(started + seconds,)) for caller in group
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            done = sum(len(caller.latencies_s) for caller in group) - before
            rates[number].append(done / (time.monotonic() - started))
    load = os.getloadavg()[0]
    sync = statistics.median(syncs)
    print(f"load {load:.1f}; medians of {rounds} rounds; bare fdatasync of 512 B: {sync:,.0f}/s")
    print("callers  add-checkpoint/s  per fdatasync   p50 ms   p99 ms")
    for number, group in groups.items():
        latencies = sorted(one for caller in group for one in caller.latencies_s)
        rate = statistics.median(rates[number])
        p50, p99 = (latencies[int(len(latencies) * share)] * 1000 for share in (0.5, 0.99))
        print(f"{number:7}  {rate:16,.0f}  {rate / sync:13.2f}  {p50:7.2f}  {p99:7.2f}")


if __name__ == "__main__":
    main()
