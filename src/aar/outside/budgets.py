"""Budgets: what each researcher, each task and the study used of what may be limited, as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.outside.projection import Projection
from aar.verify.spending import NO_LIMIT, STUDY, Spent, format_dollars


@dataclass(frozen=True, slots=True)
class Uncharged:
    """What no entry has yet: processor milliseconds by researcher and task, what calls came to by each."""

    sandbox_ms: Mapping[tuple[str, str], int] = field(default_factory=dict)
    spent: Mapping[str, Spent] = field(default_factory=dict)
    spent_on: Mapping[str, Spent] = field(default_factory=dict)

    def by_researcher(self) -> dict[str, int]:
        """Processor milliseconds."""
        used: dict[str, int] = {}
        for (name, _task), ms in self.sandbox_ms.items():
            used[name] = used.get(name, 0) + ms
        return used

    def of(self, researcher: str) -> int:
        return sum(ms for (name, _task), ms in self.sandbox_ms.items() if name == researcher)

    def on(self, task: str) -> int:
        return sum(ms for (_name, one), ms in self.sandbox_ms.items() if one == task)


@dataclass(frozen=True, slots=True)
class Left:
    """Whole seconds that a researcher has left on its task; of sandboxes `None` where nothing bounds them."""

    seconds_left: int
    sandbox_left: int | None


def use_of(projection: Projection, researcher: str, task: str, now_ms: int, waiting: Uncharged) -> Left:
    """What is left to a researcher by its own limits, its task's and the study's."""
    account = projection.account
    seconds, sandbox = [10_000_000 * 1000], list[int]()
    used, limits = account.used[researcher], account.limits[researcher]
    rows = [(account.held_ms(researcher, now_ms), used.sandbox_ms + waiting.of(researcher), limits)]
    if task:
        on, limits = account.used_on[task], account.task_limits[task]
        rows.append((account.held_on_ms(task, now_ms), on.sandbox_ms + waiting.on(task), limits))
    for held_ms, sandbox_ms, limits in rows:
        if "seconds" in limits:
            seconds.append(1000 * limits["seconds"] - held_ms)
        if "sandbox_seconds" in limits:
            sandbox.append(1000 * limits["sandbox_seconds"] - sandbox_ms)
    most = account.limits[STUDY].get("sandbox_seconds")
    if most is not None:
        sandbox.append(1000 * most - account.sandbox_ms_in_all() - sum(waiting.sandbox_ms.values()))
    return Left(max(min(seconds), 0) // 1000, max(min(sandbox), 0) // 1000 if sandbox else None)


def told_of_use(projection: Projection, now_ms: int, waiting: Uncharged | None = None) -> dict[str, Any]:
    """By researcher, by task, of the study: what was used of each thing that may be limited, and what may be.

    Seconds are those for which a task was held, of the study those of work; sandbox seconds have a tenth. A
    `limit` is `None` where nothing is bounded. Tokens and dollars are given of tasks alone. `stop` names the
    limit that was reached.
    """
    more, account, spending = waiting or Uncharged(), projection.account, projection.spending
    researchers, tasks = {}, {}
    for name, used in account.used.items():
        limits = account.limits[name]
        researchers[name] = {
            "seconds": _row(account.held_ms(name, now_ms) / 1000, limits.get("seconds")),
            "sandbox_seconds": _row((used.sandbox_ms + more.of(name)) / 1000, limits.get("sandbox_seconds")),
            "submissions": _row(used.submissions, limits.get("submissions")),
            "stop": spending.reached(name) or account.reached(name, now_ms),
        }
    for name, used in account.used_on.items():
        limits, money = account.task_limits[name], spending.task_limits[name]
        spent = spending.spent_on[name] + more.spent_on.get(name, Spent())
        has_dollars = money.dollars != NO_LIMIT.dollars
        tasks[name] = {
            "tokens": _row(spent.tokens, money.tokens if money.tokens != NO_LIMIT.tokens else None),
            "dollars": {
                "used": format_dollars(spent.dollars),
                "limit": format_dollars(money.dollars) if has_dollars else None,
                "left": format_dollars(max(money.dollars - spent.dollars, type(spent.dollars)()))
                if has_dollars
                else None,
            },
            "seconds": _row(account.held_on_ms(name, now_ms) / 1000, limits.get("seconds")),
            "sandbox_seconds": _row((used.sandbox_ms + more.on(name)) / 1000, limits.get("sandbox_seconds")),
            "submissions": _row(used.submissions, limits["submissions"]),
            "state": projection.tasks[name].state,
        }
    in_all_s = (account.sandbox_ms_in_all() + sum(more.sandbox_ms.values())) / 1000
    most = account.limits[STUDY].get("sandbox_seconds") if STUDY in account.limits else None
    return {"researchers": researchers, "tasks": tasks, "sandbox_seconds": _row(in_all_s, most)}


def _row(used: float, limit: int | None) -> dict[str, Any]:
    used = round(used, 1)
    return {"used": used, "limit": limit, "left": None if limit is None else max(round(limit - used, 1), 0)}
