"""The verbs of the worker, the process in which researchers that are language models think.

It tells what each call of a model used and asks what is left; the limits are kept here, not there. A call is
on disk before it is answered, and in an entry soon after: with every tenth call, at a limit, when a task
changes or ends, with a transcript, and when the gateway ends.

What sandboxes used, of whatever researcher, is kept in the same account; the control plane tells of it.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.kinds import DOLLARS, FILE_NAME, HEX32, INDEX, LIMIT_WORD, MONITOR, MONITOR_SPENT, TOKENS
from aar.outside.admission import Refused
from aar.outside.allocation import MAX_HOLDERS
from aar.outside.budgets import Uncharged, told_of_use, use_of
from aar.outside.gateway.ledger import Call, Ledger, LedgerUnusable, RepeatedCall
from aar.outside.gateway.meter import Meter
from aar.outside.gateway.record_service import Draft, RecordService
from aar.outside.gateway.requests import fields
from aar.outside.gateway.researcher_desk import Verb
from aar.outside.projection import Projection, Task
from aar.verify.budget_check import stopping_limit
from aar.verify.limits import sandbox_limit
from aar.verify.spending import STUDY, Spent, cost, format_dollars

CALLS_PER_ENTRY = 10
MAX_TOKENS_PER_CALL = 10**9
MAX_CALL_ID = 128
# Of one researcher: each is a conversation about a task, or what of one a kill left.
MOST_TRANSCRIPTS = 2_000
# What sandboxes used is an entry when it is so much of one researcher, and earlier where something is over.
SANDBOX_MS_PER_ENTRY = 30_000
MAX_SANDBOX_MS = 2**50
# Of a longer gap between two entries not all is time: while one counts and something is held, none is longer.
LONGEST_GAP_MS = 15_000
# A lease that ends so soon, in a study that goes on for longer, is given anew.
LEASE_RUNS_OUT_MS = 60_000
SUBMISSIONS = LIMIT_WORD["submissions"]


class WorkerDesk:
    """Serves the worker; every public method that takes a payload is one verb."""

    def __init__(
        self,
        service: RecordService,
        ledger: Ledger,
        *,
        is_closing: Callable[[], bool],
        meter: Meter | None = None,
    ) -> None:
        """`meter`: where what sandboxes used is kept; without one it is kept in memory alone."""
        self._service = service
        self._ledger = ledger
        self._meter = meter or Meter()
        self._is_closing = is_closing
        # Taken before the service's lock, never after it.
        self._lock = threading.RLock()
        self._check_whole()
        self._meter.start_from(service.projection.account.sandbox_ms)
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
            return self._told(researcher, of_task=True)

    def limits(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        """What `usage` answers, without a call."""
        researcher = query.get("researcher", "")
        self._model(researcher)
        with self._lock:
            # Time passes without a call.
            self._enforce_when_due(researcher)
            return self._told(researcher, of_task=True)

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
                told_of = sum(who == researcher for who, _name in service.projection.spending.transcripts)
                if researcher == MONITOR:
                    raise Refused(
                        "no-model", "the monitor's readings come with what they say, on /v1/reading"
                    )
                if known is None and told_of >= MOST_TRANSCRIPTS:
                    raise Refused("said-enough", f"there are {told_of} transcripts of {researcher}: no more")
            if known is None:
                self._charge(researcher, told, task=wanted["task"])
            index = self._entry_of(researcher, told["name"])
        # Not under the lock: witnesses may take their time, and others have calls to tell of.
        return service.acknowledge(index)

    def measured(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Take in what sandboxes used in this life of the launcher; told again, it counts once.

        A verb of the staff: neither a worker nor a sandbox says what it used.
        """
        wanted = fields(payload, life=str, used_ms=dict)
        used_ms, service = wanted["used_ms"], self._service
        for name, ms in used_ms.items():
            if name not in service.projection.account.used:
                raise Refused("no-researcher", f"{name!r:.80} is not a researcher of this study")
            if type(ms) is not int or not 0 <= ms <= MAX_SANDBOX_MS:
                raise Refused("bad-request", f"used_ms of {name}: got {ms!r:.40}, want 0 to {MAX_SANDBOX_MS}")
        with self._lock, service.lock:
            self._meter.take(wanted["life"], used_ms, lambda name: _task_of(service.projection, name))
            self.enforce()
            for name, ms in self._waiting_now().by_researcher().items():
                if ms >= SANDBOX_MS_PER_ENTRY:
                    self._charge_sandboxes(name)
            self._prolong_leases()
            self._let_time_pass()
        return {}

    def settle(self, researcher: str = STUDY) -> None:
        """Charge what is not charged yet: of one researcher, or of all."""
        with self._lock:
            projection = self._service.projection
            for name in [researcher] if researcher else [*projection.account.used, MONITOR]:
                self._charge_calls(name)
                self._charge_sandboxes(name)

    def settle_task(self, researcher: str) -> None:
        """Charge what a researcher spent before its task ends; what was for none waits."""
        with self._lock:
            self._charge_calls(researcher)
            for (name, task), ms in self._unmetered().items():
                if name == researcher and task:
                    self._enter_use(name, task, ms)

    def enforce(self) -> None:
        """Enter what is spent of each researcher at a limit, end its leases; close each task at its limit."""
        with self._lock, self._service.lock:
            projection = self._service.projection
            if not projection.opened or projection.closed:
                return
            waiting = self._waiting_now()
            if self._limit_of(MONITOR, waiting):
                # It holds no task, and its limit is nobody else's.
                self._charge_calls(MONITOR)
            for name in projection.account.used:
                limit = self._limit_of(name, waiting)
                # Who has handed in all that it may is let write it up.
                if limit in ("", SUBMISSIONS):
                    continue
                if self._is_told(name, limit):
                    # What a sandbox that is being ended still uses is not an entry each time.
                    self._charge_calls(name)
                else:
                    # A limit of the study is reached by what all of them spent: all of it is entered.
                    self.settle(STUDY if limit.startswith("study") else name)
                self._say_of_time(name, limit)
                end_leases(self._service, name)
                # Counted anew for the next: what was entered waits no more.
                waiting = self._waiting_now()
            for task in list(projection.tasks.values()):
                limit = "" if task.outcome else self._limit_of_task(task.name, waiting)
                if limit:
                    self.settle()
                    self._say_of_time(task.researcher, limit, task.name)
                    self._close(task, limit)
                    waiting = self._waiting_now()

    def set_limit(self, enter: Callable[[], int]) -> int:
        """Enter a limit and enforce it in one: in between nothing is handed in or back."""
        with self._lock, self._service.lock:
            index = enter()
            self.enforce()
            return index

    def use(self) -> dict[str, Any]:
        """What each researcher, each task and the study used of what may be limited, and what stops them."""
        with self._lock, self._service.lock:
            projection = self._service.projection
            waiting = self._waiting_now()
            told = told_of_use(projection, self._service.now_ms(), waiting)
            for name, one in told["researchers"].items():
                limit = self._limit_of(name, waiting)
                is_writing_up = limit == SUBMISSIONS and _task_of(projection, name) != ""
                one["stop"] = "" if is_writing_up else limit
            return told

    def spending(self) -> dict[str, Any]:
        """What each researcher that is a model spent so far and what stops it, and the study under ""."""
        with self._lock, self._service.lock:
            projection = self._service.projection
            waiting = self._waiting_now()
            told = {
                name: {
                    **(projection.spending.spent[name] + waiting.spent[name]).as_body(),
                    **self._told(name, waiting),
                }
                for name in projection.spending.researchers
            }
            if told:
                told[STUDY] = (projection.spending.spent_of(STUDY) + _of_all(waiting.spent)).as_body()
            return told

    def spent_by_monitor(self) -> dict[str, Any]:
        """The same of a monitor that is a model; nothing where there is none."""
        with self._lock, self._service.lock:
            spending = self._service.projection.spending
            if MONITOR not in spending.models:
                return {}
            spent = spending.spent[MONITOR] + self._waiting_now().spent[MONITOR]
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

    def _told(
        self, researcher: str, waiting: Uncharged | None = None, *, of_task: bool = False
    ) -> dict[str, Any]:
        """Why the researcher has to stop, if it has to, and what is left of each budget.

        With `of_task` also, that the task that it had last was closed at its limit.
        """
        if researcher == MONITOR:
            return self._told_monitor()
        service = self._service
        with service.lock:
            projection, now_ms = service.projection, service.now_ms()
            more = waiting or self._waiting_now()
            spending = projection.spending
            limit = self._limit_of(researcher, more)
            left = []
            for name in (researcher, STUDY):
                calls = more.spent[name] if name else _of_all(more.spent)
                spent = spending.spent_of(name) + calls
                allowed = spending.limits[name]
                left.append((allowed.tokens - spent.tokens, allowed.dollars - spent.dollars))
            task = _task_of(projection, researcher)
            if task:
                spent, allowed = spending.spent_on[task], spending.task_limits[task]
                spent += more.spent_on.get(task, Spent())
                left.append((allowed.tokens - spent.tokens, allowed.dollars - spent.dollars))
            seconds = projection.seconds_left(now_ms)
            stop = stop_of(
                projection, researcher, limit=limit, seconds=seconds, is_closing=self._is_closing()
            )
            if of_task and not stop:
                stop = _limit_it_lost_its_task_to(projection, researcher)
            use = use_of(projection, researcher, task, now_ms, more)
            return {
                "stop": stop,
                "left": {
                    "tokens": max(min(tokens for tokens, _ in left), 0),
                    "dollars": format_dollars(max(min(dollars for _, dollars in left), Fraction())),
                    "seconds": max(min(int(seconds), use.seconds_left), 0),
                    "submissions": _submissions_left(projection, researcher),
                    **({} if use.sandbox_left is None else {"sandbox_seconds": use.sandbox_left}),
                },
            }

    def _told_monitor(self) -> dict[str, Any]:
        """The same of the monitor: its own limits alone; neither a pause nor time that is over stops it."""
        with self._service.lock:
            projection = self._service.projection
            allowed = projection.spending.limits[MONITOR]
            spent = projection.spending.spent[MONITOR] + self._waiting_now().spent[MONITOR]
            is_over = bool(projection.closed) or self._is_closing()
            return {
                "stop": "stopped" if is_over else allowed.reached(spent),
                "left": {
                    "tokens": max(allowed.tokens - spent.tokens, 0),
                    "dollars": format_dollars(max(allowed.dollars - spent.dollars, Fraction())),
                },
            }

    def _limit_of(self, researcher: str, waiting: Uncharged) -> str:
        """The limit that a researcher is at now, in a word; what waits to be entered counts, too."""
        projection = self._service.projection
        return projection.spending.reached(researcher, waiting.spent) or projection.account.reached(
            researcher, self._service.now_ms(), more_ms=waiting.by_researcher()
        )

    def _limit_of_task(self, task: str, waiting: Uncharged) -> str:
        """The limit that a task is at now, in a word."""
        projection = self._service.projection
        return projection.spending.task_reached(
            task, waiting.spent_on.get(task, Spent())
        ) or projection.account.task_reached(task, self._service.now_ms(), more_ms=waiting.on(task))

    def _unmetered(self) -> Mapping[tuple[str, str], int]:
        """By researcher and task, processor milliseconds of sandboxes that no entry has yet."""
        account = self._service.projection.account
        waiting = self._meter.uncharged(account.sandbox_ms)
        return {key: ms for key, ms in waiting.items() if key[0] in account.used}

    def _waiting_now(self) -> Uncharged:
        """What no entry has yet."""
        spent: dict[str, Spent] = {}
        spent_on: dict[str, Spent] = {}
        for name, model in self._service.projection.spending.models.items():
            spent[name] = Spent()
            for call in self.waiting(name):
                this = _sum(model, [call])
                spent[name] += this
                spent_on[call.task] = spent_on.get(call.task, Spent()) + this
        return Uncharged(self._unmetered(), spent, spent_on)

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
            waiting = self.waiting(researcher)
            is_due = len(waiting) >= CALLS_PER_ENTRY or len({one.task for one in waiting}) > 1
            if not self._enforce_when_due(researcher) and is_due:
                self._charge(researcher)

    def _enforce_when_due(self, researcher: str) -> bool:
        """Enforce limits where that researcher, or what it works on, is at one."""
        with self._service.lock:
            task = _task_of(self._service.projection, researcher)
            now = self._waiting_now()
            is_at_its_own = self._limit_of(researcher, now) not in ("", SUBMISSIONS)
            is_due = is_at_its_own or (task != "" and self._limit_of_task(task, now) != "")
            if is_due:
                self.enforce()
            return is_due

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

    def _is_told(self, researcher: str, limit: str) -> bool:
        """Whether the record alone says that it is at that limit, and nothing is to be taken from it."""
        projection, now_ms = self._service.projection, self._service.now_ms()
        told = projection.spending.reached(researcher) or projection.account.reached(researcher, now_ms)
        return told == limit and not _holds(projection, researcher, now_ms)

    def _charge_calls(self, researcher: str) -> None:
        if researcher in self._service.projection.spending.models:
            self._charge(researcher)

    def _charge_sandboxes(self, researcher: str) -> None:
        """Enter what a researcher's sandboxes used and no entry has yet, that of each task apart."""
        rows = [(task, ms) for (name, task), ms in self._unmetered().items() if name == researcher]
        for task, ms in rows:
            self._enter_use(researcher, task, ms)

    def _say_of_time(self, researcher: str, limit: str, task: str = "") -> None:
        """A limit of time stands in the record with its reason, as others do: with who was at it, once."""
        if limit.endswith(LIMIT_WORD["seconds"]) and researcher:
            held = _holds(self._service.projection, researcher, self._service.now_ms())
            if task in held or (not task and held):
                self._enter_use(researcher, task or held[0], 0, limit)

    def _enter_use(self, researcher: str, task: str, ms: int, limit: str = "") -> None:
        service = self._service
        with service.lock:
            projection = service.projection
            if not projection.opened or projection.closed:
                return
            total = projection.account.used[researcher].sandbox_ms + ms
            reached, _timely = sandbox_limit(projection.account, researcher, task, ms)
            body = {
                "researcher": researcher,
                "task": task if task in projection.tasks else "",
                "what": "sandbox",
                "amount": ms,
                "submission": -1,
                "usage": {"total": total, "limit": reached or limit},
            }
            service.append([Draft(author="gateway", kind="budget-charged", body=body)])

    def _prolong_leases(self) -> None:
        """A lease lasts as long as the study: one that is about to run out in a study that was given more
        time would let its holder work on uncounted, and another have its task.
        """
        service = self._service
        projection, now_ms = service.projection, service.now_ms()
        until_ms = now_ms + int(projection.seconds_left(now_ms) * 1000)
        for task in list(projection.tasks.values()):
            # Each time: with what is entered the monitor may pause the queue.
            if projection.paused >= 0 or self._is_closing():
                return
            is_running_out = 0 < task.lease_until_ms - now_ms < LEASE_RUNS_OUT_MS < until_ms - now_ms
            if not is_running_out or task.outcome or task.researcher in projection.stops:
                continue
            body = {
                "task": task.name,
                "researcher": task.researcher,
                "until_ms": until_ms,
                "epoch": task.epoch + 1,
                "direction": task.told,
            }
            if not stopping_limit(projection.spending, projection.account, "lease", body, now_ms):
                service.append([Draft(author="gateway", kind="task-leased", body=body, refs=(task.index,))])

    def _let_time_pass(self) -> None:
        """An entry before a gap becomes too long to be time, where time counts and somebody works."""
        service = self._service
        projection, now_ms = service.projection, service.now_ms()
        account = projection.account
        is_late = now_ms - projection.last_received_ms >= LONGEST_GAP_MS
        if not is_late or projection.paused >= 0 or self._is_closing():
            return
        for name in account.used:
            held = _holds(projection, name, now_ms)
            limits = [account.limits[name], *(account.task_limits[task] for task in held)]
            if held and (projection.spending.models or any("seconds" in one for one in limits)):
                waiting = self._unmetered().get((name, held[0]), 0)
                self._enter_use(name, held[0], waiting)
                return

    def _close(self, task: Task, limit: str) -> None:
        """Close a task at its limit, for whoever has it."""
        projection = self._service.projection
        word = limit.removeprefix("task-")
        account, money = projection.account, projection.spending.task_limits[task.name]
        most = {
            "tokens": f"{money.tokens} tokens",
            "dollars": f"{format_dollars(money.dollars)} dollars",
            **{
                LIMIT_WORD[key]: f"{account.task_limits[task.name].get(key, 0)} seconds {what}"
                for key, what in (("seconds", "for which it is held"), ("sandbox_seconds", "of sandboxes"))
            },
        }
        body = {
            "task": task.name,
            "researcher": task.researcher,
            "outcome": "budget",
            "reason": f"it reached its limit, {limit}: {most[word]}",
        }
        self._service.append([Draft(author="gateway", kind="task-closed", body=body, refs=(task.index,))])

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
            "limit": spending.reached(researcher, {researcher: this}) or spending.task_reached(task, this),
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
    if limit and limit != SUBMISSIONS:
        return limit.removeprefix("study-")
    if seconds <= 0:
        return "seconds"
    if is_closing:
        return "stopped"
    if projection.paused >= 0:
        return "paused"
    # Who holds a task still has something to write up.
    is_spent = projection.submissions_left <= 0 or limit == SUBMISSIONS
    return SUBMISSIONS if is_spent and not _task_of(projection, researcher) else ""


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


def _holds(projection: Projection, researcher: str, now_ms: int) -> list[str]:
    """The tasks that it has a lease on."""
    return [
        one.name
        for one in projection.tasks.values()
        if one.researcher == researcher and not one.outcome and one.lease_until_ms > now_ms
    ]


def _limit_it_lost_its_task_to(projection: Projection, researcher: str) -> str:
    """The limit for which the task that it leased last was closed, if it was; until it leases another."""
    leases = [one for one in projection.leases if one.researcher == researcher]
    task = projection.tasks[leases[-1].task] if leases else None
    if task is None or task.outcome != "budget" or task.researcher != researcher:
        return ""
    account, spending = projection.account, projection.spending
    return spending.task_reached(task.name) or account.task_reached(task.name)


def _submissions_left(projection: Projection, researcher: str) -> int:
    left = [projection.submissions_left]
    task = projection.tasks.get(_task_of(projection, researcher))
    if task is not None:
        left.append(task.submissions_left)
    account = projection.account
    own = account.limits[researcher].get("submissions")
    if own is not None:
        left.append(own - account.used[researcher].submissions)
    return max(min(left), 0)
