"""Checkpoints: what a log says of itself (C2SP tlog-checkpoint v1.0.0).

```
<origin>
<tree size, decimal>
<base64 of the 32-byte root hash>

— <origin> <signature of the log>
— <witness> <cosignature>
```
Extension lines are not recommended by the specification and not accepted here.
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.formats.errors import FormatError, MalformedCheckpoint
from aar.formats.keys import VerifierKey
from aar.formats.note import Note, check_key_name, parse_note, verified_by
from aar.formats.strict import decode_base64, encode_base64, parse_decimal

ROOT_BYTES = 32


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree of `size` entries has this root hash (32 bytes), says the log `origin`."""

    origin: str
    size: int
    root: bytes


def parse_checkpoint_text(text: str) -> Checkpoint:
    """The text of a checkpoint note, three lines."""
    lines = text.split("\n")
    if len(lines) != 4 or lines[3] != "":
        raise MalformedCheckpoint(f"{len(lines) - 1} lines, want origin, size and root")
    try:
        check_key_name(lines[0])
        checkpoint = Checkpoint(lines[0], parse_decimal(lines[1]), decode_base64(lines[2]))
    except FormatError as error:
        raise MalformedCheckpoint(str(error)) from error
    if len(checkpoint.root) != ROOT_BYTES:
        raise MalformedCheckpoint(f"root of {len(checkpoint.root)} bytes, want {ROOT_BYTES}")
    return checkpoint


def format_checkpoint_text(checkpoint: Checkpoint) -> str:
    """The one spelling of a checkpoint's text."""
    return f"{checkpoint.origin}\n{checkpoint.size}\n{encode_base64(checkpoint.root)}\n"


def open_checkpoint(data: bytes, log_key: VerifierKey) -> tuple[Checkpoint, Note]:
    """A checkpoint that the log's key signed, for the origin that is the key's name."""
    note = parse_note(data)
    verified_by(note, [log_key])
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != log_key.name:
        raise MalformedCheckpoint(
            f"origin {checkpoint.origin!r:.80}, the log's key is of {log_key.name!r:.80}"
        )
    return checkpoint, note
