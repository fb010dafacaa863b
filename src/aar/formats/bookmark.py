"""Bookmarks: where a reader stands who verified a study once, so that the next time only what is new is read.

A bookmark is the reader's own and kept outside the study: what it says is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.formats.canonical import Value, format_canonical, parse_canonical
from aar.formats.entry import NO_ISOLATION
from aar.formats.errors import FormatError, MalformedBookmark
from aar.formats.keys import VerifierKey, format_vkey, parse_vkey
from aar.formats.strict import parse_sha256_hex

HEADER = "aar-bookmark/v1"
_FIELDS = {"v", "checkpoint", "keys", "chains", "received_ms", "is_closed"}


@dataclass(frozen=True, slots=True)
class Bookmark:
    """Up to where a study was verified, and what the next entry is held against.

    `checkpoint` is the log's note; `keys` has (name, role, key) of all who may write; `chains` has for each
    author the next `seq` and the digest of its last text; `received_ms` is the time of the last entry.
    `isolation` is what each entry of the study says of its own, mostly nothing.
    """

    checkpoint: bytes
    keys: tuple[tuple[str, str, VerifierKey], ...]
    chains: dict[str, tuple[int, str]]
    received_ms: int
    is_closed: bool
    isolation: str = ""


def format_bookmark(bookmark: Bookmark) -> bytes:
    """The one spelling of a bookmark."""
    value: dict[str, Value] = {
        "v": HEADER,
        "checkpoint": bookmark.checkpoint.decode("utf-8"),
        "keys": [[name, role, format_vkey(key)] for name, role, key in bookmark.keys],
        "chains": {name: [seq, prev] for name, (seq, prev) in bookmark.chains.items()},
        "received_ms": bookmark.received_ms,
        "is_closed": int(bookmark.is_closed),
    }
    if bookmark.isolation:
        value["isolation"] = bookmark.isolation
    return format_canonical(value) + b"\n"


def parse_bookmark(data: bytes) -> Bookmark:
    """A bookmark; raises `MalformedBookmark`."""
    if not data.endswith(b"\n"):
        raise MalformedBookmark("a bookmark is one line of JSON with its newline")
    try:
        value = parse_canonical(data[:-1])
        return _read(value)
    except MalformedBookmark:
        raise
    except FormatError as error:
        raise MalformedBookmark(f"bookmark: {error}") from error


def _read(value: Value) -> Bookmark:
    if not isinstance(value, dict) or {*value} - {"isolation"} != _FIELDS:
        raise MalformedBookmark("want the fields v, checkpoint, keys, chains, received_ms, is_closed")
    checkpoint, received_ms, is_closed = value["checkpoint"], value["received_ms"], value["is_closed"]
    if value["v"] != HEADER or not isinstance(checkpoint, str):
        raise MalformedBookmark(f"want v {HEADER!r} and a checkpoint's note")
    if not isinstance(received_ms, int) or received_ms < 0 or is_closed not in (0, 1):
        raise MalformedBookmark("want received_ms in Unix milliseconds, is_closed 0 or 1")
    isolation = value.get("isolation", "")
    if "isolation" in value and isolation != NO_ISOLATION:
        raise MalformedBookmark(f"isolation: {isolation!r:.40}, want {NO_ISOLATION!r} or no such field")
    keys, chains = value["keys"], value["chains"]
    if not isinstance(keys, list) or not isinstance(chains, dict):
        raise MalformedBookmark("want a list of keys and an object of chains")
    return Bookmark(
        checkpoint.encode("utf-8"),
        tuple(_read_key(one) for one in keys),
        {name: _read_chain(one) for name, one in chains.items()},
        received_ms,
        is_closed == 1,
        str(isolation),
    )


def _read_key(value: Value) -> tuple[str, str, VerifierKey]:
    if not isinstance(value, list) or len(value) != 3:
        raise MalformedBookmark("a key is [name, role, vkey]")
    name, role, vkey = value
    if not isinstance(name, str) or not isinstance(role, str) or not isinstance(vkey, str):
        raise MalformedBookmark("a key is three strings: name, role, vkey")
    return name, role, parse_vkey(vkey)


def _read_chain(value: Value) -> tuple[int, str]:
    if not isinstance(value, list) or len(value) != 2:
        raise MalformedBookmark("a chain is [seq, prev]")
    seq, prev = value
    if not isinstance(seq, int) or seq < 1 or not isinstance(prev, str):
        raise MalformedBookmark("a chain is a count from 1 and a digest")
    parse_sha256_hex(prev)
    return seq, prev
