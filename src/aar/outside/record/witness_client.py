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
        if len(proof) > MAX_PROOF_HASHES:
            raise ValueError(f"consistency proof of {len(proof)} hashes: want at most {MAX_PROOF_HASHES}")
        lines = [f"old {old_size}", *(encode_base64(one) for one in proof)]
        status, answer = self._post(
            "/add-checkpoint", "".join(f"{line}\n" for line in lines).encode() + b"\n" + note
        )
        if status == http.HTTPStatus.OK:
            return answer
        if status == http.HTTPStatus.CONFLICT:
            raise WitnessConflict(_parse_size(answer))
        reason = answer[:200].decode("utf-8", "replace").strip()
        raise WitnessError(f"witness {self._vkey.name} answered {status}: {reason!r}")

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
            raise WitnessError(f"witness {self._vkey.name} does not answer: {error!r}") from error
        finally:
            connection.close()
        if len(data) > MAX_ANSWER_BYTES:
            raise WitnessError(
                f"witness {self._vkey.name} sent over {MAX_ANSWER_BYTES} bytes: want signature lines"
            )
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


def _parse_size(answer: bytes) -> int:
    """The body of a 409, ``<size>\\n``."""
    try:
        text = answer.decode("ascii")
        if not text.endswith("\n"):
            raise WitnessError(f"the witness sent size {answer[:40]!r}: want a line")
        return parse_decimal(text[:-1])
    except (UnicodeDecodeError, FormatError) as error:
        raise WitnessError(
            f"the witness sent size {answer[:40]!r}: want decimal digits and a newline"
        ) from error
