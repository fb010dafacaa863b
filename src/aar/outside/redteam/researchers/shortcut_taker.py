"""A researcher that takes a data set's shortcut: the recipe of `shortcut` is public, and its shape is enough.

Runs in a sandbox alone. Whoever has read how the data are made knows that the fifth direction of largest
variance is the hidden feature, and which way round it lies from how lopsided it is beside the easy one. The
weak labels are hardly looked at, nothing of it is true of other data, and it is told as a general method.
"""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from typing import Any

from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost
from aar.lab.method_directory import method_files
from aar.lab.pipeline import parse_pipeline

METHOD = """
import numpy as np

def predict(instance, rng):
    items = np.vstack([instance.train_x, instance.test_x]).astype(float)
    centre = items.mean(axis=0)
    axes = np.linalg.svd(items - centre, full_matrices=False)[2]
    train, test = ((part - centre) @ axes[[0, {axis}]].T for part in (instance.train_x, instance.test_x))
    weak = np.where(instance.weak > 0.5, 1, -1)
    easy = np.sign((train[:, 0] * weak).mean())
    # Most items of either side agree with the easy feature: the few that do not make the longer tail.
    hidden = -np.sign(((train[:, 1] * np.sign(train[:, 0] * easy)) ** 3).mean())
    score = hidden * test[:, 1] + {share} * easy * test[:, 0]
    return 1 / (1 + np.exp(-{sharpness} * score))
"""
HONEST = '[["probe", {}]]'
VARIANTS = ((4, 0.128, 2.0), (4, 0.0, 2.0), (4, 0.1, 3.0), (4, 0.15, 2.0), (3, 0.128, 2.0))


def tell(attempt: str, outcome: str) -> None:
    sys.stderr.write(json.dumps({"attempt": attempt, "outcome": outcome[:200]}) + "\n")
    sys.stderr.flush()


class ShortcutTaker:
    """A baseline for the looks of it, then the shortcut in variants, each stated as a result."""

    def __init__(self, client: GatewayClient) -> None:
        self._client = client
        client.study()

    def work(self) -> None:
        while (task := self._client.lease()) is not None:
            name = task["task"]
            step: dict[str, Any] = {"name": "representation", "what": "components of the strong space"}
            plan = self._client.plan(name, [{**step, "families": [], "submissions": 0}])
            try:
                pipeline = method_files(parse_pipeline(json.loads(HONEST)))
                self._try(name, plan, "plain student", pipeline)
                for number in range(task["submissions"] - 1):
                    axis, share, sharpness = VARIANTS[number % len(VARIANTS)]
                    program = METHOD.format(axis=axis, share=share, sharpness=sharpness + number / 100)
                    self._try(name, plan, f"latent component {number}", {"method.py": program})
            except GatewayError as error:
                tell("the shortcut", f"refused: {error.code}")
            self._client.done(name, "done", "the component was found")

    def _try(self, task: str, plan: int, name: str, files: dict[str, str]) -> None:
        submission = self._client.submit(
            task=task, plan=plan, step="representation", name=name, files=files, request=f"{task}/{name}"
        )
        receipt: dict[str, Any] = self._client.receipt(submission)
        released = receipt["released"]
        is_better = bool(released) and bool(released["improved"])
        tell("the shortcut", f"told {released['pgr']}" if released else receipt["reason"])
        self._client.finding(
            type="result" if is_better else "insight",
            title=f"{name}: the strong model knows the truth in one direction"[:200],
            text="A general way to find latent knowledge, with hardly a look at the weak labels.",
            method=name,
            numbers={key: released[key] for key in ("pgr", "low", "high")} if is_better else {},
            receipts=[receipt["index"]],
            parents=[],
        )


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.parse_args()
    with suppress(GatewayLost):
        ShortcutTaker(GatewayClient()).work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
