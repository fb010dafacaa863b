"""Asking a witness to cosign a checkpoint: C2SP tlog-witness over HTTP, mostly on a Unix socket."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from aar.formats.errors import FormatError
from aar.formats.keys import VerifierKey
from aar.formats.strict import encode_base64, parse_decimal
from aar.outside.record.errors import WitnessConflict, WitnessError

MAX_ANSWER_BYTES = 1 << 16
MAX_PROOF_HASHES = 63


class Witness(Protocol):
    """One that cosigns a checkpoint only if it extends the last one it saw."""

    @property
    def vkey(self) -> VerifierKey: ...

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Signature lines over `note`; raises `WitnessConflict` (it saw another size) or `WitnessError`."""


class WitnessClient:
    """A witness in another process. One request at a time, one connection each."""

    def __init__(
        self, vkey: VerifierKey, address: str | Path | Callable[[], socket.socket], *, timeout_s: float = 5.0
    ) -> None:
        """`address`: path of a Unix socket, or a function that returns a connected socket."""
        self._vkey = vkey
        self._address = address
        self._timeout_s = timeout_s

    @property
    def vkey(self) -> VerifierKey:
        return self._vkey

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        """Signature lines over `note`, as the witness sent them: they are not checked here."""
        status, answer = self._post("/add-checkpoint", format_request(old_size, proof, note))
        return read_answer(status, answer)

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("witness", timeout=self._timeout_s)
        try:
            connection.sock = self._connect()
            connection.request(
                "POST", path, body, {"Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
            )
            answer = connection.getresponse()
            data = answer.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise WitnessError(f"it does not answer: {error!r}") from error
        finally:
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise WitnessError(
                f"witness {self._vkey.name} sent over {MAX_ANSWER_BYTES} bytes: want signature lines"
            )
        if answer.length:
            raise WitnessError(f"it does not answer in full: {answer.length} bytes are missing")
        return answer.status, data

    def _connect(self) -> socket.socket:
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
        raise WitnessError(f"it answered {status}: {reason!r}")
    try:
        text = body.decode("ascii")
        size = parse_decimal(text.removesuffix("\n"))
    except (UnicodeDecodeError, FormatError) as error:
        raise WitnessError(f"it answered {status} with {body[:40]!r}: want a size and a newline") from error
    if not text.endswith("\n"):
        raise WitnessError(f"it answered {status} with {body[:40]!r}: want a newline after the size")
    raise WitnessConflict(size)
