"""Asking a witness to cosign a checkpoint: C2SP tlog-witness over HTTP, on a Unix socket or over TCP."""

from __future__ import annotations

import http.client
import io
import re
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey
from aar.formats.strict import encode_base64, parse_decimal
from aar.outside.record.errors import WitnessConflict, WitnessError

MAX_ANSWER_BYTES = 1 << 16
MAX_PROOF_HASHES = 63
HTTP_PORT = 80


class Witness(Protocol):
    """One that cosigns a checkpoint only if it extends the last one it saw."""

    @property
    def vkey(self) -> VerifierKey: ...

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Signature lines over `note`; raises `WitnessConflict` (it saw another size) or `WitnessError`."""


@dataclass(frozen=True, slots=True)
class WitnessUrl:
    """Where a witness takes checkpoints over TCP: ``http://host[:port][/prefix]``."""

    host: str
    port: int
    prefix: str

    def connect(self, timeout_s: float) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout_s)


def parse_witness_url(text: str) -> WitnessUrl:
    """A witness's submission prefix; `ValueError` says what was wanted.

    Plain HTTP on purpose: what a witness says counts by its signature, not by who brought it.
    """
    wanted = f"url {text!r:.120}: want http://HOST[:PORT][/PREFIX]"
    if not re.fullmatch(r"http://[!-~]+", text, re.ASCII):
        raise ValueError(wanted)
    try:
        parts = urlsplit(text)
        port = HTTP_PORT if parts.port is None else parts.port
    except ValueError as error:
        raise ValueError(f"{wanted}: {error}") from error
    if not parts.hostname or port == 0 or parts.netloc.endswith(":") or set(text) & set("@?#"):
        raise ValueError(wanted)
    return WitnessUrl(parts.hostname, port, parts.path.rstrip("/"))


class WitnessClient:
    """A witness in another process. One request at a time, one connection each."""

    def __init__(
        self,
        vkey: VerifierKey,
        address: str | Path | WitnessUrl | Callable[[], socket.socket],
        *,
        timeout_s: float = 5.0,
    ) -> None:
        """`address`: path of a Unix socket, a URL, or a function that returns a connected socket.

        `timeout_s` is for connecting, and again for the whole of the request and its answer.
        """
        self._vkey = vkey
        self._address = address
        self._timeout_s = timeout_s
        self._prefix = address.prefix if isinstance(address, WitnessUrl) else ""
        self._host = f"{address.host}:{address.port}" if isinstance(address, WitnessUrl) else "witness"

    @property
    def vkey(self) -> VerifierKey:
        return self._vkey

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Signature lines over `note`, as the witness sent them: they are not checked here."""
        status, answer = self._post("/add-checkpoint", format_request(old_size, proof, note))
        return read_answer(status, answer)

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("witness", timeout=self._timeout_s)
        headers = {
            "Host": self._host,
            "Content-Type": "text/plain; charset=utf-8",
            "Connection": "close",
        }
        hurried: _Hurried | None = None
        try:
            hurried = _Hurried(self._connect(), self._timeout_s)
            connection.sock = hurried
            connection.request("POST", self._prefix + path, body, headers)
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise WitnessError(f"it does not answer: {error!r}") from error
        finally:
            if hurried is not None:
                hurried.end()
        if len(data) > MAX_ANSWER_BYTES:
            raise WitnessError(
                f"witness {self._vkey.name} sent over {MAX_ANSWER_BYTES} bytes: want signature lines"
            )
        if answer.length:
            raise WitnessError(f"it does not answer in full: {answer.length} bytes are missing")
        return answer.status, data

    def _connect(self) -> socket.socket:
        if isinstance(self._address, WitnessUrl):
            return self._address.connect(self._timeout_s)
        if callable(self._address):
            return self._address()
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connected.settimeout(self._timeout_s)
            connected.connect(str(self._address))
        except BaseException:
            connected.close()
            raise
        return connected


class _Hurried:
    """A connection that is over at a deadline, however slowly the other side sends."""

    def __init__(self, connection: socket.socket, timeout_s: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + timeout_s

    def sendall(self, data: Any) -> None:
        self._hurry()
        self._connection.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_HurriedReader(self._receive_into))

    def close(self) -> None:
        """`http.client` is done with it before the answer's body is read: see `end`."""

    def end(self) -> None:
        self._connection.close()

    def _receive_into(self, buffer: Any) -> int:
        self._hurry()
        return self._connection.recv_into(buffer)

    def _hurry(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._connection.settimeout(left)


class _HurriedReader(io.RawIOBase):
    def __init__(self, receive_into: Callable[[Any], int]) -> None:
        self._receive_into = receive_into

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._receive_into(buffer)


def format_request(old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of an add-checkpoint request."""
    if len(proof) > MAX_PROOF_HASHES:
        raise ValueError(f"consistency proof of {len(proof)} hashes: want at most {MAX_PROOF_HASHES}")
    lines = (f"old {old_size}", *(encode_base64(one) for one in proof), "")
    return "\n".join(lines).encode() + b"\n" + note


def read_answer(status: int, body: bytes) -> bytes:
    """The signature lines of an answer; raises `WitnessConflict`, `WitnessError` when it holds none."""
    if status == http.HTTPStatus.OK:
        return body
    if status != http.HTTPStatus.CONFLICT:
        reason = body[:200].decode("utf-8", "replace").strip()
        advice = ""
        if status == http.HTTPStatus.NOT_FOUND:
            advice = "; it may not know this log: give it the study's policy file"
        raise WitnessError(f"it answered {status}: {reason!r}{advice}")
    try:
        text = body.decode("ascii")
        size = parse_decimal(text.removesuffix("\n"))
    except (UnicodeDecodeError, FormatError) as error:
        raise WitnessError(f"it answered {status} with {body[:40]!r}: want a size and a newline") from error
    if not text.endswith("\n"):
        raise WitnessError(f"it answered {status} with {body[:40]!r}: want a newline after the size")
    raise WitnessConflict(size)
