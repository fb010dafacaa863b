"""The verbs of the worker, the process in which researchers that are language models think.

It tells what each call of a model used and asks what is left; the limits are kept here, not there. A call is
on disk before it is answered, and in an entry soon after: with every tenth call, at a limit, when a task
changes or ends, with a transcript, and when the gateway ends.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.kinds import DOLLARS, FILE_NAME, HEX32, INDEX, MONITOR, MONITOR_SPENT, TOKENS
from aar.outside.admission import Refused
from aar.outside.allocation import MAX_HOLDERS
from aar.outside.gateway.ledger import Call, Ledger, LedgerUnusable, RepeatedCall
from aar.outside.gateway.record_service import Draft, RecordService
from aar.outside.gateway.requests import fields
from aar.outside.gateway.researcher_desk import Verb
from aar.outside.projection import Projection
from aar.verify.spending import STUDY, Spent, cost, format_dollars

CALLS_PER_ENTRY = 10
MAX_TOKENS_PER_CALL = 10**9
MAX_CALL_ID = 128


class WorkerDesk:
    """Serves the worker; every public method that takes a payload is one verb."""

    def __init__(self, service: RecordService, ledger: Ledger, *, is_closing: Callable[[], bool]) -> None:
        self._service = service
        self._ledger = ledger
        self._is_closing = is_closing
        # Taken before the service's lock, never after it.
        self._lock = threading.RLock()
        self._check_whole()
        self.settle()
        # A gateway that was killed may have entered a limit and not yet taken the task.
        self.enforce()

    def verbs(self) -> Mapping[tuple[str, str], Verb]:
        return {
            ("POST", "/v1/usage"): self.usage,
            ("GET", "/v1/limits"): self.limits,
            ("POST", "/v1/transcript"): self.transcript,
        }

    def usage(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Take in what one call used; told again, it counts once."""
        numbers = dict.fromkeys(TOKENS, int)
        wanted = fields(payload, researcher=str, call=str, model=str, **numbers)
        researcher, service = wanted["researcher"], self._service
        model = self._model(researcher)
        if wanted["model"] != model["model"]:
            raise Refused(
                "wrong-model", f"{researcher} is {model['model']}; {wanted['model']!r:.80} has no price here"
            )
        if not 0 < len(wanted["call"]) <= MAX_CALL_ID:
            raise Refused("bad-request", f"call: want an id of 1 to {MAX_CALL_ID} characters")
        for one in TOKENS:
            if not 0 <= wanted[one] <= MAX_TOKENS_PER_CALL:
                raise Refused("bad-request", f"{one}: got {wanted[one]}, want 0 to {MAX_TOKENS_PER_CALL}")
        with self._lock:
            with service.lock:
                task, now_ms = _task_of(service.projection, researcher), service.now_ms()
            call = Call(**wanted, task=task, at_ms=now_ms)
            self._check_room_for(call)
            try:
                self._ledger.add(call)
            except RepeatedCall as error:
                raise Refused("repeated", str(error)) from error
            self._settle_when_due(researcher)
            return self._told(researcher)

    def limits(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        """What `usage` answers, without a call."""
        researcher = query.get("researcher", "")
        self._model(researcher)
        with self._lock:
            return self._told(researcher)

    def transcript(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Enter the digest of a finished transcript, with the calls that are not charged yet."""
        wanted = fields(payload, researcher=str, task=str, file=str, sha256=str, bytes=int)
        researcher, service = wanted["researcher"], self._service
        self._model(researcher)
        try:
            FILE_NAME("file", wanted["file"])
            HEX32("sha256", wanted["sha256"])
        except FormatError as error:
            raise Refused("bad-request", str(error)) from error
        told = {"name": wanted["file"], "sha256": wanted["sha256"], "size": wanted["bytes"]}
        with self._lock:
            with service.lock:
                known = service.projection.spending.transcripts.get((researcher, told["name"]))
                if known is not None and dict(known) != told:
                    raise Refused(
                        "repeated", f"transcript {told['name']} was told before, with another digest"
                    )
            if known is None:
                self._charge(researcher, told, task=wanted["task"])
            index = self._entry_of(researcher, told["name"])
        # Not under the lock: witnesses may take their time, and others have calls to tell of.
        return service.acknowledge(index)

    def settle(self, researcher: str = STUDY) -> None:
        """Charge what is not charged yet: of one researcher, or of all."""
        with self._lock:
            for name in [researcher] if researcher else list(self._service.projection.spending.models):
                if name in self._service.projection.spending.models:
                    self._charge(name)

    def enforce(self) -> None:
        """Enter what is spent of each researcher at a limit, and end its leases."""
        with self._lock, self._service.lock:
            projection = self._service.projection
            for name in projection.spending.models:
                # Counted anew for each: what was entered for the one before waits no more.
                limit = projection.spending.reached(name, self._uncharged())
                if limit:
                    # A limit of the study is reached by what all of them spent: all of it is entered.
                    self.settle(STUDY if limit.startswith("study") else name)
                    end_leases(self._service, name)

    def spending(self) -> dict[str, Any]:
        """What each researcher that is a model spent so far and what stops it, and the study under ""."""
        with self._lock, self._service.lock:
            projection = self._service.projection
            more = self._uncharged()
            told = {
                name: {**(projection.spending.spent[name] + more[name]).as_body(), **self._told(name)}
                for name in projection.spending.researchers
            }
            if told:
                told[STUDY] = (projection.spending.spent_of(STUDY) + _of_all(more)).as_body()
            return told

    def spent_by_monitor(self) -> dict[str, Any]:
        """The same of a monitor that is a model; nothing where there is none."""
        with self._lock, self._service.lock:
            spending = self._service.projection.spending
            if MONITOR not in spending.models:
                return {}
            spent = spending.spent[MONITOR] + self._uncharged()[MONITOR]
            return {"model": spending.models[MONITOR]["model"], **spent.as_body(), **self._told(MONITOR)}

    def _model(self, researcher: str) -> Mapping[str, Any]:
        model: Mapping[str, Any] | None = self._service.projection.spending.models.get(researcher)
        if model is None:
            raise Refused("no-model", f"{researcher!r:.80} is not a researcher of this study that is a model")
        return model

    def _check_room_for(self, call: Call) -> None:
        """Raise `Refused` for what no entry could say: on disk it would never be charged, and stay first."""
        with self._service.lock:
            model = self._service.projection.spending.models[call.researcher]
            before = self._service.projection.spending.spent[call.researcher]
            after = before + _sum(model, [*self.waiting(call.researcher), call])
        try:
            INDEX("tokens in all", after.tokens)
            DOLLARS("dollars in all", format_dollars(after.dollars))
        except FormatError as error:
            raise Refused("bad-request", f"more than a charge can say: {error}") from error

    def _told(self, researcher: str) -> dict[str, Any]:
        """Why the researcher has to stop, if it has to, and what is left of each budget."""
        service = self._service
        with service.lock:
            projection, now_ms = service.projection, service.now_ms()
            more = self._uncharged()
            spending = projection.spending
            limit = spending.reached(researcher, more)
            left = []
            for name in (researcher,) if researcher == MONITOR else (researcher, STUDY):
                spent = spending.spent_of(name) + (more[name] if name else _of_all(more))
                allowed = spending.limits[name]
                left.append((allowed.tokens - spent.tokens, allowed.dollars - spent.dollars))
            seconds = projection.seconds_left(now_ms)
            submissions = _submissions_left(projection, researcher)
            return {
                "stop": stop_of(
                    projection, researcher, limit=limit, seconds=seconds, is_closing=self._is_closing()
                ),
                "left": {
                    "tokens": max(min(tokens for tokens, _ in left), 0),
                    "dollars": format_dollars(max(min(dollars for _, dollars in left), Fraction())),
                    "seconds": max(int(seconds), 0),
                    "submissions": submissions,
                },
            }

    def _uncharged(self) -> dict[str, Spent]:
        """By researcher, what its calls came to that no entry has yet."""
        spending = self._service.projection.spending
        return {name: _sum(model, self.waiting(name)) for name, model in spending.models.items()}

    @property
    def lock(self) -> threading.RLock:
        """Taken before the service's, by whoever enters charges."""
        return self._lock

    def waiting(self, researcher: str) -> Sequence[Call]:
        """Its calls that no entry has yet."""
        return self._ledger.calls_of(researcher)[self._service.projection.spending.spent[researcher].calls :]

    def _settle_when_due(self, researcher: str) -> None:
        """A limit is an entry at once: who asks for work next is judged by the record alone."""
        with self._service.lock:
            spending, waiting = self._service.projection.spending, self.waiting(researcher)
            limit = spending.reached(researcher, self._uncharged())
            if limit:
                self.enforce()
            elif len(waiting) >= CALLS_PER_ENTRY or len({one.task for one in waiting}) > 1:
                self._charge(researcher)

    def _charge(
        self, researcher: str, transcript: Mapping[str, Any] | None = None, *, task: str = ""
    ) -> None:
        """Enter the calls that wait, those of one task in a row together; the transcript with the last."""
        service = self._service
        with service.lock:
            if not service.projection.opened or service.projection.closed:
                return
            rows = [
                (name, list(calls))
                for name, calls in itertools.groupby(self.waiting(researcher), key=lambda one: one.task)
            ]
            if transcript is not None and (not rows or rows[-1][0] != task):
                rows.append((task, []))
            for number, (name, calls) in enumerate(rows, 1):
                kept = [transcript] if transcript is not None and number == len(rows) else []
                body = charge_body(service.projection, researcher, name, calls, kept)
                charge = Draft(author="gateway", kind="budget-charged", body=body)
                service.append([charge, *spent_alarm(service.projection, body)])

    def _entry_of(self, researcher: str, name: str) -> int:
        with self._service.lock:
            for leaf in reversed(self._service.leaves):
                body: Any = leaf.signed.entry.body
                if leaf.signed.entry.kind == "budget-charged" and body["researcher"] == researcher:
                    if any(one["name"] == name for one in body["usage"].get("transcripts", ())):
                        return leaf.index
        raise Refused("not-entered", f"transcript {name} of {researcher} came after the close")

    def _check_whole(self) -> None:
        """Raise `LedgerUnusable` where the record was charged for calls that the ledger does not have."""
        spending = self._service.projection.spending
        for name, model in spending.models.items():
            charged, calls = spending.spent[name], self._ledger.calls_of(name)
            if _sum(model, calls[: charged.calls]) != charged:
                raise LedgerUnusable(
                    f"the ledger of calls has {len(calls)} of {name}, and the record was charged for "
                    f"{charged.calls} that are not these: put back gateway/calls.jsonl as it was"
                )


def charge_body(
    projection: Projection,
    researcher: str,
    task: str,
    calls: Sequence[Call],
    transcripts: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The body of the `budget-charged` for those calls, when it comes next."""
    spending = projection.spending
    this = _sum(spending.models[researcher], calls)
    return {
        "researcher": researcher,
        "task": task if task in projection.tasks else "",
        "what": "tokens",
        "amount": this.tokens,
        "submission": -1,
        "usage": {
            "calls": this.calls,
            **{one: sum(call.tokens[one] for call in calls) for one in TOKENS},
            "dollars": format_dollars(this.dollars),
            "total": (spending.spent[researcher] + this).as_body(),
            "limit": spending.reached(researcher, {researcher: this}),
            "transcripts": [dict(one) for one in transcripts],
        },
    }


def spent_alarm(projection: Projection, charge: Mapping[str, Any]) -> list[Draft]:
    """The alarm that goes with the charge by which a monitor reaches its limit: it reads no more then."""
    is_reached = charge["researcher"] == MONITOR and charge["usage"]["limit"]
    if not is_reached or projection.spending.reached(MONITOR):
        return []
    body: dict[str, Any] = {
        "code": MONITOR_SPENT,
        "who": MONITOR,
        "what": f"the monitor reached its limit, {charge['usage']['limit']}: it reads nothing more",
        "evidence": [],
        "attempt": "",
    }
    return [Draft(author=MONITOR, kind="alarm", body=body)]


def stop_of(projection: Projection, researcher: str, *, limit: str, seconds: float, is_closing: bool) -> str:
    """Why a researcher has to stop, in a word: "" when it has not.

    "paused" is lifted by a reviewer; until then it may think, and nothing that it hands in is taken.
    """
    if researcher in projection.stops or projection.closed:
        return "stopped"
    if limit:
        return limit.removeprefix("study-")
    if seconds <= 0 and researcher != MONITOR:
        return "seconds"
    if is_closing:
        return "stopped"
    if researcher == MONITOR:
        # It reads on while the queue is paused, and what is left when the study's time is over.
        return ""
    if projection.paused >= 0:
        return "paused"
    # Who holds a task still has something to write up.
    is_spent = projection.submissions_left <= 0 and not _task_of(projection, researcher)
    return "submissions" if is_spent else ""


def end_leases(service: RecordService, researcher: str) -> None:
    """End the leases of a researcher at a limit, now: others may have what it worked on.

    A task over which too many reached theirs is closed: it would take everybody's.
    """
    with service.lock:
        drafts = ended_leases(service.projection, researcher, now_ms=service.now_ms())
        for number, draft in enumerate(drafts):
            holders = service.projection.tasks[draft.body["task"]].holders
            if len(holders) >= MAX_HOLDERS:
                body = {
                    "task": draft.body["task"],
                    "researcher": researcher,
                    "outcome": "budget",
                    "reason": f"{', '.join(holders)} had it, the last to a limit of its budget",
                }
                drafts[number] = Draft(author="gateway", kind="task-closed", body=body, refs=draft.refs)
        if drafts and not service.projection.closed:
            service.append(drafts)


def ended_leases(projection: Projection, researcher: str, *, now_ms: int) -> list[Draft]:
    """For each task that it holds, a lease that is over when it is said."""
    drafts = []
    for task in projection.tasks.values():
        if not task.outcome and task.researcher == researcher and task.lease_until_ms > now_ms:
            body = {
                "task": task.name,
                "researcher": researcher,
                "until_ms": now_ms,
                "epoch": task.epoch + 1,
                "direction": task.told,
            }
            drafts.append(Draft(author="gateway", kind="task-leased", body=body, refs=(task.index,)))
    return drafts


def _sum(model: Mapping[str, Any], calls: Sequence[Call]) -> Spent:
    tokens = {one: sum(call.tokens[one] for call in calls) for one in TOKENS}
    return Spent(calls=len(calls), tokens=sum(tokens.values()), dollars=cost(model["prices"], tokens))


def _of_all(spent: Mapping[str, Spent]) -> Spent:
    """What all researchers spent of it."""
    return sum((one for name, one in spent.items() if name != MONITOR), Spent())


def _task_of(projection: Projection, researcher: str) -> str:
    """The task that it works on, or ""."""
    held = (one.name for one in projection.tasks.values() if one.researcher == researcher and not one.outcome)
    return next(held, "")


def _submissions_left(projection: Projection, researcher: str) -> int:
    task = projection.tasks.get(_task_of(projection, researcher))
    left = projection.submissions_left
    return max(left if task is None else min(left, task.submissions_left), 0)
