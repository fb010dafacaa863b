"""What a witness answers to a checkpoint (C2SP tlog-witness v1.0.0): state and request in, answer out.

```
old <size>
<base64 hash>*          consistency proof, at most 63
<empty line>
<checkpoint>
```
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aar.formats.checkpoint import ROOT_BYTES, parse_checkpoint_text
from aar.formats.errors import FormatError, MalformedKey, MalformedSignature, UnverifiedNote
from aar.formats.keys import ED25519, Signer, VerifierKey
from aar.formats.note import Note, format_note, format_signature, parse_note, verified_by
from aar.formats.strict import decode_base64, parse_decimal
from aar.verify.merkle import EMPTY_ROOT, InvalidProof, check_consistency

MAX_PROOF_HASHES = 63
MAX_REQUEST_BYTES = 1 << 16
SIZE_TYPE = "text/x.tlog.size"


@dataclass(frozen=True, slots=True)
class Seen:
    """The largest tree of one log that this witness cosigned; `note` is the cosigned checkpoint."""

    size: int = 0
    root: bytes = EMPTY_ROOT
    note: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `seen` is the state to store, durably, before a 200 is sent."""

    status: int
    body: bytes
    content_type: str = "text/plain; charset=utf-8"
    origin: str = ""
    seen: Seen | None = None


class _Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def logs_by_origin(keys: Iterable[VerifierKey]) -> dict[str, VerifierKey]:
    """The logs this witness knows, by origin, which is the name of their key."""
    logs: dict[str, VerifierKey] = {}
    for key in keys:
        if key.algorithm != ED25519:
            raise MalformedKey(f"the key of log {key.name} is a cosignature key, want a plain Ed25519 one")
        if key.name in logs:
            raise MalformedKey(f"two keys for the log {key.name}: want one each")
        logs[key.name] = key
    return logs


def add_checkpoint(
    request: bytes, *, logs: Mapping[str, VerifierKey], seen: Mapping[str, Seen], signer: Signer, now_s: int
) -> Answer:
    """Check one request in the specification's order; only a consistent extension is cosigned."""
    try:
        return _add(request, logs, seen, signer, now_s)
    except _Refused as refused:
        return Answer(refused.status, f"{refused}\n".encode())


def _add(
    request: bytes, logs: Mapping[str, VerifierKey], seen: Mapping[str, Seen], signer: Signer, now_s: int
) -> Answer:
    old, proof, data = _parse(request)
    try:
        note = _parse_note(data)
        checkpoint = parse_checkpoint_text(note.text)
    except FormatError as error:
        raise _Refused(400, f"malformed checkpoint: {error}") from error
    key = logs.get(checkpoint.origin)
    if key is None:
        raise _Refused(404, f"unknown log {checkpoint.origin!r:.80}")
    try:
        verified_by(note, [key])
    except UnverifiedNote as error:
        raise _Refused(403, str(error)) from error
    if old > checkpoint.size:
        raise _Refused(400, f"old size {old} is larger than the checkpoint's {checkpoint.size}")
    last = seen.get(checkpoint.origin, Seen())
    if old != last.size:
        return Answer(409, f"{last.size}\n".encode(), SIZE_TYPE)
    if old == 0:
        if proof:
            raise _Refused(422, "a proof from size 0 is empty")
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise _Refused(422, "size 0 with a root that is not the empty tree's")
    else:
        try:
            check_consistency(old, checkpoint.size, proof, last.root, checkpoint.root)
        except InvalidProof as error:
            raise _Refused(422, str(error)) from error
    # Only what was verified is kept: a forged line of another witness does not get into our state.
    own = [one for one in note.signatures if (one.name, one.key_id) == (key.name, key.key_id)]
    cosignature = signer.cosign(note.text, now_s)
    kept = format_note(Note(note.text, (*own, cosignature)))
    return Answer(
        200,
        format_signature(cosignature).encode("utf-8"),
        origin=checkpoint.origin,
        seen=Seen(checkpoint.size, checkpoint.root, kept),
    )


def _parse_note(data: bytes) -> Note:
    """A note; where a signature cannot be read it is nobody's, which is answered as a bad signature is."""
    try:
        return parse_note(data)
    except MalformedSignature:
        return Note(data.decode("utf-8").rpartition("\n\n")[0] + "\n", ())


def _parse(request: bytes) -> tuple[int, list[bytes], bytes]:
    head, empty_line, checkpoint = request.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise _Refused(400, "not ASCII before the checkpoint") from error
    if not empty_line or not lines[0].startswith("old "):
        raise _Refused(400, "want 'old SIZE', a proof, an empty line and a checkpoint")
    if len(lines) - 1 > MAX_PROOF_HASHES:
        raise _Refused(400, f"{len(lines) - 1} hashes, at most {MAX_PROOF_HASHES}")
    try:
        old = parse_decimal(lines[0].removeprefix("old "))
        proof = [decode_base64(line) for line in lines[1:]]
    except FormatError as error:
        raise _Refused(400, str(error)) from error
    if any(len(one) != ROOT_BYTES for one in proof):
        raise _Refused(400, f"a hash is {ROOT_BYTES} bytes")
    return old, proof, checkpoint
