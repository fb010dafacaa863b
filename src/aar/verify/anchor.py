"""Anchors: what was written elsewhere, once, as the log grew; this copy must be what they hold.

An anchor directory has the log's checkpoints, its entries in segments, full tiles and blobs, each file
created once; a mirror is a copy of the whole record. Either is read as it is: whoever can change it can make
it agree. What it is worth depends on who that is.

```
checkpoint/<size>-<first 16 hex digits of the note's SHA-256>
segment/<first>-<end>-<first 16 hex digits of the root at end>     entries as in a bundle
tile/...   blobs/<SHA-256>                                         as in the record; no partial tiles
versions.json                                                      of a fetched store: objects changed later
```
Sizes and indices in the names of checkpoints and segments have 20 digits.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from aar.formats.checkpoint import open_checkpoint, parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.note import MAX_NOTE_BYTES, parse_note
from aar.formats.policy import Policy
from aar.formats.tile import TILE_WIDTH, TilePath, parse_tile_path, tiles_of
from aar.verify.log_check import MAX_BLOB_BYTES, MAX_RESOURCE_BYTES, Bundle, LogCheck, check_seen
from aar.verify.report import ANCHORED, MAX_FINDINGS, Finding, Report
from aar.verify.resources import BLOB_NAME, open_plain, plain_bytes, walk

CHECKPOINT = re.compile("checkpoint/([0-9]{20})-([0-9a-f]{16})", re.ASCII)
SEGMENT = re.compile("segment/([0-9]{20})-([0-9]{20})-([0-9a-f]{16})", re.ASCII)
VERSIONS = "versions.json"
STAGING = ".staging/"


class NotAnAnchor(Exception):
    """The directory holds nothing of this log; the message is one line."""


class _Segment:
    """A run of entries, read as the log passes it; `first` is the index of the next entry in it."""

    def __init__(self, path: str, first: int, end: int, root: str) -> None:
        self.path = path
        self.first = first
        self.end = end
        self.root = root
        self.is_good = True
        self._file: BinaryIO | None = None

    def read(self, directory: Path) -> bytes | None:
        """The next entry; `None` where the file ends."""
        if self._file is None:
            self._file = open_plain(directory / self.path)
        size = self._file.read(2)
        entry = self._file.read(int.from_bytes(size, "big"))
        if len(size) < 2 or len(entry) < int.from_bytes(size, "big"):
            return None
        self.first += 1
        return entry

    def close(self) -> bytes:
        """What lies behind the last entry; there should be nothing."""
        if self._file is None:
            return b""
        rest = self._file.read(1)
        self._file.close()
        self._file = None
        return rest


@dataclass(slots=True)
class Anchored:
    """What an anchor holds, for the report."""

    name: str
    is_mirror: bool
    checkpoint: int = 0
    entries: int = 0

    def as_json(self) -> dict[str, Any]:
        kind = "mirror" if self.is_mirror else "write-once"
        return {"name": self.name, "kind": kind, "checkpoint": self.checkpoint, "entries": self.entries}


class AnchorCheck:
    """Compares a log with one anchor while its entries pass; raises `NotAnAnchor` where there is nothing.

    `record` is the copy that is compared: files that are one file in both places show nothing.
    """

    def __init__(self, directory: Path, policy: Policy, record: Path) -> None:
        self._directory = directory
        self._policy = policy
        # Its own: while the entries pass, what an anchor says must not be taken for damage of the log.
        self._report = Report()
        self._name = f"anchor {directory.name}"
        if not directory.is_dir():
            raise NotAnAnchor(f"{directory}: there is no such directory")
        self._present = dict(walk(directory))
        self.anchored = Anchored(directory.name, self._present.get("checkpoint") == "file")
        self._notes: dict[str, bytes] = {}
        # Checkpoints of other logs, by path.
        self._foreign: dict[str, str] = {}
        self._segments: list[_Segment] = []
        self._waiting: list[_Segment] = []
        self._active: list[_Segment] = []
        self._tiles: dict[int, list[TilePath]] = {}
        self._upper: list[TilePath] = []
        self._strange = 0
        self._reached = 0
        if any(_is_one_file(directory / path, record / path) for path in self._present):
            raise NotAnAnchor(
                f"{directory} is the record itself, or shares files with it: who changes one changes both; "
                "name a place that holds a copy of its own"
            )
        self._sort()

    def _sort(self) -> None:
        """Take every file for what its path says."""
        for path in sorted(self._present):
            segment = SEGMENT.fullmatch(path)
            if path.startswith(STAGING):
                continue  # what a crash left half done, under no name yet
            if self._present[path] not in ("file", "blob"):
                self._strange += 1
            elif path == "checkpoint" or CHECKPOINT.fullmatch(path):
                self._take_note(path)
            elif segment and int(segment[1]) < int(segment[2]):
                self._waiting.append(_Segment(path, int(segment[1]), int(segment[2]), segment[3]))
            elif path.startswith("tile/"):
                self._take_tile(path)
            elif self._present[path] != "blob" and path != VERSIONS:
                self._strange += 1
        self._segments = list(self._waiting)
        if self._foreign and not self._notes:
            other = min(self._foreign.values())
            raise NotAnAnchor(f"{self._directory} is the anchor of {other}, not of {self._policy.log.name}")
        # Whoever may add to an anchor must not be able to have it set aside as another log's.
        for path, origin in self._foreign.items():
            self._diverge(path, "a checkpoint of this log", f"one of {origin}")
        if not self._notes and not self._waiting and not self._tiles:
            raise NotAnAnchor(f"{self._directory} is no anchor: it holds no checkpoint, segment or tile")
        self._waiting.sort(key=lambda one: one.first, reverse=True)

    def _take_note(self, path: str) -> None:
        data = plain_bytes(self._directory, path, MAX_NOTE_BYTES)
        if not isinstance(data, bytes):
            self._diverge(path, "a checkpoint of this log", data)
            return
        try:
            origin = parse_checkpoint_text(parse_note(data).text).origin
        except FormatError:
            origin = self._policy.log.name  # `check_seen` says what is wrong with it
        if origin == self._policy.log.name:
            self._notes[path] = data
        else:
            self._foreign[path] = origin

    def _take_tile(self, path: str) -> None:
        try:
            tile = parse_tile_path(path)
        except FormatError:
            self._strange += 1
            return
        if tile.level:
            self._upper.append(tile)
        else:
            self._tiles.setdefault(tile.index, []).append(tile)

    def sizes(self) -> Iterator[int]:
        """The sizes whose roots will be asked for."""
        for data in self._notes.values():
            size = self._size_of(data)
            if size is not None:
                yield size
        for segment in self._waiting:
            yield segment.end

    def notes(self) -> Iterator[bytes]:
        """The checkpoints it holds; nothing is known yet of who signed them."""
        yield from self._notes.values()

    def _size_of(self, data: bytes) -> int | None:
        try:
            return open_checkpoint(data, self._policy.log)[0].size
        except FormatError:
            return None

    def take(self, bundle: Bundle) -> None:
        """Compare the next bundle with the segments and tiles that hold it."""
        end = bundle.first + len(bundle.entries)
        self._reached = end
        while self._waiting and self._waiting[-1].first < end:
            self._active.append(self._waiting.pop())
        for segment in list(self._active):
            self._compare_segment(segment, bundle)
            if not segment.is_good or segment.first == segment.end:
                self._active.remove(segment)
        for tile in self._tiles.get(bundle.index, ()):
            if tile.width <= len(bundle.entries):
                self._compare_tile(tile, bundle)

    def _compare_segment(self, segment: _Segment, bundle: Bundle) -> None:
        last = min(segment.end, bundle.first + len(bundle.entries))
        for index in range(segment.first, last):
            try:
                entry = segment.read(self._directory)
            except OSError as error:
                entry = None
                reason = error.strerror or str(error)
            else:
                reason = "the segment ends before it"
            if entry != bundle.entries[index - bundle.first]:
                segment.is_good = False
                got = reason if entry is None else f"entry of SHA-256 {hashlib.sha256(entry).hexdigest()}"
                here = hashlib.sha256(bundle.entries[index - bundle.first]).hexdigest()
                evidence = {} if entry is None else {ANCHORED: entry}
                expected = f"the entry of SHA-256 {here} of this copy"
                self._diverge(segment.path, expected, got, index, evidence)
                segment.close()
                break
        if segment.first == segment.end and segment.close():
            segment.is_good = False
            self._diverge(segment.path, "nothing behind its last entry", "more bytes", segment.end)
        if segment.is_good and segment.first == segment.end:
            self._covers(segment)

    def _covers(self, segment: _Segment) -> None:
        """Segments come in the order of their first entries; one may repeat what another holds."""
        begin = int(segment.path.split("/")[1].split("-")[0])
        if begin <= self.anchored.entries:
            self.anchored.entries = max(self.anchored.entries, segment.end)

    def _compare_tile(self, tile: TilePath, bundle: Bundle) -> None:
        data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
        if tile.level is None:
            entries = bundle.entries[: tile.width]
            expected = b"".join(len(one).to_bytes(2, "big") + one for one in entries)
        else:
            expected = b"".join(bundle.hashes[: tile.width])
        if data != expected:
            got = data if isinstance(data, str) else f"other bytes, {len(data)} of them"
            self._diverge(tile.path, f"the {len(expected)} bytes of this copy", got, bundle.first)
        elif tile.level is None and self.anchored.entries >= bundle.first:
            self.anchored.entries = max(self.anchored.entries, bundle.first + tile.width)

    def finish(self, log: LogCheck, report: Report) -> None:
        """Compare what only the whole log shows, and report all; call it when the entries have passed."""
        for path, data in self._notes.items():
            self._check_note(path, data, log)
        if log.is_sound:
            self._check_roots(log)
            self._check_upper_tiles(log)
            self._check_coverage()
        self._check_blobs()
        self._check_versions()
        report.join(self._report)
        if self._report.verdict == "ok":
            newest = min(self.anchored.checkpoint, log.checkpoint.size)
            report.anchored_up_to = max(report.anchored_up_to, newest)
        beyond = [one.end for one in (*self._waiting, *self._active) if one.end > self._reached]
        if beyond:
            report.warnings.append(
                f"{self._name} holds entries up to {max(beyond) - 1}, which this copy does not publish"
            )
        if self._strange:
            report.warnings.append(f"{self._name} holds {self._strange} files that are none of this log's")
        report.anchors.append(self.anchored.as_json())

    def _check_note(self, path: str, data: bytes, log: LogCheck) -> None:
        check_seen(data, f"{self._name}: {path}", self._policy, log, self._report)
        size = self._size_of(data)
        if size is None:
            return
        self.anchored.checkpoint = max(self.anchored.checkpoint, size)
        match = CHECKPOINT.fullmatch(path)
        name = f"{size:020d}-{hashlib.sha256(data).hexdigest()[:16]}"
        if match and path != f"checkpoint/{name}":
            self._diverge(path, "a checkpoint of the size and the hash in its name", name)

    def _check_roots(self, log: LogCheck) -> None:
        for segment in self._segments:
            if segment.end <= log.checkpoint.size:
                root = log.root_at(segment.end).hex()[:16]
                if root != segment.root:
                    self._diverge(segment.path, f"the root {root} in its name", segment.root, segment.end)

    def _check_upper_tiles(self, log: LogCheck) -> None:
        for tile in self._upper:
            level = tile.level or 0
            if (tile.index * TILE_WIDTH + tile.width) << (8 * level) > log.checkpoint.size:
                continue
            data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
            expected = log.level_hashes(level, tile.index * TILE_WIDTH, tile.width)
            if data != expected:
                got = data if isinstance(data, str) else f"other bytes, {len(data)} of them"
                first = (tile.index * TILE_WIDTH) << (8 * level)
                self._diverge(tile.path, f"the {len(expected)} bytes of this copy", got, first)

    def _check_coverage(self) -> None:
        """An anchored checkpoint says that every entry under it was written there before."""
        if self.anchored.is_mirror:
            tiles = (tile for tile in tiles_of(self.anchored.checkpoint) if tile.path not in self._present)
            for tile in islice(tiles, MAX_FINDINGS):
                first = (tile.index * TILE_WIDTH) << (8 * (tile.level or 0))
                self._add("MISSING", tile.path, "a resource of the mirrored tree", "no file", first)
        elif self.anchored.entries < min(self.anchored.checkpoint, self._reached):
            self._add(
                "MISSING",
                "segment",
                f"every entry under its checkpoint of size {self.anchored.checkpoint}",
                f"entries up to {self.anchored.entries}",
                self.anchored.entries,
            )

    def _check_blobs(self) -> None:
        for path, what in self._present.items():
            name = path.removeprefix("blobs/")
            if what != "blob" or not BLOB_NAME.fullmatch(name):
                continue
            data = plain_bytes(self._directory, path, MAX_BLOB_BYTES)
            digest = data if isinstance(data, str) else hashlib.sha256(data).hexdigest()
            if digest != name:
                self._diverge(path, f"SHA-256 {name}", digest)

    def _check_versions(self) -> None:
        """A store whose objects have versions: which of them somebody wrote again, or marked as deleted."""
        if VERSIONS not in self._present:
            return
        data = plain_bytes(self._directory, VERSIONS, MAX_RESOURCE_BYTES)
        try:
            listed = json.loads(data)
            changed = [(one["key"], int(one["versions"]), int(one["delete_markers"])) for one in listed]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            self._report.warnings.append(f"{self._name}: {VERSIONS} cannot be read: versions were not judged")
            return
        for key, versions, markers in changed:
            got = f"{versions} versions, {markers} delete markers"
            self._add("WORM_VERSIONS", str(key), "one version, never deleted", got)

    def _diverge(
        self,
        path: str,
        expected: str,
        got: str,
        first_index: int = -1,
        evidence: Mapping[str, bytes] | None = None,
    ) -> None:
        self._add("WORM_DIVERGENCE", path, expected, got, first_index, evidence)

    def _add(
        self,
        code: str,
        path: str,
        expected: str,
        got: str,
        first_index: int = -1,
        evidence: Mapping[str, bytes] | None = None,
    ) -> None:
        self._report.add(
            Finding(
                code=code,
                resource=f"{self._name}: {path}",
                expected=expected,
                got=got,
                first_index=first_index,
                evidence=evidence or {},
            )
        )


def _is_one_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file: the same directory, a link to it, or a hard link."""
    try:
        return os.path.samestat(one.lstat(), other.lstat())
    except OSError:
        return False
