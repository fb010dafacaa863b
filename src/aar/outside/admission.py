"""Admission: one function decides whether an entry may enter the record, whoever hands it in.

It holds no keys and does no I/O: a projection of the record and a signed entry in, nothing or `Refused` out.
The gateway asks it before every append, so the record never holds what the verifier would reject.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from aar.formats.commitments import commit_payload, commit_secret, commit_split
from aar.formats.entry import Entry, SignedEntry, check_entry_signatures
from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, parse_vkey
from aar.formats.kinds import Kind, check_body, isolation_of, kind_named
from aar.outside.projection import Projection, Task
from aar.verify.budget_check import is_at_its_end, set_faults, stopping_limit
from aar.verify.decisions import CITABLE, claimed_by, faults, states
from aar.verify.entry_check import AFTER_CLOSE
from aar.verify.holds import alarm_faults, hold_faults, release_faults
from aar.verify.limits import limit_faults, sandbox_faults
from aar.verify.spending import charge_faults, model_faults
from aar.verify.splits import run_label
from aar.verify.workflow import STRICT_ENOUGH, order_faults, plan_faults, submission_faults

Vouches = Callable[[VerifierKey, str, bytes], bool]


class Refused(Exception):
    """An entry was not admitted. `code` is stable; `is_alarm`: an attempt rather than a mistake."""

    def __init__(self, code: str, message: str, *, is_alarm: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.is_alarm = is_alarm


def check_admission(projection: Projection, signed: SignedEntry, vouches: Vouches | None = None) -> None:
    """Raise `Refused` unless `signed` may be the next entry of the record that `projection` stands for.

    `vouches`: whether a key's signature is over a text, where that was checked before.
    """
    entry = signed.entry
    try:
        kind = kind_named(entry.kind)
        check_body(entry.kind, entry.body)
    except FormatError as error:
        raise Refused("bad-body", str(error)) from error
    _check_isolation(entry, entry.body if entry.kind == "study-opened" else projection.opened)
    if (entry.kind == "study-opened") != (projection.tree_size == 0):
        raise Refused(
            "order", f"{entry.kind} at index {projection.tree_size}: study-opened comes first, and once"
        )
    _check_signatures(projection, signed, kind, vouches)
    chain = projection.chain(entry.author)
    if (entry.seq, entry.prev) != (chain.seq, chain.prev):
        raise Refused(
            "author-sequence",
            f"{entry.author} says seq {entry.seq}, its next is {chain.seq}: read the record again",
        )
    if any(not 0 <= ref < projection.tree_size for ref in entry.refs):
        raise Refused("refs", f"refs {list(entry.refs)!r:.80} name an entry that is not there yet")
    if projection.closed and (
        entry.kind not in AFTER_CLOSE or projection.roles.get(entry.author) == "researcher"
    ):
        raise Refused("study-closed", f"the study is closed: {entry.kind} is too late")
    stop = projection.stops.get(entry.author)
    if stop is not None:
        raise Refused("stopped", f"{entry.author} is stopped since entry {stop}: a {entry.kind} is too late")
    rule = RULES.get(entry.kind)
    if rule is not None:
        rule(projection, entry, entry.body)


def _check_isolation(entry: Entry, opened: Mapping[str, Any]) -> None:
    """A study without sandboxes says so in every entry; in it nothing is handed in, scored or published."""
    isolation = isolation_of(opened)
    _need(
        entry.isolation == isolation,
        "isolation",
        f"the entry says isolation {entry.isolation or 'nothing'!r}, its study {isolation or 'nothing'!r}",
    )
    is_scored = entry.kind in ("submission", "score-receipt")
    is_published = entry.kind == "decision" and entry.body["decision"] == "publish"
    _need(
        not isolation or not (is_scored or is_published),
        "no-isolation",
        "this study runs without a sandbox (--backend bare): nothing is handed in, scored or published; for "
        "that, start a new one with a sandbox",
    )


def _check_signatures(
    projection: Projection, signed: SignedEntry, kind: Kind, vouches: Vouches | None
) -> None:
    entry = signed.entry
    if entry.kind == "study-opened":
        listed: list[Mapping[str, Any]] = signed.entry.body["keys"]  # type: ignore[assignment]
        names = [key["name"] for key in listed]
        if len(set(names)) != len(names):
            raise Refused("keys", "two keys in study-opened have the same name")
        try:
            keys = {key["name"]: parse_vkey(key["vkey"]) for key in listed}
        except FormatError as error:
            raise Refused("keys", f"study-opened enrols a key that is not usable: {error}") from error
        if any(key.name != name for name, key in keys.items()):
            raise Refused("keys", "study-opened lists a key under another name than its own")
        roles = {key["name"]: key["role"] for key in listed}
    else:
        keys, roles = projection.keys, projection.roles
        if entry.origin != projection.origin:
            raise Refused(
                "origin", f"entry is for {entry.origin}, this record is {projection.origin}", is_alarm=True
            )
    if entry.author not in keys:
        raise Refused("unknown-author", f"no key of {entry.author!r:.80} is enrolled", is_alarm=True)
    if roles[entry.author] not in kind.authors:
        wanted = " or ".join(kind.authors)
        raise Refused(
            "wrong-role",
            f"{entry.author} is a {roles[entry.author]}: a {entry.kind} is signed by a {wanted}",
            is_alarm=True,
        )
    try:
        signers = check_entry_signatures(signed, keys.values(), vouches)
    except FormatError as error:
        raise Refused("bad-signature", f"{entry.kind} of {entry.author}: {error}", is_alarm=True) from error
    cosigners = {roles[key.name] for key in signers[1:]}
    if cosigners != ({kind.cosigner} if kind.cosigner else set()):
        raise Refused(
            "cosigner", f"{entry.kind} is co-signed by {sorted(cosigners)}, want {kind.cosigner or 'nobody'}"
        )


def _need(condition: bool, code: str, message: str, *, is_alarm: bool = False) -> None:
    if not condition:
        raise Refused(code, message, is_alarm=is_alarm)


def _check_paused(projection: Projection, what: str, entry: Entry, body: Mapping[str, Any]) -> None:
    """Nothing new where the queue is paused, that researcher is stopped, or it or the task is at a limit."""
    researcher = body["researcher"]
    _need(
        projection.paused < 0,
        "paused",
        f"the queue is paused since entry {projection.paused}: no {what} until a reviewer lifts it with "
        "aar resume",
    )
    stop = projection.stops.get(researcher)
    _need(
        stop is None,
        "stopped",
        f"{researcher} is stopped since entry {stop}: no {what} until a reviewer lifts it",
    )
    limit = stopping_limit(projection.spending, projection.account, what, body, entry.at)
    who = f"task {body['task']}" if limit.startswith("task-") else researcher
    _need(
        not limit,
        "budget",
        f"{who} reached its limit, {limit}: no {what} until a reviewer raises it with aar budget set",
    )


def _queue_paused(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    researcher = body["researcher"]
    if researcher:
        _need(researcher in projection.researchers, "no-researcher", f"no researcher {researcher}")
        stop = projection.stops.get(researcher)
        _need(stop is None, "stopped", f"{researcher} is stopped already, since entry {stop}")
        return
    _need(
        projection.roles[entry.author] != "operator",
        "wrong-role",
        "the whole queue is paused by the monitor or a reviewer; an operator stops single researchers",
        is_alarm=True,
    )
    _need(projection.paused < 0, "paused", f"the queue is paused already, since entry {projection.paused}")


def _queue_resumed(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    _need(
        body["pause"] == projection.paused >= 0 or body["pause"] in projection.stops.values(),
        "not-paused",
        f"entry {body['pause']} is not the pause that holds"
        + (f": that is entry {projection.paused}" if projection.paused >= 0 else ": the queue is not paused"),
    )
    _need(entry.refs == (body["pause"],), "refs", "what lifts a pause refers to it, and to nothing else")


def _task_opened(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    allowed = STRICT_ENOUGH[body["risk"]]
    _need(
        projection.opened["allocation"]["policy"] != "risk-tiered" or body["workflow"] in allowed,
        "risk",
        f"a task of {body['risk']} risk is {' or '.join(allowed)} under the policy risk-tiered, "
        f"{body['task']} is {body['workflow']}",
    )
    _need(body["task"] not in projection.tasks, "task-exists", f"task {body['task']} is open already")
    left = projection.submissions_left
    _need(
        body["submissions"] <= left,
        "budget",
        f"the task asks for {body['submissions']} submissions, the study's budget has {left} left",
    )
    for step in body["steps"]:
        for text in step["pipelines"]:
            try:
                json.loads(text)
            except ValueError as error:
                raise Refused(
                    "pipeline", f"step {step['name']}: {text!r:.80} is not JSON: {error}"
                ) from error


def _task_decided(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    proposal = projection.proposals.get(body["proposal"])
    _need(proposal is not None, "no-proposal", f"entry {body['proposal']} is not a proposed task")
    _need(
        proposal is not None and proposal["state"] == "open",
        "proposal-decided",
        f"proposal {body['proposal']} was decided already",
    )
    if "task" in body:
        _need(
            projection.kinds.get(body["task"]) == "task-opened",
            "no-task",
            f"entry {body['task']} does not open a task",
        )


def _task_leased(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    task = projection.tasks.get(body["task"])
    # To take a task from somebody is no new work.
    if body["until_ms"] > entry.at:
        _check_paused(projection, "lease", entry, body)
    if task is None or task.outcome:
        raise Refused("no-task", f"task {body['task']} is not open")
    _need(body["epoch"] == task.epoch + 1, "epoch", f"lease epoch {body['epoch']}, next is {task.epoch + 1}")
    _need(
        body["researcher"] in projection.researchers, "no-researcher", f"no researcher {body['researcher']}"
    )
    _need(
        task.researcher in ("", body["researcher"]) or task.lease_until_ms <= entry.at,
        "leased",
        f"task {task.name} is leased by {task.researcher} until {task.lease_until_ms}",
    )


def _task_closed(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    task = projection.tasks.get(body["task"])
    _need(task is not None and not task.outcome, "no-task", f"task {body['task']} is not open")
    _need(
        body["outcome"] != "budget" or is_at_its_end(projection.spending, projection.account, body, entry.at),
        "budget",
        f"no limit of {body['task']}, of {body['researcher'] or 'who has it'} or of the study was reached: "
        "it is done or failed",
    )


def _plan_declared(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    task = projection.tasks.get(body["task"])
    _need(
        task is not None and task.researcher == entry.author and not task.outcome,
        "not-leased",
        f"{entry.author} does not hold a lease on task {body['task']}",
    )
    if body["amends"] >= 0 and task is not None:
        _need(
            body["amends"] in task.plan_entries,
            "no-plan",
            f"entry {body['amends']} is not a plan of this task",
        )
    if task is not None and task.workflow == "hybrid":
        for expected, got in plan_faults(task.scope, body["steps"]):
            raise Refused(
                "scope", f"the plan leaves the task's scope: want {expected}; got {got}", is_alarm=True
            )


def _submission(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    researcher, task = body["researcher"], projection.tasks.get(body["task"])
    _check_paused(projection, "submission", entry, body)
    if task is None or task.researcher != researcher or task.outcome:
        raise Refused("not-leased", f"{researcher} does not hold a lease on task {body['task']}")
    _need(
        body["plan"] in task.plan_entries,
        "no-plan",
        f"entry {body['plan']} is not a plan of task {task.name}",
    )
    _need(projection.authors.get(body["plan"]) == researcher, "no-plan", f"plan {body['plan']} is another's")
    _need(projection.submissions_left > 0, "budget", "the study's budget of submissions is spent")
    _need(
        task.submissions_left > 0,
        "budget",
        f"the budget of task {task.name} is spent: hand it in with /v1/done",
    )
    _need(
        (researcher, body["request"]) not in projection.requests,
        "repeated",
        f"request {body['request']} was taken",
    )
    if task.workflow == "fixed":
        check_step_order(projection, task.name, body["step"])
    if task.workflow == "hybrid":
        _check_scope(projection, task, body)


def _check_scope(projection: Projection, task: Task, body: Mapping[str, Any]) -> None:
    """A hybrid workflow: what is handed in is inside the plan declared last."""
    _need(
        body["plan"] == task.plan,
        "old-plan",
        f"plan {body['plan']} was amended: hand it in under the last one, entry {task.plan}",
    )
    before = projection.in_step(task.name, body["step"])
    steps = projection.plans[body["plan"]]["steps"]
    for expected, got in submission_faults(
        task.scope, steps, step=body["step"], families=body["families"], before=before
    ):
        raise Refused(
            "scope",
            f"it leaves the declared scope: want {expected}; got {got}. Amend the plan first",
            is_alarm=True,
        )


def check_step_order(projection: Projection, task_name: str, step: str) -> None:
    """A fixed workflow: step k+1 opens when step k was run and every run of it has its receipt."""
    names = [one["name"] for one in projection.tasks[task_name].steps]
    done: dict[str, list[bool]] = {name: [] for name in names}
    for one in projection.submissions.values():
        if one.body["task"] == task_name:
            done[one.body["step"]].append("explore" in one.receipts)
    for expected, got in order_faults(names, step, done):
        raise Refused("step-order", f"want {expected}; got {got}", is_alarm=step in names)


def _study_opened(_projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    for expected, got in model_faults(body):
        raise Refused("models", f"want {expected}; got {got}")
    for expected, got in limit_faults(body):
        raise Refused("limits", f"want {expected}; got {got}")


def _budget_set(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    for expected, got in set_faults(projection.spending, projection.account, body):
        raise Refused("no-limit", f"want {expected}; got {got}")


def _use_charged(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    _need(
        body["task"] in ("", *projection.tasks),
        "no-task",
        f"a charge for task {body['task']}, which nobody opened",
    )
    found = charge_faults(projection.spending, body)
    if body["what"] == "sandbox":
        found = sandbox_faults(projection.account, body, entry.at)
    for expected, got in found:
        raise Refused("budget", f"the charge is not as it should be: want {expected}; got {got}")


def _budget_charged(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    if body["what"] in ("tokens", "sandbox"):
        _use_charged(projection, entry, body)
        return
    submission = projection.submissions.get(body["submission"])
    _need(
        submission is not None
        and submission.body["researcher"] == body["researcher"]
        and submission.body["task"] == body["task"],
        "no-submission",
        f"entry {body['submission']} is not a submission of {body['researcher']} to {body['task']}",
    )
    if submission is None or body["what"] == "submissions":
        return
    _check_paused(projection, "confirmation", entry, body)
    _check_not_held(projection, submission.index, "confirmation")
    explored = submission.receipts.get("explore", -1)
    _need(
        explored >= 0 and projection.receipts[explored]["outcome"] == "scored",
        "not-scored",
        f"submission {submission.index} has no score yet that could be confirmed",
    )
    _need(
        submission.confirmation < 0,
        "confirmed",
        f"submission {submission.index} is confirmed once: charged in entry {submission.confirmation}",
    )
    _need(
        0 < body["amount"] <= 1 <= projection.confirmations_left,
        "budget",
        "the study's budget of confirmations is spent",
    )


def _score_receipt(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    submission = projection.submissions.get(body["submission"])
    if submission is None:
        raise Refused("no-submission", f"entry {body['submission']} is not a submission", is_alarm=True)
    _need(
        (submission.body["digest"], submission.body["researcher"]) == (body["digest"], body["researcher"]),
        "foreign-receipt",
        f"the receipt is for another method or researcher than submission {submission.index}",
        is_alarm=True,
    )
    tier, label = body["tier"], run_label(body["tier"], body["problem"])
    _need(
        not projection.closed or tier in ("reproduce", "heldout"),
        "study-closed",
        f"the study is closed for {tier} runs",
    )
    _need(
        label not in submission.receipts,
        "receipt-exists",
        f"submission {submission.index} has its {label} receipt already",
        is_alarm=True,
    )
    if not projection.holds.may_end(submission.index, label):
        _check_not_held(projection, submission.index, f"{label} run")
    heldout = [one["name"] for one in projection.opened["heldout"]]
    _need(
        body["problem"] in (heldout if tier == "heldout" else [projection.opened["problem"]]),
        "problem",
        f"a {tier} run on {body['problem']}: the study's problem is {projection.opened['problem']}, held "
        f"out: {', '.join(heldout) or 'none'}",
    )
    _need(
        tier != "confirm" or submission.confirmation >= 0,
        "not-charged",
        f"nobody was charged for a confirmation of submission {submission.index}",
        is_alarm=True,
    )
    _need(
        tier != "heldout" or is_claimed(projection, body["digest"]),
        "not-claimed",
        f"no result claims the method of submission {submission.index}: it is not run on what is held out",
    )
    _need(entry.refs == (submission.index,), "refs", "a receipt's refs name its submission, nothing else")
    wanted = projection.opened["runs"]["seeds"]
    _need(len(body["seeds"]) == wanted, "seeds", f"{len(body['seeds'])} seeds, the study says {wanted}")


def _check_not_held(projection: Projection, submission: int, what: str) -> None:
    held = projection.holds.holding(submission)
    _need(
        held < 0,
        "held",
        f"the method of submission {submission} is held for review since entry {held}: no {what} of it until "
        "a reviewer lets it go",
    )


def _alarm(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    for expected, got in alarm_faults(projection.holds, body):
        raise Refused("alarm", f"the alarm is not as it should be: want {expected}; got {got}")


def _submission_held(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    for expected, got in hold_faults(projection.holds, body):
        raise Refused("hold", f"nothing is held by this: want {expected}; got {got}")
    _need(set(entry.refs) == {body["submission"], body["alarm"]}, "refs", "refs are submission and alarm")


def _submission_released(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    for expected, got in release_faults(projection.holds, body):
        raise Refused("not-held", f"nothing is let go by this: want {expected}; got {got}")
    _need(entry.refs == (body["submission"],), "refs", "refs are the submission, nothing else")


def is_claimed(projection: Projection, digest: str) -> bool:
    """Whether a `result` states a value of the method with that digest."""
    return any(
        projection.receipts[receipt]["digest"] == digest
        for finding in projection.findings.values()
        for receipt in claimed_by(finding.body, projection.receipts)
    )


def _score_revealed(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    receipt = projection.receipts.get(body["receipt"])
    if receipt is None or not receipt["commitments"]:
        raise Refused("no-receipt", f"entry {body['receipt']} is not a scored receipt")
    _need(
        (body["receipt"], body["half"]) not in projection.revealed,
        "revealed",
        f"the {body['half']} half of receipt {body['receipt']} is open already",
    )
    opened = commit_payload(half=body["half"], nonce=body["nonce"], payload_sha256=body["blob"]["sha256"])
    _need(
        opened == receipt["commitments"][body["half"]],
        "commitment",
        f"the values do not open the commitment of receipt {body['receipt']}",
        is_alarm=True,
    )
    _need(entry.refs == (body["receipt"],), "refs", "a reveal's refs name its receipt, nothing else")


def _finding(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    if body["type"] == "result" and not body["receipts"]:
        raise Refused("result-without-receipt", "a result cites at least one score receipt", is_alarm=True)
    for index in body["receipts"]:
        receipt = projection.receipts.get(index)
        if receipt is None or receipt["tier"] not in CITABLE:
            raise Refused(
                "no-receipt", f"entry {index} is not an explore or a confirm receipt", is_alarm=True
            )
        if receipt["researcher"] != entry.author:
            raise Refused(
                "foreign-receipt",
                f"receipt {index} belongs to {receipt['researcher']}; cite its findings as parents instead",
                is_alarm=True,
            )
    released = [
        {key: told[key] for key in ("pgr", "low", "high")}
        for told in (projection.receipts[index]["released"] for index in body["receipts"])
        if told and told.get("improved", 1)
    ]
    if body["numbers"] or body["type"] == "result":
        _need(
            any(states(body, projection.receipts[index]) for index in body["receipts"]),
            "numbers",
            f"numbers {body['numbers']} are not what a cited receipt released: {released}",
            is_alarm=True,
        )
    _need(all(one in projection.findings for one in body["parents"]), "parents", "a parent is not a finding")
    _need(
        set(entry.refs) == {*body["receipts"], *body["parents"]},
        "refs",
        "refs are the cited receipts and parents",
    )


def _comment(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    _need(body["on"] in projection.kinds, "no-entry", f"there is no entry {body['on']}")


def _vote(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    finding = projection.findings.get(body["on"])
    if finding is None:
        raise Refused("no-finding", f"entry {body['on']} is not a finding")
    _need(
        finding.author != entry.author,
        "own-vote",
        "a vote for one's own finding does not count",
        is_alarm=True,
    )
    _need(
        entry.author not in finding.votes,
        "voted",
        f"{entry.author} voted on {body['on']} already",
        is_alarm=True,
    )


def _decision(projection: Projection, entry: Entry, body: Mapping[str, Any]) -> None:
    finding = projection.findings.get(body["finding"])
    if finding is None:
        raise Refused("no-finding", f"entry {body['finding']} is not a finding")
    _need(
        finding.digest == body["finding_digest"],
        "decision-bytes",
        "the decision is over other bytes",
        is_alarm=True,
    )
    _need(body["finding"] in entry.refs, "refs", "a decision's refs name its finding")
    for expected, got in faults(body, projection.basis_of(finding)):
        raise Refused("decision", f"the record does not bear this decision out: want {expected}, got {got}")


def _study_closed(projection: Projection, _entry: Entry, body: Mapping[str, Any]) -> None:
    commitments = projection.opened["commitments"]
    waiting = [
        *projection.pending_submissions(),
        *projection.pending_confirmations(),
        *(submission for submission, _problem in projection.pending_heldout()),
    ]
    _need(not waiting, "pending", f"submissions wait for their official run: entries {waiting}")
    _need(
        commit_secret(bytes.fromhex(body["seed_secret"])) == commitments["seed_secret"],
        "commitment",
        "the seed secret is not the committed one",
    )
    _need(
        commit_split(body["split_nonce"], body["sealed"]) == commitments["split"],
        "commitment",
        "the sealed items are not the committed ones",
    )


RULES: Mapping[str, Callable[[Projection, Entry, Mapping[str, Any]], None]] = {
    "study-opened": _study_opened,
    "budget-set": _budget_set,
    "task-opened": _task_opened,
    "task-approved": _task_decided,
    "task-refused": _task_decided,
    "task-leased": _task_leased,
    "task-closed": _task_closed,
    "plan-declared": _plan_declared,
    "submission": _submission,
    "budget-charged": _budget_charged,
    "score-receipt": _score_receipt,
    "score-revealed": _score_revealed,
    "finding": _finding,
    "comment": _comment,
    "vote": _vote,
    "decision": _decision,
    "queue-paused": _queue_paused,
    "queue-resumed": _queue_resumed,
    "alarm": _alarm,
    "submission-held": _submission_held,
    "submission-released": _submission_released,
    "study-closed": _study_closed,
}
