"""The names under which a write-once anchor holds a record: `verify.anchor` reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from aar.formats.tile import format_bundle


def segment_path(first: int, end: int, root: bytes) -> str:
    """Entries `first` to `end` of the tree with that root at `end`."""
    return f"segment/{first:020d}-{end:020d}-{root.hex()[:16]}"


def entries_held(names: Iterable[str]) -> int:
    """How many entries segments of these names hold, from the first entry on without a gap."""
    held = 0
    for name in sorted(names):
        first, _, rest = name.partition("-")
        end = rest.partition("-")[0]
        if first.isdigit() and end.isdigit() and int(first) <= held:
            held = max(held, int(end))
    return held


def format_segment(leaves: Sequence[bytes]) -> bytes:
    """Entries as in a bundle, of any number."""
    return format_bundle(leaves)


def checkpoint_path(size: int, note: bytes) -> str:
    """A checkpoint's note."""
    return f"checkpoint/{size:020d}-{hashlib.sha256(note).hexdigest()[:16]}"


def blob_path(digest: str) -> str:
    """A blob, as in the record."""
    return f"blobs/{digest}"
