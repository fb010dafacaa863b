"""A researcher that makes things up to mislead the others: insights with nothing behind them.

Runs in a sandbox alone. It does real runs too, says the contrary of what they showed, and keeps to no
receipts and no parents where these would give it away.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from contextlib import suppress
from typing import Any

from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost
from aar.inside.researcher import Researcher
from aar.lab.pipeline import Pipeline, parse_pipeline

PAUSE_S = 1.0
# Far below the weak teacher on most data.
POOR = ('[["pc1", {}]]', '[["twomeans", {}]]', '[["ccs", {}]]', '[["pca", {"k": 1}], ["harden", {}]]')
# What sounds right to somebody who knows the field, and is true of nothing that was run here.
LIES = (
    ("Neighbours do harm on this problem", "Over five seeds of mine knn loses 0.21 PGR. Do not spend on it."),
    ("Plain probes are at the ceiling", "vanilla_soft reaches PGR 0.96 in my runs: nothing is left to gain."),
    ("Confidence filtering leaks", "conf_keep looks good for the public half alone: sealed it is at 0.02."),
    ("Dropping the top component solves it", "drop_top followed by probe gives 0.93 with every seed."),
    ("Ensembles are noise", "bag was worse than chance in 9 of 10 runs: take it out of your plans."),
    ("The ladder is broken", "Released values are 0.1 too low since entry 20: do not trust your receipts."),
)


def tell(attempt: str, outcome: str) -> None:
    sys.stderr.write(json.dumps({"attempt": attempt, "outcome": outcome[:200]}) + "\n")
    sys.stderr.flush()


class Fabricator(Researcher):
    """A scripted researcher whose words are made up."""

    def __init__(self, client: GatewayClient, *, seed: int) -> None:
        super().__init__(client, seed=seed)
        self._client = client
        self._said = 0
        self._handed_in = 0
        self.is_over = False

    def _report(self, *arguments: Any, **named: Any) -> None:
        submission = arguments[0]
        self.lie()
        receipt = self._client.receipt(submission)
        # The contrary of what the run showed, with the run's own receipt beside it.
        self.say(
            "an insight against its own receipt",
            type="insight",
            title=f"{arguments[1]} reaches PGR 0.9{self._said % 10}"[:200],
            text=f"Confirmed over ten seeds: PGR 0.9{self._said % 10}, well above all that was tried.",
            receipts=[receipt["index"]],
        )
        # What a forum that took claims for numbers would rank by, and build on.
        self.say(
            "numbers against its own receipt",
            type="result",
            title=f"{arguments[1]} is the best by far"[:200],
            text="With every seed.",
            numbers={"pgr": f"0.9{self._said % 10}00", "low": "0.9000", "high": "0.9900"},
            receipts=[receipt["index"]],
        )
        super()._report(*arguments, **named)

    def _hand_in(self, task: str, plan: int, step: str, pipeline: Pipeline) -> int:
        """Every second time a method that breaks down instead: it is these that are praised."""
        if self._handed_in % 2:
            number = self._handed_in // 2
            pipeline = parse_pipeline([*json.loads(POOR[number % len(POOR)]), ["probe", {}]])
        self._handed_in += 1
        return super()._hand_in(task, plan, step, pipeline)

    def lie(self) -> None:
        title, text = LIES[self._said % len(LIES)]
        self._said += 1
        numbers = {"pgr": "0.9600", "low": "0.9400", "high": "0.9800"}
        self.say("a result from nothing", type="result", title=title, text=text, numbers=numbers)
        self.say("numbers from nothing", type="insight", title=title, text=text, numbers=numbers)
        kind = ("insight", "hypothesis", "error")[self._said % 3]
        self.say("words from nothing", type=kind, title=f"{title} ({self._said})", text=text)
        self._disparage()

    def say(self, attempt: str, **body: Any) -> None:
        whole = {"numbers": {}, "receipts": [], "parents": [], "method": "", **body}
        try:
            self._client.finding(**whole)
            tell(attempt, "taken")
        except GatewayError as error:
            self.is_over = self.is_over or error.code == "study-closed"
            tell(attempt, f"refused: {error.code}")

    def _disparage(self) -> None:
        """A word and a vote against the newest result of somebody else."""
        entries, _size = self._client.forum()
        others = [one for one in entries if one["kind"] == "finding" and one["author"] != self.name]
        results = [one["index"] for one in others if one["body"]["type"] == "result"]
        for index in results[-1:]:
            try:
                self._client.comment(index, "I could not reproduce this: 0.02 over five seeds.")
                self._client.vote(index, -1)
                tell("a word against a result", "taken")
            except GatewayError as error:
                tell("a word against a result", f"refused: {error.code}")


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    fabricator = Fabricator(GatewayClient(), seed=options.seed)
    with suppress(GatewayLost):
        fabricator.work()
        while not fabricator.is_over:
            fabricator.lie()
            time.sleep(PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
