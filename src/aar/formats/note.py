"""Signed notes: a text and who vouches for it (C2SP signed-note v1.0.0).

```
<text, ends with a newline>
<empty line>
— <key name> <base64(key id[4] || signature)>
```
The split between text and signatures is the last empty line. Unknown signatures are ignored by the format;
a known key with a bad signature makes the whole note bad.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aar.formats.errors import FormatError, MalformedNote, MalformedSignature, UnverifiedNote
from aar.formats.strict import decode_base64, encode_base64

if TYPE_CHECKING:
    from aar.formats.keys import VerifierKey

MAX_SIGNATURES = 100
MAX_NOTE_BYTES = 1 << 20
KEY_ID_BYTES = 4

# By expression, not character by character: every entry of every record goes through these.
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f]")
_CONTROL_BYTES = bytes(byte for byte in range(0x20) if byte != 0x0A)
_REFUSED_IN_NAMES = re.compile("[\\s\x00-\x1f+\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: key name, 4-byte key id, signature bytes."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A parsed note; `text` ends with a newline. Parsing says nothing about who signed."""

    text: str
    signatures: tuple[Signature, ...]


def check_key_name(name: str) -> None:
    """A key name is Unicode text, not empty, without a space, a control character or a plus sign."""
    if not name or _REFUSED_IN_NAMES.search(name):
        raise MalformedNote(f"key name {name!r:.80}: want no space, no control character, no '+'")


def parse_note(data: bytes) -> Note:
    """Parse the bytes of a signed note; `MalformedNote` on anything but its one spelling."""
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedNote(f"note of {len(data)} bytes, at most {MAX_NOTE_BYTES}")
    try:
        whole = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedNote(f"not UTF-8: {error}") from error
    # In UTF-8 these bytes are these characters, and bytes are looked through ten times faster.
    if len(data.translate(None, _CONTROL_BYTES)) != len(data):
        check_note_text(whole)
    text, empty_line, lines = whole.rpartition("\n\n")
    if not empty_line:
        raise MalformedNote("no empty line before the signatures")
    if not lines.endswith("\n"):
        raise MalformedNote("the last signature line does not end")
    signatures = tuple(_parse_signature(line) for line in lines[:-1].split("\n"))
    if len(signatures) > MAX_SIGNATURES:
        raise MalformedNote(f"{len(signatures)} signatures, at most {MAX_SIGNATURES}")
    return Note(text + "\n", signatures)


def check_note_text(text: str) -> None:
    """No control character but newline may stand in a note."""
    found = _CONTROL.search(text)
    if found:
        raise MalformedNote(f"control character {found.group()!r}")


def _parse_signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != "\u2014":
        raise MalformedNote(f"signature line {line!r:.80}: want '\u2014 NAME BASE64'")
    check_key_name(parts[1])
    try:
        data = decode_base64(parts[2])
    except FormatError as error:
        raise MalformedSignature(f"signature of {parts[1]}: {error}") from error
    if len(data) <= KEY_ID_BYTES:
        raise MalformedNote(f"signature of {parts[1]}: {len(data)} bytes, want a key id and a signature")
    return Signature(parts[1], data[:KEY_ID_BYTES], data[KEY_ID_BYTES:])


def format_note(note: Note) -> bytes:
    """The bytes of a note."""
    if not note.text.endswith("\n"):
        raise MalformedNote("a note's text ends with a newline")
    if not note.signatures:
        raise MalformedNote("a note has at least one signature")
    return (note.text + "\n" + "".join(format_signature(one) for one in note.signatures)).encode("utf-8")


def format_signature(signature: Signature) -> str:
    """One signature line, with its newline."""
    return f"\u2014 {signature.name} {encode_base64(signature.key_id + signature.signature)}\n"


def verified_by(
    note: Note,
    keys: Iterable[VerifierKey],
    vouches: Callable[[VerifierKey, str, bytes], bool] | None = None,
) -> tuple[VerifierKey, ...]:
    """The known keys that vouch for this note, in the order of its lines.

    `UnverifiedNote` when none does, when a known key's signature is bad, when one key signs twice, or when
    two known keys of a name in it cannot be told apart by their key ids. `vouches` answers in the place of
    the key's own `vouches_for`, where that was asked before.
    """
    names = {signature.name for signature in note.signatures}
    known: dict[tuple[str, bytes], VerifierKey] = {}
    for key in keys:
        if key.name in names and known.setdefault((key.name, key.key_id), key) != key:
            raise UnverifiedNote(f"two known keys named {key.name} have the key id {key.key_id.hex()}")
    found: list[VerifierKey] = []
    for signature in note.signatures:
        signer = known.get((signature.name, signature.key_id))
        if signer is None:
            continue
        if signer in found:
            raise UnverifiedNote(f"two signatures of {signer.name}")
        said = (note.text, signature.signature)
        if not (vouches(signer, *said) if vouches else signer.vouches_for(*said)):
            raise UnverifiedNote(f"the signature of {signer.name} is not over this text")
        found.append(signer)
    if not found:
        signers = ", ".join(signature.name for signature in note.signatures)
        raise UnverifiedNote(f"no signature of a known key; signed by {signers[:120]}")
    return tuple(found)
