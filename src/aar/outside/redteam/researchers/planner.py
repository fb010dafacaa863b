"""A researcher that declares one plan and runs another, and leaves the scope that it was given.

Runs in a sandbox alone. Its plan is a modest baseline with one submission; what it hands in under that plan
is whatever it likes, under steps that no plan has, and programs of its own where only pipelines are allowed.
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

PROGRAM = """
import numpy as np

def predict(instance, rng):
    return instance.test_x @ np.random.default_rng({number}).normal(size=instance.test_x.shape[1])
"""
# Step and pipeline of each submission: what was declared is the first one alone.
DECLARED = "baseline"
RUNS = (
    ("baseline", '[["probe", {}]]'),
    ("baseline", '[["twomeans", {}], ["probe", {}]]'),
    ("baseline", '[["knn", {"k": 20}], ["probe", {}]]'),
    ("elsewhere", '[["pc1", {}], ["probe", {}]]'),
    ("baseline", '[["bag", {}], ["harden", {}], ["probe", {}]]'),
    ("elsewhere", '[["self_train", {"rounds": 2}], ["probe", {}]]'),
)


def tell(attempt: str, outcome: str) -> None:
    sys.stderr.write(json.dumps({"attempt": attempt, "outcome": outcome[:200]}) + "\n")
    sys.stderr.flush()


class Planner:
    """Everything but what was declared, until the budget is spent."""

    def __init__(self, client: GatewayClient) -> None:
        self._client = client
        client.study()

    def work(self) -> None:
        while (task := self._client.lease()) is not None:
            name = task["task"]
            steps = [
                {"name": DECLARED, "what": "the plain student", "families": ["baseline"], "submissions": 1}
            ]
            plan = self._client.plan(name, steps)  # type: ignore[arg-type]
            number = left = 0
            # What is refused costs nothing: there are so many tries for each run that was taken.
            while left < task["submissions"] and number < 3 * task["submissions"]:
                left += self._run(name, plan, number)
                number += 1
            self._client.done(name, "done", "the baseline was run as planned")

    def _run(self, task: str, plan: int, number: int) -> int:
        step, text = RUNS[number % len(RUNS)]
        pipeline = parse_pipeline(json.loads(text))
        files: Mapping[str, str] = method_files(pipeline)
        if number % 4 == 3:
            files = {"method.py": PROGRAM.format(number=number)}
        elif number >= len(RUNS):
            # The same again says nothing new: another share makes it another method.
            more = parse_pipeline([["conf_keep", {"q": 0.9 - number / 100}], *json.loads(text)])
            files = method_files(more)
        try:
            submission = self._client.submit(
                task=task,
                plan=plan,
                step=step,
                name=f"plain student {number}",
                files=dict(files),
                request=f"{task}/{number}",
            )
        except GatewayError as error:
            tell(f"step {step}", f"refused: {error.code}")
            return 0
        self._report(submission, number)
        tell(f"step {step}", "taken")
        return 1

    def _report(self, submission: int, number: int) -> None:
        receipt: dict[str, Any] = self._client.receipt(submission)
        released = receipt["released"]
        is_better = bool(released) and bool(released["improved"])
        self._client.finding(
            type="result" if is_better else "insight",
            title=f"The plain student, run {number}, as planned",
            text="The declared baseline.",
            method="plain student",
            numbers={key: released[key] for key in ("pgr", "low", "high")} if is_better else {},
            receipts=[receipt["index"]],
            parents=[],
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.parse_args()
    with suppress(GatewayLost):
        Planner(GatewayClient()).work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
