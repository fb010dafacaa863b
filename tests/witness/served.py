"""`aar witness serve` as a process of a test: started as a person would, asked over TCP."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aar
from aar.formats.keys import VerifierKey, format_vkey, parse_vkey

SOURCE = Path(aar.__file__).parent.parent
TIMEOUT_S = 20


def run_aar(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "aar", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
        timeout=TIMEOUT_S * 3,
    )


@dataclass
class Served:
    """A running witness: its process, its key, where it listens."""

    popen: subprocess.Popen[str]
    vkey: VerifierKey
    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), TIMEOUT_S)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes, str]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("Content-Type", "")
        finally:
            connection.close()

    def add(self, body: bytes) -> tuple[int, bytes, str]:
        return self.ask("POST", "/add-checkpoint", body)

    def send(self, data: bytes) -> bytes:
        """Send these bytes and no more; what comes back."""
        with self.connect() as connected:
            connected.sendall(data)
            connected.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connected.recv(65_536), b""))

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        self.popen.send_signal(number)
        out, errors = self.popen.communicate(timeout=TIMEOUT_S)
        return self.popen.returncode, out, errors


@contextmanager
def served(
    state: Path, logs: Sequence[VerifierKey], *more: str, listen: str = "127.0.0.1:0"
) -> Iterator[Served]:
    """A witness until the end of the block."""
    arguments = ["--state", str(state), "--listen", listen, *more]
    for key in logs:
        arguments += ["--log", format_vkey(key)]
    popen = subprocess.Popen(
        [sys.executable, "-P", "-m", "aar", "witness", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)},
    )
    try:
        assert popen.stdout is not None
        first = popen.stdout.readline()
        assert first.startswith("witness "), (first, popen.communicate(timeout=TIMEOUT_S))
        key = parse_vkey(first.split()[1])
        line = first
        while not line.startswith("listening on "):
            line = popen.stdout.readline()
        host, _, port = line.split()[2].removeprefix("http://").rstrip(";").rpartition(":")
        yield Served(popen, key, host.strip("[]"), int(port))
    finally:
        popen.kill()
        popen.communicate()
