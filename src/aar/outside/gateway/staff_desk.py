"""The verbs of the evaluator and of the humans' commands, each on a socket of its own.

Both hand in entries that they signed themselves; the gateway only orders them. The evaluator's socket
gives out work, the control socket tells how the study stands.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from aar.formats.entry import Leaf, SignedEntry, parse_signed_entry
from aar.formats.errors import FormatError
from aar.formats.kinds import MONITOR, UNREAD, check_body, isolation_of
from aar.lab.protocol.operations import MAX_WAIT_S
from aar.outside.admission import Refused
from aar.outside.allocation import MAX_HOLDERS
from aar.outside.gateway.blobs import MAX_BLOB_BYTES, Blobs
from aar.outside.gateway.record_service import Draft, RecordService
from aar.outside.gateway.requests import fields, whole_number
from aar.outside.gateway.researcher_desk import ResearcherDesk, Verb
from aar.outside.gateway.worker_desk import ended_leases
from aar.outside.projection import Projection
from aar.verify.decisions import CITABLE, claimed_by
from aar.verify.holds import SAID
from aar.verify.leaderboard import has_difference, has_interval, leaderboard
from aar.verify.splits import run_label


class Staff:
    """What the evaluator and the control socket share: requests for reproduction, closing, its material."""

    def __init__(self, service: RecordService, blobs: Blobs) -> None:
        self.service = service
        self.blobs = blobs
        self.closing = ""
        self.reproduce: set[int] = set()
        self.heldout: set[int] = set()
        self.close_material: dict[str, Any] = {}
        # Enters what is spent and not charged yet; tells what each model spent, and what stops it.
        self.settle: Callable[[], None] = lambda: None
        self.spending: Callable[[], dict[str, Any]] = dict
        # Enters a limit, which may be a lower one, and takes its tasks from whoever is at it.
        self.set_limit: Callable[[Callable[[], int]], int] = lambda enter: enter()
        # What a monitor that is a model spent; runs of these submissions that were begun, with their labels.
        self.spent_by_monitor: Callable[[], dict[str, Any]] = dict
        self.begun: Callable[[Collection[int]], list[tuple[int, str]]] = lambda _submissions: []
        # Whether the monitor is asked to read what is left; the process in which nothing else is done
        # any more, 0 for none; up to which entry all is read, as it says when it has nothing left; -1 before.
        self.is_last_reading = False
        self.alone_pid = 0
        self.read_upto = -1
        # Takes in what sandboxes used; tells what was used of whatever may be limited.
        self.measured: Verb = lambda _payload, _query: {}
        self.use: Callable[[], dict[str, Any]] = dict

    def take_entry(self, payload: Any, *, who: str) -> dict[str, Any]:
        """Admit a signed entry and the blobs it names; refusals that look like attempts become alarms."""
        wanted = fields(payload, entry=str, blobs=list)
        signed, blobs = _parsed(wanted["entry"]), [_decode(one, "blob") for one in wanted["blobs"]]
        if signed.entry.kind == "queue-paused" and isinstance(
            stopped := signed.entry.body.get("researcher"), str
        ):
            # A researcher is stopped and its leases ended in one batch: another may have its task.
            with self.service.lock:
                after = ended_leases(self.service.projection, stopped, now_ms=self.service.now_ms())
                return self._take(signed, blobs, who=who, after=after)
        if signed.entry.kind == "budget-set":
            # Also where its witnesses are late: the limit holds from its entry on.
            index = self.set_limit(lambda: self._enter(signed, blobs, who=who))
            return self.service.acknowledge(index)
        return self._take(signed, blobs, who=who)

    def take_receipt(self, payload: Any, *, who: str) -> dict[str, Any]:
        """Admit a receipt and, in the same batch, the monitor's alarms for what detectors read in its run.

        So an alarm is said once, whatever ends in between, and names the receipt that it came with.
        """
        wanted = fields(payload, entry=str, readings=list)
        signed = _parsed(wanted["entry"])
        if signed.entry.kind != "score-receipt":
            raise Refused("bad-request", f"readings come with a score-receipt, got a {signed.entry.kind:.40}")
        readings = [fields(one, code=str, what=str, evidence=list) for one in wanted["readings"]]
        try:
            check_body("score-receipt", signed.entry.body)
        except FormatError as error:
            raise Refused("bad-body", str(error)) from error
        if not all(type(index) is int for one in readings for index in one["evidence"]):
            raise Refused("bad-request", "evidence: want indexes of entries")
        with self.service.lock:
            index = self.service.projection.tree_size
            return self._take(signed, [], who=who, after=[_alarm(one, signed, index) for one in readings])

    def _take(
        self, signed: SignedEntry, blobs: Sequence[bytes], *, who: str, after: Sequence[Draft] = ()
    ) -> dict[str, Any]:
        return self.service.acknowledge(self._enter(signed, blobs, who=who, after=after))

    def _enter(
        self, signed: SignedEntry, blobs: Sequence[bytes], *, who: str, after: Sequence[Draft] = ()
    ) -> int:
        if any(len(blob) > MAX_BLOB_BYTES for blob in blobs):
            raise Refused("bad-request", f"a blob is larger than {MAX_BLOB_BYTES} bytes")
        service = self.service
        try:
            named = {hashlib.sha256(blob).hexdigest() for blob in blobs}
            wanted_blob = signed.entry.body.get("blob") if signed.entry.kind == "score-revealed" else None
            wanted_names = {wanted_blob["sha256"]} if isinstance(wanted_blob, dict) else set()
            if named != wanted_names:
                raise Refused(
                    "blobs",
                    f"got blobs {sorted(named)}, the entry names {sorted(map(str, wanted_names))}",
                )
            entries: list[Draft | SignedEntry] = [signed, *after]
            return service.append(entries, before_write=lambda: [self.blobs.put(blob) for blob in blobs])[0]
        except Refused as refused:
            if refused.is_alarm:
                service.alarm(
                    refused, who=who, what=f"entry {signed.entry.kind}", attempt=signed.entry.author
                )
            raise

    def chain(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        with self.service.lock:
            chain = self.service.projection.chain(query.get("author", ""))
            return {
                "origin": self.service.origin,
                "seq": chain.seq,
                "prev": chain.prev,
                "isolation": isolation_of(self.service.projection.opened),
            }


class EvaluatorDesk:
    """Serves the evaluator: what to run, what to open."""

    def __init__(self, staff: Staff) -> None:
        self._staff = staff
        self._given: set[tuple[str, int]] = set()
        self._lock = threading.Lock()
        staff.begun = self.begun

    def verbs(self) -> Mapping[tuple[str, str], Verb]:
        return {
            ("POST", "/v1/hello"): self.hello,
            ("GET", "/v1/work"): self.work,
            ("GET", "/v1/submission"): self.submission,
            ("GET", "/v1/chain"): self._staff.chain,
            ("POST", "/v1/entry"): self.entry,
            ("POST", "/v1/receipt"): self.receipt,
            ("POST", "/v1/close-material"): self.take_close_material,
        }

    def hello(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """A new evaluator process: what was given to an earlier one and got no receipt is given again."""
        fields(payload)
        with self._staff.service.lock, self._lock:
            self._given.clear()
            return {
                "origin": self._staff.service.origin,
                "opened": dict(self._staff.service.projection.opened),
            }

    def entry(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        return self._staff.take_entry(payload, who="evaluator")

    def receipt(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        return self._staff.take_receipt(payload, who="evaluator")

    def work(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        deadline = time.monotonic() + min(whole_number(query, "wait_s", 0), MAX_WAIT_S)
        service = self._staff.service
        with service.lock:
            while True:
                job = self._next_job(service.projection)
                if job is not None:
                    return job
                left = deadline - time.monotonic()
                if left <= 0:
                    return {"do": "nothing"}
                service.changed.wait(left)

    def submission(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        number = whole_number(query, "submission")
        service = self._staff.service
        with service.lock:
            return self._told(service.projection, number)

    def _next_job(self, projection: Projection) -> dict[str, Any] | None:
        for number in sorted(self._staff.reproduce):
            submission = projection.submissions[number]
            if "reproduce" not in submission.receipts:
                if projection.holds.holding(number) < 0 and self._give("reproduce", number):
                    return self._run("reproduce", projection, number)
                continue
            opening = self._unopened(projection, number)
            if opening and self._give("open", number):
                return {"do": "open", "receipts": opening}
        for number in projection.pending_confirmations():
            if self._give("confirm", number):
                return self._run("confirm", projection, number)
        for number in self._in_turn(projection):
            if self._give("explore", number):
                return self._run("explore", projection, number)
        asked = [projection.findings[one] for one in sorted(self._staff.heldout)]
        waiting = projection.pending_submissions() or projection.pending_confirmations()
        is_closing = bool(self._staff.closing) and not waiting and not projection.closed
        heldout = projection.pending_heldout(None if is_closing else asked)
        for number, problem in heldout:
            if self._give(run_label("heldout", problem), number):
                return self._run("heldout", projection, number, problem)
        if asked and not heldout:
            opening = self._unopened_heldout(projection)
            if opening and self._give("open heldout", len(asked)):
                return {"do": "open", "receipts": opening}
        if is_closing and not heldout:
            opening = self._unopened_at_close(projection)
            if opening:
                return {"do": "open", "receipts": opening} if self._give("open", -1) else None
            if not self._staff.close_material and self._give("close", -1):
                return {"do": "close"}
        return None

    def _run(
        self, tier: str, projection: Projection, number: int, problem: str | None = None
    ) -> dict[str, Any]:
        where = projection.opened["problem"] if problem is None else problem
        return {"do": "run", "tier": tier, "problem": where, **self._told(projection, number)}

    def _in_turn(self, projection: Projection) -> list[int]:
        """Pending submissions, those first whose researcher has the fewest runs going on; then the oldest."""
        pending = projection.pending_submissions()
        with self._lock:
            running = [one for one in pending if ("explore", one) in self._given]
        load = Counter(projection.submissions[one].body["researcher"] for one in running)
        return sorted(pending, key=lambda one: (load[projection.submissions[one].body["researcher"]], one))

    def begun(self, submissions: Collection[int]) -> list[tuple[int, str]]:
        """Submission and label of each run of these that was given out and has no receipt yet."""
        known = self._staff.service.projection.submissions
        with self._lock:
            given = [(number, what) for what, number in self._given if number in submissions]
        return sorted(
            (number, what)
            for number, what in given
            if not what.startswith("open") and what not in known[number].receipts
        )

    def _give(self, what: str, number: int) -> bool:
        with self._lock:
            if (what, number) in self._given:
                return False
            self._given.add((what, number))
            return True

    def _told(self, projection: Projection, number: int) -> dict[str, Any]:
        submission = projection.submissions[number]
        researcher = submission.body["researcher"]
        released = projection.released.get(researcher, {})
        return {
            "submission": number,
            "digest": submission.body["digest"],
            "researcher": researcher,
            "snapshot": self._staff.blobs.get(submission.body["digest"]).decode(),
            "released": dict(released),
            "receipts": dict(submission.receipts),
            "explored": projection.explored_by(researcher),
            "alarmed": sorted({one["code"] for one in projection.alarms if one["who"] == researcher}),
        }

    @staticmethod
    def _opening(projection: Projection, receipt: int, half: str) -> list[dict[str, Any]]:
        if (receipt, half) in projection.revealed or not projection.receipts[receipt]["commitments"]:
            return []
        body = projection.receipts[receipt]
        return [
            {
                "receipt": receipt,
                "half": half,
                "has_interval": has_interval(body, half),
                "has_difference": has_difference(body),
                **{k: body[k] for k in ("digest", "tier", "submission", "problem")},
            }
        ]

    def _unopened(self, projection: Projection, number: int) -> list[dict[str, Any]]:
        receipts = projection.submissions[number].receipts.values()
        return [
            one
            for index in receipts
            for half in ("public", "sealed")
            for one in self._opening(projection, index, half)
        ]

    def _unopened_at_close(self, projection: Projection) -> list[dict[str, Any]]:
        """Every released value is opened, so that anyone can re-derive it, and what was held out; a sealed
        value only where a result claims it, so that the sealed half says nothing about the tries that failed.
        """
        claimed = {
            index
            for finding in projection.findings.values()
            if finding.body["type"] == "result"
            for index in finding.body["receipts"]
        }
        jobs = self._unopened_heldout(projection)
        for index, body in projection.receipts.items():
            if body["tier"] in CITABLE:
                jobs += self._opening(projection, index, "public")
                if index in claimed:
                    jobs += self._opening(projection, index, "sealed")
        return jobs

    def _unopened_heldout(self, projection: Projection) -> list[dict[str, Any]]:
        return [
            one
            for index, body in projection.receipts.items()
            if body["tier"] == "heldout"
            for half in ("public", "sealed")
            for one in self._opening(projection, index, half)
        ]

    def take_close_material(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        material = dict(fields(payload, seed_secret=str, split_nonce=str, sealed=str))
        with self._staff.service.lock:
            self._staff.close_material = material
            self._staff.service.changed.notify_all()
        return {}


class ControlDesk:
    """Serves the humans' commands: how the study stands, signed entries, the end of the study."""

    def __init__(
        self, staff: Staff, desks: Mapping[str, ResearcherDesk], *, stop: Callable[[], None]
    ) -> None:
        self._staff = staff
        self._desks = desks
        self._stop = stop
        self._rows: tuple[int, list[dict[str, Any]]] = (-1, [])

    def verbs(self) -> Mapping[tuple[str, str], Verb]:
        return {
            ("GET", "/v1/status"): self.status,
            ("GET", "/v1/chain"): self._staff.chain,
            ("POST", "/v1/entry"): self.entry,
            ("POST", "/v1/reproduce"): self.reproduce,
            ("POST", "/v1/heldout"): self.heldout,
            ("POST", "/v1/gone"): self.gone,
            ("POST", "/v1/last-reading"): self.last_reading,
            ("POST", "/v1/used"): self._staff.measured,
            ("POST", "/v1/closing"): self.start_closing,
            ("GET", "/v1/close-material"): self.close_material,
            ("POST", "/v1/stop"): self.stop,
        }

    def entry(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        return self._staff.take_entry(payload, who="control")

    def stop(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        fields(payload)
        self._staff.settle()
        self._staff.service.finish()
        self._stop()
        return {}

    def status(self, _payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        service = self._staff.service
        spending, use = self._staff.spending(), self._staff.use()
        monitor = self._staff.spent_by_monitor()
        with service.lock:
            projection, now_ms = service.projection, service.now_ms()
            if self._rows[0] != projection.tree_size and projection.opened:
                self._rows = (projection.tree_size, [row.as_json() for row in leaderboard(service.leaves)])
            return {
                **summary(projection, now_ms=now_ms),
                "published_size": service.published_size,
                "leaderboard": self._rows[1],
                "closing": self._staff.closing,
                "heard_ms": {name: desk.last_seen_ms for name, desk in self._desks.items()},
                "refusals": {name: dict(desk.refusals) for name, desk in self._desks.items()},
                "events": _latest_events(service, 6),
                "spending": spending,
                "monitor": monitor and {**monitor, "alone_pid": self._staff.alone_pid},
                "use": use,
            }

    def reproduce(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for a clean re-run of the method whose new rung a finding states."""
        number = fields(payload, finding=int)["finding"]
        service = self._staff.service
        with service.lock:
            finding = service.projection.findings.get(number)
            receipt = -1 if finding is None else service.projection.basis_of(finding).receipt
            if receipt < 0:
                raise Refused(
                    "no-finding", f"entry {number} is not a finding that states a receipt's numbers"
                )
            submission = service.projection.receipts[receipt]["submission"]
            _check_not_held(service.projection, submission)
            self._staff.reproduce.add(submission)
            service.changed.notify_all()
        return {"submission": submission}

    def heldout(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for the held-out runs of the method that a result claims, before the study ends."""
        number = fields(payload, finding=int)["finding"]
        service = self._staff.service
        with service.lock:
            projection = service.projection
            finding = projection.findings.get(number)
            if finding is None or not claimed_by(finding.body, projection.receipts):
                raise Refused("no-finding", f"entry {number} is not a result that claims a receipt's value")
            for receipt in claimed_by(finding.body, projection.receipts):
                _check_not_held(projection, projection.receipts[receipt]["submission"])
            if not projection.opened["heldout"]:
                raise Refused("no-heldout", "the study was opened without problems that are held out")
            self._staff.heldout.add(number)
            service.changed.notify_all()
        return {"problems": [one["name"] for one in projection.opened["heldout"]]}

    def gone(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Take a lost researcher's tasks from it: its leases end now, and others may have what it worked on.

        A task that too many were lost over is dead, and closed as failed.
        """
        name = fields(payload, researcher=str)["researcher"]
        service = self._staff.service
        with service.lock:
            now_ms = service.now_ms()
            drafts = []
            for task in service.projection.tasks.values():
                if task.outcome or task.researcher != name:
                    continue
                if len(task.holders) >= MAX_HOLDERS:
                    reason = f"{len(task.holders)} researchers were lost over it: {', '.join(task.holders)}"
                    body: dict[str, Any] = {"researcher": name, "outcome": "failed", "reason": reason}
                    kind = "task-closed"
                elif task.lease_until_ms > now_ms:
                    body = {"researcher": name, "until_ms": now_ms, "epoch": task.epoch + 1}
                    body["direction"] = task.told
                    kind = "task-leased"
                else:
                    continue
                body["task"] = task.name
                drafts.append(Draft(author="gateway", kind=kind, body=body, refs=(task.index,)))
            if drafts:
                service.append(drafts)
        return {"tasks": [draft.body["task"] for draft in drafts]}

    def last_reading(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """The study ends: the monitor is to read what is left, and its worker to end then."""
        fields(payload)
        with self._staff.service.lock:
            self._staff.is_last_reading = True
        return {}

    def start_closing(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """No new work from here on; what was handed in is still run, then every explored value is opened."""
        reason = fields(payload, reason=str)["reason"]
        service = self._staff.service
        self._staff.settle()
        with service.lock:
            self._staff.closing = reason
            drafts = [
                Draft(
                    author="gateway",
                    kind="task-closed",
                    body={
                        "task": task.name,
                        "researcher": task.researcher,
                        "outcome": "stopped",
                        "reason": f"the study is closing: {reason}",
                    },
                    refs=(task.index,),
                )
                for task in service.projection.tasks.values()
                if not task.outcome
            ]
            drafts += self._unread(service.projection)
            if drafts:
                service.append(drafts)
            service.changed.notify_all()
        return {}

    def _unread(self, projection: Projection) -> list[Draft]:
        """The alarm that the study ends and its monitor, if that is a model, has not read all there is."""
        upto, leaves = self._staff.read_upto, self._staff.service.leaves
        is_all_read = upto >= 0 and not any(is_to_be_read(projection, leaf) for leaf in leaves[upto:])
        if not projection.holds.monitor or is_all_read:
            return []
        body: dict[str, Any] = {
            "code": UNREAD,
            "who": MONITOR,
            "what": "the study ends, and its monitor did not say that it has read all that was said and done",
            "evidence": [],
            "attempt": "",
        }
        return [Draft(author=MONITOR, kind="alarm", body=body)]

    def close_material(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        deadline = time.monotonic() + min(whole_number(query, "wait_s", 0), MAX_WAIT_S)
        service = self._staff.service
        with service.lock:
            while not self._staff.close_material and time.monotonic() < deadline:
                service.changed.wait(max(deadline - time.monotonic(), 0.01))
            return {"material": self._staff.close_material}


def summary(projection: Projection, *, now_ms: int) -> dict[str, Any]:
    """How a study stands, as JSON values; also what `aar status` prints of a study at rest."""
    opened = projection.opened
    return {
        "study": opened.get("name", ""),
        "origin": projection.origin,
        "state": "closed" if projection.closed else ("open" if opened else "empty"),
        "isolation": isolation_of(opened),
        "paused": pause_told(projection),
        "stopped": {
            name: {"entry": stop, "by": projection.authors[stop], "reason": projection.pauses[stop]["reason"]}
            for name, stop in projection.stops.items()
        },
        "held": holds_told(projection),
        "tasks": [
            {
                "task": task.name,
                "index": task.index,
                "title": task.title,
                "workflow": task.workflow,
                "state": task.state,
                "epoch": task.epoch,
                "held": int(bool(task.researcher) and task.lease_until_ms > now_ms),
                "researcher": task.researcher,
                "submissions": task.used,
                "budget": task.submissions,
                "reason": task.reason,
            }
            for task in projection.tasks.values()
        ],
        "proposals": list(projection.proposals.values()),
        "researchers": [_researcher_told(projection, name) for name in projection.researchers],
        "budgets": {
            "submissions": {"budget": projection.most_of("submissions"), "used": projection.charged}
            if opened
            else {},
            "confirmations": {"budget": opened["budget"]["confirmations"], "used": projection.confirmed}
            if opened
            else {},
            "seconds": {
                "budget": projection.most_of("seconds"),
                "used": round(projection.most_of("seconds") - projection.seconds_left(now_ms), 1),
            }
            if opened
            else {},
        },
        "detectable_difference": projection.detectable_difference,
        "keys": dict(projection.roles),
        "tree_size": projection.tree_size,
        "alarms": [{k: one[k] for k in ("index", "code", "who", "what")} for one in projection.alarms],
        "findings": len(projection.findings),
        "submissions": len(projection.submissions),
        "pending": len(projection.pending_submissions()) + len(projection.pending_confirmations()),
    }


def _check_not_held(projection: Projection, submission: int) -> None:
    held = projection.holds.holding(submission)
    if held >= 0:
        raise Refused(
            "held",
            f"the method of submission {submission} is held for review since entry {held}: it is run when a "
            "reviewer has let it go (aar review DIR release)",
        )


def holds_told(projection: Projection) -> list[dict[str, Any]]:
    """The holds in force, oldest first."""
    return [
        {
            "submission": one.submission,
            "entry": one.entry,
            "researcher": projection.submissions[one.submission].body["researcher"],
            "method": projection.submissions[one.submission].body["name"],
            "reason": one.reason,
            "is_looked_at": int(one.is_refused),
        }
        for one in projection.holds.holds.values()
        if one.is_in_force
    ]


def is_to_be_read(projection: Projection, leaf: Leaf) -> bool:
    """Whether a monitor that is a model reads this entry: what a researcher said, or handed in."""
    entry = leaf.signed.entry
    is_said = entry.kind in SAID and projection.roles.get(entry.author) == "researcher"
    return is_said or entry.kind == "submission"


def pause_told(projection: Projection) -> dict[str, Any]:
    """The pause that holds, and who entered it; empty while the queue runs, and once the study is closed."""
    if projection.paused < 0 or projection.closed:
        return {}
    keys = ("signal", "value", "limit", "reason")
    return {
        "entry": projection.paused,
        "by": projection.authors[projection.paused],
        **{key: projection.pauses[projection.paused][key] for key in keys},
    }


def _researcher_told(projection: Projection, name: str) -> dict[str, Any]:
    mine = [one for one in projection.submissions.values() if one.body["researcher"] == name]
    task = next(
        (one for one in projection.tasks.values() if one.researcher == name and not one.outcome), None
    )
    waiting = bool(mine) and "explore" not in mine[-1].receipts
    is_held = waiting and not projection.holds.may_end(mine[-1].index, "explore")
    return {
        "researcher": name,
        "task": task.name if task else "",
        "workflow": task.workflow if task else "",
        "state": "held" if is_held else "running" if waiting else ("thinking" if task else "idle"),
        "step": mine[-1].body["step"] if mine else "",
        "method": mine[-1].body["name"] if mine else "",
        "submissions": len(mine),
        "findings": sum(one.author == name for one in projection.findings.values()),
    }


def _latest_events(service: RecordService, count: int) -> list[dict[str, Any]]:
    """The newest entries worth a line, oldest first."""
    events: list[dict[str, Any]] = []
    for leaf in reversed(service.leaves):
        entry = leaf.signed.entry
        body: Mapping[str, Any] = entry.body
        if entry.kind == "finding":
            text = f"{entry.author}: {body['title']}"
        elif entry.kind == "score-receipt":
            text = f"receipt for {body['researcher']}: " + (
                f"PGR {body['released']['pgr']}" if body["released"] else body["outcome"]
            )
        elif entry.kind == "alarm":
            text = f"ALARM {body['code']}: {body['what']}"
        elif entry.kind in ("submission-held", "submission-released"):
            text = f"{entry.kind} {body['submission']}: {body['reason']}"
        elif entry.kind in ("queue-paused", "queue-resumed"):
            text = f"{entry.kind}: {body['reason']}"
        elif entry.kind in ("task-opened", "task-closed", "task-leased"):
            text = f"{entry.kind} {body['task']}"
        else:
            continue
        events.append({"index": leaf.index, "received_ms": leaf.received_ms, "text": text[:160]})
        if len(events) >= count:
            break
    return events[::-1]


def _alarm(reading: Mapping[str, Any], receipt: SignedEntry, index: int) -> Draft:
    """The monitor's entry for a reading, about the receipt at `index`, its submission, earlier receipts."""
    receipt_body: Mapping[str, Any] = receipt.entry.body
    body: dict[str, Any] = {
        "code": reading["code"],
        "who": receipt_body["researcher"],
        "what": reading["what"][:2_000],
        "evidence": [*reading["evidence"], receipt_body["submission"], index],
        "attempt": "",
    }
    return Draft(author="monitor", kind="alarm", body=body, refs=tuple(sorted(set(body["evidence"]))))


def _parsed(text: Any) -> SignedEntry:
    try:
        return parse_signed_entry(_decode(text, "entry"))
    except FormatError as error:
        raise Refused("bad-entry", str(error)) from error


def _decode(text: Any, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Refused("bad-request", f"{what} is not base64") from error
