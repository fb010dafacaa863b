"""A model provider for tests, on loopback: what `fake_anthropic` and `fake_openai` share.

Stateless, so that many researchers share one server: how far a conversation is follows from the messages that
the request holds. The server keeps its own account of tokens, by researcher, for tests to compare with the
record. Faults are handed out by researcher and turn; the same request repeated gets the next of them, then an
answer.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CANARY_KEY = "sk-canary-7f3a9b1c5d2e8f60417b"
CHARACTERS_PER_TOKEN = 4
# Of a conversation's later turns half the input is said to have been in the cache.
CACHED_FROM_TURN = 1
# Whose calls are those that a study's monitor makes.
MONITOR = "monitor"


@dataclass(frozen=True)
class Turn:
    """One message of a conversation, whatever the protocol: a text, calls of tools, or what one returned."""

    role: str
    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    result: str = ""


@dataclass(frozen=True)
class Request:
    """What was sent: the turns, the tools by name with their JSON Schemas, and who is speaking."""

    model: str
    key: str
    researcher: str
    system: str
    turns: tuple[Turn, ...]
    tools: Mapping[str, Mapping[str, Any]]
    characters: int

    @property
    def number(self) -> int:
        """The assistant's turns so far."""
        return sum(one.role == "assistant" for one in self.turns)

    def results_of(self, tool: str) -> list[str]:
        """What calls of a tool returned, oldest first."""
        names: list[str] = []
        found = []
        for turn in self.turns:
            names += [name for name, _arguments in turn.calls]
            if turn.role == "tool" and names:
                name = names.pop(0)
                if name == tool:
                    found.append(turn.result)
        return found


@dataclass(frozen=True)
class Reply:
    """What the model says: a text and the calls it makes.

    `stop` overrides the reason it ended for; `more_input` is said to have been used beyond the request.
    """

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()
    stop: str = ""
    more_input: int = 0


@dataclass
class Account:
    """What one researcher used, as this server counts it."""

    calls: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write


@dataclass(frozen=True)
class Usage:
    """Tokens of one answer, the cached ones not among `input`."""

    input: int
    output: int
    cache_read: int
    cache_write: int


Policy = Callable[[Request], Reply]


@dataclass
class FakeModel:
    """The provider: a policy, its faults, and what it counted. Use as a context manager."""

    policy: Policy
    protocol: type[Protocol]
    # By researcher and turn: "429", "529", "500", "401", "404", "malformed", "cut", "drop".
    faults: dict[tuple[str, int], list[str]] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    errors: list[str] = field(default_factory=list)
    # Until this is cleared every connection is closed without an answer.
    is_down: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> FakeModel:
        fake = self

        class Handler(_Handler):
            server_of = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def fault(self, request: Request) -> str:
        with self.lock:
            left = self.faults.get((request.researcher, request.number)) or [""]
            return left.pop(0)

    def answer(self, request: Request) -> tuple[Reply, Usage]:
        """The policy's reply, counted."""
        # A request without tools is one to sum the conversation up.
        is_summary = not request.tools and request.researcher != MONITOR
        reply = Reply(f"In short, {request.researcher} went on.") if is_summary else self.policy(request)
        whole = request.characters // CHARACTERS_PER_TOKEN + 1 + reply.more_input
        cached = whole // 2 if request.number >= CACHED_FROM_TURN else 0
        written = whole // 4
        said = len(reply.text) + len(json.dumps(reply.calls))
        usage = Usage(whole - cached - written, said // CHARACTERS_PER_TOKEN + 1, cached, written)
        with self.lock:
            self.requests.append(request)
            self.keys.add(request.key)
            account = self.accounts.setdefault(request.researcher, Account())
            account.calls += 1
            account.input += usage.input
            account.output += usage.output
            account.cache_read += usage.cache_read
            account.cache_write += usage.cache_write
        return reply, usage


class Protocol:
    """One provider's wire format."""

    paths: tuple[str, ...] = ()

    @staticmethod
    def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        raise NotImplementedError

    @staticmethod
    def whole(body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> dict[str, Any]:
        raise NotImplementedError

    @staticmethod
    def events(body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> list[str]:
        raise NotImplementedError

    @staticmethod
    def error(status: int) -> dict[str, Any]:
        raise NotImplementedError


class _Handler(BaseHTTPRequestHandler):
    """One request: a fault, or an answer, at once or as a stream of events."""

    protocol_version = "HTTP/1.1"
    server_of: FakeModel

    def log_message(self, *_: object) -> None:
        """Say nothing on standard error."""

    def do_POST(self) -> None:
        fake = self.server_of
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if fake.is_down.is_set():
            self.close_connection = True
            return
        if not self.path.split("?")[0].endswith(fake.protocol.paths):
            self._send(404, b'{"error": {"type": "not_found_error", "message": "no such path"}}')
            return
        body = json.loads(raw)
        request = fake.protocol.read(body, {key.lower(): value for key, value in self.headers.items()})
        fault = fake.fault(request)
        if fault.isdigit():
            self._send(
                int(fault), json.dumps(fake.protocol.error(int(fault))).encode(), {"retry-after": "0.1"}
            )
            return
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "malformed":
            self._send(200, b'{"id": "msg_1", "type": "mess', {})
            return
        if fault == "cut":
            reply, usage = Reply(text="this answer is cut off in the middle"), Usage(1, 1, 0, 0)
        else:
            try:
                reply, usage = fake.answer(request)
            except (AssertionError, LookupError) as error:
                # The small model does not understand: the test is to see it at once, not after many tries.
                fake.errors.append(f"{request.researcher}: {type(error).__name__}: {error}")
                self._send(400, json.dumps(fake.protocol.error(400)).encode())
                return
        number = request.number
        if not body.get("stream"):
            data = json.dumps(fake.protocol.whole(body, reply, usage, number)).encode()
            self._send(200, data[: len(data) // 2] if fault == "cut" else data, length=len(data))
            return
        events = fake.protocol.events(body, reply, usage, number)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        # Chunks, so that a client can tell an answer that was cut off from one that is over.
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in events[: len(events) // 2] if fault == "cut" else events:
            data = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if fault == "cut":
            self.close_connection = True
        else:
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _send(
        self, status: int, data: bytes, headers: Mapping[str, str] | None = None, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None and length > len(data):
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)


def researcher_in(text: str) -> str:
    """Which researcher a conversation is of, or the monitor: what each is told first says so; else ""."""
    if text.startswith("You are the monitor of a study"):
        return MONITOR
    found = re.search(r"researcher-\d+", text)
    return found.group() if found else ""
