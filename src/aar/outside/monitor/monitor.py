"""The monitor itself: an entry in, sightings out, each once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.monitor.conduct import SPOKEN, Bursts, Plans, Votes
from aar.outside.monitor.hidden import hidden_in, orders_in
from aar.outside.monitor.methods import Methods, Snapshot
from aar.outside.monitor.sighting import Sighting
from aar.outside.monitor.statements import Statements


class Monitor:
    """A fold over a record from its first entry on; `size` is how many it has taken in.

    Sightings that the record has as alarms already are not told again: so one that starts on a record, or
    that was killed between an entry and its alarm, tells what is missing and nothing else.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.size = 0
        self._methods = Methods(snapshot)
        self._statements = Statements()
        self._plans = Plans()
        self._votes = Votes()
        self._bursts = Bursts()
        self._researchers: frozenset[str] = frozenset()
        self._alarms: set[tuple[str, str, tuple[int, ...]]] = set()
        self._untold: list[Sighting] = []

    def take(self, leaf: Leaf) -> None:
        """Take in the next entry, which was admitted."""
        self.size = leaf.index + 1
        entry = leaf.signed.entry
        body: Any = entry.body
        if entry.kind == "alarm":
            self._alarms.add((body["code"], body["who"], tuple(body["evidence"])))
            return
        try:
            self._untold += self._seen(leaf, entry.kind, entry.author, body)
        except Exception as error:  # noqa: BLE001 - what a stranger wrote must not end the study of the others
            self._untold.append(_unread(leaf, error))

    def untold(self) -> list[Sighting]:
        """What was seen since the last call and is no alarm of the record yet."""
        found = [one for one in self._untold if (one.code, one.who, one.evidence) not in self._alarms]
        self._untold = []
        return found

    def _seen(self, leaf: Leaf, kind: str, author: str, body: Any) -> Iterator[Sighting]:
        index = leaf.index
        if kind == "study-opened":
            self._researchers = frozenset(body["researchers"])
            self._statements.study_opened(body)
        elif kind == "task-opened":
            self._methods.task_opened(body)
        elif kind == "plan-declared":
            self._plans.plan(index, body)
        elif kind == "submission":
            self._bursts.submission(leaf.received_ms, body["researcher"])
            yield from self._methods.submission(index, body)
            yield from self._plans.submission(index, body)
            yield from hidden_in(index, body["researcher"], body)
            yield from orders_in(index, body["researcher"], body)
        elif kind == "score-receipt":
            self._statements.receipt(index, body)
            yield from self._methods.receipt(index, body)
        elif kind == "score-revealed":
            yield from self._statements.revealed(index, body)
        elif kind == "finding":
            self._votes.finding(index, author, body)
            yield from self._statements.finding(index, author, body)
        elif kind == "vote":
            yield from self._votes.vote(index, author, body)
        if kind in SPOKEN and author in self._researchers:
            yield from self._bursts.said(index, leaf.received_ms, author)
            yield from hidden_in(index, author, body)
            yield from orders_in(index, author, body)


def _unread(leaf: Leaf, error: Exception) -> Sighting:
    """The entry is in the record all the same; that the monitor has nothing to say of it is said."""
    entry = leaf.signed.entry
    who = entry.body.get("researcher", entry.author)
    return Sighting(
        code="monitor-failed",
        who=str(who),
        what=f"the monitor could not read entry {leaf.index}, a {entry.kind}: {type(error).__name__}",
        evidence=(leaf.index,),
    )
