"""Checking the queue: who held which task when, under which plan, step and scope, and whether it was paused.

The gateway refuses all of this before it is an entry. Here it is derived again from the entries alone: a
gateway that let something through is found out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.formats.entry import Entry
from aar.verify.workflow import STRICT_ENOUGH, order_faults, plan_faults, submission_faults

Body = Mapping[str, Any]
# Code, index, expected, got.
Add = Callable[[str, int, str, str], None]


@dataclass(slots=True)
class _Task:
    """A task as it stands: its opening, its holder, its last plan, what was handed in by step."""

    body: Body
    holder: str = ""
    until_ms: int = 0
    epoch: int = 0
    plan: int = -1
    planned: list[Body] = field(default_factory=list)
    # The last plan of each who held it: of who comes back to a task its own holds again.
    plans: dict[str, tuple[int, list[Body]]] = field(default_factory=dict)
    declared: set[int] = field(default_factory=set)
    steps: dict[str, list[int]] = field(default_factory=dict)
    is_closed: bool = False


class QueueCheck:
    """A fold over the entries of the queue that reports where one breaks its rules through `add`."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._policy = ""
        self._researchers: frozenset[str] = frozenset()
        self._tasks: dict[str, _Task] = {}
        self._scored: set[int] = set()
        # The pause that holds, or -1; by researcher, the one that holds for it alone.
        self._paused = -1
        self._stopped: dict[str, int] = {}
        self._roles: dict[str, str] = {}
        self._now_ms = 0

    def check(self, index: int, entry: Entry, received_ms: int) -> None:
        """Take in the entry at `index`, of any kind, which came at `received_ms`.

        By that time leases are judged: what an entry says of its own is its author's to choose.
        """
        self._now_ms = received_ms
        body: Any = entry.body
        if entry.author in self._stopped:
            stop = self._stopped[entry.author]
            self._add("ORDER", index, f"nothing of {entry.author} before entry {stop} is lifted", entry.kind)
        handler = getattr(self, "_check_" + entry.kind.replace("-", "_"), None)
        if handler is not None:
            handler(index, entry, body)

    def _check_study_opened(self, _index: int, _entry: Entry, body: Any) -> None:
        self._policy = body["allocation"]["policy"]
        self._researchers = frozenset(body["researchers"])
        self._roles = {one["name"]: one["role"] for one in body["keys"]}

    def _check_task_opened(self, index: int, _entry: Entry, body: Any) -> None:
        wanted = STRICT_ENOUGH[body["risk"]]
        if self._policy == "risk-tiered" and body["workflow"] not in wanted:
            self._add("BODY", index, f"{' or '.join(wanted)} for {body['risk']} risk", body["workflow"])
        # Opened a second time it keeps what it had: that it was is reported elsewhere.
        self._tasks.setdefault(body["task"], _Task(body))

    def _check_task_leased(self, index: int, _entry: Entry, body: Any) -> None:
        task = self._tasks.get(body["task"])
        if task is None or task.is_closed:
            self._add("ORDER", index, "a lease of an open task", body["task"])
            return
        if body["researcher"] not in self._researchers:
            self._add("ORDER", index, "a lease to a researcher of the study", body["researcher"])
        # One that is over when it is said takes a task away: that is no new work.
        if body["until_ms"] > self._now_ms:
            self._check_paused(index, "lease", body["researcher"])
        if body["epoch"] != task.epoch + 1:
            self._add("ORDER", index, f"lease {task.epoch + 1} of {body['task']}", f"lease {body['epoch']}")
        if task.holder not in ("", body["researcher"]) and task.until_ms > self._now_ms:
            self._add(
                "ORDER",
                index,
                f"no lease of {body['task']} to another while {task.holder} holds it",
                f"{body['researcher']}, {task.until_ms - self._now_ms} ms before its end",
            )
        task.holder, task.until_ms, task.epoch = body["researcher"], body["until_ms"], body["epoch"]
        task.plan, task.planned = task.plans.get(task.holder, (-1, []))

    def _check_task_closed(self, index: int, _entry: Entry, body: Any) -> None:
        task = self._tasks.get(body["task"])
        if task is None or task.is_closed:
            self._add("ORDER", index, "the end of an open task", body["task"])
            return
        task.is_closed = True

    def _check_plan_declared(self, index: int, entry: Entry, body: Any) -> None:
        if body["task"] not in self._tasks:
            self._add("ORDER", index, "a plan for a task that was opened", body["task"])
        task = self._held("plan", index, body["task"], entry.author)
        if task is None:
            return
        if body["amends"] >= 0 and body["amends"] not in task.declared:
            self._add(
                "BODY", index, f"an earlier plan for {body['task']} to amend", f"entry {body['amends']}"
            )
        task.declared.add(index)
        task.plan, task.planned = task.plans[task.holder] = index, body["steps"]
        if task.body["workflow"] == "hybrid":
            for expected, got in plan_faults(task.body["scope"], body["steps"]):
                self._add("BODY", index, expected, got)

    def _check_submission(self, index: int, _entry: Entry, body: Any) -> None:
        self._check_paused(index, "submission", body["researcher"])
        task = self._held("submission", index, body["task"], body["researcher"])
        if task is None:
            return
        before = task.steps.setdefault(body["step"], [])
        workflow = task.body["workflow"]
        if workflow == "fixed":
            names = [one["name"] for one in task.body["steps"]]
            # What an earlier step still waits for, and what a later one was handed already.
            done = {name: [one in self._scored for one in task.steps.get(name, ())] for name in names}
            for expected, got in order_faults(names, body["step"], done):
                self._add("ORDER", index, expected, got)
        if workflow == "hybrid":
            if body["plan"] != task.plan:
                self._add(
                    "BODY", index, f"the plan declared last, entry {task.plan}", f"entry {body['plan']}"
                )
            else:
                told = {"step": body["step"], "families": body["families"], "before": len(before)}
                for expected, got in submission_faults(task.body["scope"], task.planned, **told):
                    self._add("BODY", index, expected, got)
        before.append(index)

    def _check_budget_charged(self, index: int, _entry: Entry, body: Any) -> None:
        # A submission's own charge is one batch with it; a confirmation is asked for by its charge.
        if body["what"] == "confirmations":
            self._check_paused(index, "confirmation", body["researcher"])

    def _check_score_receipt(self, _index: int, _entry: Entry, body: Any) -> None:
        if body["tier"] == "explore":
            self._scored.add(body["submission"])

    def _held(self, what: str, index: int, name: str, researcher: str) -> _Task | None:
        """The task, if that researcher holds it; a task that nobody opened is reported elsewhere."""
        task = self._tasks.get(name)
        if task is None:
            return None
        if task.holder != researcher or task.is_closed:
            holder = "nobody" if task.is_closed else task.holder or "nobody"
            self._add("ORDER", index, f"a {what} of {name} by who holds it, {holder}", researcher)
            return None
        return task

    def _check_paused(self, index: int, what: str, researcher: str) -> None:
        if self._paused >= 0:
            self._add("ORDER", index, f"no {what} before the pause of entry {self._paused} is lifted", "one")
        if researcher in self._stopped:
            stop = self._stopped[researcher]
            self._add("ORDER", index, f"no {what} of {researcher} before entry {stop} is lifted", "one")

    def _check_queue_paused(self, index: int, entry: Entry, body: Any) -> None:
        if body["researcher"]:
            self._check_stop(index, body["researcher"])
            return
        if self._roles.get(entry.author) == "operator":
            self._add("ORDER", index, "a pause of everybody by the monitor or a reviewer", entry.author)
        if self._paused >= 0:
            self._add("ORDER", index, f"one pause at a time: entry {self._paused} holds", "another")
            return
        self._paused = index

    def _check_stop(self, index: int, researcher: str) -> None:
        """A pause of one researcher alone."""
        if researcher not in self._researchers:
            self._add("ORDER", index, "a pause of a researcher of the study", researcher)
        if researcher in self._stopped:
            holds = self._stopped[researcher]
            self._add("ORDER", index, f"one pause of {researcher} at a time: entry {holds} holds", "another")
            return
        self._stopped[researcher] = index

    def _check_queue_resumed(self, index: int, _entry: Entry, body: Any) -> None:
        holding = [one for one, stop in self._stopped.items() if stop == body["pause"]]
        if holding:
            del self._stopped[holding[0]]
            return
        if body["pause"] != self._paused:
            holds = f"entry {self._paused}" if self._paused >= 0 else "none"
            self._add("ORDER", index, f"the pause that holds, {holds}", f"entry {body['pause']}")
            return
        self._paused = -1
