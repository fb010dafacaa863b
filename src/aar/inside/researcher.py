"""A scripted researcher: ``python -m aar.inside.researcher``, a real search with no outcome scripted.

With a `fixed` workflow it walks the human's steps. With a `free` one it declares a plan, reads the forum and
its receipts, chooses what to try next, and amends the plan when it turns to another family of ideas; with a
`hybrid` one it does so inside the scope that the human set. Killed and started again, it rebuilds what it
knows from the forum and repeats nothing; nor what another did whose task it takes over.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aar.inside.forum import Forum, Tried
from aar.inside.gateway_client import SOCKET_PATH, GatewayClient, GatewayError, GatewayLost, RecordMisbehaved
from aar.inside.search import Choice, choose, worth_of
from aar.lab.errors import LabError
from aar.lab.method_directory import method_files
from aar.lab.pipeline import (
    Pipeline,
    parse_pipeline,
    pipeline_digest,
    pipeline_families,
    pipeline_name,
    run_pipeline,
)
from aar.lab.practice import practice
from aar.verify.workflow import PLAIN_FAMILY

# Refusals that end a task in order: they are no fault, there is only nothing more to do.
NOTHING_MORE = ("budget", "study-closing", "study-closed", "not-leased")
EXIT_MISBEHAVED = 5
EXIT_LOST = 6
TITLE_CHARACTERS = 200
REQUEST_CHARACTERS = 128

Ended = tuple[str, str]


class Researcher:
    """One researcher at work: a task at a time, until there are none."""

    def __init__(self, client: GatewayClient, *, seed: int) -> None:
        self._client = client
        self._seed = seed
        self.name: str = client.study()["researcher"]
        self._forum = Forum(client, self.name)

    def work(self) -> None:
        """Take tasks until there are none."""
        while (task := self._client.lease()) is not None:
            outcome, reason = self._work_on(task)
            try:
                self._client.done(task["task"], outcome, reason)
            except GatewayError as error:
                if error.code not in NOTHING_MORE:
                    raise
                return

    def _work_on(self, task: Mapping[str, Any]) -> Ended:
        """Outcome and reason; what the gateway refuses ends the task and is told, nothing is tried twice."""
        try:
            return self._walk(task) if task["workflow"] == "fixed" else self._search(task)
        except GatewayError as error:
            return ("done" if error.code in NOTHING_MORE else "failed"), f"{error.code}: {error}"[:1_000]
        except LabError as error:
            return "failed", str(error)[:1_000]

    # Handing in, and saying what came of it.

    def _hand_in(self, task: str, plan: int, step: str, pipeline: Pipeline) -> int:
        return self._client.submit(
            task=task,
            plan=plan,
            step=step,
            name=pipeline_name(pipeline)[:TITLE_CHARACTERS],
            files=method_files(pipeline),
            request=request_of(task, step, pipeline),
        )

    def _report(self, submission: int, name: str, choice: Choice | None = None) -> None:
        """Wait for the receipt and post what it says, no more."""
        receipt = self._client.receipt(submission)
        released = receipt["released"]
        self._forum.read()
        before = self._forum.best_before(submission)
        parent = choice.parent if choice is not None else None
        parents = [parent.finding] if parent is not None and parent.finding >= 0 else []
        built = ""
        if parent is not None and choice is not None:
            built = f" Built on {pipeline_name(parent.pipeline)}: {choice.why}."
        numbers: dict[str, str] = {}
        if receipt["outcome"] != "scored":
            kind, title = "error", f"{name} failed: {receipt['reason']}"
            text = "The official run gave no score; the method is as in the submission."
        elif released["improved"] and (before is None or float(released["pgr"]) > before):
            kind, title = "result", f"{name} reaches PGR {released['pgr']}"
            numbers = {key: released[key] for key in ("pgr", "low", "high")}
            text = f"{_explored(receipt)}: above my best before."
        elif released["improved"]:
            kind, title = "insight", f"{name} is not better"
            numbers = {key: released[key] for key in ("pgr", "low", "high")}
            text = f"{_explored(receipt)}: not above my best, {before:.4f}."
        else:
            kind, title = "insight", f"{name} is not better"
            text = (
                f"Not more than a step above my best, {released['pgr']}. How far below is not told, so this "
                "says that it does not help by much, not that it hurts."
            )
        self._client.finding(
            type=kind,
            title=title[:TITLE_CHARACTERS],
            text=text + built,
            method=name[:TITLE_CHARACTERS],
            numbers=numbers,
            receipts=[receipt["index"]],
            parents=parents,
        )
        if parent is not None and parents and self._is_anothers(parent):
            outcome = {"result": f"reaches {released.get('pgr')}", "insight": "was not better for me"}.get(
                kind
            )
            if self._forum.may_comment_on(parent.finding):
                self._forum.comment(
                    parent.finding, f"I built {name} on this: it {outcome or 'gave no score'}."
                )

    def _confirm_best(self) -> None:
        """Have our best method run once with new seeds, if the budget allows, and say what came of it.

        What was explored is the best of several tries; a confirmed value is of one.
        """
        mine = [one for one in self._forum.tried() if one.is_improved and not self._is_anothers(one)]
        if not mine:
            return
        best = max(mine, key=worth_of)
        try:
            self._client.confirm(best.submission)
        except GatewayError as error:
            if error.code not in (*NOTHING_MORE, "held"):
                raise
            return
        receipt = self._client.receipt(best.submission, tier="confirm")
        name, released = pipeline_name(best.pipeline), receipt["released"]
        kind, title = "error", f"{name} failed when it was run again: {receipt['reason']}"
        text = "The run with new seeds gave no score."
        if receipt["outcome"] == "scored":
            kind, title = "result", f"{name}, confirmed: PGR {released['pgr']}"
            text = (
                f"One run with new seeds: PGR {released['pgr']}, interval {released['low']} to "
                f"{released['high']}; {released['difference']} above the plain student on the same splits, "
                f"interval {released['difference_low']} to {released['difference_high']}."
            )
        self._client.finding(
            type=kind,
            title=title[:TITLE_CHARACTERS],
            text=text,
            method=name[:TITLE_CHARACTERS],
            numbers={key: released[key] for key in ("pgr", "low", "high") if released},
            receipts=[receipt["index"], self._forum.receipt_of(best.submission)],
            parents=[best.finding] if best.finding >= 0 else [],
        )

    def _is_anothers(self, tried: Tried) -> bool:
        return tried.researcher != self.name

    def _report_open_ones(self, task: str) -> None:
        """Submissions that no finding cites yet, of an earlier life or unseen until now."""
        for submission in self._forum.unreported(task):
            self._report(submission, self._forum.name_of(submission))
        self._forum.read()

    # The two workflows.

    def _walk(self, task: Mapping[str, Any]) -> Ended:
        """Step by step, each pipeline in order: a step opens when the one before has its receipts."""
        name, steps = task["task"], task["steps"]
        # All of them before the first: a step that cannot be run is the human's to mend, not to stumble over.
        pipelines = {step["name"]: [parse_pipeline(one) for one in step["pipelines"]] for step in steps}
        self._forum.read()
        plan, _declared = self._forum.latest_plan(name)
        if plan < 0:
            plan = self._client.plan(name, [{"name": one["name"], "what": one["what"]} for one in steps])
        self._report_open_ones(name)
        done = {self._forum.request_of(one) for one in self._forum.of_task(name)}
        for step, wanted in pipelines.items():
            for pipeline in wanted:
                request = request_of(name, step, pipeline)
                if request not in done:
                    done.add(request)
                    self._report(self._hand_in(name, plan, step, pipeline), pipeline_name(pipeline))
        return "done", f"all {len(steps)} steps were walked"

    def _search(self, task: Mapping[str, Any]) -> Ended:
        """Choose, try on practice data, hand in, report, until the budget or the ideas are spent."""
        name, direction = task["task"], f"{task['title']} {task['direction']}"
        self._forum.read()
        while True:
            self._report_open_ones(name)
            handed_in = self._forum.of_task(name)
            if len(handed_in) >= task["submissions"]:
                return self._finished(task, "the task's budget was spent")
            choice = choose(
                self._forum.tried(),
                direction,
                np.random.default_rng([self._seed, len(handed_in)]),
                families=self._families_left(task),
            )
            if choice is None:
                return self._finished(task, "every idea in reach was tried")
            trouble = practised(choice.pipeline)
            if trouble:
                return "failed", f"{pipeline_name(choice.pipeline)} fails on practice data: {trouble}"
            plan = self._planned(task, choice)
            self._credit(choice)
            try:
                submission = self._hand_in(name, plan, choice.family, choice.pipeline)
            except GatewayError as error:
                if error.code != "budget":
                    raise
                return self._finished(task, str(error))
            self._report(submission, pipeline_name(choice.pipeline), choice)
            self._forum.read()

    def _families_left(self, task: Mapping[str, Any]) -> list[str] | None:
        """The families that a hybrid task's scope has submissions left for; `None` where all are free."""
        if task["workflow"] != "hybrid":
            return None
        scope = task["scope"]
        return [
            family
            for family in scope["families"]
            if self._forum.in_step(task["task"], family) < scope["submissions"]
        ]

    def _planned(self, task: Mapping[str, Any], choice: Choice) -> int:
        """A plan that names the choice's families: the one declared last, or that one amended first."""
        name = task["task"]
        plan, steps = self._forum.latest_plan(name)
        mine = next((step for step in steps if step["name"] == choice.family), None)
        families = [one for one in pipeline_families(choice.pipeline) if one != PLAIN_FAMILY]
        if mine is not None and (task["workflow"] != "hybrid" or set(families) <= set(mine["families"])):
            return plan
        what = f"Try {choice.family} ideas and compare them by receipts; first: {choice.why}."
        step: dict[str, Any] = {"name": choice.family, "what": what}
        if task["workflow"] == "hybrid":
            known = mine["families"] if mine is not None else []
            step["families"] = [*known, *(one for one in families if one not in known)] or [choice.family]
            step["submissions"] = task["scope"]["submissions"]
        plan = self._client.plan(name, [*(one for one in steps if one is not mine), step], plan)
        self._forum.read()
        return plan

    def _credit(self, choice: Choice) -> None:
        """Another researcher's finding that this builds on gets a vote."""
        parent = choice.parent
        if parent is None or parent.finding < 0 or not self._is_anothers(parent):
            return
        if self._forum.may_vote_on(parent.finding):
            self._forum.vote(parent.finding)

    def _finished(self, task: Mapping[str, Any], reason: str) -> Ended:
        """Confirm the best of what was tried, and propose where to go on from here."""
        self._confirm_best()
        scored = sorted((one for one in self._forum.tried() if one.is_improved), key=worth_of)
        if scored:
            best, value = scored[-1], worth_of(scored[-1])
            known = pipeline_name(best.pipeline)
            self._client.propose(
                title=f"Go on from {known}"[:TITLE_CHARACTERS],
                direction=f"{task['direction']}; around the best known: {known}"[:2_000],
                reason=f"{reason}; the best released value is {value:.2f}, of submission {best.submission}",
            )
        return "done", reason


def _explored(receipt: Mapping[str, Any]) -> str:
    released = receipt["released"]
    return (
        f"Explored PGR {released['pgr']}, interval {released['low']} to {released['high']}, over "
        f"{len(receipt['seeds'])} seeds"
    )


def request_of(task: str, step: str, pipeline: Pipeline | None) -> str:
    """A function of what is handed in: whoever asks again, this life or the next, gets the first answer."""
    digest = pipeline_digest(pipeline)[:16] if pipeline is not None else ""
    return f"{task}/{step}/{digest}"[-REQUEST_CHARACTERS:]


def practised(pipeline: Pipeline) -> str:
    """What goes wrong when a pipeline runs on practice data, or nothing; what it scores there is not used."""
    rng = np.random.default_rng(0)
    instance, _truth = practice(rng)
    try:
        answer = run_pipeline(pipeline, instance, rng)
    except (LabError, ValueError, FloatingPointError, np.linalg.LinAlgError) as error:
        return f"{type(error).__name__}: {error}"[:300]
    if answer.shape != (len(instance.test_x),) or not np.isfinite(answer).all():
        return f"it answers {answer.shape}, want {len(instance.test_x)} finite numbers"
    return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Work until there is no task left; the exit status says why if it ends early."""
    parser = argparse.ArgumentParser(prog="aar.inside.researcher")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--socket", default=SOCKET_PATH)
    options = parser.parse_args(arguments)
    # Nothing here needs tidying up: what was acknowledged is in the record, the rest was never said.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    try:
        Researcher(GatewayClient(options.socket), seed=options.seed).work()
    except RecordMisbehaved as error:
        sys.stderr.write(f"{error}\n{error.evidence}\n")
        return EXIT_MISBEHAVED
    except GatewayLost as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_LOST
    return 0


if __name__ == "__main__":
    sys.exit(main())
