"""The write-ahead log: every leaf of the record, in batches that are there whole or not at all.

One batch is one record, and becomes durable with one fdatasync::

    magic[8] crc32[4] | body length[4] first index[8] leaf count[4] previous[32] | body

Numbers are big-endian; the CRC covers all that follows it; `previous` is the SHA-256 of the record before (of
a line with the log's origin for the first); the body is, per leaf, its length in 2 bytes and its bytes.

A process that dies while it writes leaves a torn last record, which nobody was told about: it is cut. A bad
record with a good one behind it is no accident of that kind: the record halts. What this cannot tell from a
torn write is damage to the very last record; the signed state catches that when a checkpoint over it was
signed.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.outside.record.disk import Disk, halting, refusing_when_full
from aar.outside.record.errors import DiskFull, RecordHalted, RefusedEntry

# Not UTF-8, so no entry can carry a counterfeit record in its text.
MAGIC = b"\xffaarwal\x01"
_CHECKED_HEADER = struct.Struct(">IQI32s")
_CRC = struct.Struct(">I")
_LEAF_LENGTH = struct.Struct(">H")
HEADER_BYTES = len(MAGIC) + _CRC.size + _CHECKED_HEADER.size
MAX_BODY_BYTES = 1 << 28
_SEARCH_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record starts: its offset in bytes, its first index, the SHA-256 of the record before it."""

    offset: int
    index: int
    previous: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """A batch of leaves, the offset of each one's bytes in the file, and the position after it."""

    leaves: tuple[bytes, ...]
    offsets: tuple[int, ...]
    end: Position


class Wal:
    """An open write-ahead log. `recover` must have been read to its end before `append`."""

    def __init__(self, disk: Disk, path: Path, origin: str) -> None:
        """Open `path`, or make it; raises `RecordHalted` and `DiskFull`."""
        self._disk = disk
        self._path = path
        self.start = Position(0, 0, hashlib.sha256(f"aar-wal/v1 {origin}\n".encode()).digest())
        self.end = self.start
        self.torn_bytes = 0
        """How much of a torn record `recover` found; 0 after an orderly end."""
        with halting(f"open {path}"):
            self._descriptor = _open_or_create(disk, path)
        with halting(f"sync {path.parent}"):
            # Of the other files here too: `signed` must not turn back into an older one after a power cut.
            disk.sync_directory(path.parent)

    def close(self) -> None:
        self._disk.close(self._descriptor)

    def append(self, leaves: Sequence[bytes]) -> Record:
        """Make a batch durable. `DiskFull`: nothing changed. `RecordHalted`: a restart may find it."""
        data = _format_record(self.end, leaves)
        try:
            with refusing_when_full(f"write {len(data)} bytes to {self._path}"):
                self._disk.write_at(self._descriptor, data, self.end.offset)
        except DiskFull:
            with halting(f"cut {self._path} back to {self.end.offset} bytes"):
                self._disk.truncate(self._descriptor, self.end.offset)
            raise
        with halting(f"sync {self._path}"):
            self._disk.sync(self._descriptor)
        record = _parsed(self.end, data, tuple(leaves))
        self.end = record.end
        return record

    def recover(self) -> Iterator[Record]:
        """Every record from the start. Raises `RecordHalted` for damage that is not a torn tail."""
        with halting(f"sync {self._path}"):
            # A process that died before its own sync may have left a whole record in the page cache only.
            self._disk.sync(self._descriptor)
            self._disk.drop_cache(self._descriptor)
        for record in self._records(self.start):
            self.end = record.end
            yield record
        with halting(f"read {self._path}"):
            size = self._disk.size(self._descriptor)
        self.torn_bytes = size - self.end.offset
        later = self._find_record(self.end.offset, size)
        if later is not None:
            raise RecordHalted(
                f"{self._path}: the record at byte {self.end.offset} (entry {self.end.index}) is damaged and "
                f"a good one follows at byte {later}: acknowledged entries are lost here; restore a copy"
            )

    def cut_torn_tail(self) -> None:
        """Remove what `recover` found torn. A step of its own: a record that must halt keeps its bytes."""
        if self.torn_bytes:
            with halting(f"cut {self._path} to {self.end.offset} bytes"):
                self._disk.truncate(self._descriptor, self.end.offset)
                self._disk.sync(self._descriptor)

    def reread(self, start: Position) -> Iterator[Record]:
        """The records from `start` to the end, read from the disk; raises `RecordHalted` for a bad one."""
        position = start
        for record in self._records(start):
            position = record.end
            yield record
        if position != self.end:
            raise RecordHalted(
                f"{self._path}: entry {position.index} at byte {position.offset} was written and does not "
                f"read back: check the disk and the memory, then start again"
            )

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of a leaf; raises `RecordHalted` when the file ends before."""
        with halting(f"read {self._path}"):
            data = self._disk.read_at(self._descriptor, length, offset)
        if len(data) != length:
            raise RecordHalted(f"{self._path}: {length} bytes at {offset} were written, {len(data)} are left")
        return data

    def _records(self, position: Position) -> Iterator[Record]:
        """Good records from `position` on, up to the first that is not."""
        while True:
            data = self._record_at(position.offset)
            if data is None:
                return
            _, first_index, _, previous = _CHECKED_HEADER.unpack_from(data, len(MAGIC) + _CRC.size)
            if (first_index, previous) != (position.index, position.previous):
                raise RecordHalted(
                    f"{self._path}: the record at byte {position.offset} starts at entry {first_index} after "
                    f"{previous.hex()}, want entry {position.index} after {position.previous.hex()}: the "
                    f"file was put together from several, or belongs to another log"
                )
            record = _parsed(position, data)
            yield record
            position = record.end

    def _record_at(self, offset: int) -> bytes | None:
        """The bytes of the record at `offset`, or None when there is no whole and undamaged one."""
        with halting(f"read {self._path}"):
            header = self._disk.read_at(self._descriptor, HEADER_BYTES, offset)
            if len(header) < HEADER_BYTES or not header.startswith(MAGIC):
                return None
            length = _CHECKED_HEADER.unpack_from(header, len(MAGIC) + _CRC.size)[0]
            if length > MAX_BODY_BYTES:
                return None
            body = self._disk.read_at(self._descriptor, length, offset + HEADER_BYTES)
        data = header + body
        checked = memoryview(data)[len(MAGIC) + _CRC.size :]
        if len(body) < length or _CRC.unpack_from(data, len(MAGIC))[0] != zlib.crc32(checked):
            return None
        return data

    def _find_record(self, start: int, end: int) -> int | None:
        """Offset of the first whole record behind `start`, at whatever byte it lies."""
        offset = start + 1
        while offset < end:
            with halting(f"read {self._path}"):
                window = self._disk.read_at(self._descriptor, _SEARCH_BYTES + len(MAGIC) - 1, offset)
            found = window.find(MAGIC)
            while found >= 0:
                if self._record_at(offset + found) is not None:
                    return offset + found
                found = window.find(MAGIC, found + 1)
            offset += _SEARCH_BYTES
        return None


def _open_or_create(disk: Disk, path: Path) -> int:
    try:
        return disk.open(path)
    except FileNotFoundError:
        with refusing_when_full(f"make {path}"):
            return disk.create(path, 0o600)


def _format_record(position: Position, leaves: Sequence[bytes]) -> bytes:
    body = b"".join(part for leaf in leaves for part in (_LEAF_LENGTH.pack(len(leaf)), leaf))
    if len(body) > MAX_BODY_BYTES:
        raise RefusedEntry(f"a batch of {len(body)} bytes: want at most {MAX_BODY_BYTES}; split it")
    checked = _CHECKED_HEADER.pack(len(body), position.index, len(leaves), position.previous) + body
    return MAGIC + _CRC.pack(zlib.crc32(checked)) + checked


def _parsed(position: Position, data: bytes, leaves: tuple[bytes, ...] | None = None) -> Record:
    """The record that `data` is; `leaves` when they are known already."""
    count = _CHECKED_HEADER.unpack_from(data, len(MAGIC) + _CRC.size)[2]
    if leaves is None:
        leaves = _parse_body(data, count)
    offsets, offset = [], position.offset + HEADER_BYTES
    for leaf in leaves:
        offset += _LEAF_LENGTH.size
        offsets.append(offset)
        offset += len(leaf)
    end = Position(position.offset + len(data), position.index + count, hashlib.sha256(data).digest())
    return Record(leaves, tuple(offsets), end)


def _parse_body(data: bytes, count: int) -> tuple[bytes, ...]:
    leaves, offset = [], HEADER_BYTES
    while offset + _LEAF_LENGTH.size <= len(data):
        (length,) = _LEAF_LENGTH.unpack_from(data, offset)
        offset += _LEAF_LENGTH.size
        leaves.append(data[offset : offset + length])
        offset += length
    if offset != len(data) or len(leaves) != count or not leaves:
        raise RecordHalted(
            f"a record of the write-ahead log has a good checksum and a bad body: {len(leaves)} leaves end "
            f"at byte {offset}, want {count} at {len(data)}; this version did not write it"
        )
    return tuple(leaves)
