"""Tiles and entry bundles: how a log lies on disk (C2SP tlog-tiles v0.1.0).

```
tile/<L>/<N>[.p/<W>]        hashes of level L, 256 of 32 bytes, W if partial
tile/entries/<N>[.p/<W>]    entries, each behind a big-endian uint16 of its length
<N>                         three-digit groups, all but the last behind an "x": 1234067 is x001/x234/067
```
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aar.formats.errors import MalformedTile

TILE_WIDTH = 256
HASH_BYTES = 32
MAX_ENTRY_BYTES = 65_535
MAX_LEVEL = 63

_LENGTH_AT = struct.Struct(">H").unpack_from
_PATH = re.compile("tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\\.p/([0-9]{1,3}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class TilePath:
    """One resource of a log: `level` is `None` for entries; `width` is 256 when full."""

    level: int | None
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        text = f"{self.index % 1000:03d}"
        rest = self.index // 1000
        while rest:
            text = f"x{rest % 1000:03d}/{text}"
            rest //= 1000
        name = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{name}/{text}{partial}"


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile of hashes."""
    return TilePath(level, index, width).path


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle."""
    return TilePath(None, index, width).path


def parse_tile_path(path: str) -> TilePath:
    """The tile of a path in its one spelling."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise MalformedTile(f"path {path!r:.80} is not that of a tile or an entry bundle")
    name, number, partial = match.groups()
    index = int(number.replace("x", "").replace("/", ""))
    tile = TilePath(None if name == "entries" else int(name), index, int(partial) if partial else TILE_WIDTH)
    if not 1 <= tile.width <= TILE_WIDTH or (tile.level or 0) > MAX_LEVEL or tile.path != path:
        raise MalformedTile(f"path {path!r:.80}: not the one spelling of a tile")
    return tile


def format_bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle."""
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise MalformedTile(f"entry of {len(entry)} bytes, at most {MAX_ENTRY_BYTES}")
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """Exactly `width` entries, with nothing after them."""
    entries = []
    length, position = len(data), 0
    for number in range(width):
        start = position + 2
        if start > length:
            raise MalformedTile(f"bundle ends after {number} entries, want {width}")
        position = start + _LENGTH_AT(data, position)[0]
        if position > length:
            raise MalformedTile(f"bundle ends inside entry {number}")
        entries.append(data[start:position])
    if position != length:
        raise MalformedTile(f"{length - position} bytes after the last of {width} entries")
    return entries


def parse_hashes(data: bytes, width: int) -> list[bytes]:
    """Exactly `width` hashes of 32 bytes."""
    if len(data) != width * HASH_BYTES:
        raise MalformedTile(f"tile of {len(data)} bytes, want {width} hashes of {HASH_BYTES}")
    return [data[start : start + HASH_BYTES] for start in range(0, len(data), HASH_BYTES)]


def tiles_of(size: int) -> Iterator[TilePath]:
    """Every full tile and bundle, and the right-edge partials, that a tree of `size` entries implies."""
    for level in (None, *range(MAX_LEVEL + 1)):
        count = size >> (8 * (level or 0))
        if count == 0:
            return
        for index in range(count // TILE_WIDTH):
            yield TilePath(level, index)
        if count % TILE_WIDTH:
            yield TilePath(level, count // TILE_WIDTH, count % TILE_WIDTH)
