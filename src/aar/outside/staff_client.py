"""A client of the gateway's staff sockets: for the evaluator, and for the humans' commands."""

from __future__ import annotations

import base64
import http.client
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aar.formats.entry import Entry, sign_entry
from aar.formats.keys import Signer
from aar.formats.kinds import isolation_of

TIMEOUT_S = 90.0
# The gateway closes a connection on which nothing was said for two minutes, and an official run may take as
# long: a connection that was idle for half of that is left, and a new one opened.
IDLE_S = 60.0


class GatewayRefused(Exception):
    """The gateway answered with an error; `code` is the gateway's, the message is one line."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GatewayGone(Exception):
    """Nobody answers on the gateway's socket: it ended, or the study is not running."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("gateway", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class StaffClient:
    """JSON calls on one Unix socket; one connection per thread, kept open."""

    def __init__(self, path: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._posting = threading.Lock()

    def get(self, verb: str, **query: object) -> dict[str, Any]:
        return self._call("GET", verb + ("?" + urllib.parse.urlencode(query) if query else ""), None)

    def post(self, verb: str, payload: object) -> dict[str, Any]:
        return self._call("POST", verb, json.dumps(payload).encode())

    def append(
        self,
        signers: Sequence[Signer],
        kind: str,
        body: dict[str, Any],
        *,
        refs: Sequence[int] = (),
        blobs: Sequence[bytes] = (),
        readings: Sequence[Mapping[str, Any]] = (),
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> dict[str, Any]:
        """Sign an entry as `signers[0]` (the rest co-sign) and hand it in; returns its proof too.

        With `readings` it is a receipt, and each becomes an alarm in the same batch.
        """
        with self._posting:
            chain = self.get("/v1/chain", author=signers[0].name)
            entry = Entry(
                origin=chain["origin"],
                author=signers[0].name,
                seq=chain["seq"],
                prev=chain["prev"],
                kind=kind,
                refs=tuple(refs),
                body=body,
                at=now_ms(),
                isolation=isolation_of(body) if kind == "study-opened" else chain["isolation"],
            )
            signed = base64.b64encode(sign_entry(entry, *signers).data).decode()
            if readings:
                return self.post("/v1/receipt", {"entry": signed, "readings": list(readings)})
            encoded = [base64.b64encode(blob).decode() for blob in blobs]
            return self.post("/v1/entry", {"entry": signed, "blobs": encoded})

    def _call(self, method: str, target: str, body: bytes | None) -> dict[str, Any]:
        connection: _UnixConnection | None = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used_s > IDLE_S:
            connection.close()
            connection = None
        if connection is None:
            connection = self._local.connection = _UnixConnection(self._path, self._timeout_s)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"} if body else {})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            self._local.connection = None
            raise GatewayGone(f"the gateway does not answer: {error}") from error
        self._local.used_s = time.monotonic()
        if response.status != 200:
            raise GatewayRefused(answer["error"]["code"], answer["error"]["message"])
        return answer
