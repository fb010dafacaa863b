"""The verbs of a researcher: everything that can be said or asked from inside a sandbox.

One desk per researcher and per socket. What is said here is a claim; the desk signs it with the key of
the researcher whose socket it came through and of nobody else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.entry import Entry, format_leaf
from aar.formats.errors import FormatError
from aar.formats.kinds import LIMIT_WORD, NAME
from aar.lab.protocol.operations import MAX_KEPT_BYTES, MAX_KEPT_FILES, MAX_WAIT_S
from aar.lab.snapshot import families_of
from aar.outside.admission import Refused
from aar.outside.allocation import next_offer
from aar.outside.gateway.blobs import Blobs
from aar.outside.gateway.kept import Kept
from aar.outside.gateway.openapi import openapi_document
from aar.outside.gateway.record_service import Draft, RecordService
from aar.outside.gateway.requests import fields, flat_files, method_files, whole_number
from aar.outside.projection import Task, canonical_text
from aar.verify.decisions import CITABLE

# Sealed values are opened in the record; no researcher reads them there while it can still act on them.
VISIBLE_KINDS = (
    "task-opened",
    "plan-declared",
    "submission",
    "score-receipt",
    "finding",
    "comment",
    "vote",
    "decision",
)
LEASE_MS = 10 * 60_000
SUBMISSIONS = LIMIT_WORD["submissions"]
# Words cost nothing and stay for ever: room for a finding, a comment and a vote on each of hundreds of runs.
MAX_SAID = 2_000

Verb = Callable[[Any, Mapping[str, str]], dict[str, Any]]


class ResearcherDesk:
    """Serves one researcher; every method is one verb."""

    def __init__(
        self,
        service: RecordService,
        blobs: Blobs,
        researcher: str,
        *,
        is_closing: Callable[[], bool],
        kept: Kept | None = None,
        settle: Callable[[str], None] = lambda _researcher: None,
        is_running: Callable[[int, str], bool] = lambda _submission, _run: True,
    ) -> None:
        """`kept`: where it may keep files for itself, if anywhere. `settle`: called with its name before a
        task of its ends, for what it spent. `is_running`: whether the evaluator has that run in hand.
        """
        self._settle = settle
        self._is_running = is_running
        self._service = service
        self._blobs = blobs
        self._kept = kept
        self._researcher = researcher
        self._is_closing = is_closing
        self.last_seen_ms = 0
        # By code: how often this researcher was refused since the gateway's start, and the tree size then.
        self.refusals: dict[str, dict[str, int]] = {}

    @property
    def name(self) -> str:
        return self._researcher

    def verbs(self) -> Mapping[tuple[str, str], Verb]:
        return {
            ("GET", "/v1/study"): self.study,
            ("POST", "/v1/lease"): self.lease,
            ("POST", "/v1/plan"): self.plan,
            ("POST", "/v1/submit"): self.submit,
            ("POST", "/v1/confirm"): self.confirm,
            ("GET", "/v1/receipt"): self.receipt,
            ("GET", "/v1/forum"): self.forum,
            ("POST", "/v1/finding"): self.finding,
            ("POST", "/v1/comment"): self.comment,
            ("POST", "/v1/vote"): self.vote,
            ("POST", "/v1/propose"): self.propose,
            ("POST", "/v1/done"): self.done,
            ("GET", "/v1/snapshot"): self.snapshot,
            ("POST", "/v1/keep"): self.keep,
            ("GET", "/v1/kept"): self.kept,
            ("GET", "/v1/checkpoint"): self.checkpoint,
            ("GET", "/v1/consistency"): self.consistency,
            ("GET", "/v1/inclusion"): self.inclusion,
            ("GET", "/v1/openapi.json"): self.openapi,
        }

    def refused(self, refused: Refused, what: str, attempt: str) -> None:
        """Called by the server for every refusal: the ones that look like attempts become alarms."""
        with self._service.lock:
            size = self._service.projection.tree_size
            self.refusals.setdefault(refused.code, {"count": 0, "at": size})["count"] += 1
        if refused.is_alarm:
            self._service.alarm(refused, who=self._researcher, what=what, attempt=attempt)

    def stumbled(self, error: Exception) -> None:
        """Called by the server for an error nobody thought of: the record counts, so it is folded again.

        One researcher must not be able to end the study of the others with one odd request.
        """
        sys.stderr.write(f"a request of {self._researcher} failed: {error!r:.500}\n")
        sys.stderr.flush()
        self._service.rebuild()
        refused = Refused("internal", f"{type(error).__name__}: {error!s:.200}", is_alarm=True)
        self.refused(refused, "a request", "")

    # Asking.

    def study(self, _payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        service = self._service
        with service.lock:
            opened, now_ms = service.projection.opened, service.now_ms()
            return {
                "origin": service.origin,
                "study": opened["name"],
                "problem": opened["problem"],
                "statement": opened["statement"],
                "researcher": self._researcher,
                "budget": {
                    "submissions": service.projection.most_of("submissions"),
                    "submissions_left": service.projection.submissions_left,
                    "confirmations": opened["budget"]["confirmations"],
                    "confirmations_left": service.projection.confirmations_left,
                },
                "deadline_ms": now_ms + int(service.projection.seconds_left(now_ms) * 1000),
                "log_vkey": opened["log"],
                "witness_vkeys": opened["witnesses"],
                "quorum": opened["quorum"],
                "keys": [{key: one[key] for key in ("name", "role", "vkey")} for one in opened["keys"]],
                "now_ms": now_ms,
            }

    def receipt(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        number, tier = whole_number(query, "submission"), query.get("tier", "explore")
        if tier not in CITABLE:
            raise Refused("bad-request", f"tier {tier!r:.40}: want {' or '.join(CITABLE)}")
        deadline = time.monotonic() + min(whole_number(query, "wait_s", 0), MAX_WAIT_S)
        service = self._service
        with service.lock:
            submission = service.projection.submissions.get(number)
            if submission is None or submission.body["researcher"] != self._researcher:
                raise Refused("no-submission", f"entry {number} is not a submission of {self._researcher}")
            if tier == "confirm" and submission.confirmation < 0:
                raise Refused("not-charged", f"nobody asked for a confirmation of submission {number}")
            while tier not in submission.receipts:
                self._check_not_held(number, tier)
                left = deadline - time.monotonic()
                if left <= 0:
                    return {"receipt": None}
                service.changed.wait(left)
                submission = service.projection.submissions[number]
            index = submission.receipts[tier]
            body = service.projection.receipts[index]
        service.acknowledge(index)
        return {
            "receipt": {
                "index": index,
                "outcome": body["outcome"],
                "reason": body["reason"],
                "released": body["released"],
                "seeds": body["seeds"],
            }
        }

    def _check_not_held(self, submission: int, tier: str) -> None:
        """Raise `Refused` for a run that is not begun until a reviewer has looked: nobody waits for that."""
        holds = self._service.projection.holds
        # One that was begun before it was held, and lost since with its evaluator, is not begun again.
        is_lost = holds.holding(submission) >= 0 and not self._is_running(submission, tier)
        if is_lost or not holds.may_end(submission, tier):
            raise Refused(
                "held",
                f"the method of submission {submission} is held for review since entry "
                f"{holds.holding(submission)}: no {tier} run of it is begun until a reviewer has let it go",
            )

    def forum(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        since = whole_number(query, "since", 0)
        deadline = time.monotonic() + min(whole_number(query, "wait_s", 0), MAX_WAIT_S)
        service = self._service
        entries = []
        with service.lock:
            while service.published_size <= since and (left := deadline - time.monotonic()) > 0:
                service.changed.wait(left)
            size = service.published_size
            for leaf in service.leaves[since:size]:
                entry = leaf.signed.entry
                if entry.kind not in VISIBLE_KINDS:
                    continue
                if entry.kind == "score-receipt" and entry.body["tier"] != "explore":
                    continue
                if entry.kind == "decision":
                    # The decision is told, its sealed and reproduced values are not.
                    body: dict[str, Any] = {key: entry.body[key] for key in ("decision", "finding", "note")}
                else:
                    body = dict(entry.body)
                entries.append(
                    {
                        "index": leaf.index,
                        "kind": entry.kind,
                        "author": entry.author,
                        "at": entry.at,
                        "refs": list(entry.refs),
                        "body": body,
                    }
                )
        return {"entries": entries, "tree_size": size}

    def snapshot(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        number = whole_number(query, "submission")
        with self._service.lock:
            submission = self._service.projection.submissions.get(number)
        if submission is None:
            raise Refused("no-submission", f"entry {number} is not a submission")
        data = self._blobs.find(submission.body["digest"])
        if data is None:
            raise Refused("redacted", f"the files of submission {number} were taken out by a reviewer")
        files: dict[str, Any] = json.loads(data)["files"]
        return {"files": files}

    def kept(self, _payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        if self._kept is None:
            return {"files": {}, "left_bytes": 0}
        return {"files": self._kept.files(), "left_bytes": self._kept.left_bytes}

    def openapi(self, _payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        return openapi_document()

    def checkpoint(self, _payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        with self._service.lock:
            checkpoint = self._service.checkpoint
        return {"checkpoint": checkpoint.decode() if checkpoint is not None else ""}

    def consistency(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        proof = self._service.prove_consistency(whole_number(query, "old"), whole_number(query, "new"))
        return {"consistency": [base64.b64encode(one).decode() for one in proof]}

    def inclusion(self, _payload: Any, query: Mapping[str, str]) -> dict[str, Any]:
        index = whole_number(query, "index")
        with self._service.lock:
            if index >= self._service.published_size:
                raise Refused("no-entry", f"there is no published entry {index}")
            leaf = self._service.leaves[index]
            if leaf.signed.entry.kind not in VISIBLE_KINDS:
                raise Refused("no-entry", f"entry {index} is not for researchers")
            data = format_leaf(index, leaf.received_ms, leaf.signed.data)
        is_whole = self._may_read_whole(leaf.signed.entry)
        return {
            "proof": self._service.prove_inclusion(index),
            "leaf": base64.b64encode(data).decode() if is_whole else "",
        }

    def _may_read_whole(self, entry: Entry) -> bool:
        """Whether nothing in an entry is kept from this researcher: `forum` tells decisions in part."""
        if entry.kind == "score-receipt":
            is_own_confirmation = (entry.body["tier"], entry.body["researcher"]) == (
                "confirm",
                self._researcher,
            )
            return entry.body["tier"] == "explore" or is_own_confirmation
        return entry.kind in VISIBLE_KINDS and entry.kind != "decision"

    # Saying.

    def _check_open(self) -> None:
        if self._is_closing() or self._service.projection.seconds_left(self._service.now_ms()) <= 0:
            raise Refused("study-closing", "the study is closing: its time is over or a human ended it")

    def _say(self, kind: str, body: dict[str, Any], refs: tuple[int, ...] = ()) -> dict[str, Any]:
        """Append one entry of this researcher; the same words again get their first answer."""
        service = self._service
        with service.lock:
            try:
                said = service.projection.said.get((self._researcher, kind, canonical_text(body)))
            except FormatError as error:
                raise Refused("bad-request", str(error)) from error
            if said is None:
                self._check_may_say_more()
                draft = Draft(author=self._researcher, kind=kind, body=body, refs=refs)
                said = service.append([draft])[0]
        return service.acknowledge(said)

    def _check_may_say_more(self) -> None:
        if self._service.projection.chain(self._researcher).seq >= MAX_SAID:
            raise Refused("said-enough", f"{self._researcher} has said {MAX_SAID} things: no more is taken")

    def _is_out(self, now_ms: int) -> bool:
        """Whether it is stopped, or at a limit of its budget: its leases were ended then."""
        projection, name = self._service.projection, self._researcher
        limit = projection.spending.reached(name) or projection.account.reached(name, now_ms)
        return name in projection.stops or limit not in ("", SUBMISSIONS)

    def _may_have_a_task(self, now_ms: int) -> bool:
        """Who has handed in all that it may keeps what it holds, to write it up, and gets nothing more."""
        projection, name = self._service.projection, self._researcher
        if self._is_out(now_ms):
            return False
        held = [one for one in projection.tasks.values() if one.researcher == name and not one.outcome]
        has_all = projection.account.reached(name, now_ms) == SUBMISSIONS
        return not has_all or any(one.lease_until_ms > now_ms for one in held)

    def lease(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        fields(payload)
        service = self._service
        with service.lock:
            projection = service.projection
            if projection.closed or self._is_closing():
                return {"task": None, "study_open": False}
            now_ms = service.now_ms()
            left_s = projection.seconds_left(now_ms)
            # Who is stopped or at a limit is offered nothing; a pause of everybody is said as a refusal.
            may_have = left_s > 0 and self._may_have_a_task(now_ms)
            offer = next_offer(projection, self._researcher, now_ms=now_ms) if may_have else None
            if offer is None:
                return {"task": None, "study_open": left_s > 0}
            task = offer.task
            if task.researcher != self._researcher or task.lease_until_ms <= now_ms:
                body = {
                    "task": task.name,
                    "researcher": self._researcher,
                    "until_ms": now_ms + max(int(left_s * 1000), LEASE_MS),
                    "epoch": task.epoch + 1,
                    "direction": offer.direction,
                }
                draft = Draft(author="gateway", kind="task-leased", body=body, refs=(task.index,))
                try:
                    service.append([draft])
                except Refused as refused:
                    # Its time was over in between, or that of the task.
                    if refused.code == "budget":
                        return {"task": None, "study_open": True}
                    raise
                task = service.projection.tasks[task.name]
            return {"task": _task_told(task), "study_open": True}

    def plan(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        body = dict(fields(payload, task=str, steps=list, amends=int))
        body["steps"] = [
            {"families": [], "submissions": 0, **step} if isinstance(step, dict) else step
            for step in body["steps"]
        ]
        self._check_open()
        return self._say("plan-declared", body, (body["amends"],) if body["amends"] >= 0 else ())

    def submit(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        wanted = fields(payload, task=str, plan=int, step=str, name=str, files=dict, request=str)
        service, researcher = self._service, self._researcher
        with service.lock:
            taken = service.projection.requests.get((researcher, wanted["request"]))
        if taken is not None:
            return service.acknowledge(taken)
        self._check_open()
        try:
            files = method_files(wanted["files"])
            snapshot = format_canonical({"files": files})  # type: ignore[dict-item]
            families = families_of(files)
            NAME("step", wanted["step"])
        except FormatError as error:
            raise Refused("bad-request", str(error)) from error
        with service.lock:
            task = service.projection.tasks.get(wanted["task"])
            is_own = task is not None and task.researcher == researcher and not task.outcome
            if task is not None and is_own and task.lease_until_ms <= service.now_ms():
                # Whose lease ran out and who did not ask again: from here on its time counts.
                self.lease({}, {})
            digest = hashlib.sha256(snapshot).hexdigest()
            submission = {
                "task": wanted["task"],
                "researcher": researcher,
                "plan": wanted["plan"],
                "step": wanted["step"],
                "name": wanted["name"],
                "families": list(families),
                "digest": digest,
                "size": len(snapshot),
                "request": wanted["request"],
            }
            index = service.projection.tree_size
            charge = {
                "researcher": researcher,
                "task": wanted["task"],
                "what": "submissions",
                "amount": 1,
                "submission": index,
                "usage": {},
            }
            lease = (task.index, wanted["plan"]) if task is not None else ()
            # One batch: a submission without its charge, or a charge without its submission, cannot exist.
            service.append(
                [
                    Draft(author="gateway", kind="submission", body=submission, refs=lease),
                    Draft(author="gateway", kind="budget-charged", body=charge, refs=(index,)),
                ],
                # A refused submission leaves nothing behind; one in the record has its snapshot on disk.
                before_write=lambda: self._blobs.put(snapshot),
            )
        return service.acknowledge(index)

    def keep(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Files for itself, in the place of those before; nobody else is told, and the record neither."""
        files = flat_files(
            fields(payload, files=dict)["files"],
            "bad-request",
            most=MAX_KEPT_FILES,
            most_bytes=MAX_KEPT_BYTES,
        )
        if self._kept is None:
            raise Refused("kept-enough", "this gateway keeps nothing")
        return {"kept_bytes": self._kept.put(files), "left_bytes": self._kept.left_bytes}

    def confirm(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        """Ask for one run with new seeds of a scored method of one's own; charged before anything is run."""
        number, service = fields(payload, submission=int)["submission"], self._service
        with service.lock:
            submission = service.projection.submissions.get(number)
            if submission is None or submission.body["researcher"] != self._researcher:
                raise Refused("no-submission", f"entry {number} is not a submission of {self._researcher}")
            index = submission.confirmation
            if index < 0:
                self._check_open()
                charge = {
                    "researcher": self._researcher,
                    "task": submission.body["task"],
                    "what": "confirmations",
                    "amount": 1,
                    "submission": number,
                    "usage": {},
                }
                draft = Draft(author="gateway", kind="budget-charged", body=charge, refs=(number,))
                index = service.append([draft])[0]
        return service.acknowledge(index)

    def finding(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        body = dict(
            fields(
                payload, type=str, title=str, text=str, method=str, numbers=dict, receipts=list, parents=list
            )
        )
        refs = sorted({one for one in [*body["receipts"], *body["parents"]] if isinstance(one, int)})
        return self._say("finding", body, tuple(refs))

    def comment(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        body = dict(fields(payload, on=int, text=str))
        return self._say("comment", body, (body["on"],))

    def vote(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        body = dict(fields(payload, on=int, value=int))
        return self._say("vote", body, (body["on"],))

    def propose(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        return self._say("task-proposed", dict(fields(payload, title=str, direction=str, reason=str)))

    def done(self, payload: Any, _query: Mapping[str, str]) -> dict[str, Any]:
        body = dict(fields(payload, task=str, outcome=str, reason=str))
        service = self._service
        self._settle(self._researcher)
        with service.lock:
            task = service.projection.tasks.get(body["task"])
            if task is None or task.researcher != self._researcher:
                raise Refused(
                    "not-leased", f"{self._researcher} does not hold a lease on task {body['task']!r:.80}"
                )
            if self._is_out(service.now_ms()) and not task.outcome:
                # It is open for another: who has to stop ends nothing.
                raise Refused("not-leased", f"the lease of {self._researcher} on {task.name} was ended")
            if task.outcome:
                index = next(
                    leaf.index
                    for leaf in reversed(service.leaves)
                    if leaf.signed.entry.kind == "task-closed" and leaf.signed.entry.body["task"] == task.name
                )
            else:
                closed = {**body, "researcher": self._researcher}
                index = service.append(
                    [Draft(author="gateway", kind="task-closed", body=closed, refs=(task.index,))]
                )[0]
        return service.acknowledge(index)


def _task_told(task: Task) -> dict[str, Any]:
    """A task as its researcher is told it: pipelines as JSON values, not as the texts the record carries."""
    return {
        "task": task.name,
        "title": task.title,
        "direction": task.told,
        "workflow": task.workflow,
        "scope": dict(task.scope),
        "steps": [
            {
                "name": step["name"],
                "what": step["what"],
                "pipelines": [json.loads(text) for text in step["pipelines"]],
            }
            for step in task.steps
        ],
        "plan": task.plan,
        "submissions": task.submissions,
        "submissions_left": task.submissions_left,
    }
