"""A researcher's line to the gateway, which it does not trust: it keeps and checks what the record says.

Every acknowledgement comes with the entry and a proof. Checked here: the entry says what was asked to be
said, it is in the tree of a checkpoint that the log signed and its witnesses cosigned, and that tree extends
the largest one seen before. So each researcher is also an auditor; one that finds a lie stops and shows it.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import parse_leaf
from aar.formats.keys import VerifierKey, parse_vkey
from aar.formats.proof import parse_proof
from aar.formats.strict import decode_base64
from aar.lab.snapshot import snapshot_digest
from aar.verify.merkle import check_consistency, check_inclusion, leaf_hash

# The variable is for a program that runs without a sandbox: in one it is not set.
SOCKET_PATH = os.environ.get("AAR_GATEWAY", "/run/gw/gw.sock")
TIMEOUT_S = 60.0
RECEIPT_WAIT_S = 25
TRIES = 6
FIRST_PAUSE_S = 0.1
# Between two looks whether a pause was lifted, in first pauses: two seconds.
PAUSED_PAUSES = 20

Answer = TypeVar("Answer")


class GatewayError(Exception):
    """The gateway refused; `code` is stable, the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GatewayLost(Exception):
    """The gateway does not answer any more."""


class RecordMisbehaved(Exception):
    """The record contradicts itself, its witnesses or us; `evidence` is JSON that a third party can check."""

    def __init__(self, message: str, evidence: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.evidence = json.dumps(evidence, sort_keys=True)


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that a researcher checks the record with."""

    log: VerifierKey
    witnesses: tuple[VerifierKey, ...]
    quorum: int


@dataclass(frozen=True, slots=True)
class Seen:
    """A checkpoint and the bytes of the note it came in: what to show when a later one does not fit."""

    checkpoint: Checkpoint
    note: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("gateway", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


class GatewayClient:
    """JSON calls over one kept connection; a lost answer is asked for again, which the gateway recognises."""

    def __init__(
        self,
        path: str = SOCKET_PATH,
        *,
        first_pause_s: float = FIRST_PAUSE_S,
        waits_for_resume: bool = True,
    ) -> None:
        """`waits_for_resume`: whether a paused queue is waited for, or comes as `GatewayError` ``paused``."""
        self._path = path
        self._waits_for_resume = waits_for_resume
        self._first_pause_s = first_pause_s
        self._connection: _UnixConnection | None = None
        self._trust: Trust | None = None
        self._researcher = ""
        self.largest: Seen | None = None

    def study(self) -> dict[str, Any]:
        """What the study is about; its keys are the ones this client checks with from now on."""
        told = self._call("GET", "/v1/study", None)
        witnesses = tuple(parse_vkey(one) for one in told["witness_vkeys"])
        trust = Trust(parse_vkey(told["log_vkey"]), witnesses, told["quorum"])
        if self._trust is not None and (trust, told["researcher"]) != (self._trust, self._researcher):
            raise RecordMisbehaved("the study changed its keys or our name", {"told": told})
        self._trust, self._researcher = trust, told["researcher"]
        return told

    def lease(self) -> dict[str, Any] | None:
        """The task to work on, the same one until it is done; `None` when there is none.

        While the queue is paused it waits.
        """
        told = self._when_resumed(lambda: self._call("POST", "/v1/lease", {}))
        task: dict[str, Any] | None = told["task"]
        return task

    def plan(self, task: str, steps: Sequence[Mapping[str, Any]], amends: int = -1) -> int:
        """Declare what is to be done, step by step; `amends` is the index of the plan that this one changes.

        A step has a `name` and says `what`; in a hybrid task also its `families` and how many `submissions`.
        """
        whole = [{"families": [], "submissions": 0, **step} for step in steps]
        return self._say("plan", "plan-declared", {"task": task, "steps": whole, "amends": amends})

    def submit(
        self, *, task: str, plan: int, step: str, name: str, files: dict[str, str], request: str
    ) -> int:
        """Hand in a method; the same `request` again is the same submission, if its answer was lost.

        While the queue is paused it waits.
        """
        payload = {"task": task, "plan": plan, "step": step, "name": name, "files": files, "request": request}
        # Not the plan: a submission of an earlier life may have been made under an earlier one.
        wanted = {key: payload[key] for key in ("task", "step", "name", "request")}
        wanted |= {"researcher": self._researcher, "digest": snapshot_digest(files)}
        return self._when_resumed(
            lambda: self._acknowledged("submit", payload, "submission", "gateway", wanted)
        )

    def confirm(self, submission: int) -> int:
        """Ask for one run with new seeds of a scored submission of ours, from the study's budget; once.

        While the queue is paused it waits.
        """
        wanted = {"researcher": self._researcher, "submission": submission, "what": "confirmations"}
        asked = {"submission": submission}
        return self._when_resumed(
            lambda: self._acknowledged("confirm", asked, "budget-charged", "gateway", wanted)
        )

    def receipt(self, submission: int, *, tier: str = "explore") -> dict[str, Any]:
        """Wait for the receipt of a submission of ours, or of its confirmation, as long as it takes."""
        while True:
            told = self.receipt_within(submission, RECEIPT_WAIT_S, tier=tier)
            if told is not None:
                return told

    def receipt_within(self, submission: int, wait_s: int, *, tier: str = "explore") -> dict[str, Any] | None:
        """The same, or `None` when there is none within `wait_s` seconds, 30 at most."""
        query = {"submission": submission, "wait_s": wait_s, "tier": tier}
        told: dict[str, Any] | None = self._call("GET", "/v1/receipt", None, query)["receipt"]
        return told

    def forum(self, since: int = 0, *, wait_s: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The entries that researchers may read, from index `since` on, and the size they reach to.

        With `wait_s`, at most 30 seconds, it waits until the record goes beyond `since`.
        """
        query = {"since": since, "wait_s": wait_s} if wait_s else {"since": since}
        told = self._call("GET", "/v1/forum", None, query)
        return told["entries"], told["tree_size"]

    def snapshot(self, submission: int) -> dict[str, str]:
        """The files of anybody's submission."""
        files: dict[str, str] = self._call("GET", "/v1/snapshot", None, {"submission": submission})["files"]
        return files

    def keep(self, files: Mapping[str, str]) -> dict[str, Any]:
        """Keep files for ourselves, in the place of those before: what is kept and may still be, in bytes."""
        return self._call("POST", "/v1/keep", {"files": dict(files)})

    def kept(self) -> dict[str, Any]:
        """`files`, those kept last, and `left_bytes`."""
        return self._call("GET", "/v1/kept", None)

    def inclusion(self, index: int) -> tuple[str, str]:
        """A proof of a published entry, and its leaf in base64, '' where researchers do not read it whole."""
        told = self._call("GET", "/v1/inclusion", None, {"index": index})
        return told["proof"], told["leaf"]

    def finding(
        self,
        *,
        type: str,
        title: str,
        text: str,
        method: str,
        numbers: Mapping[str, str],
        receipts: list[int],
        parents: list[int],
    ) -> int:
        """Post a finding; `numbers` are a cited receipt's released values, exactly, or nothing."""
        body = {"type": type, "title": title, "text": text, "method": method, "numbers": dict(numbers)}
        return self._say("finding", "finding", {**body, "receipts": receipts, "parents": parents})

    def comment(self, on: int, text: str) -> int:
        return self._say("comment", "comment", {"on": on, "text": text})

    def vote(self, on: int, value: int) -> int:
        return self._say("vote", "vote", {"on": on, "value": value})

    def propose(self, *, title: str, direction: str, reason: str) -> int:
        return self._say(
            "propose", "task-proposed", {"title": title, "direction": direction, "reason": reason}
        )

    def done(self, task: str, outcome: str, reason: str) -> int:
        """Hand a task back. Of a task that is closed already the first closing is acknowledged."""
        payload = {"task": task, "outcome": outcome, "reason": reason}
        return self._acknowledged("done", payload, "task-closed", "gateway", {"task": task})

    def _when_resumed(self, ask: Callable[[], Answer]) -> Answer:
        """Ask until the queue is not paused; when the study's time is over, the gateway says so instead."""
        while True:
            try:
                return ask()
            except GatewayError as error:
                if error.code != "paused" or not self._waits_for_resume:
                    raise
            time.sleep(PAUSED_PAUSES * self._first_pause_s)

    def _say(self, verb: str, kind: str, body: dict[str, Any]) -> int:
        return self._acknowledged(verb, body, kind, self._researcher, body)

    def _acknowledged(
        self, verb: str, payload: dict[str, Any], kind: str, author: str, wanted: Mapping[str, Any]
    ) -> int:
        """Ask, and check the acknowledgement: the index of an entry of ours that the record now holds."""
        if self._trust is None:
            raise GatewayError(
                "no-study", "ask for the study first: its keys are what answers are checked with"
            )
        told = self._call("POST", f"/v1/{verb}", payload)
        evidence = {"asked": {"verb": verb, **payload}, "told": told}
        try:
            index, proof = told["index"], parse_proof(told["proof"].encode())
            data = decode_base64(told["leaf"])
            leaf = parse_leaf(data)
            checkpoint, note = open_checkpoint(proof.checkpoint, self._trust.log)
            cosigned = (cosigned_at(note, witness) is not None for witness in self._trust.witnesses)
            if sum(cosigned) < self._trust.quorum:
                raise RecordMisbehaved(f"entry {index} is acknowledged without its witnesses", evidence)
            if not index == proof.index == leaf.index:
                raise RecordMisbehaved(f"the acknowledgement of entry {index} proves another one", evidence)
            check_inclusion(leaf_hash(data), index, checkpoint.size, proof.hashes, checkpoint.root)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise RecordMisbehaved(f"the proof for {verb} does not hold: {error}", evidence) from error
        entry = leaf.signed.entry
        said = {key: entry.body.get(key) for key in wanted}
        if (entry.origin, entry.kind, entry.author) != (self._trust.log.name, kind, author) or said != wanted:
            raise RecordMisbehaved(f"entry {index} does not say what was asked to be said", evidence)
        self._check_extends(Seen(checkpoint, proof.checkpoint))
        return leaf.index

    def _check_extends(self, seen: Seen) -> None:
        """Raise `RecordMisbehaved` unless `seen` and the largest checkpoint before it are of one history."""
        largest = self.largest
        if largest is None or largest.checkpoint.size == 0:
            self.largest = seen
            return
        # An answer may be of an earlier moment than one that overtook it; it must fit all the same.
        older, newer = sorted((largest, seen), key=lambda one: one.checkpoint.size)
        old, new = older.checkpoint, newer.checkpoint
        told: dict[str, Any] = {}
        try:
            hashes = []
            if old.size < new.size:
                told = self._call("GET", "/v1/consistency", None, {"old": old.size, "new": new.size})
                hashes = [decode_base64(one) for one in told["consistency"]]
            check_consistency(old.size, new.size, hashes, old.root, new.root)
        except (KeyError, TypeError, ValueError, GatewayError) as error:
            # Both notes carry the log's signature: whoever holds its key signed two histories.
            evidence = {"older": older.note.decode(), "newer": newer.note.decode(), "told": told}
            message = f"tree {new.size} is not shown to extend tree {old.size}: {error}"
            raise RecordMisbehaved(message, evidence) from error
        self.largest = newer

    def _call(
        self, method: str, path: str, payload: object, query: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """One request, repeated while the connection is lost or the record is not published yet."""
        target = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        body = json.dumps(payload).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"} if body is not None else {}
        reason = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(self._first_pause_s * 2 ** (attempt - 1))
            if self._connection is None:
                self._connection = _UnixConnection(self._path)
            try:
                self._connection.request(method, target, body, headers)
                response = self._connection.getresponse()
                answer: dict[str, Any] = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                self._connection = None
                reason = f"{type(error).__name__}: {error}"
                continue
            if response.status == http.HTTPStatus.OK:
                return answer
            code, reason = _refusal(answer, response.status)
            if response.status != http.HTTPStatus.SERVICE_UNAVAILABLE:
                raise GatewayError(code, reason)
        raise GatewayLost(f"{method} {target[:80]}: no answer after {TRIES} tries; {reason}")


def _refusal(answer: Any, status: int) -> tuple[str, str]:
    """Code and message of a refusal, whatever else the answer holds."""
    try:
        return str(answer["error"]["code"]), str(answer["error"]["message"])
    except (KeyError, TypeError):
        return "bad-answer", f"status {status} without an error: {answer!r:.200}"
