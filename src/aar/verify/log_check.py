"""Checking a log on disk: signatures, every byte of every resource, the tree, the witness's own memory.

One pass, bundle by bundle: what was read is hashed, compared with its tile, handed on and let go, so that
memory does not grow with the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import parse_leaf
from aar.formats.errors import FormatError
from aar.formats.note import Note
from aar.formats.policy import Policy, is_quorum_met
from aar.formats.prefix import format_prefix
from aar.formats.proof import format_proof
from aar.formats.tile import (
    HASH_BYTES,
    TILE_WIDTH,
    TilePath,
    parse_bundle,
    parse_tile_path,
    tiles_of,
)
from aar.verify.merkle import EMPTY_ROOT
from aar.verify.prover import NoProof, Prover
from aar.verify.report import HERE, MAX_FINDINGS, PREFIX, SEEN, Finding, Report
from aar.verify.resources import BLOB_NAME, plain_bytes, walk
from aar.verify.tile_hashes import (
    TILE_HEIGHT,
    Peak,
    TileHashes,
    hash_leaves,
    peaks_of,
    perfect_root,
    root_of_peaks,
)

MAX_RESOURCE_BYTES = (TILE_WIDTH + 1) * 65_537
MAX_BLOB_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Bundle:
    """The entries of one bundle as they were read, and their leaf hashes."""

    index: int
    data: bytes
    entries: list[bytes]
    hashes: list[bytes]

    @property
    def first(self) -> int:
        """The index of its first entry."""
        return self.index * TILE_WIDTH


class Reader(Protocol):
    """Who looks at the entries as they pass."""

    def take(self, bundle: Bundle) -> None:
        """The next bundle, in order; nothing is known yet of whether the log as a whole holds."""
        ...


class LogCheck:
    """One pass over a log directory: what is wrong goes into the report, what is right is handed on.

    `sizes` are those of which `root_at` will be asked, `indices` the entries of which `leaf_hash_at` will be.
    """

    def __init__(
        self,
        directory: Path,
        policy: Policy,
        report: Report,
        *,
        sizes: Sequence[int] = (),
        indices: Sequence[int] = (),
    ) -> None:
        self._directory = directory
        self._policy = policy
        self._report = report
        self.checkpoint = Checkpoint(policy.log.name, 0, EMPTY_ROOT)
        self.note = b""
        # Unix seconds of the newest cosignature; 0 when there is none.
        self.cosigned_s = 0
        self.is_opened = False
        self.is_sound = False
        self.blobs: set[str] = set()
        self._present: dict[str, str] = {}
        # Partial tiles and bundles of other sizes than the published one, by the number of the bundle.
        self._spare: dict[int, list[TilePath]] = {}
        self._hashes = TileHashes()
        self._read = 0
        self._edge: list[bytes] = []
        self._edge_hashes: list[bytes] = []
        self._peaks: dict[int, list[Peak]] = {}
        self._leaf_hashes: dict[int, bytes] = {}
        # What will be asked for, by the bundle in which it is seen.
        self._sizes: dict[int, set[int]] = {}
        self._indices: dict[int, set[int]] = {}
        for asked, of_bundle in ((sizes, self._sizes), (indices, self._indices)):
            for one in asked:
                of_bundle.setdefault(one // TILE_WIDTH, set()).add(one)
        self._tile_findings: dict[str, Finding] = {}
        self._first_difference: tuple[int, bytes, bytes] | None = None
        self._has_tiles = True

    def run(self, readers: Sequence[Reader] = ()) -> bool:
        """Check everything; `True` when the leaves are those that the log signed."""
        report = self._report
        if not self._open_checkpoint():
            return False
        before = report.count
        self._look_around()
        self._read_leaves(readers)
        if report.count == before:
            root = root_of_peaks(self._peaks_at(self.checkpoint.size))
            if root != self.checkpoint.root:
                self._say_first_difference(root)
        self.is_sound = report.count == before
        self._check_resources()
        return self.is_sound

    def run_from(self, since: Checkpoint, readers: Sequence[Reader]) -> bool:
        """Check what is new since a checkpoint that held; `True` when all of it is as it should be.

        Reads the right edge of the tree, as it was then, and everything after it: nothing of it is believed
        unless it leads to the root that held. What is found wrong is not named; `run` does that.
        """
        if not self._open_checkpoint() or self.checkpoint.size < since.size:
            return False
        size = self.checkpoint.size
        bundles = since.size // TILE_WIDTH
        edge = self._read_edge(since.size)
        if edge is None:
            return False
        self._hashes = TileHashes.from_right_edge(edge, bundles)
        hashes: list[bytes] = []
        for index in range(bundles, (size + TILE_WIDTH - 1) // TILE_WIDTH):
            bundle = self._read_bundle(index, self._width(index))
            if bundle is None:
                return False
            if index == bundles:
                hashes = bundle.hashes[: since.size % TILE_WIDTH]
            self._take(bundle)
            for reader in readers:
                reader.take(bundle)
        if root_of_peaks([*self._hashes.peaks(bundles), *peaks_of(hashes)]) != since.root:
            return False
        if root_of_peaks(self._peaks_at(size)) != self.checkpoint.root:
            return False
        self.is_sound = self._has_tiles and not self._tile_findings and self._has_new_levels(since.size)
        return self.is_sound

    def _read_edge(self, size: int) -> list[bytes] | None:
        """For each level from 1 up, the hashes that a tree of that size had in its last tile."""
        edge = []
        level = 1
        while count := size >> (TILE_HEIGHT * level):
            tile = self._tile_at(level, count // TILE_WIDTH)
            data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES) if count % TILE_WIDTH else b""
            if not isinstance(data, bytes):
                return None
            edge.append(data[: count % TILE_WIDTH * HASH_BYTES])
            level += 1
        return edge

    def _tile_at(self, level: int, index: int) -> TilePath:
        count = self.checkpoint.size >> (TILE_HEIGHT * level)
        return TilePath(level, index, max(1, min(count - index * TILE_WIDTH, TILE_WIDTH)))

    def _has_new_levels(self, size: int) -> bool:
        """Whether the tiles above the lowest that grew since that size are as the entries imply."""
        level = 1
        while count := self.checkpoint.size >> (TILE_HEIGHT * level):
            first = (size >> (TILE_HEIGHT * level)) // TILE_WIDTH
            for index in range(first, (count + TILE_WIDTH - 1) // TILE_WIDTH):
                tile = self._tile_at(level, index)
                data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
                if data != self._hashes.level(level, index * TILE_WIDTH, tile.width):
                    return False
            level += 1
        return True

    def _open_checkpoint(self) -> bool:
        report, path = self._report, "checkpoint"
        data = self._bytes(path)
        if data is None:
            return False
        try:
            self.checkpoint, note = open_checkpoint(data, self._policy.log)
            self.note = data
        except FormatError as error:
            report.add(
                Finding(
                    code="CHECKPOINT_SIG",
                    resource=path,
                    expected=f"a checkpoint signed by {self._policy.log.name}",
                    got=str(error),
                    evidence={HERE: data},
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
                        evidence={HERE: self.note},
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
                        evidence={HERE: self.note},
                    )
                )
                continue
            if when is not None:
                cosigned.add(name)
                self.cosigned_s = max(self.cosigned_s, when)
        if not is_quorum_met(self._policy, cosigned):
            report.add(
                Finding(
                    code="POLICY",
                    resource="checkpoint",
                    expected=f"cosignatures that meet the quorum {self._policy.quorum!r}",
                    got=f"cosigned by {sorted(cosigned) or 'nobody'}",
                    evidence={HERE: self.note},
                )
            )
        elif cosigned:
            report.anchored_up_to = self.checkpoint.size

    def _look_around(self) -> None:
        """Note every path; those of partial tiles are needed while the entries pass."""
        self._present = dict(walk(self._directory))
        for path in sorted(path for path, what in self._present.items() if what == "file"):
            try:
                tile = parse_tile_path(path)
            except FormatError:
                continue
            if not tile.level and self._implied(path) is None:
                self._spare.setdefault(tile.index, []).append(tile)

    def _read_leaves(self, readers: Sequence[Reader]) -> None:
        """Read every entry that the checkpoint's size implies, hashing each from its stored bytes."""
        size = self.checkpoint.size
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            bundle = self._read_bundle(index, self._width(index))
            if bundle is None:
                return
            self._take(bundle)
            for reader in readers:
                reader.take(bundle)

    def _read_bundle(self, index: int, width: int) -> Bundle | None:
        """A bundle of the log; what cannot be read as one is a finding."""
        path = TilePath(None, index, width).path
        data = self._bytes(path, first_index=index * TILE_WIDTH)
        if data is None:
            return None
        try:
            entries = parse_bundle(data, width)
        except FormatError as error:
            self._report.add(
                Finding(
                    code="BUNDLE_WIDTH",
                    resource=path,
                    expected=f"exactly {width} entries",
                    got=str(error),
                    first_index=index * TILE_WIDTH,
                )
            )
            return None
        return Bundle(index, data, entries, hash_leaves(entries))

    def _take(self, bundle: Bundle) -> None:
        """Compare a bundle with the tile of its hashes, and keep what will be asked for later."""
        width = len(bundle.entries)
        self._read += width
        self._compare_with_tile(bundle, TilePath(0, bundle.index, width))
        if width == TILE_WIDTH:
            # An earlier size may have left them; behind the last full bundle it takes what lies ahead.
            for tile in self._spare.get(bundle.index, ()):
                self._compare(tile, bundle.entries, bundle.hashes, self._tile_findings)
            self._hashes.add(perfect_root(bundle.hashes))
        else:
            self._edge, self._edge_hashes = bundle.entries, bundle.hashes
        for size in self._sizes.get(bundle.index, ()):
            self._peaks[size] = peaks_of(bundle.hashes[: size - bundle.first])
        for index in self._indices.get(bundle.index, ()):
            if index < bundle.first + width:
                self._leaf_hashes[index] = bundle.hashes[index - bundle.first]

    def _compare_with_tile(self, bundle: Bundle, tile: TilePath) -> None:
        data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
        expected = b"".join(bundle.hashes)
        if data == expected:
            return
        if not isinstance(data, bytes):
            self._has_tiles = False
            if tile.path in self._present:
                self._tile_findings[tile.path] = _unreadable(tile.path, data)
            return
        self._compare_bytes(tile, data, expected, bundle.entries, self._tile_findings)
        # A tile of another length would number all later hashes wrongly.
        self._has_tiles = self._has_tiles and len(data) == len(expected)
        if self._has_tiles and self._first_difference is None:
            place = next(
                at
                for at in range(0, len(data), HASH_BYTES)
                if data[at : at + HASH_BYTES] != expected[at : at + HASH_BYTES]
            )
            number = place // HASH_BYTES
            self._first_difference = (
                bundle.first + number,
                data[place : place + HASH_BYTES],
                bundle.hashes[number],
            )

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` entries, where `size` is one of those announced, or all."""
        return root_of_peaks(self._peaks_at(size))

    def leaf_hash_at(self, index: int) -> bytes:
        """The hash of an entry whose index was announced."""
        return self._leaf_hashes[index]

    def prove_inclusion(self, index: int) -> bytes:
        """A receipt (tlog-proof with its leaf) of an entry of a log that holds; raises `NoProof`."""
        bundle = self._again(index // TILE_WIDTH)
        place = index % TILE_WIDTH
        if place >= len(bundle.entries):
            raise NoProof(f"entry {index} of {self.checkpoint.size}")
        proof = self._prover().inclusion(index, bundle.hashes[place], self.note, bundle.entries[place])
        return format_proof(proof)

    def prove_consistency(self, size: int) -> list[bytes]:
        """That the first `size` entries of this copy, a size announced, are under its checkpoint."""
        return self._prover().consistency(size, self.root_at(size))

    def shows_prefix(self, size: int) -> dict[str, bytes]:
        """The file that shows a third party which root the first `size` entries have under the checkpoint."""
        try:
            hashes = self.prove_consistency(size)
        except NoProof:
            return {}
        return {PREFIX: format_prefix(size, self.root_at(size), hashes)}

    def _prover(self) -> Prover:
        return Prover(
            self.checkpoint.size,
            self.checkpoint.root,
            self._hashes,
            lambda bundle, count: self._again(bundle).hashes[:count],
        )

    def _again(self, index: int) -> Bundle:
        """A bundle that was read before, for a proof: what it gives is checked against the signed root."""
        width = self._width(index)
        data = plain_bytes(self._directory, TilePath(None, index, max(width, 1)).path, MAX_RESOURCE_BYTES)
        try:
            entries = parse_bundle(data, width) if isinstance(data, bytes) and width > 0 else []
        except FormatError:
            entries = []
        return Bundle(index, b"", entries, hash_leaves(entries))

    def level_hashes(self, level: int, start: int, count: int) -> bytes:
        """`count` hashes of a tile level, 1 or above, of the published tree."""
        return self._hashes.level(level, start, count)

    def _peaks_at(self, size: int) -> list[Peak]:
        rest = peaks_of(self._edge_hashes) if size == self.checkpoint.size else self._peaks[size]
        return [*self._hashes.peaks(size // TILE_WIDTH), *rest]

    def _say_first_difference(self, root: bytes) -> None:
        """Say which entry is not the one that was signed for, by the hashes that the tiles still hold."""
        if self._first_difference is not None:
            index, stored, got = self._first_difference
            self._report.add(
                Finding(
                    code="ENTRY_HASH",
                    resource=TilePath(None, index // TILE_WIDTH, self._width(index // TILE_WIDTH)).path,
                    expected=f"leaf hash {stored.hex()} of tile/0",
                    got=got.hex(),
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

    def _check_resources(self) -> None:
        """Compare every file with what the entries imply; name what is missing and what nobody asked for."""
        present = self._present
        ahead = self._read_ahead() if self.is_sound else []
        if ahead:
            self._report.warnings.append(
                f"{len(ahead)} more entries are written but not published: nobody vouches for them yet"
            )
        tail = [*self._edge, *ahead]
        tail_hashes = [*self._edge_hashes, *hash_leaves(ahead)]
        hashes = self._hashes.copy() if ahead else self._hashes
        for start in range(0, len(tail) - TILE_WIDTH + 1, TILE_WIDTH):
            hashes.add(perfect_root(tail_hashes[start : start + TILE_WIDTH]))
        # A log may sign any size: look no further than a report can name what is missing.
        absent = (tile for tile in tiles_of(self.checkpoint.size) if tile.path not in present)
        for lost in islice(absent, MAX_FINDINGS):
            self._missing(lost.path, lost)
        edge = self.checkpoint.size // TILE_WIDTH
        for path in sorted(present):
            if path == "checkpoint" or (present[path] == "blob" and self._check_blob(path)):
                continue
            implied = self._implied(path)
            tile = implied or self._of_another_size(path, self._read + len(ahead))
            if present[path] != "file" or tile is None:
                self._report.add(
                    Finding(
                        code="UNEXPECTED_RESOURCE",
                        resource=path,
                        expected="only what the tree and its entries imply",
                        got="a file nobody asked for" if present[path] == "file" else f"a {present[path]}",
                    )
                )
            elif self.is_sound and tile.level:
                self._compare_level(tile, hashes)
            elif self.is_sound and implied is None and tile.index >= edge:
                start = (tile.index - edge) * TILE_WIDTH
                window = slice(start, start + TILE_WIDTH)
                self._compare(tile, tail[window], tail_hashes[window], self._tile_findings)
            if self.is_sound and path in self._tile_findings:
                self._report.add(self._tile_findings[path])

    def _read_ahead(self) -> list[bytes]:
        """Entries behind the published tree, where a sequencer was stopped between writing and publishing.

        Taken for such only where they go on as the log writes: the bundle repeats what is published, and
        index follows on index. Whatever else lies there is what nobody asked for.
        """
        ahead: list[bytes] = []
        index = self.checkpoint.size // TILE_WIDTH
        known = self._edge
        while True:
            widths = range(TILE_WIDTH, len(known), -1)
            found = (TilePath(None, index, width) for width in widths)
            tile = next((one for one in found if self._present.get(one.path) == "file"), None)
            data = None if tile is None else plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
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
            known = []

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

    def _of_another_size(self, path: str, size: int) -> TilePath | None:
        """A tile of an earlier size, which may stay, or of one that is written and not published yet.

        C2SP tlog-tiles lets a log delete a partial tile when the full one exists; it need not.
        """
        try:
            tile = parse_tile_path(path)
        except FormatError:
            return None
        count = size >> (8 * (tile.level or 0))
        return tile if tile.index * TILE_WIDTH + tile.width <= count else None

    def _compare(
        self,
        tile: TilePath,
        entries: Sequence[bytes],
        hashes: Sequence[bytes],
        findings: dict[str, Finding],
    ) -> None:
        """Compare a bundle, or a tile of leaf hashes, with the first of these entries."""
        data = plain_bytes(self._directory, tile.path, MAX_RESOURCE_BYTES)
        if not isinstance(data, bytes):
            findings[tile.path] = _unreadable(tile.path, data)
            return
        entries = entries[: tile.width]
        if tile.level is None:
            expected = b"".join(len(one).to_bytes(2, "big") + one for one in entries)
        else:
            expected = b"".join(hashes[: tile.width])
        self._compare_bytes(tile, data, expected, entries, findings)

    def _compare_level(self, tile: TilePath, hashes: TileHashes) -> None:
        data = self._bytes(tile.path)
        if data is not None:
            found: dict[str, Finding] = {}
            expected = hashes.level(tile.level or 0, tile.index * TILE_WIDTH, tile.width)
            self._compare_bytes(tile, data, expected, (), found)
            for finding in found.values():
                self._report.add(finding)

    def _compare_bytes(
        self,
        tile: TilePath,
        data: bytes,
        expected: bytes,
        entries: Sequence[bytes],
        findings: dict[str, Finding],
    ) -> None:
        if data == expected:
            return
        first = (tile.index * TILE_WIDTH) << (8 * (tile.level or 0))
        offset = next(
            (place for place, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b),
            min(len(data), len(expected)),
        )
        if tile.level is None:
            first += _entry_at(entries, offset)
        else:
            first += (offset // HASH_BYTES) << (8 * tile.level)
        findings[tile.path] = Finding(
            code="ENTRY_HASH" if tile.level is None else "TILE_HASH",
            resource=tile.path,
            expected=f"{len(expected)} bytes, {expected[offset : offset + 16].hex()} at offset {offset}",
            got=f"{len(data)} bytes, {data[offset : offset + 16].hex()} at offset {offset}",
            first_index=first,
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

    def _bytes(self, path: str, *, first_index: int = -1, most: int = MAX_RESOURCE_BYTES) -> bytes | None:
        """A resource's bytes; what cannot be read is a finding."""
        data = plain_bytes(self._directory, path, most)
        if isinstance(data, bytes):
            return data
        self._report.add(_unreadable(path, data, first_index))
        return None


def _unreadable(path: str, why: str, first_index: int = -1) -> Finding:
    return Finding(
        code="MISSING", resource=path, expected="a resource of the log", got=why, first_index=first_index
    )


def _entry_at(entries: Sequence[bytes], offset: int) -> int:
    """Which entry of a bundle stands at that byte; behind the last one, the last."""
    end = 0
    for number, entry in enumerate(entries):
        end += 2 + len(entry)
        if offset < end:
            return number
    return len(entries) - 1


def check_seen(data: bytes, what: str, policy: Policy, log: LogCheck, report: Report) -> None:
    """Compare a checkpoint that somebody kept (a witness, a reader) with this log.

    A larger one means that this copy was rolled back; one of another root, that there are two histories.
    """
    try:
        seen, _note = open_checkpoint(data, policy.log)
    except FormatError as error:
        report.add(
            Finding(
                code="CHECKPOINT_SIG",
                resource=what,
                expected="a checkpoint of this log",
                got=str(error),
                evidence={SEEN: data},
            )
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
                evidence={SEEN: data, HERE: log.note},
            )
        )
        return
    # Damaged entries accuse nobody of a second history; two signed roots of one size do.
    is_newest = seen.size == log.checkpoint.size
    if not is_newest and not log.is_sound:
        return
    root = log.checkpoint.root if is_newest else log.root_at(seen.size)
    if root != seen.root:
        report.add(
            Finding(
                code="FORK",
                resource=what,
                expected=f"root {seen.root.hex()} at size {seen.size}, which the log signed and {what} kept",
                got=f"root {root.hex()} of this copy",
                evidence={SEEN: data, HERE: log.note} | ({} if is_newest else log.shows_prefix(seen.size)),
            )
        )
