"""What a researcher knows of the forum: everybody's methods, what was released of them, and who said what.

Nothing here outlives the process: a researcher that was killed reads the forum again and knows as much.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aar.inside.gateway_client import GatewayClient
from aar.lab.method_directory import pipeline_of
from aar.lab.pipeline import Pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A method that somebody handed in.

    `pgr` is what its receipt released: its own score when `is_improved`, else the researcher's best before
    it, which it did not beat by a step of the ladder; `None` without a score. `finding` is -1 without one.
    """

    submission: int
    researcher: str
    pipeline: Pipeline
    pgr: float | None
    is_improved: bool
    finding: int = -1


class Forum:
    """The forum as far as it was read, from one researcher's side."""

    def __init__(self, client: GatewayClient, researcher: str) -> None:
        self._client = client
        self.researcher = researcher
        self._read_to = 0
        self._submissions: dict[int, Mapping[str, Any]] = {}
        self._receipts: dict[int, tuple[int, Mapping[str, Any]]] = {}
        self._finding_of_receipt: dict[int, int] = {}
        self._findings: dict[int, Mapping[str, Any]] = {}
        self._pipelines: dict[int, Pipeline | None] = {}
        self._plans: dict[int, Mapping[str, Any]] = {}
        self._voted: set[int] = set()
        self._commented: set[int] = set()

    def read(self) -> None:
        """Take in what is new."""
        entries, self._read_to = self._client.forum(self._read_to)
        for entry in entries:
            index, body, is_mine = entry["index"], entry["body"], entry["author"] == self.researcher
            if entry["kind"] == "submission":
                self._submissions[index] = body
            elif entry["kind"] == "score-receipt":
                self._receipts[body["submission"]] = (index, body)
            elif entry["kind"] == "finding":
                self._findings[index] = body
                for receipt in body["receipts"]:
                    self._finding_of_receipt.setdefault(receipt, index)
            elif entry["kind"] == "plan-declared" and is_mine:
                self._plans[index] = body
            elif entry["kind"] == "vote" and is_mine:
                self._voted.add(body["on"])
            elif entry["kind"] == "comment" and is_mine:
                self._commented.add(body["on"])

    def mine(self, task: str) -> list[int]:
        """Our own submissions to a task, oldest first."""
        return [
            index
            for index, body in sorted(self._submissions.items())
            if body["researcher"] == self.researcher and body["task"] == task
        ]

    def of_task(self, task: str) -> list[int]:
        """Everybody's submissions to a task, oldest first: it may have been another's before."""
        return [index for index, body in sorted(self._submissions.items()) if body["task"] == task]

    def unreported(self, task: str) -> list[int]:
        """Those of them that no finding cites yet: an earlier life did not get to it."""
        return [
            index
            for index in self.mine(task)
            if index not in self._receipts or self._receipts[index][0] not in self._finding_of_receipt
        ]

    def step_of(self, submission: int) -> str:
        """The plan step that a submission was made under."""
        step: str = self._submissions[submission]["step"]
        return step

    def request_of(self, submission: int) -> str:
        """The request that a submission was made with."""
        request: str = self._submissions[submission]["request"]
        return request

    def in_step(self, task: str, step: str) -> int:
        """How many submissions of a task were made under the plan step of that name."""
        return sum(self.step_of(one) == step for one in self.of_task(task))

    def name_of(self, submission: int) -> str:
        """The name that a submission was handed in under."""
        name: str = self._submissions[submission]["name"]
        return name

    def receipt_of(self, submission: int) -> int:
        """The index of the receipt of a submission's explored run; -1 while there is none."""
        return self._receipts.get(submission, (-1, {}))[0]

    def best_before(self, submission: int) -> float | None:
        """The best value that a receipt released of a method of ours handed in before this one."""
        values = [
            float(body["released"]["pgr"])
            for earlier, (_index, body) in self._receipts.items()
            if earlier < submission and body["researcher"] == self.researcher and body["released"]
        ]
        return max(values, default=None)

    def latest_plan(self, task: str) -> tuple[int, list[dict[str, Any]]]:
        """Our last plan of a task, its index and its steps; -1 and no steps when there is none."""
        ours = [index for index, body in self._plans.items() if body["task"] == task]
        return (max(ours), list(self._plans[max(ours)]["steps"])) if ours else (-1, [])

    def tried(self) -> list[Tried]:
        """Everybody's methods that are pipelines, oldest first."""
        found = []
        for index in sorted(self._submissions):
            pipeline = self.pipeline_of(index)
            if pipeline is None:
                continue
            receipt, body = self._receipts.get(index, (-1, {}))
            released = body["released"] if body else {}
            found.append(
                Tried(
                    submission=index,
                    researcher=self._submissions[index]["researcher"],
                    pipeline=pipeline,
                    pgr=float(released["pgr"]) if released else None,
                    is_improved=bool(released and released["improved"]),
                    finding=self._finding_of_receipt.get(receipt, -1),
                )
            )
        return found

    def pipeline_of(self, submission: int) -> Pipeline | None:
        """The pipeline of a submission, from its snapshot; `None` when the method is something else."""
        if submission not in self._pipelines:
            self._pipelines[submission] = pipeline_of(self._client.snapshot(submission))
        return self._pipelines[submission]

    def may_vote_on(self, finding: int) -> bool:
        """Whether a finding has no vote of ours yet."""
        return finding not in self._voted

    def may_comment_on(self, finding: int) -> bool:
        """Whether a finding has no comment of ours yet: one word each is enough."""
        return finding not in self._commented

    def vote(self, finding: int) -> None:
        """Vote for a finding."""
        self._client.vote(finding, 1)
        self._voted.add(finding)

    def comment(self, finding: int, text: str) -> None:
        """Say something about a finding."""
        self._client.comment(finding, text)
        self._commented.add(finding)
