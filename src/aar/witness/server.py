"""A witness on TCP, for any number of logs: many callers at once, one compare-and-store at a time per log.

A request that would change nothing takes no lock. One that extends what was seen is stored, durably, before
it is answered, while the lock of its log is held and only if nobody stored another one since it was checked.
Callers have a limit on time, on bytes and on connections each, so that none keeps the others waiting long.
"""

from __future__ import annotations

import hashlib
import http.server
import io
import socket
import socketserver
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.keys import Signer, VerifierKey
from aar.formats.strict import parse_decimal
from aar.witness.store import WitnessStore
from aar.witness.witness import MAX_REQUEST_BYTES, Answer, Seen, add_checkpoint

# From the first byte awaited to the last byte sent: a request is small, a caller has it ready.
REQUEST_TIMEOUT_S = 5.0
MAX_CONNECTIONS = 256
MAX_CONNECTIONS_PER_HOST = 64
STOP_TIMEOUT_S = 10.0


class Cosigner:
    """What the witness saw of each log, and its key: safe to be asked by many threads."""

    def __init__(
        self,
        logs: Mapping[str, VerifierKey],
        store: WitnessStore,
        signer: Signer,
        *,
        clock_s: Callable[[], int],
        on_fatal: Callable[[OSError], None],
    ) -> None:
        """`on_fatal` is told that a store failed, and ends the process: nothing may be tried after that."""
        self._logs = logs
        self._store = store
        self._signer = signer
        self._clock_s = clock_s
        self._on_fatal = on_fatal
        self._locks = {origin: threading.Lock() for origin in logs}
        self._origins = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in logs}
        self._seen: dict[str, Seen] = store.load(logs, signer.vkey)

    def add(self, request: bytes) -> Answer:
        """Answer one add-checkpoint request; a 200 is durable."""
        while True:
            checked_against = dict(self._seen)
            answer = add_checkpoint(
                request, logs=self._logs, seen=checked_against, signer=self._signer, now_s=self._clock_s()
            )
            if answer.seen is None:
                return answer
            origin = answer.origin
            with self._locks[origin]:
                if self._seen.get(origin) is not checked_against.get(origin):
                    continue  # another request stored first: check again, against what it stored
                try:
                    self._store.save(origin, answer.seen)
                except OSError as error:
                    self._on_fatal(error)
                    raise
                self._seen[origin] = answer.seen
            return answer

    def last(self, origin_digest: str) -> Seen | None:
        """What was seen of the log with that hex SHA-256 of its origin."""
        origin = self._origins.get(origin_digest)
        return None if origin is None else self._seen.get(origin)


class WitnessServer(socketserver.ThreadingTCPServer):
    """HTTP on a listening socket: a thread per connection, with limits."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, listener: socket.socket, cosigner: Cosigner) -> None:
        socketserver.BaseServer.__init__(self, listener.getsockname(), _Handler)
        self.socket = listener
        self.cosigner = cosigner
        self._open: dict[socket.socket, str] = {}
        self._hosts: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.is_stopping = False

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for this caller; if not it is told so at once."""
        host = str(client_address[0])
        with self._changed:
            is_room = len(self._open) < MAX_CONNECTIONS and self._hosts[host] < MAX_CONNECTIONS_PER_HOST
            if is_room:
                self._open[request] = host
                self._hosts[host] += 1
        if not is_room:
            request.settimeout(0)
            with suppress(OSError):
                request.send(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
        return is_room

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            host = self._open.pop(request, None)
            if host is not None:
                self._hosts[host] -= 1
                if not self._hosts[host]:
                    del self._hosts[host]
            self._changed.notify_all()

    def stop(self) -> None:
        """End in order: no new callers, requests that have come are answered."""
        self.is_stopping = True
        self.shutdown()
        self.server_close()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        with self._changed:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RD)
            while self._open and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A caller that went away is no trouble; anything else is said, and that request has no answer."""
        error = sys.exception()
        if not isinstance(error, OSError):
            sys.stderr.write(f"a request failed: {error!r}\n")
            sys.stderr.flush()


class _PatientReader(io.RawIOBase):
    """Reads from a connection until a deadline, however slowly the bytes come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = 0.0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not come in time")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "aar-witness"
    sys_version = ""
    server: WitnessServer

    def setup(self) -> None:
        self.connection = self.request
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = _PatientReader(self.connection)
        self.rfile = io.BufferedReader(self._reader, 8192)
        # One write per answer.
        self.wfile = io.BytesIO()

    def handle_one_request(self) -> None:
        self._reader.deadline = time.monotonic() + REQUEST_TIMEOUT_S
        super().handle_one_request()
        data = self.wfile.getvalue()  # type: ignore[attr-defined]
        if data:
            self.wfile = io.BytesIO()
            self.connection.settimeout(REQUEST_TIMEOUT_S)
            self.connection.sendall(data)
        if self.server.is_stopping:
            self.close_connection = True

    def finish(self) -> None:
        self.rfile.close()

    def handle_expect_100(self) -> bool:
        self.connection.settimeout(REQUEST_TIMEOUT_S)
        self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def do_POST(self) -> None:
        if self.path != "/add-checkpoint":
            self._answer(Answer(404, b"no such endpoint: want /add-checkpoint\n"), is_last=True)
            return
        lengths = self.headers.get_all("Content-Length", [])
        try:
            if len(lengths) != 1 or "Transfer-Encoding" in self.headers:
                raise FormatError(f"{len(lengths)} of them, want one and no Transfer-Encoding")
            length = parse_decimal(lengths[0])
        except FormatError as error:
            self._answer(Answer(411, f"Content-Length: {error}\n".encode()), is_last=True)
            return
        if length > MAX_REQUEST_BYTES:
            self._answer(Answer(413, f"{length} bytes, at most {MAX_REQUEST_BYTES}\n".encode()), is_last=True)
            return
        request = self.rfile.read(length)
        if len(request) == length:
            self._answer(self.server.cosigner.add(request))
        else:
            self.close_connection = True

    def do_GET(self) -> None:
        parts = self.path.split("/")
        seen = self.server.cosigner.last(parts[1]) if len(parts) == 3 and parts[2] == "checkpoint" else None
        # A body that comes with a GET would be read as the next request.
        is_last = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        answer = Answer(404, b"nothing seen of that log\n") if seen is None else Answer(200, seen.note)
        self._answer(answer, is_last=is_last)

    def log_message(self, format: str, *args: Any) -> None:
        """What was seen is in the state; requests are not logged."""

    def _answer(self, answer: Answer, *, is_last: bool = False) -> None:
        self.close_connection = self.close_connection or is_last
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)
