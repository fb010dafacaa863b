"""Allocation: which task a researcher gets next, a pure function of the record."""

from __future__ import annotations

from aar.outside.projection import Projection, Task


def next_task(projection: Projection, researcher: str, *, now_ms: int) -> Task | None:
    """The task it works on already, else the first that nobody holds; `None` when nothing is left.

    A lease ends by arithmetic: a task whose holder's lease has run out is open again, for its holder first.
    """
    unfinished = [task for task in projection.tasks.values() if not task.outcome]
    for task in unfinished:
        if task.researcher == researcher:
            return task
    for task in unfinished:
        if not task.researcher or task.lease_until_ms <= now_ms:
            return task
    return None
