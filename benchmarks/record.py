"""The record measured: durable appends, verification, proofs, memory and bytes, in one interleaved run.

    python benchmarks/record.py [--directory DIR] [--rounds N] [--entries N] [--log N] [--votes N] [--json]

Contenders take turns round by round, because a shared machine is never twice the same: read the ratios,
and the load that is printed with them. The acknowledgement rule is one for all: an append is acknowledged
when its bytes were synced to the disk, and `w` writers, each of which waits for its acknowledgement, make
batches of `w`.

- record: `Sequencer.append` of parsed entries (frames each, writes, hashes it into the tree), as the gateway
  hands them over; "parsed" parses each entry's bytes first, "checked" also verifies its author's signature,
  with the gateway's worker: half of a batch on a second thread.
- SQLite: one table, WAL, synchronous=FULL, one transaction per batch.
- JSONL chain: one line per entry with the SHA-256 of the line before, one fdatasync per batch: the least that
  calls itself a log. It parses nothing and proves nothing.

Verification is `verify_log` (every byte against a cosigned checkpoint, no author's signature) and
`verify_study` (everything: signatures, chains, claims, leaderboard) of a study with many votes. Both
stand beside their floor in the same run: each leaf hash and one inner hash per entry by hashlib, and one
Ed25519 verification per signature by libsodium. "Two at once" is two processes, each verifying the whole:
their rates added up. "Two jobs" is one verification whose signatures two other processes check: its start
includes theirs, its share is that of two floors. Peak memory is that of a process of its own; "start" is
the interpreter with everything imported.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nacl.bindings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from aar.formats.entry import Entry, check_entry_signatures, parse_signed_entry, sign_entry  # noqa: E402
from aar.formats.keys import COSIGNATURE, Signer, VerifierKey  # noqa: E402
from aar.formats.policy import Policy, format_policy  # noqa: E402
from aar.outside.record.disk import Disk  # noqa: E402
from aar.outside.record.sequencer import Sequencer  # noqa: E402
from aar.outside.record.witness_client import format_request, read_answer  # noqa: E402
from aar.outside.signature_worker import SignatureWorker  # noqa: E402
from aar.verify import merkle  # noqa: E402
from aar.verify.reader import RecordReader  # noqa: E402
from aar.verify.study import verify_log, verify_study  # noqa: E402
from aar.witness.witness import Seen, add_checkpoint  # noqa: E402
from forge import with_votes  # noqa: E402

ORIGIN = "aar.local/study-00112233445566778899"
LOG = Signer(ORIGIN, b"l" * 32)
AUTHOR = Signer("researcher-1", b"a" * 32)
WRITERS = (1, 64, 512)
PER_ROUND_S = 0.4
TEXT_CHARACTERS = 180
PUBLISH_EVERY = 16_384

Figures = dict[str, float]


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


class Sqlite:
    """One table of blobs; a transaction per batch, durable when it returns."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE entry (id INTEGER PRIMARY KEY, data BLOB NOT NULL)")

    def append(self, batch: Sequence[bytes]) -> None:
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO entry (data) VALUES (?)", [(data,) for data in batch])
        self._connection.execute("COMMIT")


def signed_entries(count: int) -> list[bytes]:
    """Entries of about 500 bytes."""
    return [
        sign_entry(
            Entry(
                ORIGIN,
                AUTHOR.name,
                number,
                "0" * 64 if number else "",
                "finding",
                (),
                {"text": "x" * TEXT_CHARACTERS},
                number,
            ),
            AUTHOR,
        ).data
        for number in range(count)
    ]


def open_record(directory: Path) -> Sequencer:
    return Sequencer.open(
        public=directory / "record",
        private=directory / "private",
        signer=LOG,
        witnesses=[LocalWitness(LOG.vkey)],
        quorum=1,
        clock_ms=lambda: time.time_ns() // 1_000_000,
        disk=Disk(),
    )


def appending(
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


def rate(act: Callable[[], object], times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
        act()
    return times / (time.perf_counter() - start)


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def measure_appends(directory: Path, rounds: int) -> Figures:
    entries = signed_entries(max(WRITERS))
    figures: Figures = {"entry_bytes": len(entries[0])}
    sequencer = open_record(directory / "appends")
    keys, worker = [AUTHOR.vkey], SignatureWorker()

    def checked(batch: Sequence[bytes]) -> None:
        signed = [parse_signed_entry(data) for data in batch]
        answers = worker.check(signed, {AUTHOR.name: keys[0]})
        for one in signed:
            check_entry_signatures(one, keys, answers.vouches)
        sequencer.append(signed)

    # Entries are numbered alike whoever appends them: what the record is handed is parsed once, ahead.
    ahead = {data: parse_signed_entry(data) for data in entries}

    contenders: dict[str, Callable[[Sequence[bytes]], object]] = {
        "record": lambda batch: sequencer.append([ahead[data] for data in batch]),
        "record_parsed": sequencer.append,
        "record_checked": checked,
        "sqlite": Sqlite(directory / "entries.sqlite").append,
        "chain": HashChain(directory / "chain.jsonl").append,
    }
    for writers in WRITERS:
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        latencies: list[float] = []
        for _ in range(rounds):
            for name, append in contenders.items():
                one, taken = appending(append, entries[:writers])
                rates[name].append(one)
                if name == "record_checked":
                    latencies += taken
        for name, found in rates.items():
            figures[f"append_{name}_{writers}_per_s"] = statistics.median(found)
        for name in ("sqlite", "chain"):
            pairs = zip(rates["record"], rates[name], strict=True)
            figures[f"append_ratio_{name}_{writers}"] = statistics.median(a / b for a, b in pairs)
        figures[f"ack_checked_{writers}_p50_ms"] = percentile(latencies, 0.5)
        figures[f"ack_checked_{writers}_p99_ms"] = percentile(latencies, 0.99)
        sequencer.publish()
    published = []
    for _ in range(10 * rounds):
        sequencer.append(entries[:64])
        start = time.perf_counter()
        sequencer.publish()
        published.append((time.perf_counter() - start) * 1e3)
    figures["publish_64_new_p50_ms"] = percentile(published, 0.5)
    figures["publish_64_new_p99_ms"] = percentile(published, 0.99)
    size = sequencer.size
    sequencer.close()
    start = time.perf_counter()
    sequencer = open_record(directory / "appends")
    sequencer.publish()
    figures["open_entries_per_s"] = size / (time.perf_counter() - start)
    figures |= measure_proofs(sequencer)
    sequencer.close()
    return figures


def measure_proofs(sequencer: Sequencer) -> Figures:
    """Cold: no tile of leaf hashes is in memory, each proof reads its own. Warm: after thousands of them."""
    rng = random.Random(1)
    size = sequencer.published_size

    def inclusion() -> object:
        return sequencer.prove_inclusion(rng.randrange(size))

    def consistency() -> object:
        return sequencer.prove_consistency(rng.randrange(1, size))

    # Opening the record read all of them, and this tree is small enough to keep them.
    sequencer._tree._loaded.clear()
    return {
        "proof_tree_size": size,
        "inclusion_cold_per_s": rate(inclusion, 20),
        "consistency_cold_per_s": rate(consistency, 20),
        "inclusion_warm_per_s": rate(inclusion, 20_000),
        "consistency_warm_per_s": rate(consistency, 20_000),
    }


def fill(directory: Path, count: int) -> Sequencer:
    """A published record of `count` entries, the same 512 over and over, and all that `verify_log` needs."""
    directory.mkdir(exist_ok=True)
    sequencer = open_record(directory)
    (directory / "policy").write_text(
        format_policy(Policy.with_one_witness(LOG.vkey, "local", LocalWitness(LOG.vkey).vkey)), "utf-8"
    )
    batch = signed_entries(512)
    for start in range(0, count, 512):
        sequencer.append(batch[: min(512, count - start)])
        if start % PUBLISH_EVERY == 0:
            sequencer.publish()
    sequencer.publish()
    return sequencer


def hash_floor(directory: Path) -> float:
    """Entries per second of SHA-256 alone: each leaf, and one inner node for each."""
    leaves = list(RecordReader(directory / "record").leaves())
    start = time.perf_counter()
    for leaf in leaves:
        merkle.node_hash(merkle.leaf_hash(leaf), merkle.EMPTY_ROOT)
    return len(leaves) / (time.perf_counter() - start)


def signature_floor() -> float:
    text = parse_signed_entry(signed_entries(1)[0]).note.text
    signed = AUTHOR.sign(text).signature + text.encode()
    return rate(lambda: nacl.bindings.crypto_sign_open(signed, AUTHOR.vkey.public_key), 3_000)


def log_rate(directory: Path) -> float:
    start = time.perf_counter()
    report = verify_log(directory)
    took = time.perf_counter() - start
    assert report.verdict == "ok", report.findings
    return report.tree_size / took


def study_rate(directory: Path, jobs: int = 1) -> float:
    start = time.perf_counter()
    report = verify_study(directory, jobs=jobs)
    took = time.perf_counter() - start
    assert report.verdict == "ok", report.findings
    return report.tree_size / took


def at_once(pool: ProcessPoolExecutor, measure: Callable[[Path], float], directory: Path) -> float:
    return sum(pool.map(measure, [directory, directory]))


def measure_verification(directory: Path, rounds: int, entries: int, votes: int) -> Figures:
    log, study = directory / "log", directory / "study"
    fill(log, entries).close()
    forged = with_votes(votes)
    forged.write(study, forged.files(forged.leaves()))
    names = ("verify_log", "hash_floor", "verify_log_two_at_once", "verify_study", "signature_floor")
    rates: dict[str, list[float]] = {
        name: [] for name in (*names, "verify_study_two_jobs", "verify_study_two_at_once")
    }
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(log_rate, [log, log]))
        for _ in range(rounds):
            rates["verify_log"].append(log_rate(log))
            rates["hash_floor"].append(hash_floor(log))
            rates["verify_log_two_at_once"].append(at_once(pool, log_rate, log))
            rates["verify_study"].append(study_rate(study))
            rates["signature_floor"].append(signature_floor())
            rates["verify_study_two_jobs"].append(study_rate(study, jobs=2))
            rates["verify_study_two_at_once"].append(at_once(pool, study_rate, study))
    figures = {f"{name}_per_s": statistics.median(found) for name, found in rates.items()}
    figures["verify_log_entries"] = entries
    figures["verify_study_entries"] = votes
    shares = (a / b for a, b in zip(rates["verify_log"], rates["hash_floor"], strict=True))
    figures["verify_log_share_of_hash_floor"] = statistics.median(shares)
    shares = (a / b for a, b in zip(rates["verify_study"], rates["signature_floor"], strict=True))
    figures["verify_study_share_of_signature_floor"] = statistics.median(shares)
    shares = (
        a / (2 * b) for a, b in zip(rates["verify_study_two_jobs"], rates["signature_floor"], strict=True)
    )
    figures["verify_study_two_jobs_share_of_two_floors"] = statistics.median(shares)
    return figures


def _peak_mib() -> float:
    # Not ru_maxrss: a new process inherits that of the one that started it.
    lines = Path("/proc/self/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def append_peak(directory: Path, count: int) -> tuple[float, float]:
    """Peak memory before and after a process appended and published that many entries."""
    signed_entries(1)
    before = _peak_mib()
    fill(directory, count).close()
    return before, _peak_mib()


def verify_peak(directory: Path) -> tuple[float, float]:
    before = _peak_mib()
    log_rate(directory)
    return before, _peak_mib()


def measure_memory(directory: Path, entries: int) -> Figures:
    figures: Figures = {"memory_entries": entries}
    for name, arguments in (("append", (directory, entries)), ("verify_log", (directory,))):
        measure: Callable[..., tuple[float, float]] = append_peak if name == "append" else verify_peak
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            figures[f"{name}_start_mib"], figures[f"{name}_peak_mib"] = pool.submit(
                measure, *arguments
            ).result()
    record = directory / "record"
    files = {file: file.stat().st_size for file in record.rglob("*") if file.is_file()}
    bundles = sum(size for file, size in files.items() if "entries" in file.parts)
    given = sum(map(len, signed_entries(512))) * (entries // 512)
    # A bundle has two bytes of length and the leaf's first line beside what the author signed.
    figures["overhead_bytes_per_entry"] = (sum(files.values()) - given) / entries
    figures["of_it_leaf_line_bytes"] = (bundles - given) / entries - 2
    figures["wal_bytes_per_entry"] = (directory / "private/wal").stat().st_size / entries
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, help="where to write (default: a new temporary directory)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--entries", type=int, default=1_000_448, help="of the log for memory; 512 to a batch"
    )
    parser.add_argument("--log", type=int, default=100_352, help="entries of the log that is verified")
    parser.add_argument("--votes", type=int, default=20_000, help="of the study that is verified")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        (directory / "appends").mkdir()
        figures = measure_appends(directory, options.rounds)
        figures |= measure_verification(directory, options.rounds, options.log, options.votes)
        figures |= measure_memory(directory / "memory", options.entries // 512 * 512)
    surroundings = {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
        "load_at_start": round(start, 1),
        "load_at_end": round(os.getloadavg()[0], 1),
    }
    if options.json:
        print(json.dumps({"surroundings": surroundings, "figures": figures}, indent=1))
        return
    print(", ".join(f"{key} {value}" for key, value in surroundings.items()))
    for key, value in figures.items():
        print(f"{key:42} {value:14,.2f}")


if __name__ == "__main__":
    main()
