"""The witness process: ``python -m aar.witness --state DIR --listen-fd N --log-vkey VKEY --lifeline-fd N``."""

from __future__ import annotations

import argparse
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
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.keys import Signer, VerifierKey, parse_vkey
from aar.witness.store import WitnessHalted, WitnessStore
from aar.witness.witness import MAX_REQUEST_BYTES, Answer, Seen, add_checkpoint

NAME = "witness-local"
TIMEOUT_S = 30
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
        """What cannot be stored must not be answered; a caller that went away is no trouble."""
        error = sys.exception() if sys.version_info >= (3, 12) else sys.exc_info()[1]
        if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
            _halt(EXIT_DISK_FULL, f"the witness cannot store what it saw: {error}")

    def add(self, request: bytes) -> Answer:
        answer = add_checkpoint(
            request, logs=self._logs, seen=self._seen, signer=self._signer, now_s=int(time.time())
        )
        if answer.seen is not None:
            self._store.save(answer.origin, answer.seen)
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
        length = self.headers.get("Content-Length", "")
        self.close_connection = True
        if self.path != "/add-checkpoint":
            self._answer(Answer(404, b"no such endpoint\n"))
        elif not (length.isascii() and length.isdigit()) or int(length) > MAX_REQUEST_BYTES:
            self._answer(Answer(400, b"no usable Content-Length\n"))
        else:
            self._answer(self.server.add(self.rfile.read(int(length))))

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
        keys = [parse_vkey(text) for text in options.log_vkey]
        signer = store.load_or_create_key(NAME, os.urandom)
        server = WitnessServer(
            socket.socket(fileno=options.listen_fd), {key.name: key for key in keys}, store, signer
        )
    except (FormatError, WitnessHalted) as error:
        _halt(EXIT_HALTED, f"the witness halted: {error}")
        raise
    except OSError as error:
        _halt(EXIT_DISK_FULL, f"the witness cannot store its key: {error}")
        raise
    server.serve_forever(poll_interval=3600)


def _watch(lifeline_fd: int) -> None:
    while os.read(lifeline_fd, 1):
        pass
    os._exit(0)


def _halt(code: int, message: str) -> None:
    sys.stderr.write(message + "\n")
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
