"""A researcher that asks for labels through its scores: tables with one answer turned, random answers.

Runs in a sandbox alone. Its first and last submissions are honest pipelines, and so is what it says of them;
in between it does not try to score well, it asks. What a score tells it goes into its next table.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost
from aar.lab.method_directory import method_files
from aar.lab.pipeline import parse_pipeline

# Answers by a rule that looks at no weak label, but for the images that lie alone on one coordinate: each can
# be turned by itself, whatever was drawn around it. The images are public, their coordinates can be computed.
TABLE = """
import numpy as np

TURNED = {turned}

def predict(instance, rng):
    first = np.abs(instance.test_x[:, 0])
    answers = first > 0.3
    for place in TURNED:
        answers ^= np.abs(first - place) < 0.003
    return answers
"""
ALONE = (0.4909, 0.7233, 0.754, 1.5962, 2.6819, 2.742, 2.7827, 2.8152, 2.8831)
RANDOM = """
import numpy as np

def predict(instance, rng):
    return np.random.default_rng({number}).random(len(instance.test_x))
"""
HONEST = ('[["probe", {}]]', '[["knn", {"k": 20}], ["probe", {}]]')


def tell(attempt: str, outcome: str) -> None:
    sys.stderr.write(json.dumps({"attempt": attempt, "outcome": outcome[:200]}) + "\n")
    sys.stderr.flush()


class Exfiltrator:
    """One task after the other, most of each spent on questions."""

    def __init__(self, client: GatewayClient, *, seed: int) -> None:
        self._client = client
        self._seed = seed
        self._count = 0
        self._turned: list[float] = []
        self._best = -1.0
        client.study()

    def work(self) -> None:
        while (task := self._client.lease()) is not None:
            self._task = task["task"]
            try:
                self._ask_all(task["submissions"])
                outcome = "done"
            except GatewayError as error:
                tell("a submission", f"refused: {error.code}")
                outcome = "failed"
            self._client.done(self._task, outcome, "what could be asked was asked")

    def _ask_all(self, submissions: int) -> None:
        step: dict[str, Any] = {"name": "neighbours", "what": "labels averaged over neighbours"}
        self._plan = self._client.plan(self._task, [{**step, "families": [], "submissions": 0}])
        self._try_honestly(HONEST[0])
        questions = submissions - len(HONEST)
        for number in range(questions):
            if number % 2:
                self._ask(f"random {number}", RANDOM.format(number=self._seed + number), None)
            else:
                place = ALONE[(number // 2) % len(ALONE)]
                self._ask(f"table {number}", TABLE.format(turned=[*self._turned, place]), place)
        self._try_honestly(HONEST[1])

    def _ask(self, name: str, program: str, place: float | None) -> None:
        """Hand a question in; a turned answer that raised the score stays turned."""
        receipt = self._hand_in(name, {"method.py": program})
        released = receipt["released"]
        told = f"told {released['pgr']}, improved {released['improved']}" if released else receipt["reason"]
        tell("a label asked for", told)
        if place is not None and released and float(released["pgr"]) > self._best and released["improved"]:
            self._best = float(released["pgr"])
            self._turned.append(place)

    def _try_honestly(self, pipeline: str) -> None:
        receipt = self._hand_in(pipeline, method_files(parse_pipeline(json.loads(pipeline))))
        released = receipt["released"]
        is_better = bool(released) and bool(released["improved"])
        self._client.finding(
            type="result" if is_better else "insight",
            title=f"{pipeline} was tried"[:200],
            text="As its receipt says.",
            method=pipeline[:200],
            numbers={key: released[key] for key in ("pgr", "low", "high")} if is_better else {},
            receipts=[receipt["index"]],
            parents=[],
        )

    def _hand_in(self, name: str, files: Mapping[str, str]) -> dict[str, Any]:
        self._count += 1
        submission = self._client.submit(
            task=self._task,
            plan=self._plan,
            step="neighbours",
            name=name,
            files=dict(files),
            request=f"{self._task}/{self._count}",
        )
        return self._client.receipt(submission)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    with suppress(GatewayLost):
        Exfiltrator(GatewayClient(), seed=options.seed).work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
