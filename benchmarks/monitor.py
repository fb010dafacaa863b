"""What the monitor and the watch over limits cost per entry: python benchmarks/monitor.py [ENTRIES]

A record of that many entries (default 10,000) by three researchers: pipelines of the lab, every tenth method
a program of two kilobytes, a finding, a vote and a comment for each. Nothing is written; the fold is timed.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
import time
from collections.abc import Iterator
from typing import Any

from aar.formats.entry import Entry, Leaf, sign_entry
from aar.formats.keys import Signer, format_vkey
from aar.lab.pipeline import parse_pipeline
from aar.lab.snapshot import METHOD
from aar.outside.monitor.monitor import Monitor
from aar.outside.oversight.terms import Terms, terms_as_body
from aar.outside.oversight.watch import LimitWatch
from aar.outside.projection import Projection

ORIGIN = "aar.local/study-0123456789abcdef"
NAMES = ("researcher-1", "researcher-2", "researcher-3")
ROLES = {"operator": "operator", "reviewer": "reviewer", **dict.fromkeys(NAMES, "researcher")}
PROGRAM = "import numpy as np\n\n\ndef predict(instance, rng):\n    total = 0\n" + "".join(
    f"    part{n} = np.tanh(instance.test_x[:, {n}] * {n}.5) - total\n    total = total + part{n} * 0.{n}1\n"
    for n in range(1, 22)
)
PGR = {"pgr": "0.3000", "low": "0.2000", "high": "0.4000", "improved": 1}


class Made:
    """Entries one after the other, signed by one key: the fold looks at no signature."""

    def __init__(self) -> None:
        self.leaves: list[Leaf] = []
        self.blobs: dict[str, bytes] = {}

    def say(self, author: str, kind: str, **body: Any) -> int:
        index = len(self.leaves)
        signed = sign_entry(Entry(ORIGIN, author, 0, "", kind, (), body, 1), Signer(author, b"k" * 32))
        self.leaves.append(Leaf(index, 1_700_000_000_000 + 500 * index, signed))
        return index

    def method(self, number: int, rng: random.Random) -> str:
        if number % 10 == 0:
            files = {"method.py": PROGRAM.replace("0.11", f"0.{rng.randrange(10**9)}")}
        else:
            blocks = [
                ["knn", {"k": rng.randrange(2, 60)}],
                ["conf_keep", {"q": 0.1 + 0.9 * rng.random()}],
                ["probe", {}],
            ]
            files = {"method.py": METHOD, "config.json": json.dumps(blocks)}
            parse_pipeline(blocks)
        data = json.dumps({"files": files}).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest


def record(entries: int) -> Made:
    """A record as the gateway would have written it, of the fields that are read."""
    made, rng = Made(), random.Random(1)
    keys = [{"name": n, "role": r, "vkey": format_vkey(Signer(n, b"k" * 32).vkey)} for n, r in ROLES.items()]
    made.say(
        "operator",
        "study-opened",
        keys=keys,
        researchers=list(NAMES),
        baselines={"vanilla": "0.2000"},
        heldout=[],
        oversight=terms_as_body(Terms()),
        models={},
    )
    task = {
        "title": "",
        "direction": "",
        "workflow": "free",
        "steps": [],
        "scope": {},
        "submissions": entries,
    }
    plans = {}
    for name in NAMES:
        made.say("reviewer", "task-opened", task=name, priority=0, risk="low", **task)
        steps = [{"name": "s", "what": "", "families": [], "submissions": 0}]
        plans[name] = made.say(name, "plan-declared", task=name, steps=steps, amends=-1)
    for number in _forever():
        if len(made.leaves) >= entries:
            return made
        name, digest = NAMES[number % 3], made.method(number, rng)
        own: dict[str, Any] = {"researcher": name, "digest": digest}
        submission = made.say(
            "reviewer",
            "submission",
            task=name,
            plan=plans[name],
            step="s",
            name="m",
            request=str(number),
            size=9,
            **own,
        )
        told = {"tier": "explore", "outcome": "scored", "released": PGR, "problem": "p", "commitments": {}}
        receipt = made.say("reviewer", "score-receipt", submission=submission, **told, **own)
        text = {"title": "m reaches PGR 0.3000", "text": "One run, PGR 0.3000. " + "Words. " * 60}
        finding = made.say(
            name, "finding", type="insight", method="", numbers={}, receipts=[receipt], parents=[], **text
        )
        made.say(NAMES[(number + 1) % 3], "vote", on=finding, value=1)
        made.say(NAMES[(number + 1) % 3], "comment", on=finding, text="I build on this.")
    raise AssertionError


def _forever() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


def main() -> None:
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    made = record(entries)
    monitor, watch, projection = Monitor(made.blobs.get), LimitWatch(), Projection()
    spent: dict[str, list[float]] = {}
    limits, seen = [], []
    for leaf in made.leaves:
        projection.fold(leaf)
        seen.append(leaf)
        start = time.process_time()
        monitor.take(leaf)
        monitor.untold()
        middle = time.process_time()
        watch.look(seen, projection)
        limits.append(time.process_time() - middle)
        spent.setdefault(leaf.signed.entry.kind, []).append(middle - start)
    total = sum(map(sum, spent.values()))
    print(
        f"{entries} entries: monitor {total:.2f} s, {1e6 * total / entries:.0f} us an entry; limits ", end=""
    )
    print(f"{sum(limits):.2f} s, {1e6 * sum(limits) / entries:.0f} us an entry, {max(limits):.3f} s at most")
    for kind, times in spent.items():
        mean, most = 1e3 * sum(times) / len(times), 1e3 * max(times)
        print(f"  {kind:<14} {len(times):>6}  mean {mean:.3f} ms  most {most:.1f} ms")


if __name__ == "__main__":
    main()
