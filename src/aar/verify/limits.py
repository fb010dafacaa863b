"""Limits of time, of sandboxes and of submissions: what was used of each, and which limit that reaches.

One set of rules for whoever admits an entry and whoever verifies it later. Time is the entries' own: a task
is held from its lease on until it is closed, leased again or its lease runs out. Of a gap between two entries
`IDLE_GAP_MS` count at most: in a longer one the study was stopped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.formats.kinds import LIMIT_WORD
from aar.verify.spending import STUDY

Body = Mapping[str, Any]
IDLE_GAP_MS = 20_000
# Those that are kept here; tokens and dollars are `aar.verify.spending`'s.
KEPT_HERE = ("sandbox_seconds", "seconds", "submissions")


@dataclass(slots=True, kw_only=True)
class Used:
    """By a researcher, or on a task: milliseconds held, processor milliseconds, submissions."""

    held_ms: int = 0
    sandbox_ms: int = 0
    submissions: int = 0

    def reaches(self, limits: Mapping[str, int], *, more_held_ms: int = 0, more_sandbox_ms: int = 0) -> str:
        """The word for the first of these limits that is reached, if one is."""
        used_ms = {
            "sandbox_seconds": self.sandbox_ms + more_sandbox_ms,
            "seconds": self.held_ms + more_held_ms,
            # So that all three are counted alike.
            "submissions": 1000 * self.submissions,
        }
        for name in KEPT_HERE:
            if name in limits and used_ms[name] >= 1000 * limits[name]:
                return LIMIT_WORD[name]
        return ""


@dataclass(frozen=True, slots=True)
class _Hold:
    researcher: str
    until_ms: int


@dataclass(slots=True)
class Account:
    """What each researcher and each task used, and may use: a fold over entries that hold."""

    # By researcher; under `STUDY` of all together, the study's own seconds and submissions among them.
    limits: dict[str, dict[str, int]] = field(default_factory=dict)
    task_limits: dict[str, dict[str, int]] = field(default_factory=dict)
    used: dict[str, Used] = field(default_factory=dict)
    used_on: dict[str, Used] = field(default_factory=dict)
    # By researcher and task, "" for none: processor milliseconds.
    sandbox_ms: dict[tuple[str, str], int] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    # By task, who had it last, at a limit since or not.
    holder: dict[str, str] = field(default_factory=dict)
    submissions: int = 0
    active_ms: int = 0
    last_ms: int = 0
    _holds: dict[str, _Hold] = field(default_factory=dict)

    # What is folded.

    def pass_time(self, received_ms: int) -> None:
        """Take in when the next entry came, before the entry itself."""
        by, on = self._since(received_ms)
        for name, more_ms in by.items():
            self.used[name].held_ms += more_ms
        for name, more_ms in on.items():
            self.used_on[name].held_ms += more_ms
        self.active_ms += self._gap_ms(received_ms)
        self.last_ms = received_ms

    def open(self, opened: Body) -> None:
        """Take in a `study-opened`."""
        for name in opened["researchers"]:
            self.limits[name] = {}
            self.used[name] = Used()
        budget = opened["budget"]
        self.limits[STUDY] = {"seconds": budget["seconds"], "submissions": budget["submissions"]}
        for one in opened["limits"]:
            self.limits.setdefault(one["researcher"], {}).update(one["limits"])

    def open_task(self, body: Body) -> None:
        """Take in a `task-opened`; one that is opened a second time keeps what it had."""
        if body["task"] not in self.task_limits:
            kept = {name: body["limits"][name] for name in KEPT_HERE if name in body["limits"]}
            self.task_limits[body["task"]] = {**kept, "submissions": body["submissions"]}
            self.used_on[body["task"]] = Used()

    def lease(self, body: Body) -> None:
        """Take in a `task-leased`; one that is over when it is said takes the task away."""
        self._holds.pop(body["task"], None)
        self.holder[body["task"]] = body["researcher"]
        if body["until_ms"] > self.last_ms and body["task"] in self.used_on:
            if body["researcher"] in self.used:
                self._holds[body["task"]] = _Hold(body["researcher"], body["until_ms"])

    def close_task(self, body: Body) -> None:
        """Take in a `task-closed`."""
        self.closed.add(body["task"])
        self._holds.pop(body["task"], None)

    def submit(self, body: Body) -> None:
        """Take in a `submission`."""
        self.submissions += 1
        for used, name in ((self.used, body["researcher"]), (self.used_on, body["task"])):
            if name in used:
                used[name].submissions += 1

    def charge(self, body: Body) -> None:
        """Take in a `budget-charged` of sandboxes."""
        self.used[body["researcher"]].sandbox_ms += body["amount"]
        if body["task"] in self.used_on:
            self.used_on[body["task"]].sandbox_ms += body["amount"]
        key = body["researcher"], body["task"]
        self.sandbox_ms[key] = self.sandbox_ms.get(key, 0) + body["amount"]

    def set(self, body: Body) -> None:
        """Take in a `budget-set`: what it does not name stays."""
        # The monitor has no limit that is kept here.
        limits = self.task_limits[body["task"]] if body["task"] else self.limits.get(body["researcher"], {})
        limits.update({name: body["limits"][name] for name in KEPT_HERE if name in body["limits"]})

    # What is asked.

    def held_ms(self, researcher: str, now_ms: int) -> int:
        """How long a researcher held a task by then."""
        return self.used[researcher].held_ms + self._since(now_ms)[0].get(researcher, 0)

    def held_on_ms(self, task: str, now_ms: int) -> int:
        """How long anybody held a task by then."""
        return self.used_on[task].held_ms + self._since(now_ms)[1].get(task, 0)

    def active_until_ms(self, now_ms: int) -> int:
        """How long the study was worked on by then."""
        return self.active_ms + self._gap_ms(now_ms)

    def sandbox_ms_in_all(self) -> int:
        return sum(one.sandbox_ms for one in self.used.values())

    def reached(self, researcher: str, now_ms: int = 0, *, more_ms: Mapping[str, int] | None = None) -> str:
        """The limit that stops a researcher at `now_ms`, in a word, if one does.

        `more_ms`: by researcher, what its sandboxes used beside this. Without `now_ms`: as of the last entry.
        """
        if researcher not in self.used:
            return ""
        more = more_ms or {}
        own = self.used[researcher].reaches(
            self.limits[researcher],
            more_held_ms=self._since(now_ms)[0].get(researcher, 0),
            more_sandbox_ms=more.get(researcher, 0),
        )
        # To have handed in all that it may stops nobody in the middle of it.
        if own and own != LIMIT_WORD["submissions"]:
            return own
        return self._study_reached(sum(more.values())) or own

    def sandboxes_reached(self, researcher: str, task: str, more_ms: int) -> str:
        """The limit on sandboxes that is reached with so much more, in a word, if one is."""
        rows = [
            ("", self.limits[researcher], self.used[researcher].sandbox_ms),
            ("study-", self.limits[STUDY], self.sandbox_ms_in_all()),
        ]
        if task in self.used_on:
            rows.append(("task-", self.task_limits[task], self.used_on[task].sandbox_ms))
        for whose, limits, used_ms in rows:
            if "sandbox_seconds" in limits and used_ms + more_ms >= 1000 * limits["sandbox_seconds"]:
                return whose + LIMIT_WORD["sandbox_seconds"]
        return ""

    def task_reached(self, task: str, now_ms: int = 0, *, more_ms: int = 0) -> str:
        """The limit that ends the work on a task, in a word; its submissions are no such limit."""
        if task not in self.used_on:
            return ""
        limits = {name: one for name, one in self.task_limits[task].items() if name != "submissions"}
        held_ms = self._since(now_ms)[1].get(task, 0)
        word = self.used_on[task].reaches(limits, more_held_ms=held_ms, more_sandbox_ms=more_ms)
        return f"task-{word}" if word else ""

    def is_used_up(self, task: str, now_ms: int = 0) -> bool:
        """Whether the task, or the study, has all its submissions, or the study's time is over."""
        study = self.limits.get(STUDY)
        if study is None:
            return False
        if task in self.used_on and self.used_on[task].submissions >= self.task_limits[task]["submissions"]:
            return True
        is_over = self.active_until_ms(now_ms) >= 1000 * study["seconds"]
        return self.submissions >= study["submissions"] or is_over

    def _study_reached(self, more_ms: int) -> str:
        most = self.limits[STUDY].get("sandbox_seconds")
        if most is None or self.sandbox_ms_in_all() + more_ms < 1000 * most:
            return ""
        return f"study-{LIMIT_WORD['sandbox_seconds']}"

    def _gap_ms(self, now_ms: int) -> int:
        return min(max(now_ms - self.last_ms, 0), IDLE_GAP_MS) if self.last_ms else 0

    def _since(self, now_ms: int) -> tuple[dict[str, int], dict[str, int]]:
        """Milliseconds held since the last entry: by researcher, each once, and by task."""
        by: dict[str, int] = {}
        on: dict[str, int] = {}
        gap_ms = self._gap_ms(now_ms)
        for task, hold in self._holds.items():
            more_ms = max(min(gap_ms, hold.until_ms - self.last_ms), 0)
            on[task] = more_ms
            by[hold.researcher] = max(by.get(hold.researcher, 0), more_ms)
        return by, on


def sandbox_faults(account: Account, body: Body, now_ms: int = 0) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with a `budget-charged` of sandboxes that comes next."""
    researcher, usage = body["researcher"], body["usage"]
    if researcher not in account.used:
        yield "a charge of a researcher of the study", researcher
        return
    after_ms = account.used[researcher].sandbox_ms + body["amount"]
    if usage["total"] != after_ms:
        yield f"{after_ms} processor ms of the sandboxes of {researcher} in all", f"{usage['total']}"
    limit, timely = sandbox_limit(account, researcher, body["task"], body["amount"], now_ms)
    # How late it is when the charge is entered its writer cannot know: of time it may say what holds by then.
    if usage["limit"] != limit and (limit or usage["limit"] not in timely):
        yield f"limit {limit!r}, by what {researcher} used", repr(usage["limit"])


def sandbox_limit(
    account: Account, researcher: str, task: str, amount_ms: int, now_ms: int = 0
) -> tuple[str, tuple[str, ...]]:
    """The limit that a charge of sandboxes tells of; where it is "", one of these of time may be."""
    # Whatever the time is: it goes on until the charge is entered, and would hide a limit of the study then.
    reached = account.sandboxes_reached(researcher, task, amount_ms)
    if reached:
        return reached, ()
    minutes = LIMIT_WORD["seconds"]
    held, held_on = account.reached(researcher, now_ms), account.task_reached(task, now_ms)
    return "", tuple(one for one in (held, held_on) if one.endswith(minutes))


def limit_faults(opened: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with the limits of a `study-opened`."""
    named = [one["researcher"] for one in opened["limits"]]
    if len(set(named)) < len(named):
        yield "limits of a researcher once", ", ".join(named)
    strangers = sorted(set(named) - {STUDY, *opened["researchers"]})
    if strangers:
        yield "limits of researchers of the study", ", ".join(strangers)
    of_study: Body = next((one["limits"] for one in opened["limits"] if one["researcher"] == STUDY), {})
    twice = sorted({"seconds", "submissions"} & set(of_study))
    if twice:
        yield "a study's seconds and submissions in its budget", ", ".join(twice)


def overused(account: Account) -> Iterator[str]:
    """A line for each limit on sandboxes that what was used is beyond: they are looked at once in a while."""
    rows = [(name, one.sandbox_ms, account.limits[name]) for name, one in account.used.items()]
    rows += [
        (f"task {name}", one.sandbox_ms, account.task_limits[name]) for name, one in account.used_on.items()
    ]
    if STUDY in account.limits:
        rows.append(("the study", account.sandbox_ms_in_all(), account.limits[STUDY]))
    for who, used_ms, limits in rows:
        most = limits.get("sandbox_seconds")
        if most is not None and used_ms > 1000 * most:
            over = (used_ms - 1000 * most) / 1000
            yield f"{who} used {used_ms / 1000:.1f} CPU-s of sandboxes, {over:.1f} over its limit"
