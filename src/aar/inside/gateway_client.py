"""A researcher's line to the gateway, which it does not trust: it keeps and checks what the record says.

Every acknowledgement comes with a proof that is checked here, and the largest checkpoint ever seen must stay a
prefix of every later one. So each researcher is also an auditor; one that finds a lie stops and says so.
"""

from __future__ import annotations

import base64
import http.client
import json
import socket
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey, parse_vkey
from aar.formats.proof import parse_proof
from aar.verify.merkle import InvalidProof, check_consistency, check_inclusion, leaf_hash

SOCKET_PATH = "/run/gw/gw.sock"
TIMEOUT_S = 60.0
TRIES = 5


class GatewayError(Exception):
    """The gateway refused; `code` is stable, the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GatewayLost(Exception):
    """The gateway does not answer any more."""


class RecordMisbehaved(Exception):
    """The record contradicts itself or its witnesses; `evidence` is what a third party can check."""

    def __init__(self, message: str, evidence: str) -> None:
        super().__init__(message)
        self.evidence = evidence


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("gateway", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(self._path)


@dataclass(frozen=True, slots=True)
class Trust:
    """The keys that a researcher checks the record with."""

    log: VerifierKey
    witnesses: tuple[VerifierKey, ...]


class GatewayClient:
    """JSON calls over one kept connection; a lost answer is asked for again, which the gateway recognises."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        self._path = path
        self._connection: _UnixConnection | None = None
        self._trust: Trust | None = None
        self._largest: Checkpoint | None = None

    def study(self) -> dict[str, Any]:
        """What the study is about; its keys are the ones this client checks with from now on."""
        told = self._get("/v1/study")
        trust = Trust(parse_vkey(told["log_vkey"]), tuple(parse_vkey(one) for one in told["witness_vkeys"]))
        if self._trust is not None and trust != self._trust:
            raise RecordMisbehaved("the study changed its keys", told["log_vkey"])
        self._trust = trust
        return told

    def lease(self) -> dict[str, Any]:
        return self._post("/v1/lease", {})

    def plan(self, task: str, steps: list[dict[str, str]], amends: int = -1) -> int:
        return self._say("/v1/plan", {"task": task, "steps": steps, "amends": amends})

    def submit(self, *, task: str, plan: int, step: str, name: str, files: dict[str, str], request: str) -> int:
        payload = {"task": task, "plan": plan, "step": step, "name": name, "files": files, "request": request}
        return self._say("/v1/submit", payload)

    def receipt(self, submission: int) -> dict[str, Any]:
        """Wait for the receipt of a submission."""
        while True:
            told = self._get("/v1/receipt", submission=submission, wait_s=25)["receipt"]
            if told is not None:
                receipt: dict[str, Any] = told
                return receipt

    def forum(self, since: int = 0) -> tuple[list[dict[str, Any]], int]:
        """The entries that researchers may read, from index `since` on, and the size they reach to."""
        told = self._get("/v1/forum", since=since)
        return told["entries"], told["tree_size"]

    def snapshot(self, submission: int) -> dict[str, str]:
        files: dict[str, str] = self._get("/v1/snapshot", submission=submission)["files"]
        return files

    def finding(self, **body: Any) -> int:
        return self._say("/v1/finding", body)

    def comment(self, on: int, text: str) -> int:
        return self._say("/v1/comment", {"on": on, "text": text})

    def vote(self, on: int, value: int) -> int:
        return self._say("/v1/vote", {"on": on, "value": value})

    def propose(self, *, title: str, direction: str, reason: str) -> int:
        return self._say("/v1/propose", {"title": title, "direction": direction, "reason": reason})

    def done(self, task: str, outcome: str, reason: str) -> int:
        return self._say("/v1/done", {"task": task, "outcome": outcome, "reason": reason})

    def _say(self, verb: str, payload: dict[str, Any]) -> int:
        told = self._post(verb, payload)
        index: int = told["index"]
        self._check_proof(index, told["proof"], told.get("leaf"))
        return index

    def _check_proof(self, index: int, text: str, leaf: str | None) -> None:
        """The acknowledged entry is in a witnessed tree that extends everything seen before."""
        trust = self._trust
        if trust is None:
            raise RecordMisbehaved("an acknowledgement before the study's keys", text)
        try:
            proof = parse_proof(text.encode())
            checkpoint, note = open_checkpoint(proof.checkpoint, trust.log)
            if any(cosigned_at(note, witness) is None for witness in trust.witnesses):
                raise RecordMisbehaved(f"entry {index} is acknowledged without its witnesses", text)
            if leaf is None or proof.index != index:
                raise RecordMisbehaved(f"the acknowledgement of entry {index} proves another one", text)
            data = base64.b64decode(leaf, validate=True)
            check_inclusion(leaf_hash(data), index, checkpoint.size, proof.hashes, checkpoint.root)
        except (FormatError, InvalidProof, ValueError) as error:
            raise RecordMisbehaved(f"the proof for entry {index} does not hold: {error}", text) from error
        self._check_extends(checkpoint)

    def _check_extends(self, checkpoint: Checkpoint) -> None:
        largest = self._largest
        if largest is None or largest.size == 0:
            self._largest = checkpoint
            return
        if checkpoint.size < largest.size:
            # An answer may be of an earlier moment than one that overtook it; it must fit all the same.
            checkpoint, largest = largest, checkpoint
        told = self._get("/v1/consistency", old=largest.size, new=checkpoint.size)
        try:
            hashes = [base64.b64decode(one, validate=True) for one in told["consistency"]]
            check_consistency(largest.size, checkpoint.size, hashes, largest.root, checkpoint.root)
        except (InvalidProof, ValueError) as error:
            evidence = json.dumps([largest.size, largest.root.hex(), checkpoint.size, checkpoint.root.hex()])
            raise RecordMisbehaved(f"the record is not an extension of what it was: {error}", evidence) from error
        self._largest = checkpoint

    def _get(self, verb: str, **query: object) -> dict[str, Any]:
        return self._call("GET", verb + ("?" + urllib.parse.urlencode(query) if query else ""), None)

    def _post(self, verb: str, payload: object) -> dict[str, Any]:
        return self._call("POST", verb, json.dumps(payload).encode())

    def _call(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        for attempt in range(TRIES):
            if self._connection is None:
                self._connection = _UnixConnection(self._path)
            try:
                self._connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
                response = self._connection.getresponse()
                answer: dict[str, Any] = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                self._connection.close()
                self._connection = None
                time.sleep(0.1 * 2**attempt)
                continue
            if response.status == 503:
                time.sleep(0.1 * 2**attempt)
                continue
            if response.status != 200:
                raise GatewayError(answer["error"]["code"], answer["error"]["message"])
            return answer
        raise GatewayLost(f"{method} {target[:80]}: no answer after {TRIES} tries")
