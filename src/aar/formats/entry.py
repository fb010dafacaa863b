"""Entries: what an author signed, and the line the sequencer puts before it.

```
aar-leaf/v1 <index> <received, unix ms>
aar-entry/v1 <log origin>
<one line of canonical JSON: at, author, body, kind, prev, refs, seq>

— <author key name> <base64(key id || Ed25519 signature)>
```
From the second line on it is a plain C2SP signed note. The first words of each part keep a signature from
ever fitting another purpose; the origin keeps it from fitting another log; the index makes a moved or
repeated entry evident. Entries are never serialised again in order to be verified.

The entries of a study whose researchers ran without a sandbox have one field more, `"isolation":"none"`, in
the text that their author signs: none of them can be shown elsewhere without saying so.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from aar.formats.canonical import MAX_INTEGER, Value, format_canonical, parse_canonical_text
from aar.formats.errors import FormatError, MalformedEntry, UnverifiedNote
from aar.formats.keys import Signer, VerifierKey
from aar.formats.note import Note, check_key_name, format_note, parse_note, verified_by
from aar.formats.strict import parse_sha256_hex
from aar.formats.tile import MAX_ENTRY_BYTES

ENTRY_CONTEXT = "aar-entry/v1 "
LEAF_CONTEXT = b"aar-leaf/v1 "
_LEAF_LINE = re.compile(LEAF_CONTEXT + b"(0|[1-9][0-9]{0,18}) (0|[1-9][0-9]{0,18})\n")
# The leaf's own first line is at most this long; the author's part must leave room for it.
LEAF_LINE_BYTES = 64
# In the order in which canonical JSON has them.
_FIELDS = ("at", "author", "body", "kind", "prev", "refs", "seq")
_FIELDS_UNISOLATED = ("at", "author", "body", "isolation", "kind", "prev", "refs", "seq")
# The only value of the field: what is isolated does not say so, it is probed.
NO_ISOLATION = "none"


@dataclass(frozen=True, slots=True)
class Entry:
    """What an author says. `seq` counts its entries from 0, `prev` is the hex digest of its previous text.

    `isolation` is `NO_ISOLATION` in a study without sandboxes, and empty, which is not written, in any other.
    """

    origin: str
    author: str
    seq: int
    prev: str
    kind: str
    refs: tuple[int, ...]
    body: dict[str, Value]
    at: int
    isolation: str = ""


@dataclass(frozen=True, slots=True)
class SignedEntry:
    """An entry, the note it came in, and the note's exact bytes."""

    entry: Entry
    note: Note
    data: bytes

    @property
    def text_digest(self) -> str:
        """Hex SHA-256 of the signed text: what `prev` and a decision point at."""
        return hashlib.sha256(self.note.text.encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class Leaf:
    """A sequenced entry: its index, and when the sequencer received it (Unix ms)."""

    index: int
    received_ms: int
    signed: SignedEntry


def format_entry_text(entry: Entry) -> str:
    """The text that an author signs."""
    value: dict[str, Value] = {
        "at": entry.at,
        "author": entry.author,
        "body": entry.body,
        "kind": entry.kind,
        "prev": entry.prev,
        "refs": list(entry.refs),
        "seq": entry.seq,
    }
    if entry.isolation:
        value["isolation"] = entry.isolation
    return f"{ENTRY_CONTEXT}{entry.origin}\n{format_canonical(value).decode('utf-8')}\n"


def sign_entry(entry: Entry, *signers: Signer) -> SignedEntry:
    """Sign as the author, the first of `signers`; the others co-sign the same text."""
    if not signers or signers[0].name != entry.author:
        raise MalformedEntry(f"the first signer is the author, {entry.author!r:.80}")
    text = format_entry_text(entry)
    data = format_note(Note(text, tuple(signer.sign(text) for signer in signers)))
    return parse_signed_entry(data)


def parse_signed_entry(data: bytes) -> SignedEntry:
    """The author's part of an entry; says nothing about whether the signatures hold."""
    if len(data) > MAX_ENTRY_BYTES - LEAF_LINE_BYTES:
        raise MalformedEntry(f"entry of {len(data)} bytes, at most {MAX_ENTRY_BYTES - LEAF_LINE_BYTES}")
    try:
        note = parse_note(data)
    except FormatError as error:
        raise MalformedEntry(f"not a signed note: {error}") from error
    lines = note.text.split("\n")
    if len(lines) != 3 or not lines[0].startswith(ENTRY_CONTEXT):
        raise MalformedEntry(f"want a line {ENTRY_CONTEXT!r} and one line of JSON")
    return SignedEntry(_parse_header(lines[0].removeprefix(ENTRY_CONTEXT), lines[1]), note, data)


def _parse_header(origin: str, line: str) -> Entry:
    try:
        check_key_name(origin)
        value = parse_canonical_text(line)
    except FormatError as error:
        raise MalformedEntry(str(error)) from error
    if not isinstance(value, dict) or tuple(value) not in (_FIELDS, _FIELDS_UNISOLATED):
        raise MalformedEntry(f"want exactly the fields {', '.join(_FIELDS)}")
    isolation = value.get("isolation", "")
    if "isolation" in value and isolation != NO_ISOLATION:
        raise MalformedEntry(f"isolation: {isolation!r:.40}, want {NO_ISOLATION!r} or no such field")
    at, author, body, kind = value["at"], value["author"], value["body"], value["kind"]
    prev, refs, seq = value["prev"], value["refs"], value["seq"]
    if not isinstance(at, int) or not 0 <= at <= MAX_INTEGER:
        raise MalformedEntry(f"at: {at!r:.40}, want Unix milliseconds")
    if not isinstance(seq, int) or seq < 0:
        raise MalformedEntry(f"seq: {seq!r:.40}, want a count from 0")
    if not isinstance(author, str) or not isinstance(kind, str) or not isinstance(body, dict):
        raise MalformedEntry("author and kind are strings, body is an object")
    if not isinstance(refs, list):
        raise MalformedEntry(f"refs: {refs!r:.40}, want a list")
    indices = tuple(ref for ref in refs if isinstance(ref, int) and ref >= 0)
    if len(indices) != len(refs):
        raise MalformedEntry(f"refs: {refs!r:.40}, want indices from 0")
    if not isinstance(prev, str) or (seq == 0) != (prev == ""):
        raise MalformedEntry("prev: empty for seq 0 and only there")
    try:
        check_key_name(author)
        if prev:
            parse_sha256_hex(prev)
    except FormatError as error:
        raise MalformedEntry(str(error)) from error
    return Entry(origin, author, seq, prev, kind, indices, body, at, str(isolation))


def check_entry_signatures(
    signed: SignedEntry,
    keys: Iterable[VerifierKey],
    vouches: Callable[[VerifierKey, str, bytes], bool] | None = None,
) -> tuple[VerifierKey, ...]:
    """The keys that signed, the author's first; every line must be of a known key and hold.

    `vouches`: as for `verified_by`.
    """
    verified = verified_by(signed.note, keys, vouches)
    if len(verified) != len(signed.note.signatures):
        raise UnverifiedNote("a signature line of a key that is not enrolled")
    if verified[0].name != signed.entry.author:
        raise UnverifiedNote(f"first signed by {verified[0].name}, the author is {signed.entry.author!r:.80}")
    return verified


def format_leaf(index: int, received_ms: int, signed_bytes: bytes) -> bytes:
    """The bytes that the tree commits to."""
    return LEAF_CONTEXT + f"{index} {received_ms}\n".encode("ascii") + signed_bytes


def parse_leaf(data: bytes) -> Leaf:
    """A leaf in its one spelling."""
    line = _LEAF_LINE.match(data)
    if line is None:
        raise MalformedEntry(
            f"leaf begins with {data[:60]!r}, want 'aar-leaf/v1 INDEX RECEIVED_MS', two ASCII decimals, "
            "no sign, no leading zero"
        )
    return Leaf(int(line[1]), int(line[2]), parse_signed_entry(data[line.end() :]))
