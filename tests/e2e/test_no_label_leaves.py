"""Labels and test inputs are searched for in all that leaves the evaluator while a real study runs.

What is searched for is what only the holder of the labels has: windows of the true labels, in the pool's
order and in the order of every official run's test items, however they may be written down, and the bytes of
test inputs; of an operator's own data set also words that were planted in every field. Where it looks:
researchers' sandboxes (files, environment, arguments, memory), every answer of their gateway, the gateway's
memory, and all else that lies in the study's directory as it stands while the study is open.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sklearn.datasets

from aar.lab.instance import Floats
from aar.lab.problems.digits import SIZES, Digits
from aar.lab.problems.jsonl import JsonlProblem, read_jsonl
from aar.lab.problems.problem import Sizes
from aar.outside.fleet import Fleet
from aar.outside.staff_client import GatewayRefused
from aar.verify.splits import sealed_items, seeds_for, shuffled, split
from e2e.test_attacks import METHOD, ROOMY, Open
from jsonl_data import questions, written

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

MARKS = 96
# A method that tries every way out it has: what it raises, prints and writes.
TELLTALE = METHOD.replace(
    "    return ",
    "    import os, sys\n"
    "    told = instance.test_x.tobytes() + repr(instance.test_x.tolist()).encode()\n"
    "    sys.stdout.write(repr(told)); sys.stderr.write(repr(told)); os.write(2, told)\n"
    "    raise RuntimeError(told)\n    return ",
)


def spellings(marks: list[int]) -> list[bytes]:
    """A window of labels as text, bytes, JSON, Python's truth, and packed into bits from either end."""
    bits = "".join(map(str, marks))
    packed = int(bits, 2).to_bytes(MARKS // 8, "big"), int(bits[::-1], 2).to_bytes(MARKS // 8, "little")
    return [
        bits.encode(),
        bytes(marks),
        json.dumps(marks).strip("[]").encode(),
        repr([bool(one) for one in marks]).strip("[]").encode(),
        *packed,
    ]


@dataclass(frozen=True)
class Known:
    """What the holder of the labels knows: labels and features in the pool's order, and words of the data."""

    sizes: Sizes
    labels: list[int]
    features: Floats
    words: tuple[bytes, ...] = ()


def digits(directory: Path) -> tuple[Known, Open]:
    labels = (sklearn.datasets.load_digits().target % 2).tolist()
    return Known(SIZES, labels, Digits().features), Open(directory / "study")


PLANTED = {"id": "zanzibar", "question": "quokkadrome", "choice": "vexillology", "source": "obfuscatrix"}


def own_data(directory: Path) -> tuple[Known, Open]:
    files = questions()
    for row in (row for rows in files.values() for row in rows):
        for field, word in PLANTED.items():
            row[field] = f"{word}-{row[field]}" if field in row else word
    data = written(directory / "data", files)
    problem = JsonlProblem(read_jsonl(data))
    # The pool's order is the bench's own, questions held together.
    place, labels = problem._place, [0] * problem.sizes.pool
    for row in problem.data.rows:
        labels[place[row.id]] = int(row.label is True)
    text = ROOMY.replace('problem = "digits"', f'problem = "jsonl"\ndata = "{data}"')
    words = (*map(str.encode, PLANTED.values()), files["test.jsonl"][3]["choice"].encode())
    return Known(problem.sizes, labels, problem.features, words), Open(directory / "study", text, data)


class Canaries:
    """Byte strings that nobody but the evaluator and its bench may hold."""

    def __init__(self, secret: bytes, digests: list[str], known: Known) -> None:
        self.found: dict[bytes, str] = {word: f"planted {word.decode()}" for word in known.words}
        self._words, self._labels = len(known.words), known.labels
        sizes = known.sizes
        sealed = sealed_items(secret, sizes.pool, sizes.sealed, sizes.group)
        public = [item for item in range(sizes.pool) if item not in sealed]
        self._add("pool order", list(range(sizes.pool)))
        self._add("sealed items", list(sealed))
        for digest in digests:
            key = hmac.new(secret, f"aar-shuffle/v1\nexplore\n{digest}\n".encode(), hashlib.sha256).digest()
            seed = seeds_for(secret, "explore", digest, 2)[0]
            dealt = split(seed, 0, public, sizes.labelled, sizes.unlabelled, sizes.group)
            self._add("test order", shuffled(key + b"test0", [*dealt.tested, *sealed]))
        for item in sealed[:20]:
            self.found[known.features[item].tobytes()[:24]] = f"test input {item}"
            text = ", ".join(map(str, known.features[item].tolist()[:3]))
            self.found[text.encode()] = f"test input {item} as text"

    def _add(self, what: str, items: list[int]) -> None:
        for one in spellings([self._labels[item] for item in items[:MARKS]]):
            self.found[one] = what

    def seen_in(self, data: bytes) -> list[str]:
        # Of hundreds of megabytes of memory every fifth canary is asked: a search takes its time.
        step = 1 if len(data) < 1 << 24 else 5
        asked = [*list(self.found.items())[: self._words], *list(self.found.items())[self._words :: step]]
        return [what for canary, what in asked if canary in data]


def memory_of(pid: int) -> Iterator[bytes]:
    """Everything a process can write to: heap, stacks, what it mapped."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps:
        spans = [line.split() for line in maps]
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for words in spans:
            low, high = (int(one, 16) for one in words[0].split("-"))
            if not words[1].startswith("rw") or high - low > 1 << 28:
                continue
            try:
                memory.seek(low)
                part = memory.read(high - low)
            except (OSError, ValueError, OverflowError):
                continue
            pages = (part[at : at + 4096] for at in range(0, len(part), 4096))
            # Pages that were never written to are left out: the search is slow in long rows of nothing.
            yield b"".join(page for page in pages if page.strip(b"\0"))


def researchers_at_work() -> list[int]:
    """Processes in a researcher's sandbox that this test started: those that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := quietly(folder / "stat")):
            parents[int(folder.name)] = int(stat.rsplit(b")", 1)[1].split()[1])
    family, more = set(), {os.getpid()}
    while more:
        family |= more
        more = {pid for pid, parent in parents.items() if parent in family} - family
    return [pid for pid in family if b"aar.inside.researcher" in quietly(Path(f"/proc/{pid}/cmdline"))]


def quietly(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def files_of(pid: int) -> Iterator[bytes]:
    """What a sandbox's process sees as files of its own: not the machine's libraries, not kernel views."""
    root = Path(f"/proc/{pid}/root")
    # The one that holds a sandbox from outside has the same words, and the machine's own files.
    if os.path.samefile(root, "/"):
        return
    for top in ("workspace", "tmp", "submission", "instance", "run", "home", "root", "etc", "dev/shm"):
        for folder, _folders, names in os.walk(root / top):
            for name in names:
                path = Path(folder) / name
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 1 << 24:
                    yield quietly(path)


class Listening:
    """A researcher's socket whose every answer is kept."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.heard: list[bytes] = []

    def __getattr__(self, verb: str) -> Any:
        def call(*arguments: Any, **query: Any) -> Any:
            try:
                answer = getattr(self._client, verb)(*arguments, **query)
            except GatewayRefused as refused:
                self.heard.append(str(refused).encode())
                raise
            self.heard.append(json.dumps(answer).encode())
            return answer

        return call


@pytest.mark.parametrize("make", [digits, own_data])
def test_no_label_and_no_test_input_leaves_the_evaluator(
    tmp_path: Path, make: Callable[[Path], tuple[Known, Open]]
) -> None:
    known, opened = make(tmp_path)
    fleet = None
    try:
        listening = Listening(opened.researchers[1])
        opened.researchers[1] = listening  # type: ignore[call-overload]
        plane, study = opened.plane, opened.study
        fleet = Fleet(
            plane.launcher,
            ["researcher-1"],
            {"researcher-1": plane.gateway_directory("researcher-1")},
            study.origin,
            log=study.log,
        )
        fleet.start()
        mine = []
        for number, method in enumerate((METHOD, TELLTALE)):
            mine.append(opened.submit(1, f"request {number}", method))
            opened.receipt(1, mine[-1])
        # By now the other researcher has handed in a method, and read what came of it, or waits for it.
        deadline = time.monotonic() + 60
        while not (pids := researchers_at_work()) or len(receipts(listening)) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        looked = {
            "memory": b"".join(part for pid in pids for part in memory_of(pid)),
            "environment": b"".join(quietly(Path(f"/proc/{pid}/environ")) for pid in pids),
            "arguments": b"".join(quietly(Path(f"/proc/{pid}/cmdline")) for pid in pids),
            "files": b"".join(part for pid in pids for part in files_of(pid)),
        }
        study_told = listening.get("/v1/study")
        entries = listening.get("/v1/forum", since=0)["entries"]
        for entry in entries:
            if entry["kind"] == "submission":
                listening.get("/v1/snapshot", submission=entry["index"])
        listening.get("/v1/checkpoint")
        listening.post("/v1/confirm", {"submission": mine[0]})
        listening.get("/v1/receipt", submission=mine[0], tier="confirm", wait_s=30)
        with pytest.raises(GatewayRefused):
            listening.get("/v1/receipt", submission=mine[0], tier="heldout")
        looked["answers"] = b"\n".join(listening.heard)
        looked["record"] = b"".join(quietly(one) for one in study.record.rglob("*") if one.is_file())
        others = [
            one
            for one in study.path.rglob("*")
            if one.is_file() and not {study.evaluator, study.data} & set(one.parents)
        ]
        looked["study directory"] = b"".join(quietly(one) for one in others)
        if os.geteuid() == 0:
            looked["gateway's memory"] = b"".join(memory_of(plane.pids()["gateway"]))
        digests = [entry["body"]["digest"] for entry in entries if entry["kind"] == "submission"]
        secret = bytes.fromhex((study.path / "evaluator" / "seed.secret").read_text().strip())
    finally:
        if fleet is not None:
            fleet.stop()
        opened.plane.stop()
    canaries = Canaries(secret, digests, known)
    for where, data in looked.items():
        assert data, where
        assert canaries.seen_in(data) == [], where
    # The search would have found them: in the labels themselves, and in an instance's features.
    assert canaries.seen_in("".join(map(str, known.labels)).encode()) == ["pool order"]
    assert len(canaries.seen_in(known.features.tobytes())) == 20
    kept = b"".join(quietly(one) for one in study.data.rglob("*") if one.is_file())
    assert len(canaries.seen_in(kept)) >= len(known.words)
    # And it looked where something is to be seen: a researcher's memory holds its own words.
    assert study_told["statement"].encode()[:60] in looked["answers"]
    assert b"researcher-1" in looked["memory"]
    assert secret not in b"".join(looked.values())
    assert secret.hex().encode() not in b"".join(looked.values())


def receipts(researcher: Listening) -> list[int]:
    entries = researcher.get("/v1/forum", since=0)["entries"]
    return [one["index"] for one in entries if one["kind"] == "score-receipt"]
