"""Fuzzes every parser: mutates valid inputs by their structure, and wants our errors or the same bytes again.

    .venv/bin/python tools/fuzz_formats.py [--inputs N] [--seed S] [--jobs J] [--only NAME] [--keep DIR]

The formats are those of tests/every_format.py: all of aar.formats, the verifier's payloads, and its reader
on a log directory. Wrong is an error that is not ours, bytes that are accepted and written again otherwise,
and an input that takes longer than HANG_S. What was accepted is mutated on. The same N, S and J try the same
inputs. `--keep DIR` writes, per format, the shortest input found for each place that refuses: that is how
tests/formats/vectors came to be. Exit status 1 when anything was wrong; each such input is printed as base64.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from every_format import FORMATS, SNIPPETS, Format, outcome  # noqa: E402

HANG_S = 5.0
MAX_POOL = 64
MAX_BYTES = 6_000
INTEGERS = (0, 1, -1, 2, 255, 256, 2**31, 2**53 - 1, 2**53, 2**64, -(2**53))
WORDS = (
    "",
    "é",
    "a" * 300,
    "0.50",
    "0.5",
    "-0.00",
    "+1",
    "٣",
    "\ud800",
    "\n",
    "0a" * 32,
    "AA==",
    "A===",
    "none",
)


class Hang(Exception):
    """One input took too long."""


@dataclass
class Outcomes:
    """What came of the inputs of one format."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: dict[str, bytes] = field(default_factory=dict)
    kept: dict[tuple[str, str], bytes] = field(default_factory=dict)
    slowest_s: float = 0.0

    def keep(self, result: str, place: str, data: bytes) -> None:
        held = self.kept.get((result, place))
        if held is None or (len(data), data) < (len(held), held):
            self.kept[result, place] = data

    def add(self, other: Outcomes) -> None:
        self.counts += other.counts
        self.wrong = {**other.wrong, **self.wrong}
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        for (result, place), data in other.kept.items():
            self.keep(result, place, data)


# Mutations. Each takes bytes and gives bytes; where it does not apply, the bytes as they came.


def splice(rng: random.Random, data: bytes, _pool: Sequence[bytes]) -> bytes:
    start = rng.randint(0, len(data))
    end = min(len(data), start + rng.choice((0, 0, 1, 1, 2, 4, 40)))
    piece = rng.choice((rng.choice(SNIPPETS), rng.randbytes(rng.randint(0, 3)), data[end : end + 40]))
    return data[:start] + piece + data[end:]


def flip(rng: random.Random, data: bytes, _pool: Sequence[bytes]) -> bytes:
    if not data:
        return data
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes, _pool: Sequence[bytes]) -> bytes:
    return data[: rng.randint(0, len(data))] if rng.random() < 0.5 else data[rng.randint(0, len(data)) :]


def lines(rng: random.Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """A line lost, doubled, moved, or taken from another input."""
    parts = data.split(b"\n")
    at = rng.randrange(len(parts))
    other = rng.choice(pool).split(b"\n")
    match rng.randrange(4):
        case 0:
            del parts[at]
        case 1:
            parts.insert(at, parts[at])
        case 2:
            parts.insert(rng.randrange(len(parts)), parts.pop(at))
        case _:
            parts[at] = rng.choice(other)
    return b"\n".join(parts)


def words(rng: random.Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """A word of a line replaced by a number, a word, or one of another input."""
    parts = data.split(b"\n")
    at = rng.randrange(len(parts))
    spaced = parts[at].split(b" ")
    others = rng.choice(pool).replace(b"\n", b" ").split(b" ")
    choices = (str(rng.choice(INTEGERS)).encode(), rng.choice(WORDS).encode("utf-8", "surrogatepass"))
    spaced[rng.randrange(len(spaced))] = rng.choice((*choices, rng.choice(others)))
    parts[at] = b" ".join(spaced)
    return b"\n".join(parts)


def coded(rng: random.Random, data: bytes, _pool: Sequence[bytes]) -> bytes:
    """A word of base64: other bytes, more of them or fewer, behind the same coding."""
    parts = data.replace(b"+", b" + ").split(b" ") if rng.random() < 0.3 else data.split(b" ")
    at = rng.randrange(len(parts))
    word, newline, rest = parts[at].partition(b"\n")
    try:
        held = base64.b64decode(word, validate=True)
    except ValueError:
        return data
    changed = rng.choice((flip, cut, splice))(rng, held, ())
    parts[at] = base64.b64encode(changed) + newline + rest
    return b" ".join(parts).replace(b" + ", b"+")


def tree(rng: random.Random, data: bytes, _pool: Sequence[bytes]) -> bytes:
    """A line of JSON: one node replaced, lost, doubled or renamed; mostly spelled as canonical JSON is."""
    parts = data.split(b"\n")
    places = [at for at, part in enumerate(parts) if part[:1] in (b"{", b"[")]
    if not places:
        return data
    at = rng.choice(places)
    try:
        value = json.loads(parts[at])
    except (ValueError, RecursionError):
        return data
    value = _changed(rng, value)
    spelling: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
    if rng.random() < 0.1:
        spelling[rng.choice(tuple(spelling))] = None
    parts[at] = json.dumps(value, **spelling).encode("utf-8", "surrogatepass")
    return b"\n".join(parts)


def _changed(rng: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(sorted(value))
        match rng.randrange(8):
            case 0:
                return {name: one for name, one in value.items() if name != key}
            case 1:
                return {**value, rng.choice(WORDS): value[key]}
            case _:
                return {**value, key: _changed(rng, value[key])}
    if isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        match rng.randrange(6):
            case 0:
                return [*value[:at], *value[at + 1 :]]
            case 1:
                return value * rng.choice((2, 70))
            case _:
                return [*value[:at], _changed(rng, value[at]), *value[at + 1 :]]
    if isinstance(value, str) and rng.random() < 0.5:
        return value[:-1] if rng.random() < 0.5 else value + rng.choice(WORDS)
    if isinstance(value, int) and rng.random() < 0.5:
        return value + rng.choice((-1, 1, 2**53))
    atoms = (rng.choice(INTEGERS), rng.choice(WORDS), True, None, 0.5, [], {}, [[]], {"": ""})
    return rng.choice(atoms)


Mutation = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
MUTATIONS: tuple[Mutation, ...] = (splice, splice, flip, cut, lines, words, words, coded, tree, tree)


def mutated(rng: random.Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """One to three mutations of the input, and more while they leave it as it was."""
    changed, left = data, rng.choice((1, 1, 1, 2, 3))
    for _ in range(20):
        changed, left = rng.choice(MUTATIONS)(rng, changed, pool)[:MAX_BYTES], left - 1
        if left <= 0 and changed != data:
            break
    return changed


def place_of(traceback: TracebackType | None) -> str:
    """Where in our sources an error was raised."""
    place = ""
    while traceback is not None:
        name = traceback.tb_frame.f_code.co_filename
        if "/aar/" in name:
            place = f"{Path(name).name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place


def attempt(one: Format, data: bytes) -> tuple[str, str]:
    """The outcome, and the place that refused."""
    place = ""

    def again(given: bytes) -> bytes:
        nonlocal place
        try:
            return one.again(given)
        except one.errors as error:
            place = place_of(error.__traceback__)
            raise

    return outcome(one._replace(again=again), data), place


def fuzz(name: str, inputs: int, seed: str) -> Outcomes:
    """Try that many inputs on one format."""
    rng = random.Random(f"{seed} {name}")
    one = FORMATS[name]
    found = Outcomes()
    pool = list(one.samples)

    def hang(_number: int, _frame: FrameType | None) -> None:
        raise Hang(f"took longer than {HANG_S} s")

    before = signal.signal(signal.SIGALRM, hang)
    try:
        for number in range(inputs):
            # Mostly from a sample; now and then from what an earlier mutation made and a parser took.
            data = mutated(rng, rng.choice(one.samples if rng.random() < 0.5 else pool), pool)
            start = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, HANG_S)
            try:
                result, place = attempt(one, data)
            except Exception as error:  # noqa: BLE001
                result, place = f"WRONG {type(error).__name__}", str(error)[:200]
                found.wrong.setdefault(f"{result}: {place}", data)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            found.slowest_s = max(found.slowest_s, time.perf_counter() - start)
            found.counts[result] += 1
            if result == "not text" or result.startswith("WRONG"):
                continue
            if result == "accepted" and data not in one.samples:
                if len(pool) < len(one.samples) + MAX_POOL:
                    pool.append(data)
                else:
                    pool[len(one.samples) + number % MAX_POOL] = data
            found.keep(result, place, data)
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


def keep(directory: Path, name: str, found: Outcomes) -> None:
    """Write the shortest input for each place that refuses, and one that was accepted."""
    vectors = [
        {"outcome": result, "input": base64.b64encode(data).decode()}
        for (result, _place), data in found.kept.items()
    ]
    vectors.sort(key=lambda one: (one["outcome"], len(one["input"]), one["input"]))
    (directory / f"{name}.json").write_text(json.dumps(vectors, indent=1) + "\n", "utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--inputs", type=int, default=100_000, help="over all formats together")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", choices=sorted(FORMATS))
    parser.add_argument("--keep", type=Path, metavar="DIR")
    options = parser.parse_args(arguments)
    names = [options.only] if options.only else list(FORMATS)
    each = -(-options.inputs // (len(names) * options.jobs))
    start = time.perf_counter()
    results: dict[str, Outcomes] = {name: Outcomes() for name in names}
    tasks = [(name, each, f"{options.seed}/{job}") for name in names for job in range(options.jobs)]
    if options.jobs == 1:
        for name, inputs, seed in tasks:
            results[name].add(fuzz(name, inputs, seed))
    else:
        with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as workers:
            for (name, _inputs, _seed), found in zip(tasks, workers.map(fuzz, *zip(*tasks)), strict=True):
                results[name].add(found)
    tried = sum(found.counts.total() for found in results.values())
    for name, found in results.items():
        said = ", ".join(f"{result} {count}" for result, count in sorted(found.counts.items()))
        print(f"{name:16} slowest {found.slowest_s * 1e3:6.1f} ms   {said}")
        if options.keep:
            keep(options.keep, name, found)
    wrong = [(name, what, data) for name, found in results.items() for what, data in found.wrong.items()]
    for name, what, data in wrong:
        print(f"{name}: {what}: {base64.b64encode(data).decode()}")
    took = time.perf_counter() - start
    print(f"{tried} inputs, {len(wrong)} of them wrong, {took:.0f} s, seed {options.seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
