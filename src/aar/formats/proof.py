"""Proofs to keep: an entry is in a witnessed log, checkable offline (C2SP tlog-proof).

```
c2sp.org/tlog-proof@v1
extra <base64>              optional, not authenticated
index <decimal>
<base64 hash>*              inclusion proof, from the leaf up

<checkpoint>
```
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.formats.errors import FormatError, MalformedProof
from aar.formats.strict import decode_base64, encode_base64, parse_decimal
from aar.formats.tile import HASH_BYTES

HEADER = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63


@dataclass(frozen=True, slots=True)
class TlogProof:
    """Inclusion of the entry at `index` in the tree of `checkpoint` (the bytes of its note)."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None


def parse_proof(data: bytes) -> TlogProof:
    """A proof in its one spelling; the checkpoint is not opened here."""
    head, empty_line, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise MalformedProof(f"not ASCII before the checkpoint: {error}") from error
    if not empty_line or not checkpoint or lines[0] != HEADER:
        raise MalformedProof(f"want a first line {HEADER!r} and a checkpoint behind an empty line")
    extra = None
    try:
        if len(lines) > 1 and lines[1].startswith("extra "):
            extra = decode_base64(lines.pop(1).removeprefix("extra "))
        if len(lines) < 2 or not lines[1].startswith("index "):
            raise MalformedProof("want a line 'index N'")
        index = parse_decimal(lines[1].removeprefix("index "))
        hashes = tuple(decode_base64(line) for line in lines[2:])
    except MalformedProof:
        raise
    except FormatError as error:
        raise MalformedProof(str(error)) from error
    if len(hashes) > MAX_HASHES or any(len(one) != HASH_BYTES for one in hashes):
        raise MalformedProof(f"want at most {MAX_HASHES} hashes of {HASH_BYTES} bytes")
    return TlogProof(index, hashes, checkpoint, extra)


def format_proof(proof: TlogProof) -> bytes:
    """The one spelling of a proof."""
    lines = [HEADER]
    if proof.extra is not None:
        lines.append(f"extra {encode_base64(proof.extra)}")
    lines.append(f"index {proof.index}")
    lines += [encode_base64(one) for one in proof.hashes]
    return "\n".join(lines).encode("ascii") + b"\n\n" + proof.checkpoint
