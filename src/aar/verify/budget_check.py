"""Checking what was spent and used: every charge derived again, nothing taken up by who is at a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aar.formats.entry import Entry
from aar.formats.kinds import LIMIT_WORD, MONITOR
from aar.verify.limits import Account, limit_faults, overused, sandbox_faults
from aar.verify.queue_check import Add
from aar.verify.spending import STUDY, Body, Spending, charge_faults, model_faults, overspent


class BudgetCheck:
    """A fold over the entries that bear on a budget; `add` is told where one breaks its rules."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._spending = Spending()
        self._account = Account()
        self._tasks: set[str] = set()

    def check(self, index: int, entry: Entry, received_ms: int) -> None:
        """Take in the entry at `index`, of any kind, which came at `received_ms`."""
        body: Any = entry.body
        self._account.pass_time(received_ms)
        handler = getattr(self, "_check_" + entry.kind.replace("-", "_"), None)
        if handler is not None:
            handler(index, entry, body)

    def most_submissions(self, task: str = "") -> int:
        """How many submissions a task may have now; without one, the study."""
        limits = self._account.task_limits[task] if task else self._account.limits[STUDY]
        return limits["submissions"]

    def overspent(self) -> Iterator[str]:
        """A line for each limit that what was spent or used is beyond."""
        yield from overspent(self._spending)
        yield from overused(self._account)

    @property
    def readings(self) -> int:
        """How many readings of a monitor that is a model were told of."""
        return sum(who == MONITOR for who, _name in self._spending.transcripts)

    def _check_study_opened(self, index: int, _entry: Entry, body: Any) -> None:
        for expected, got in (*model_faults(body), *limit_faults(body)):
            self._add("BODY", index, expected, got)
        self._spending.open(body["models"], body["monitor"])
        self._account.open(body)

    def _check_task_opened(self, _index: int, _entry: Entry, body: Any) -> None:
        self._tasks.add(body["task"])
        self._spending.open_task(body)
        self._account.open_task(body)

    def _check_budget_set(self, index: int, _entry: Entry, body: Any) -> None:
        found = list(set_faults(self._spending, self._account, body))
        for expected, got in found:
            self._add("BUDGET", index, expected, got)
        if not found:
            self._spending.set(body)
            self._account.set(body)

    def _check_budget_charged(self, index: int, _entry: Entry, body: Any) -> None:
        if body["what"] == "confirmations":
            self._check_reached(index, "confirmation", body)
        if body["what"] not in ("tokens", "sandbox"):
            return
        if body["task"] and body["task"] not in self._tasks:
            self._add("BUDGET", index, "a charge for a task that was opened", body["task"])
        if body["what"] == "sandbox":
            self._check_sandbox(index, body)
            return
        for expected, got in charge_faults(self._spending, body):
            self._add("BUDGET", index, expected, got)
        if body["researcher"] in self._spending.models:
            self._spending.charge(body)

    def _check_sandbox(self, index: int, body: Any) -> None:
        for expected, got in sandbox_faults(self._account, body):
            self._add("BUDGET", index, expected, got)
        if body["researcher"] in self._account.used:
            self._account.charge(body)

    def _check_task_leased(self, index: int, _entry: Entry, body: Any) -> None:
        # By when it came: it is held from then on, and what an entry says of its time is its author's choice.
        if body["until_ms"] > self._account.last_ms:
            self._check_reached(index, "lease", body)
        self._account.lease(body)

    def _check_task_closed(self, index: int, _entry: Entry, body: Any) -> None:
        if body["outcome"] == "budget" and not is_at_its_end(self._spending, self._account, body):
            wanted = f"a limit that was reached, of {body['task']}, of who had it or of the study"
            self._add("BUDGET", index, f"{wanted}, before it is closed as budget", "none")
        self._account.close_task(body)

    def _check_submission(self, index: int, _entry: Entry, body: Any) -> None:
        self._check_reached(index, "submission", body)
        self._account.submit(body)

    def _check_reached(self, index: int, what: str, body: Any) -> None:
        researcher, task = body["researcher"], body["task"]
        limit = stopping_limit(self._spending, self._account, what, body)
        if limit.startswith("task-"):
            self._add("BUDGET", index, f"no {what} of {task}, which reached its limit, {limit}", "one")
        elif limit:
            self._add("BUDGET", index, f"no {what} of {researcher}, which reached its limit, {limit}", "one")


def stopping_limit(spending: Spending, account: Account, what: str, body: Body, now_ms: int = 0) -> str:
    """The limit that a lease, a submission or a confirmation may not come after, if one was reached.

    A limit on submissions is none on confirmations, which are charged apart.
    """
    researcher, task = body["researcher"], body["task"]
    own = account.reached(researcher, now_ms)
    if what == "confirmation" and own == LIMIT_WORD["submissions"]:
        own = ""
    return (
        spending.reached(researcher)
        or own
        or spending.task_reached(task)
        or account.task_reached(task, now_ms)
    )


def is_at_its_end(spending: Spending, account: Account, body: Body, now_ms: int = 0) -> bool:
    """Whether a limit was reached for which a task may be closed as `budget`: its own, its holder's or the
    study's.
    """
    researcher, task = body["researcher"], body["task"]
    of_who_had_it = ""
    if account.holder.get(task) == researcher:
        of_who_had_it = spending.reached(researcher) or account.reached(researcher, now_ms)
    return bool(
        spending.task_reached(task)
        or account.task_reached(task, now_ms)
        or of_who_had_it
        or account.is_used_up(task, now_ms)
    )


def set_faults(spending: Spending, account: Account, body: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with a `budget-set` that comes next."""
    researcher, task = body["researcher"], body["task"]
    if task:
        if task not in account.task_limits:
            yield "limits of a task that was opened", task
        elif task in account.closed:
            yield "limits of a task that is open", f"{task}, which was closed"
        return
    money = sorted({"tokens", "dollars"} & set(body["limits"]))
    if researcher == MONITOR and MONITOR in spending.models:
        if money != sorted(body["limits"]):
            yield "tokens or dollars of the monitor, which has no other limit", ", ".join(body["limits"])
        return
    if researcher not in account.limits:
        yield "limits of the study or of a researcher of it", researcher
        return
    if money and researcher not in spending.limits:
        models = ", ".join(spending.models) or "none: no researcher is a model"
        yield f"a limit of the study, or of {models}", f"{' and '.join(money)} of {researcher or 'the study'}"
