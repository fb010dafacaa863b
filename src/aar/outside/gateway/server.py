"""HTTP/1.1 and JSON on Unix sockets: transport only, bounded in every direction.

The listening sockets are made by the supervisor and inherited. Which socket a request came through is the
caller's identity; nothing in a request is.
"""

from __future__ import annotations

import http.server
import json
import re
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any

from aar.outside.admission import Refused
from aar.outside.gateway.openapi import status_of
from aar.outside.gateway.researcher_desk import Verb

MAX_BODY_BYTES = 4 << 20
MAX_CONNECTIONS = 16
# The worker has one for each thread that thinks for a researcher, of which it may have many.
WORKER_CONNECTIONS = 256
IDLE_TIMEOUT_S = 120
LENGTH = re.compile("0|[1-9][0-9]{0,9}", re.ASCII)
# A caller that asks without pause must leave the process to others: so many at once, then so many a second.
BURST = 200
RATE_PER_S = 100


class UnixServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A threading HTTP server on a Unix socket that already listens."""

    daemon_threads = True

    def __init__(
        self,
        listener: socket.socket,
        verbs: Mapping[tuple[str, str], Verb],
        *,
        on_refused: Callable[[Refused, str, str], None],
        on_request: Callable[[], None],
        on_error: Callable[[Exception], None],
        is_paced: bool = False,
        connections: int = MAX_CONNECTIONS,
    ) -> None:
        """`on_error`: called for what nobody thought of; it ends the process, or puts its state in order."""
        socketserver.BaseServer.__init__(self, "unix", _Handler)
        self.socket = listener
        self.verbs = verbs
        self.on_refused = on_refused
        self.on_request = on_request
        self.on_error = on_error
        self.pace = Pace(RATE_PER_S, BURST) if is_paced else None
        self._slots = threading.BoundedSemaphore(connections)

    def server_bind(self) -> None:
        """The listener is bound by the supervisor."""

    def server_activate(self) -> None:
        """The listener listens already."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _address = self.socket.accept()
        connection.settimeout(IDLE_TIMEOUT_S)
        return connection, "unix"

    def verify_request(self, _request: Any, _client_address: Any) -> bool:
        """One caller may not open connections without end: over the limit they are closed at once."""
        return self._slots.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A broken connection is the caller's affair, for nothing acknowledged is lost."""
        error = sys.exception()
        if isinstance(error, Exception) and not isinstance(error, (ConnectionError, TimeoutError)):
            self.on_error(error)


class Pace:
    """A token bucket: `wait` returns at once for `burst` calls, then `rate_per_s` times a second."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._step_s = 1 / rate_per_s
        self._slack_s = burst / rate_per_s
        self._next_s = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        with self._lock:
            now_s = time.monotonic()
            self._next_s = max(self._next_s, now_s - self._slack_s) + self._step_s
            pause_s = self._next_s - now_s
        if pause_s > 0:
            time.sleep(pause_s)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "aar"
    sys_version = ""
    server: UnixServer

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged: what matters of them is an entry."""

    def _serve(self, method: str) -> None:
        if self.server.pace is not None:
            self.server.pace.wait()
        self.server.on_request()
        attempt = ""
        try:
            body = self._body() if method == "POST" else b""
            attempt = body[:4_000].decode("utf-8", "replace")
            path, query = _target(self.path)
            verb = self.server.verbs.get((method, path))
            if verb is None:
                raise Refused("unknown-verb", f"{method} {path!r:.100} is not one of this socket's verbs")
            payload = _parse_json(body) if method == "POST" else None
            answer = verb(payload, query)
            self._answer(200, answer)
        except Refused as refused:
            self.server.on_refused(refused, f"{method} {self.path[:100]!r}", attempt)
            self._answer(status_of(refused.code), {"error": {"code": refused.code, "message": str(refused)}})
        except (ConnectionError, TimeoutError):
            raise
        except Exception as error:  # noqa: BLE001 - the owner of the socket says what becomes of it
            self.server.on_error(error)
            message = "the gateway stumbled over this request; nothing of it was done"
            self._answer(500, {"error": {"code": "internal", "message": message}})

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "")
        if not LENGTH.fullmatch(text) or int(text) > MAX_BODY_BYTES:
            self.close_connection = True
            raise Refused("bad-request", f"Content-Length {text!r:.20}: want at most {MAX_BODY_BYTES}")
        return self.rfile.read(int(text))

    def _answer(self, status: int, answer: Mapping[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _target(target: str) -> tuple[str, dict[str, str]]:
    """Path and query of a request's target."""
    try:
        url = urllib.parse.urlsplit(target)
        return url.path, dict(urllib.parse.parse_qsl(url.query, max_num_fields=16))
    except ValueError as error:
        raise Refused("bad-request", f"target {target!r:.80}: {error}") from error


def _parse_json(body: bytes) -> Any:
    """JSON without the words Python adds to it; no number that an entry cannot carry."""

    def refuse(text: str) -> Any:
        raise Refused("bad-request", f"number {text!r:.40}: decimals are strings here")

    try:
        return json.loads(body, parse_float=refuse, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise Refused("bad-request", f"the body is not JSON: {error}") from error


def serve_in_thread(server: UnixServer, name: str) -> threading.Thread:
    """Serve until the process ends."""
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 3600}, name=name, daemon=True
    )
    thread.start()
    return thread


def now_ms() -> int:
    """The operator's clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000
