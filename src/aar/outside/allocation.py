"""Allocation: which task a researcher gets next, and which direction with it; pure functions of the record.

A policy is named in `study-opened`, what it gave is an entry: who has the record can work out each lease
again. All of them hand out tasks of a higher priority first, and to nobody what somebody else works on: a
lease ends by arithmetic, and a task whose holder's lease has run out is open again, for its holder first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aar.formats.kinds import RISKS
from aar.outside.projection import Projection, Task

# A task that so many researchers were lost over is dead: nobody else is.
MAX_HOLDERS = 3


@dataclass(frozen=True, slots=True)
class Offer:
    """A task, and what its researcher is told to look into."""

    task: Task
    direction: str


Policy = Callable[[Projection, str, Sequence[Task]], Offer | None]


def next_offer(projection: Projection, researcher: str, *, now_ms: int) -> Offer | None:
    """The task it works on already, else what the study's policy gives it; `None` when nothing is left."""
    unfinished = [task for task in projection.tasks.values() if not task.outcome]
    for task in unfinished:
        if task.researcher == researcher:
            return Offer(task, task.told)
    free = [task for task in unfinished if not task.researcher or task.lease_until_ms <= now_ms]
    free.sort(key=lambda task: (-task.priority, task.index))
    if not free:
        return None
    return POLICY_NAMED[projection.opened["allocation"]["policy"]](projection, researcher, free)


def directed(projection: Projection, researcher: str, free: Sequence[Task]) -> Offer:
    """The first task; each researcher has a direction of its own, or the task's where none are listed."""
    directions = projection.opened["allocation"]["directions"]
    if not directions:
        return Offer(free[0], free[0].direction)
    return Offer(free[0], directions[_place(projection, researcher) % len(directions)])


def undirected(_projection: Projection, _researcher: str, free: Sequence[Task]) -> Offer:
    """The first task, and no direction with it."""
    return Offer(free[0], "")


def round_robin(projection: Projection, researcher: str, free: Sequence[Task]) -> Offer:
    """Tasks dealt in turn: of n researchers the k-th gets the k-th task, then the (k+n)-th, and so on.

    Whose turn it is goes by the order in which tasks were opened, among those of the highest priority. Where
    a turn was taken by another, the next task after it is.
    """
    highest = [task for task in free if task.priority == free[0].priority]
    order = [task.name for task in projection.tasks.values()]
    held = sum(lease.researcher == researcher for lease in projection.leases)
    turn = (_place(projection, researcher) + held * len(projection.researchers)) % len(order)
    task = min(highest, key=lambda one: (order.index(one.name) - turn) % len(order))
    return Offer(task, task.direction)


def bandit(projection: Projection, _researcher: str, free: Sequence[Task]) -> Offer:
    """The first task, with the direction that UCB1 (Auer et al. 2002) draws next.

    A lease is a pull of its direction; its reward is the best PGR that a receipt released to its researcher
    for its task, within [0, 1]. Directions that nobody was given yet come first, in their order.
    """
    directions = projection.opened["allocation"]["directions"]
    pulls = [lease for lease in projection.leases if lease.direction in directions]
    rewards: dict[str, list[float]] = {direction: [] for direction in directions}
    for lease in pulls:
        rewards[lease.direction].append(_reward(projection, lease.researcher, lease.task))
    for direction in directions:
        if not rewards[direction]:
            return Offer(free[0], direction)
    bonus = 2 * math.log(len(pulls))

    def upper(direction: str) -> float:
        got = rewards[direction]
        return sum(got) / len(got) + math.sqrt(bonus / len(got))

    return Offer(free[0], max(directions, key=upper))


def risk_tiered(projection: Projection, researcher: str, free: Sequence[Task]) -> Offer | None:
    """The riskiest task first; whoever an alarm is about works under steps or a scope, on nothing free."""
    is_watched = any(alarm["who"] == researcher for alarm in projection.alarms)
    allowed = [task for task in free if not is_watched or task.workflow != "free"]
    if not allowed:
        return None
    task = max(allowed, key=lambda one: (one.priority, RISKS.index(one.risk), -one.index))
    return Offer(task, task.direction)


POLICY_NAMED: dict[str, Policy] = {
    "directed": directed,
    "undirected": undirected,
    "round-robin": round_robin,
    "bandit": bandit,
    "risk-tiered": risk_tiered,
}


def _place(projection: Projection, researcher: str) -> int:
    return projection.researchers.index(researcher)


def _reward(projection: Projection, researcher: str, task: str) -> float:
    values = [
        float(body["released"]["pgr"])
        for body in projection.receipts.values()
        if body["tier"] == "explore"
        and body["researcher"] == researcher
        and projection.submissions[body["submission"]].body["task"] == task
        and body["released"]
        and body["released"]["improved"]
    ]
    return min(max(values, default=0.0), 1.0)
