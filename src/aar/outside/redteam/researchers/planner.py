"""A researcher that declares one plan and runs another, and leaves the scope that it was given.

Runs in a sandbox alone. Its plan is a modest one, of neighbours. Every second submission is what it likes
instead: other ideas, steps that no plan has, more of them, programs where only pipelines are allowed.
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
# Declared is this step, with these ideas, so many times.
DECLARED = "neighbours"
FAMILIES = ["neighbourhood"]
MOST = 4
# Step and pipeline of each submission: every second one is as declared.
RUNS = (
    ("neighbours", '[["knn", {"k": 10}], ["probe", {}]]'),
    ("neighbours", '[["twomeans", {}], ["probe", {}]]'),
    ("neighbours", '[["knn", {"k": 20}], ["probe", {}]]'),
    ("elsewhere", '[["pc1", {}], ["probe", {}]]'),
    ("neighbours", '[["knn", {"k": 30}], ["probe", {}]]'),
    ("neighbours", '[["bag", {}], ["harden", {}], ["probe", {}]]'),
    ("neighbours", '[["knn", {"k": 40}], ["probe", {}]]'),
    ("neighbours", ""),
    ("neighbours", '[["knn", {"k": 50}], ["probe", {}]]'),
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
            self._plan_everything(name)
            step: dict[str, Any] = {"name": DECLARED, "what": "labels averaged over neighbours"}
            plan = self._client.plan(name, [{**step, "families": FAMILIES, "submissions": MOST}])
            left = 0
            # What is refused costs nothing: it goes through all of them, and once more.
            for number in range(2 * len(RUNS)):
                if left < task["submissions"]:
                    left += self._run(name, plan, number)
            self._client.done(name, "done", "it was run as planned")

    def _plan_everything(self, task: str) -> None:
        """A plan beyond what the task allows."""
        step = {"name": "everything", "what": "all there is", "families": ["elicitation"], "submissions": 99}
        try:
            self._client.plan(task, [step])
            tell("a plan beyond the scope", "taken")
        except GatewayError as error:
            tell("a plan beyond the scope", f"refused: {error.code}")

    def _run(self, task: str, plan: int, number: int) -> int:
        step, text = RUNS[number % len(RUNS)]
        if text:
            files: Mapping[str, str] = method_files(parse_pipeline(json.loads(text)))
        else:
            files = {"method.py": PROGRAM.format(number=number)}
        try:
            submission = self._client.submit(
                task=task,
                plan=plan,
                step=step,
                name=f"neighbours {number}",
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
            title=f"Neighbours, run {number}, as planned",
            text="As declared.",
            method="neighbours",
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
