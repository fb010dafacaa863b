"""The witness process: ``python -m aar.witness --state DIR --listen-fd N --log-vkey VKEY --lifeline-fd N``.

It answers HTTP on a listening socket it inherits, and ends when the far end of its lifeline is closed.
Started by root with ``--uid`` it becomes that user. All imports are done by then and its paths are relative
to the state directory, because that directory and the program may lie where only root may enter.
"""

from __future__ import annotations

import argparse
import codecs
import hashlib
import http.server
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from aar.formats.errors import FormatError
from aar.formats.keys import Signer, VerifierKey, parse_vkey
from aar.formats.strict import parse_decimal
from aar.witness.store import WitnessHalted, WitnessStore
from aar.witness.witness import MAX_REQUEST_BYTES, Answer, Seen, add_checkpoint, logs_by_origin

NAME = "witness-local"
# Requests are answered one after the other: who connects and says nothing must not stop the rest for long.
TIMEOUT_S = 5
EXIT_HALTED = 27
EXIT_DISK_FULL = 28


class WitnessServer(socketserver.TCPServer):
    """Serial on purpose: comparing with the last checkpoint and storing the next is one step."""

    def __init__(
        self, listener: socket.socket, logs: dict[str, VerifierKey], store: WitnessStore, signer: Signer
    ) -> None:
        socketserver.BaseServer.__init__(self, "unix", _Handler)
        self.socket = listener
        self._logs = logs
        self._store = store
        self._signer = signer
        self._seen = store.load(logs, signer.vkey)

    def server_bind(self) -> None:
        """The listener is bound by whoever started us."""

    def server_activate(self) -> None:
        """The listener listens already."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _address = self.socket.accept()
        connection.settimeout(TIMEOUT_S)
        return connection, "unix"

    def handle_error(self, _request: Any, _client_address: Any) -> None:
        """A caller that went away is no trouble; anything else is said, and that request has no answer."""
        error = sys.exception()
        if not isinstance(error, OSError):
            sys.stderr.write(f"a request failed: {error!r}\n")
            sys.stderr.flush()

    def add(self, request: bytes) -> Answer:
        answer = add_checkpoint(
            request, logs=self._logs, seen=self._seen, signer=self._signer, now_s=int(time.time())
        )
        if answer.seen is not None:
            try:
                self._store.save(answer.origin, answer.seen)
            except OSError as error:
                # What is not durable must not be answered; after a failed fsync nothing may be tried again.
                _halt(EXIT_DISK_FULL, f"the witness cannot store what it saw: {error}")
            self._seen[answer.origin] = answer.seen
        return answer

    def last(self, origin_digest: str) -> Seen | None:
        for origin, seen in self._seen.items():
            if hashlib.sha256(origin.encode()).hexdigest() == origin_digest:
                return seen
        return None


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "aar-witness"
    sys_version = ""
    server: WitnessServer

    def do_POST(self) -> None:
        self.close_connection = True
        if self.path != "/add-checkpoint":
            self._answer(Answer(404, b"no such endpoint: want /add-checkpoint\n"))
            return
        try:
            length = parse_decimal(self.headers.get("Content-Length", ""))
        except FormatError as error:
            self._answer(Answer(411, f"Content-Length: {error}\n".encode()))
            return
        if length > MAX_REQUEST_BYTES:
            self._answer(Answer(413, f"{length} bytes, at most {MAX_REQUEST_BYTES}\n".encode()))
            return
        request = self.rfile.read(length)
        if len(request) == length:
            self._answer(self.server.add(request))

    def do_GET(self) -> None:
        parts = self.path.split("/")
        self.close_connection = True
        seen = self.server.last(parts[1]) if len(parts) == 3 and parts[2] == "checkpoint" else None
        self._answer(Answer(404, b"nothing seen of that log\n") if seen is None else Answer(200, seen.note))

    def log_message(self, format: str, *args: Any) -> None:
        """What was seen is in the state; requests are not logged."""

    def _answer(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer.body)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aar.witness")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--log-vkey", action="append", required=True)
    parser.add_argument("--uid", type=int, default=0)
    options = parser.parse_args(arguments)
    # Python loads codecs when they are first used, which may be too late once the rights are dropped.
    for codec in ("ascii", "utf-8", "latin-1", "idna"):
        codecs.lookup(codec)
    os.chdir(options.state)
    os.umask(0o022)
    # Ctrl-C is for whoever started us; our lifeline tells when that one is gone.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if options.uid and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(options.uid, options.uid, options.uid)
        os.setresuid(options.uid, options.uid, options.uid)
    threading.Thread(target=_watch, args=(options.lifeline_fd,), name="lifeline", daemon=True).start()
    store = WitnessStore(Path())
    try:
        logs = logs_by_origin(map(parse_vkey, options.log_vkey))
        store.lock()
        signer = store.load_or_create_key(NAME, os.urandom)
        server = WitnessServer(socket.socket(fileno=options.listen_fd), logs, store, signer)
    except (FormatError, WitnessHalted) as error:
        _halt(EXIT_HALTED, f"the witness halted: {error}")
    except OSError as error:
        _halt(EXIT_DISK_FULL, f"the witness cannot store its key: {error}")
    server.serve_forever(poll_interval=3600)


def _watch(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os._exit(0)


def _halt(code: int, message: str) -> NoReturn:
    try:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
    finally:
        # Where the log lies on a full disk, the exit status alone has to say it.
        os._exit(code)


if __name__ == "__main__":
    main()
