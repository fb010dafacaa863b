"""Cosignatures: at that time the largest tree a witness had seen (C2SP tlog-cosignature v1.0.1)."""

from __future__ import annotations

from aar.formats.errors import MalformedKey, UnverifiedNote
from aar.formats.keys import COSIGNATURE, TIME_BYTES, VerifierKey
from aar.formats.note import Note, verified_by


def cosigned_at(note: Note, key: VerifierKey) -> int | None:
    """Unix seconds at which `key` cosigned, `None` if it did not; `UnverifiedNote` if its line is bad."""
    if key.algorithm != COSIGNATURE:
        raise MalformedKey(f"{key.name} is not a cosignature key: its signatures carry no time")
    lines = [one for one in note.signatures if (one.name, one.key_id) == (key.name, key.key_id)]
    if not lines:
        return None
    verified_by(note, [key])
    unix_s = int.from_bytes(lines[0].signature[:TIME_BYTES], "big")
    if unix_s == 0:
        raise UnverifiedNote(f"the cosignature of {key.name} has no time")
    return unix_s
