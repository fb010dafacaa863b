"""Holds: which method a monitor holds for review, what may still be done with it, and what a model may say.

One set of rules for whoever admits an entry and whoever verifies it later. A hold is on a method, by its
bytes: who hands the same in again has not got around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.formats.entry import Entry
from aar.formats.kinds import HOLDING, MODEL_ALARMS, MONITOR_SPENT, UNREAD
from aar.verify.splits import run_label

Body = Mapping[str, Any]
# What a researcher says itself: an alarm of a model names these, and submissions, of whom it is about.
SAID = ("plan-declared", "finding", "comment", "vote", "task-proposed")
BY_MODEL = (*MODEL_ALARMS, UNREAD, MONITOR_SPENT)


@dataclass(slots=True)
class Hold:
    """One hold: its entry and submission, the runs that were begun before it, and whether it is in force."""

    entry: int
    submission: int
    running: frozenset[tuple[int, str]]
    reason: str = ""
    is_in_force: bool = True
    # Whether a reviewer looked at it and said that it stays.
    is_refused: bool = False


@dataclass(slots=True)
class Holds:
    """What is held in a study: a fold over its entries, which takes what it does not know for nothing."""

    monitor: Body = field(default_factory=dict)
    # By submission, its method's digest; by digest, the hold that was put on that method, if one was.
    digests: dict[int, str] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)
    owners: dict[int, str] = field(default_factory=dict)
    alarms: dict[int, Body] = field(default_factory=dict)
    run: set[tuple[int, str]] = field(default_factory=set)
    # Submissions whose method was held when the study closed: not run, and nobody is to blame for that.
    held_at_close: frozenset[int] = frozenset()

    def take(self, index: int, entry: Entry) -> None:
        """Take in the entry at `index`, of any kind."""
        body: Any = entry.body
        if entry.kind == "study-opened":
            self.monitor = body["monitor"]
        elif entry.kind == "submission":
            self.digests[index], self.owners[index] = body["digest"], body["researcher"]
        elif entry.kind in SAID:
            self.owners[index] = entry.author
        elif entry.kind == "alarm":
            self.alarms[index] = body
        elif entry.kind == "score-receipt":
            self.run.add((body["submission"], run_label(body["tier"], body["problem"])))
        elif entry.kind == "submission-held" and body["submission"] in self.digests:
            running = frozenset((one["submission"], one["run"]) for one in body["running"])
            hold = Hold(index, body["submission"], running, body["reason"])
            self.holds.setdefault(self.digests[body["submission"]], hold)
        elif entry.kind == "submission-released":
            self._release(body)
        elif entry.kind == "study-closed":
            self.held_at_close = frozenset(one for one in self.digests if self.holding(one) >= 0)

    def _release(self, body: Body) -> None:
        hold = self.hold_on(body["submission"])
        if hold is not None:
            hold.is_in_force, hold.is_refused = not body["released"], not body["released"]

    def hold_on(self, submission: int) -> Hold | None:
        """The hold in force on a submission's method."""
        hold = self.holds.get(self.digests.get(submission, ""))
        return hold if hold is not None and hold.is_in_force else None

    def holding(self, submission: int) -> int:
        """The entry of the hold in force on a submission's method; -1 where there is none."""
        hold = self.hold_on(submission)
        return -1 if hold is None else hold.entry

    def may_end(self, submission: int, run: str) -> bool:
        """Whether a receipt of that run may be taken: nothing holds it, or it was begun before that."""
        hold = self.hold_on(submission)
        return hold is None or (submission, run) in hold.running

    def on(self, submissions: Iterable[int]) -> tuple[int, ...]:
        """The entries of the holds in force on any of these; what is no submission is held by nothing."""
        return tuple(sorted({self.holding(one) for one in submissions} - {-1}))

    def of_method(self, submission: int) -> list[int]:
        """Every submission of the same bytes, itself among them."""
        digest = self.digests.get(submission)
        return [one for one, other in self.digests.items() if other == digest]


def hold_faults(holds: Holds, body: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with a `submission-held` that comes next."""
    submission = body["submission"]
    if not holds.monitor or not holds.monitor["holds"]:
        yield "no hold in a study whose monitor holds nothing", f"one of submission {submission}"
    if submission not in holds.digests:
        yield "a hold of a submission", f"entry {submission}"
        return
    before = holds.holds.get(holds.digests[submission])
    if before is not None:
        # What a reviewer let go stays let go.
        yield f"one hold of the method of submission {submission}", f"entry {before.entry}, and another"
    alarm = holds.alarms.get(body["alarm"])
    if alarm is None or submission not in alarm["evidence"] or alarm["code"] != HOLDING:
        yield f"an alarm {HOLDING} about submission {submission}", f"entry {body['alarm']}"
    named = [(one["submission"], one["run"]) for one in body["running"]]
    same = holds.of_method(submission)
    wrong = [one for one in named if one[0] not in same or one in holds.run]
    if wrong or len(set(named)) < len(named):
        yield "runs of that method that have no receipt yet, each once", str(wrong or named)[:200]


def release_faults(holds: Holds, body: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with a `submission-released` that comes next."""
    if holds.hold_on(body["submission"]) is None:
        held = ", ".join(str(one.submission) for one in holds.holds.values() if one.is_in_force) or "none"
        yield f"a submission that is held, {held}", f"entry {body['submission']}"


def alarm_faults(holds: Holds, body: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with an alarm of a model that comes next."""
    if body["code"] not in BY_MODEL:
        return
    if not holds.monitor:
        yield "no alarm of a monitor that is a model, for the study has none", body["code"]
    strange = [one for one in body["evidence"] if holds.owners.get(one) != body["who"]]
    if strange:
        yield f"what {body['who']} said or handed in", f"entries {', '.join(map(str, strange))}"
