"""A gateway for tests: real entries, trees, checkpoints and cosignatures over a real Unix socket.

`lies` holds functions that alter an honest answer before it is sent. Trees and proofs are computed here by
the recursions of RFC 6962 section 2.1, apart from the code under test; bodies go through `check_body`.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import socketserver
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.entry import Entry, format_leaf, sign_entry
from aar.formats.keys import COSIGNATURE, Signer, format_vkey
from aar.formats.kinds import check_body
from aar.formats.note import Note, format_note
from aar.formats.proof import TlogProof, format_proof
from aar.lab.snapshot import families_of

ORIGIN = "aar.test/double"
LOG = Signer(ORIGIN, b"l" * 32)
OTHER_LOG = Signer(ORIGIN, b"o" * 32)
WITNESSES = (Signer("witness-one", b"1" * 32, COSIGNATURE), Signer("witness-two", b"2" * 32, COSIGNATURE))
STUDY_MS = 1_700_000_000_000
VISIBLE = {"submission", "score-receipt", "finding", "comment", "vote", "plan-declared"}

Lie = Callable[[str, dict[str, Any]], "dict[str, Any] | None"]


class Refuse(Exception):
    """What the gateway refuses: a stable code and a status."""

    def __init__(self, code: str, status: int = 400, *, told: Any = None) -> None:
        super().__init__(f"refused: {code}")
        self.code, self.status = code, status
        self.told = {"error": {"code": code, "message": str(self)}} if told is None else told


def leaf_hash(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _half(size: int) -> int:
    return 1 << ((size - 1).bit_length() - 1)


def root_of(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) <= 1:
        return hashes[0] if hashes else hashlib.sha256().digest()
    k = _half(len(hashes))
    return hashlib.sha256(b"\x01" + root_of(hashes[:k]) + root_of(hashes[k:])).digest()


def inclusion(index: int, hashes: Sequence[bytes]) -> list[bytes]:
    if len(hashes) == 1:
        return []
    k = _half(len(hashes))
    if index < k:
        return [*inclusion(index, hashes[:k]), root_of(hashes[k:])]
    return [*inclusion(index - k, hashes[k:]), root_of(hashes[:k])]


def consistency(size: int, hashes: Sequence[bytes], whole: bool = True) -> list[bytes]:
    if size == len(hashes):
        return [] if whole else [root_of(hashes)]
    k = _half(len(hashes))
    if size <= k:
        return [*consistency(size, hashes[:k], whole), root_of(hashes[k:])]
    return [*consistency(size - k, hashes[k:], False), root_of(hashes[:k])]


class Record:
    """Leaves in order; signs any checkpoint over any of them."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.entries: list[Entry] = []

    def append(self, author: str, kind: str, body: dict[str, Any], refs: Sequence[int] = ()) -> int:
        check_body(kind, body)
        index = len(self.leaves)
        seq = sum(entry.author == author for entry in self.entries)
        prev = hashlib.sha256(b"%d" % seq).hexdigest() if seq else ""
        entry = Entry(ORIGIN, author, seq, prev, kind, tuple(refs), body, STUDY_MS + index)
        signed = sign_entry(entry, Signer(author, hashlib.sha256(author.encode()).digest()))
        self.entries.append(entry)
        self.leaves.append(format_leaf(index, STUDY_MS + index, signed.data))
        return index

    def hashes(self, size: int | None = None) -> list[bytes]:
        return [leaf_hash(leaf) for leaf in self.leaves[:size]]

    def proof(
        self,
        index: int,
        size: int | None = None,
        *,
        log: Signer = LOG,
        witnesses: Sequence[Signer] = WITNESSES,
        root: bytes | None = None,
    ) -> str:
        hashes = self.hashes(size)
        text = format_checkpoint_text(Checkpoint(ORIGIN, len(hashes), root or root_of(hashes)))
        signatures = (log.sign(text), *(one.cosign(text, STUDY_MS // 1_000) for one in witnesses))
        checkpoint = format_note(Note(text, signatures))
        return format_proof(TlogProof(index, tuple(inclusion(index, hashes)), checkpoint)).decode()


class GatewayDouble:
    """One researcher's gateway. `score` gives a method's PGR, `None` for a failed run."""

    def __init__(self, path: Path, *, researcher: str = "r1") -> None:
        self.path = str(path)
        self.researcher = researcher
        self.record = Record()
        self.tasks: list[dict[str, Any]] = []
        self.done: list[dict[str, Any]] = []
        self.score: Callable[[dict[str, str]], float | None] = lambda _files: 0.4
        self.lies: list[Lie] = []
        self.drop_answers = 0
        self.said_unpublished = 0
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.refuse: dict[str, Refuse] = {}
        self.files: dict[int, dict[str, str]] = {}
        self.requests: dict[str, int] = {}
        self.receipts: dict[int, int] = {}
        self.best: dict[str, float] = {}
        self.is_exact = False
        self.confirmations = 0
        self.confirmed: dict[int, int] = {}
        self.confirm_receipts: dict[int, int] = {}
        self._lock = threading.Lock()
        self._server = _Server(self.path, _Handler)
        self._server.double = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def kinds(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of all entries of one kind."""
        return [entry.body for entry in self.record.entries if entry.kind == kind]

    # The verbs.

    def answer(self, verb: str, payload: dict[str, Any], query: dict[str, str]) -> dict[str, Any]:
        with self._lock:
            self.calls[verb] += 1
            self.asked.append((verb, payload))
            if verb in self.refuse:
                raise self.refuse[verb]
            told: dict[str, Any] = getattr(self, f"on_{verb}")(payload, query)
            for lie in self.lies:
                told = lie(verb, told) or told
            return told

    def on_study(self, _payload: Any, _query: Any) -> dict[str, Any]:
        return {
            "origin": ORIGIN,
            "study": "double",
            "problem": "digits",
            "researcher": self.researcher,
            "log_vkey": format_vkey(LOG.vkey),
            "witness_vkeys": [format_vkey(one.vkey) for one in WITNESSES],
            "quorum": len(WITNESSES),
        }

    def on_lease(self, _payload: Any, _query: Any) -> dict[str, Any]:
        closed = {one["task"] for one in self.kinds("task-closed")}
        left = [task for task in self.tasks if task["task"] not in closed]
        return {"task": left[0] if left else None, "study_open": True}

    def on_plan(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        return self.say("plan-declared", payload)

    def on_submit(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        if payload["request"] in self.requests:
            return self.acknowledge(self.requests[payload["request"]])
        task = next(one for one in self.tasks if one["task"] == payload["task"])
        if sum(one["task"] == payload["task"] for one in self.kinds("submission")) >= task["budget"]:
            raise Refuse("budget", 403)
        files = payload["files"]
        snapshot = format_canonical({"files": files})
        body = {key: payload[key] for key in ("task", "plan", "step", "name", "request")}
        body |= {"researcher": self.researcher, "size": len(snapshot), "families": list(families_of(files))}
        body["digest"] = hashlib.sha256(snapshot).hexdigest()
        index = self.record.append("gateway", "submission", body)
        self.files[index] = files
        self.requests[payload["request"]] = index
        return self.acknowledge(index)

    def run(self, submission: int) -> int:
        """The evaluator: a receipt, and what the ladder releases of it."""
        if submission in self.receipts:
            return self.receipts[submission]
        body = self.record.entries[submission].body
        researcher = str(body["researcher"])
        pgr = self.score(self.files[submission])
        best = self.best.get(researcher)
        is_improved = pgr is not None and (self.is_exact or best is None or pgr > best + 0.05)
        if is_improved and pgr is not None:
            self.best[researcher] = pgr
        value = self.best.get(researcher, 0.0)
        numbers = {"pgr": f"{value:.4f}", "low": f"{value - 0.1:.4f}", "high": f"{value + 0.1:.4f}"}
        receipt: dict[str, Any] = {
            "submission": submission,
            "digest": body["digest"],
            "researcher": researcher,
            "tier": "explore",
            "problem": "digits",
            "outcome": "scored" if pgr is not None else "failed",
            "reason": "" if pgr is not None else "exception",
            "seeds": [1, 2, 3],
            "released": {**numbers, "improved": int(is_improved)} if pgr is not None else {},
            "commitments": {"public": "0" * 64, "sealed": "1" * 64} if pgr is not None else {},
        }
        self.receipts[submission] = self.record.append("evaluator", "score-receipt", receipt, [submission])
        return self.receipts[submission]

    def on_confirm(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        submission = payload["submission"]
        if submission not in self.confirmed:
            if len(self.confirmed) >= self.confirmations:
                raise Refuse("budget", 403)
            charge = {
                "researcher": self.researcher,
                "task": "t",
                "what": "confirmations",
                "amount": 1,
                "usage": {},
            }
            charge["submission"] = submission
            self.confirmed[submission] = self.record.append("gateway", "budget-charged", charge, [submission])
        return self.acknowledge(self.confirmed[submission])

    def confirm_receipt(self, submission: int) -> int:
        """The evaluator again: what one run with new seeds gives."""
        if submission in self.confirm_receipts:
            return self.confirm_receipts[submission]
        body = self.record.entries[self.receipts[submission]].body
        pgr = self.score(self.files[submission])
        assert pgr is not None
        told = {"pgr": pgr - 0.01, "low": pgr - 0.1, "high": pgr + 0.1}
        told |= {"difference": pgr / 2, "difference_low": pgr / 4, "difference_high": pgr}
        released = {key: f"{value:.4f}" for key, value in told.items()}
        receipt = {**body, "tier": "confirm", "released": released}
        index = self.record.append("evaluator", "score-receipt", receipt, [submission])
        self.confirm_receipts[submission] = index
        return index

    def on_receipt(self, _payload: Any, query: dict[str, str]) -> dict[str, Any]:
        if query["tier"] == "confirm":
            index = self.confirm_receipt(int(query["submission"]))
        else:
            index = self.run(int(query["submission"]))
        body = self.record.entries[index].body
        return {
            "receipt": {
                "index": index,
                **{key: body[key] for key in ("outcome", "reason", "released", "seeds")},
            }
        }

    def on_forum(self, _payload: Any, query: dict[str, str]) -> dict[str, Any]:
        since = int(query["since"])
        found = [
            {"index": index, "kind": one.kind, "author": one.author, "body": one.body, "refs": list(one.refs)}
            for index, one in enumerate(self.record.entries)
            if index >= since and one.kind in VISIBLE and one.body.get("tier", "explore") == "explore"
        ]
        return {"entries": found, "tree_size": len(self.record.entries)}

    def on_snapshot(self, _payload: Any, query: dict[str, str]) -> dict[str, Any]:
        return {"files": self.files[int(query["submission"])]}

    def on_consistency(self, _payload: Any, query: dict[str, str]) -> dict[str, Any]:
        old, new = int(query["old"]), int(query["new"])
        if not 0 < old <= new <= len(self.record.leaves):
            raise Refuse("size")
        proof = consistency(old, self.record.hashes(new))
        return {"consistency": [base64.b64encode(one).decode() for one in proof]}

    def on_finding(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        return self.say("finding", payload)

    def on_comment(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        return self.say("comment", payload)

    def on_vote(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        return self.say("vote", payload)

    def on_propose(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        return self.say("task-proposed", payload)

    def on_done(self, payload: dict[str, Any], _query: Any) -> dict[str, Any]:
        for index, one in enumerate(self.record.entries):
            if one.kind == "task-closed" and one.body["task"] == payload["task"]:
                return self.acknowledge(index)
        body = {**payload, "researcher": self.researcher}
        return self.acknowledge(self.record.append("gateway", "task-closed", body))

    def somebody_else(
        self, files: dict[str, str], *, pgr: float, task: str = "theirs", request: str = ""
    ) -> int:
        """A scored submission of r2 with a finding; the index of the finding."""
        body = {
            "task": task,
            "researcher": "r2",
            "plan": 0,
            "step": "s",
            "name": "theirs",
            "digest": "2" * 64,
        }
        body |= {"size": 1, "families": [], "request": request or f"r2/{len(self.record.leaves)}"}
        submission = self.record.append("gateway", "submission", body)
        self.files[submission] = files
        mine, self.score = self.score, lambda _files: pgr
        receipt = self.run(submission)
        self.score = mine
        return self.record.append(
            "r2",
            "finding",
            {
                "type": "insight",
                "title": "theirs",
                "text": "see",
                "method": "theirs",
                "numbers": {},
                "receipts": [receipt],
                "parents": [],
            },
        )

    def say(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """The same words again get their first answer."""
        for index, one in enumerate(self.record.entries):
            if (one.author, one.kind, one.body) == (self.researcher, kind, body):
                return self.acknowledge(index)
        return self.acknowledge(self.record.append(self.researcher, kind, body))

    def acknowledge(self, index: int) -> dict[str, Any]:
        if self.said_unpublished > 0:
            self.said_unpublished -= 1
            raise Refuse("not-published", 503)
        leaf = base64.b64encode(self.record.leaves[index]).decode()
        return {"index": index, "proof": self.record.proof(index), "leaf": leaf}


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    double: GatewayDouble

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """The client sees it as a lost connection."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.serve({})

    def do_POST(self) -> None:
        self.serve(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def serve(self, payload: dict[str, Any]) -> None:
        double = self.server.double
        url = urllib.parse.urlsplit(self.path)
        status = 200
        try:
            told: Any = double.answer(
                url.path.removeprefix("/v1/"), payload, dict(urllib.parse.parse_qsl(url.query))
            )
        except Refuse as refused:
            status = refused.status
            told = refused.told
        if double.drop_answers > 0:
            # The worst moment: it is done and in the record, and the answer is lost.
            double.drop_answers -= 1
            self.close_connection = True
            self.connection.close()
            return
        data = told if isinstance(told, bytes) else json.dumps(told).encode()
        with suppress(OSError):
            self.send_response_only(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
