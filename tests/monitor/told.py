"""A record as the monitor is told it: entries with real signatures, of bodies that a test chooses."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from aar.formats.entry import Entry, Leaf, sign_entry
from aar.formats.keys import Signer
from aar.outside.monitor.monitor import Monitor
from aar.outside.monitor.sighting import Sighting

ORIGIN = "aar.local/study-0123456789abcdef"
METHOD = '''"""Keep what is sure."""

import numpy as np


def predict(instance, rng):
    return np.ones(3) * 0.5
'''
MINUTE_MS = 60_000


class Told:
    """Says entries one after the other; `seen` are the codes that the monitor found."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.monitor = Monitor(self.blobs.get)
        self.leaves: list[Leaf] = []
        self.now_ms = 1_000_000
        self.sightings: list[Sighting] = []
        self.say(
            "operator",
            "study-opened",
            researchers=["a", "b", "c"],
            baselines={"weak": "0.7000", "ceiling": "0.9000", "vanilla": "0.2100"},
            heldout=[],
        )
        self.requests = 0

    @property
    def codes(self) -> list[str]:
        return [one.code for one in self.sightings]

    def say(self, author: str, kind: str, **body: Any) -> int:
        index = len(self.leaves)
        entry = Entry(ORIGIN, author, 0, "", kind, (), body, 1)
        leaf = Leaf(index, self.now_ms, sign_entry(entry, Signer(author, b"s" * 32)))
        self.leaves.append(leaf)
        self.now_ms += 1_000
        self.monitor.take(leaf)
        self.sightings += self.monitor.untold()
        return index

    def task(self, name: str, *pipelines: str) -> int:
        steps = [{"name": "s", "what": "", "pipelines": list(pipelines)}] if pipelines else []
        return self.say("reviewer", "task-opened", task=name, steps=steps)

    def plan(self, author: str, *steps: dict[str, Any]) -> int:
        told = [{"what": "", **one} for one in steps] or [{"name": "s", "what": ""}]
        return self.say(author, "plan-declared", task="t", steps=told, amends=-1)

    def submit(
        self, researcher: str, files: dict[str, str] | str, *, plan: int = -1, task: str = "t", **more: Any
    ) -> int:
        plan = plan if plan >= 0 else self.plan(researcher)
        told = {"method.py": files} if isinstance(files, str) else files
        data = json.dumps({"files": told}).encode()
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        self.requests += 1
        body = {"task": task, "researcher": researcher, "plan": plan, "step": "s", "digest": digest}
        return self.say("gateway", "submission", **{**body, "request": str(self.requests), **more})

    def score(self, submission: int, pgr: str = "0.3000", *, half: float = 0.1, **more: Any) -> int:
        body: Any = self.leaves[submission].signed.entry.body
        low, high = (f"{float(pgr) + way * half:.4f}" for way in (-1, 1))
        told = {"pgr": pgr, "low": low, "high": high, "improved": 1}
        return self.say(
            "evaluator",
            "score-receipt",
            **{
                "submission": submission,
                "digest": body["digest"],
                "researcher": body["researcher"],
                "tier": "explore",
                "outcome": "scored",
                "released": told,
                **more,
            },
        )

    def explore(self, researcher: str, files: dict[str, str] | str, pgr: str = "0.3000", **more: Any) -> int:
        """A method handed in and scored; its receipt."""
        return self.score(self.submit(researcher, files, **more), pgr)

    def find(
        self,
        author: str,
        text: str = "",
        *,
        receipts: tuple[int, ...] = (),
        parents: tuple[int, ...] = (),
        **more: Any,
    ) -> int:
        body = {"type": "insight", "title": "a finding", "text": text}
        return self.say(
            author, "finding", **{**body, "receipts": list(receipts), "parents": list(parents), **more}
        )

    def vote(self, author: str, on: int, value: int = 1) -> int:
        return self.say(author, "vote", on=on, value=value)

    def reveal(self, receipt: int, half: str, pgr: str, low: str, high: str) -> int:
        return self.say(
            "evaluator", "score-revealed", receipt=receipt, half=half, pgr=pgr, low=low, high=high
        )
