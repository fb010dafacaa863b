"""Checking what models spent: every charge derived again, nothing taken up by who is at a limit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aar.formats.entry import Entry
from aar.formats.kinds import MONITOR
from aar.verify.queue_check import Add
from aar.verify.spending import Spending, charge_faults, model_faults, overspent


class BudgetCheck:
    """A fold over the entries that bear on a model's budget; `add` is told where one breaks its rules."""

    def __init__(self, add: Add) -> None:
        self._add = add
        self._spending = Spending()
        self._tasks: set[str] = set()

    def check(self, index: int, entry: Entry) -> None:
        """Take in the entry at `index`, of any kind."""
        body: Any = entry.body
        handler = getattr(self, "_check_" + entry.kind.replace("-", "_"), None)
        if handler is not None:
            handler(index, entry, body)

    def overspent(self) -> Iterator[str]:
        """A line for each limit that what was spent is beyond."""
        return overspent(self._spending)

    @property
    def readings(self) -> int:
        """How many readings of a monitor that is a model were told of."""
        return sum(who == MONITOR for who, _name in self._spending.transcripts)

    def _check_study_opened(self, index: int, _entry: Entry, body: Any) -> None:
        for expected, got in model_faults(body):
            self._add("BODY", index, expected, got)
        self._spending.open(body["models"], body["monitor"])

    def _check_task_opened(self, _index: int, _entry: Entry, body: Any) -> None:
        self._tasks.add(body["task"])

    def _check_budget_set(self, index: int, _entry: Entry, body: Any) -> None:
        if body["researcher"] not in self._spending.limits:
            wanted = (
                ", ".join(one for one in self._spending.limits if one) or "none: no researcher is a model"
            )
            self._add("BUDGET", index, f"a limit of the study, or of {wanted}", body["researcher"])
            return
        self._spending.set(body)

    def _check_budget_charged(self, index: int, _entry: Entry, body: Any) -> None:
        if body["what"] == "confirmations":
            self._check_reached(index, "confirmation", body["researcher"])
        if body["what"] != "tokens":
            return
        if body["task"] and body["task"] not in self._tasks:
            self._add("BUDGET", index, "a charge for a task that was opened", body["task"])
        for expected, got in charge_faults(self._spending, body):
            self._add("BUDGET", index, expected, got)
        if body["researcher"] in self._spending.models:
            self._spending.charge(body)

    def _check_task_leased(self, index: int, entry: Entry, body: Any) -> None:
        if body["until_ms"] > entry.at:
            self._check_reached(index, "lease", body["researcher"])

    def _check_submission(self, index: int, _entry: Entry, body: Any) -> None:
        self._check_reached(index, "submission", body["researcher"])

    def _check_reached(self, index: int, what: str, researcher: str) -> None:
        limit = self._spending.reached(researcher)
        if limit:
            self._add("BUDGET", index, f"no {what} of {researcher}, which reached its limit, {limit}", "one")
