"""Checking a log on disk: signatures, every byte of every resource, the tree, the witness's own memory."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import parse_leaf
from aar.formats.errors import FormatError
from aar.formats.note import Note
from aar.formats.policy import Policy, is_quorum_met
from aar.formats.tile import (
    HASH_BYTES,
    MAX_LEVEL,
    TILE_WIDTH,
    TilePath,
    parse_bundle,
    parse_hashes,
    parse_tile_path,
    tiles_of,
)
from aar.verify.merkle import EMPTY_ROOT, leaf_hash, node_hash, root_of
from aar.verify.report import MAX_FINDINGS, Finding, Report

BLOB_NAME = re.compile("[0-9a-f]{64}", re.ASCII)
MAX_RESOURCE_BYTES = (TILE_WIDTH + 1) * 65_537
MAX_BLOB_BYTES = 1 << 26


class LogCheck:
    """One pass over a log directory: what is wrong goes into the report, what is right is kept."""

    def __init__(self, directory: Path, policy: Policy, report: Report) -> None:
        self._directory = directory
        self._policy = policy
        self._report = report
        self.checkpoint = Checkpoint(policy.log.name, 0, EMPTY_ROOT)
        self.is_opened = False
        self.is_sound = False
        self.leaf_hashes: list[bytes] = []
        self.leaves: list[bytes] = []
        self._ahead: list[bytes] = []
        self.blobs: set[str] = set()

    def run(self) -> bool:
        """Check everything; `True` when the leaves are those that the log signed."""
        report = self._report
        if not self._open_checkpoint():
            return False
        before = len(report.findings)
        self._read_leaves()
        if len(report.findings) == before:
            root = root_of(self.leaf_hashes)
            if root != self.checkpoint.root:
                self._find_first_difference(root)
        self.is_sound = len(report.findings) == before
        self._check_resources()
        return self.is_sound

    def _open_checkpoint(self) -> bool:
        report, path = self._report, "checkpoint"
        data = self._bytes(path)
        if data is None:
            return False
        try:
            self.checkpoint, note = open_checkpoint(data, self._policy.log)
        except FormatError as error:
            report.add(
                Finding(
                    code="CHECKPOINT_SIG",
                    resource=path,
                    expected=f"a checkpoint signed by {self._policy.log.name}",
                    got=str(error),
                )
            )
            return False
        self.is_opened = True
        report.tree_size = self.checkpoint.size
        report.origin = self.checkpoint.origin
        self._check_cosignatures(note)
        return True

    def _check_cosignatures(self, note: Note) -> None:
        report = self._report
        known = {(key.name, key.key_id) for _name, key in self._policy.witnesses}
        known.add((self._policy.log.name, self._policy.log.key_id))
        for line in note.signatures:
            if (line.name, line.key_id) not in known:
                report.add(
                    Finding(
                        code="CHECKPOINT_SIG",
                        resource="checkpoint",
                        expected="signatures of the policy's log and witnesses only",
                        got=f"a line of {line.name}",
                    )
                )
        cosigned = set()
        for name, key in self._policy.witnesses:
            try:
                when = cosigned_at(note, key)
            except FormatError as error:
                report.add(
                    Finding(
                        code="CHECKPOINT_SIG",
                        resource="checkpoint",
                        expected=f"a cosignature of {name}",
                        got=str(error),
                    )
                )
                continue
            if when is not None:
                cosigned.add(name)
        if not is_quorum_met(self._policy, cosigned):
            report.add(
                Finding(
                    code="POLICY",
                    resource="checkpoint",
                    expected=f"cosignatures that meet the quorum {self._policy.quorum!r}",
                    got=f"cosigned by {sorted(cosigned) or 'nobody'}",
                )
            )
        elif cosigned:
            report.anchored_up_to = self.checkpoint.size

    def _read_leaves(self) -> None:
        """Read every entry that the checkpoint's size implies, hashing each from its stored bytes."""
        size = self.checkpoint.size
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            tile = TilePath(None, index, min(size - index * TILE_WIDTH, TILE_WIDTH))
            data = self._bytes(tile.path, first_index=index * TILE_WIDTH)
            if data is None:
                return
            try:
                entries = parse_bundle(data, tile.width)
            except FormatError as error:
                self._report.add(
                    Finding(
                        code="BUNDLE_WIDTH",
                        resource=tile.path,
                        expected=f"exactly {tile.width} entries",
                        got=str(error),
                        first_index=index * TILE_WIDTH,
                    )
                )
                return
            self.leaves += entries
            self.leaf_hashes += [leaf_hash(entry) for entry in entries]

    def _find_first_difference(self, root: bytes) -> None:
        """Say which entry is not the one that was signed for, by the hashes that the tiles still hold."""
        index = next(
            (
                number
                for number, stored in enumerate(self._stored_hashes())
                if stored != self.leaf_hashes[number]
            ),
            -1,
        )
        if index >= 0:
            self._report.add(
                Finding(
                    code="ENTRY_HASH",
                    resource=TilePath(None, index // TILE_WIDTH, self._width(index // TILE_WIDTH)).path,
                    expected=f"leaf hash {self._stored_hash(index).hex()} of tile/0",
                    got=self.leaf_hashes[index].hex(),
                    first_index=index,
                )
            )
        else:
            self._report.add(
                Finding(
                    code="FORK",
                    resource="checkpoint",
                    expected=f"the root that the log signed, {self.checkpoint.root.hex()}",
                    got=f"root {root.hex()} of the entries here",
                )
            )

    def _width(self, bundle: int) -> int:
        return min(self.checkpoint.size - bundle * TILE_WIDTH, TILE_WIDTH)

    def _stored_hashes(self) -> Iterator[bytes]:
        for index in range((self.checkpoint.size + TILE_WIDTH - 1) // TILE_WIDTH):
            data = self._plain_bytes(TilePath(0, index, self._width(index)).path, MAX_RESOURCE_BYTES)
            # A tile of another length would number all later hashes wrongly.
            if not isinstance(data, bytes) or len(data) != self._width(index) * HASH_BYTES:
                return
            yield from parse_hashes(data, self._width(index))

    def _stored_hash(self, index: int) -> bytes:
        return next(one for number, one in enumerate(self._stored_hashes()) if number == index)

    def _check_resources(self) -> None:
        """Compare every file with what the entries imply; name what is missing and what nobody asked for."""
        present = dict(self._walk())
        ahead = self._read_ahead(present) if self.is_sound else []
        if ahead:
            self._report.warnings.append(
                f"{len(ahead)} more entries are written but not published: nobody vouches for them yet"
            )
        self._ahead = [*self.leaves, *ahead]
        levels = _levels([*self.leaf_hashes, *map(leaf_hash, ahead)])
        # A log may sign any size: look no further than a report can name what is missing.
        absent = (tile for tile in tiles_of(self.checkpoint.size) if tile.path not in present)
        for lost in islice(absent, MAX_FINDINGS):
            self._missing(lost.path, lost)
        for path in sorted(present):
            if path == "checkpoint" or (present[path] == "blob" and self._check_blob(path)):
                continue
            implied = self._implied(path)
            tile = implied or self._of_another_size(path)
            if present[path] != "file" or tile is None:
                self._report.add(
                    Finding(
                        code="UNEXPECTED_RESOURCE",
                        resource=path,
                        expected="only what the tree and its entries imply",
                        got="a file nobody asked for" if present[path] == "file" else f"a {present[path]}",
                    )
                )
            elif self.is_sound and (tile.level is not None or implied is None):
                self._compare(path, tile, levels)

    def _read_ahead(self, present: Mapping[str, str]) -> list[bytes]:
        """Entries behind the published tree, where a sequencer was stopped between writing and publishing.

        Taken for such only where they go on as the log writes: the bundle repeats what is published, and
        index follows on index. Whatever else lies there is what nobody asked for.
        """
        ahead: list[bytes] = []
        index = self.checkpoint.size // TILE_WIDTH
        while True:
            known = [*self.leaves, *ahead][index * TILE_WIDTH :]
            widths = range(TILE_WIDTH, len(known), -1)
            found = (TilePath(None, index, width) for width in widths)
            tile = next((one for one in found if present.get(one.path) == "file"), None)
            data = None if tile is None else self._plain_bytes(tile.path, MAX_RESOURCE_BYTES)
            if tile is None or not isinstance(data, bytes):
                return ahead
            try:
                entries = parse_bundle(data, tile.width)
                places = [parse_leaf(entry).index for entry in entries]
            except FormatError:
                return ahead
            start = index * TILE_WIDTH
            if entries[: len(known)] != known or places != [*range(start, start + tile.width)]:
                return ahead
            ahead += entries[len(known) :]
            if tile.width < TILE_WIDTH:
                return ahead
            index += 1

    def _missing(self, path: str, tile: TilePath) -> None:
        if any(one.resource == path for one in self._report.findings):
            return
        first = (tile.index * TILE_WIDTH) << (8 * (tile.level or 0))
        self._report.add(
            Finding(
                code="MISSING",
                resource=path,
                expected="a resource of the tree",
                got="no file",
                first_index=first,
            )
        )

    def _implied(self, path: str) -> TilePath | None:
        """The tile of that path if a tree of this size has it."""
        try:
            tile = parse_tile_path(path)
        except FormatError:
            return None
        count = self.checkpoint.size >> (8 * (tile.level or 0))
        return tile if tile.width == min(count - tile.index * TILE_WIDTH, TILE_WIDTH) else None

    def _of_another_size(self, path: str) -> TilePath | None:
        """A tile of an earlier size, which may stay, or of one that is written and not published yet.

        C2SP tlog-tiles lets a log delete a partial tile when the full one exists; it need not.
        """
        try:
            tile = parse_tile_path(path)
        except FormatError:
            return None
        count = len(self._ahead) >> (8 * (tile.level or 0))
        return tile if tile.index * TILE_WIDTH + tile.width <= count else None

    def _compare(self, path: str, tile: TilePath, levels: Sequence[Sequence[bytes]]) -> None:
        data = self._bytes(path)
        if data is None:
            return
        start = tile.index * TILE_WIDTH
        first = start << (8 * (tile.level or 0))
        entries = self._ahead[start : start + tile.width]
        if tile.level is None:
            expected = b"".join(len(one).to_bytes(2, "big") + one for one in entries)
            code = "ENTRY_HASH"
        else:
            expected = b"".join(levels[tile.level][start : start + tile.width])
            code = "TILE_HASH"
        if data == expected:
            return
        offset = next(
            (place for place, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b),
            min(len(data), len(expected)),
        )
        if tile.level is None:
            first += _entry_at(entries, offset)
        else:
            first += (offset // HASH_BYTES) << (8 * tile.level)
        self._report.add(
            Finding(
                code=code,
                resource=path,
                expected=f"{len(expected)} bytes, {expected[offset : offset + 16].hex()} at offset {offset}",
                got=f"{len(data)} bytes, {data[offset : offset + 16].hex()} at offset {offset}",
                first_index=first,
            )
        )

    def _check_blob(self, path: str) -> bool:
        """Whether the path is that of a blob; its name must be its hash."""
        name = path.removeprefix("blobs/")
        if not BLOB_NAME.fullmatch(name):
            return False
        data = self._bytes(path, most=MAX_BLOB_BYTES)
        if data is None:
            return True
        digest = hashlib.sha256(data).hexdigest()
        if digest == name:
            self.blobs.add(name)
        else:
            self._report.add(
                Finding(code="ENTRY_HASH", resource=path, expected=f"SHA-256 {name}", got=digest)
            )
        return True

    def _walk(self) -> Iterator[tuple[str, str]]:
        """Every path below the log directory and what it is; links are not followed."""
        todo = [""]
        while todo:
            folder = todo.pop()
            try:
                found = os.scandir(self._directory / folder)
                items = [(item.name, item.stat(follow_symlinks=False).st_mode) for item in found]
            except OSError as error:
                yield folder, f"folder that cannot be read: {error.strerror}"
                continue
            for name, mode in items:
                path = f"{folder}{name}"
                if stat.S_ISDIR(mode):
                    todo.append(f"{path}/")
                elif not stat.S_ISREG(mode):
                    yield path, "link, pipe or device"
                else:
                    yield path, "blob" if path.startswith("blobs/") and BLOB_NAME.fullmatch(name) else "file"

    def _bytes(self, path: str, *, first_index: int = -1, most: int = MAX_RESOURCE_BYTES) -> bytes | None:
        """A resource's bytes; what cannot be read is a finding."""
        data = self._plain_bytes(path, most)
        if isinstance(data, bytes):
            return data
        self._report.add(
            Finding(
                code="MISSING",
                resource=path,
                expected="a resource of the log",
                got=data,
                first_index=first_index,
            )
        )
        return None

    def _plain_bytes(self, path: str, most: int) -> bytes | str:
        """The bytes of a plain file, or why there are none; a link is not followed, a pipe not waited for."""
        file = self._directory / path
        try:
            about = file.lstat()
            if not stat.S_ISREG(about.st_mode):
                return "not a plain file"
            if about.st_size > most:
                return f"{about.st_size} bytes, at most {most}"
            return file.read_bytes()
        except OSError as error:
            return error.strerror or str(error)


def _levels(leaf_hashes: Sequence[bytes]) -> list[list[bytes]]:
    """For each tile level, the hashes of its complete subtrees: level l counts 256^l leaves each."""
    levels = [list(leaf_hashes)]
    while len(levels[-1]) >= TILE_WIDTH and len(levels) <= MAX_LEVEL:
        below = levels[-1]
        levels.append(
            [
                _perfect_root(below[start : start + TILE_WIDTH])
                for start in range(0, len(below) - TILE_WIDTH + 1, TILE_WIDTH)
            ]
        )
    return levels


def _entry_at(entries: Sequence[bytes], offset: int) -> int:
    """Which entry of a bundle stands at that byte; behind the last one, the last."""
    end = 0
    for number, entry in enumerate(entries):
        end += 2 + len(entry)
        if offset < end:
            return number
    return len(entries) - 1


def _perfect_root(hashes: Sequence[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [node_hash(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def check_seen(data: bytes, what: str, policy: Policy, log: LogCheck, report: Report) -> None:
    """Compare a checkpoint that somebody kept (a witness, a reader) with this log.

    A larger one means that this copy was rolled back; one of another root, that there are two histories.
    """
    try:
        seen, _note = open_checkpoint(data, policy.log)
    except FormatError as error:
        report.add(
            Finding(code="CHECKPOINT_SIG", resource=what, expected="a checkpoint of this log", got=str(error))
        )
        return
    if seen.size > log.checkpoint.size:
        report.add(
            Finding(
                code="ROLLBACK",
                resource=what,
                expected=f"size {seen.size} or more, which the log signed and {what} kept",
                got=f"size {log.checkpoint.size}",
                first_index=log.checkpoint.size,
            )
        )
        return
    # Damaged entries accuse nobody of a second history; two signed roots of one size do.
    root = log.checkpoint.root if seen.size == log.checkpoint.size else root_of(log.leaf_hashes[: seen.size])
    if root != seen.root and (log.is_sound or seen.size == log.checkpoint.size):
        report.add(
            Finding(
                code="FORK",
                resource=what,
                expected=f"root {seen.root.hex()} at size {seen.size}, which the log signed and {what} kept",
                got=f"root {root.hex()} of this copy",
            )
        )
