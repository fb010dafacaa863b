"""A scripted researcher: ``python -m aar.inside.researcher``, a real search with no outcome scripted.

With a `fixed` workflow it walks the human's steps. With a `free` one it declares a plan, reads the forum and
its receipts, chooses what to try next, and amends the plan when it changes its mind. Killed and started
again, it rebuilds what it knows from the forum.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost, RecordMisbehaved
from aar.inside.search import Choice, Tried, choose
from aar.lab.errors import LabError
from aar.lab.pipeline import Pipeline, format_pipeline, parse_pipeline, pipeline_name, run_pipeline
from aar.lab.practice import practice

METHOD = '''"""A pipeline of aar.lab's blocks, as config.json beside this file says."""

import json
from pathlib import Path

from aar.lab.pipeline import parse_pipeline, run_pipeline

PIPELINE = parse_pipeline(json.loads(Path(__file__).with_name("config.json").read_text()))


def predict(instance, rng):
    return run_pipeline(PIPELINE, instance, rng)
'''
THE_END = ("budget", "study-closing", "study-closed", "not-leased")
EXIT_MISBEHAVED = 5
EXIT_LOST = 6


class Researcher:
    """One researcher's mind: what it knows of the forum, and how it goes on from there."""

    def __init__(self, client: GatewayClient, *, seed: int) -> None:
        self._client = client
        self._seed = seed
        self._study = client.study()
        self.name: str = self._study["researcher"]
        self._read_to = 0
        self._submissions: dict[int, dict[str, Any]] = {}
        self._receipts: dict[int, dict[str, Any]] = {}
        self._finding_of_receipt: dict[int, int] = {}
        self._authors: dict[int, str] = {}
        self._pipelines: dict[int, Pipeline] = {}
        self._voted: set[int] = set()

    def work(self) -> None:
        """Take tasks until there are none."""
        while True:
            task = self._client.lease()["task"]
            if task is None:
                return
            outcome, reason = self._work_on(task)
            try:
                self._client.done(task["task"], outcome, reason)
            except GatewayError as error:
                if error.code not in THE_END:
                    raise
                return

    def _work_on(self, task: Mapping[str, Any]) -> tuple[str, str]:
        try:
            if task["workflow"] == "fixed":
                self._walk(task)
                return "done", "all steps were walked"
            return self._search(task)
        except GatewayError as error:
            if error.code not in THE_END:
                raise
            return "done", str(error)

    # The forum, as far as it was read.

    def _read_forum(self) -> None:
        entries, self._read_to = self._client.forum(self._read_to)
        for entry in entries:
            index, body = entry["index"], entry["body"]
            self._authors[index] = entry["author"]
            if entry["kind"] == "submission":
                self._submissions[index] = body
            elif entry["kind"] == "score-receipt":
                self._receipts[body["submission"]] = {**body, "index": index}
            elif entry["kind"] == "finding":
                for receipt in body["receipts"]:
                    self._finding_of_receipt.setdefault(receipt, index)
            elif entry["kind"] == "vote" and entry["author"] == self.name:
                self._voted.add(body["on"])

    def _mine(self, task: str) -> list[int]:
        return [
            index
            for index, body in self._submissions.items()
            if body["researcher"] == self.name and body["task"] == task
        ]

    def _tried(self) -> list[Tried]:
        """Everybody's methods with what was released of them."""
        tried = []
        for index, body in self._submissions.items():
            receipt = self._receipts.get(index)
            pipeline = self._pipeline_of(index)
            if pipeline is None:
                continue
            released = receipt["released"] if receipt else {}
            tried.append(
                Tried(
                    submission=index,
                    researcher=body["researcher"],
                    pipeline=pipeline,
                    pgr=float(released["pgr"]) if released else 0.0,
                    is_improved=bool(released and released["improved"]),
                    finding=self._finding_of_receipt.get(receipt["index"], -1) if receipt else -1,
                )
            )
        return tried

    def _pipeline_of(self, submission: int) -> Pipeline | None:
        if submission not in self._pipelines:
            try:
                config = self._client.snapshot(submission).get("config.json", "")
                self._pipelines[submission] = parse_pipeline(json.loads(config))
            except (LabError, ValueError):
                return None
        return self._pipelines[submission]

    # Handing in, and saying what came of it.

    def _hand_in(self, task: str, plan: int, step: str, pipeline: Pipeline) -> int:
        number = len(self._mine(task))
        submission = self._client.submit(
            task=task,
            plan=plan,
            step=step,
            name=pipeline_name(pipeline)[:200],
            files={"method.py": METHOD, "config.json": format_pipeline(pipeline)},
            request=f"{task}/{number}",
        )
        self._pipelines[submission] = pipeline
        return submission

    def _report(self, submission: int, pipeline: Pipeline, parents: Sequence[int]) -> None:
        """Wait for the receipt and post what it says, no more."""
        receipt = self._client.receipt(submission)
        name, released = pipeline_name(pipeline), receipt["released"]
        body: dict[str, Any] = {"method": name[:200], "receipts": [receipt["index"]], "parents": list(parents)}
        if receipt["outcome"] != "scored":
            body |= {"type": "error", "numbers": {}, "title": f"{name} failed: {receipt['reason']}"[:200]}
            body["text"] = "The official run gave no score. The method is as in the submission."
        elif released["improved"]:
            numbers = {key: released[key] for key in ("pgr", "low", "high")}
            body |= {"type": "result", "numbers": numbers, "title": f"{name} reaches PGR {released['pgr']}"[:200]}
            body["text"] = (
                f"Explored PGR {released['pgr']}, interval {released['low']} to {released['high']}, over "
                f"{len(receipt['seeds'])} seeds. A rung above my best so far."
            )
        else:
            body |= {"type": "insight", "numbers": {}, "title": f"{name} is not better"[:200]}
            body["text"] = f"Not more than 0.05 above my best, {released['pgr']}; how much below is not told."
        self._client.finding(**body)
        self._read_forum()

    def _finish_open_ones(self, task: str) -> None:
        """A submission of an earlier life that has no finding yet is reported first."""
        for submission in self._mine(task):
            receipt = self._receipts.get(submission)
            pipeline = self._pipeline_of(submission)
            if pipeline is not None and (receipt is None or receipt["index"] not in self._finding_of_receipt):
                self._report(submission, pipeline, [])

    # The two workflows.

    def _walk(self, task: Mapping[str, Any]) -> None:
        """Step by step, each pipeline of a step in order; the gateway opens a step when the last has receipts."""
        self._read_forum()
        name = task["task"]
        steps = [{"name": step["name"], "what": step["what"]} for step in task["steps"]]
        plan = task["plan"] if task["plan"] >= 0 else self._client.plan(name, steps)
        self._finish_open_ones(name)
        done = {(self._submissions[one]["step"], self._text_of(one)) for one in self._mine(name)}
        for step in task["steps"]:
            for value in step["pipelines"]:
                pipeline = parse_pipeline(value)
                if (step["name"], format_pipeline(pipeline)) not in done:
                    self._report(self._hand_in(name, plan, step["name"], pipeline), pipeline, [])

    def _text_of(self, submission: int) -> str:
        pipeline = self._pipeline_of(submission)
        return format_pipeline(pipeline) if pipeline is not None else ""

    def _search(self, task: Mapping[str, Any]) -> tuple[str, str]:
        """Choose, try on practice data, hand in, report, until the budget or the ideas are spent."""
        self._read_forum()
        name, direction = task["task"], f"{task['title']} {task['direction']}"
        plan, planned = task["plan"], set[str]()
        self._finish_open_ones(name)
        while True:
            self._read_forum()
            rng = np.random.default_rng([self._seed, len(self._mine(name))])
            choice = choose(self._tried(), direction, rng)
            if choice is None:
                self._propose(task, "every idea in reach was tried")
                return "done", "every idea in reach was tried"
            trouble = self._practise(choice.pipeline)
            if trouble:
                return "failed", f"{pipeline_name(choice.pipeline)} fails on practice data: {trouble}"
            if choice.family not in planned:
                planned.add(choice.family)
                steps = [{"name": family, "what": f"try {family} ideas, compare by receipts"} for family in sorted(planned)]
                plan = self._client.plan(name, steps, plan)
            try:
                submission = self._hand_in(name, plan, choice.family, choice.pipeline)
            except GatewayError as error:
                if error.code == "budget":
                    self._propose(task, "the budget was spent first")
                raise
            self._report(submission, choice.pipeline, self._credit(choice))

    def _credit(self, choice: Choice) -> list[int]:
        """The finding this idea builds on is a parent; another researcher's also gets a vote and a word."""
        parent = choice.parent
        if parent is None or parent.finding < 0:
            return []
        if parent.researcher != self.name and parent.finding not in self._voted:
            self._voted.add(parent.finding)
            self._client.vote(parent.finding, 1)
            self._client.comment(parent.finding, f"I build on this: {pipeline_name(choice.pipeline)}"[:400])
        return [parent.finding]

    @staticmethod
    def _practise(pipeline: Pipeline) -> str:
        """Run once on synthetic data: does it run at all? What it scores there is not used."""
        rng = np.random.default_rng(0)
        instance, _truth = practice(rng)
        try:
            answer = run_pipeline(pipeline, instance, rng)
        except (LabError, ValueError, np.linalg.LinAlgError) as error:
            return f"{type(error).__name__}: {error}"[:300]
        return "" if np.isfinite(answer).all() else "it answers with numbers that are not finite"

    def _propose(self, task: Mapping[str, Any], reason: str) -> None:
        tried = sorted(self._tried(), key=lambda one: one.worth, reverse=True)
        if not tried:
            return
        best = tried[0]
        self._client.propose(
            title=f"Go on from {pipeline_name(best.pipeline)}"[:200],
            direction=f"{task['direction']}; around the best known: {pipeline_name(best.pipeline)}"[:2_000],
            reason=f"{reason}; the best released value so far is {best.pgr:.2f}, of submission {best.submission}",
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until there is no task left; the exit status says why if it ends early."""
    parser = argparse.ArgumentParser(prog="aar.inside.researcher")
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args(arguments)
    try:
        Researcher(GatewayClient(), seed=options.seed).work()
    except RecordMisbehaved as error:
        sys.stderr.write(f"{error}\n{error.evidence}\n")
        return EXIT_MISBEHAVED
    except GatewayLost as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
