"""The sequencer: gives entries their place, makes them durable, signs, has it witnessed, publishes.

Two acknowledgements. `append` returns when a batch is durable; `publish` when it is under a checkpoint that
enough witnesses cosigned. Always: published size <= signed size <= durable size. Recovery walks the same
steps as a commit, so that a crash at any of them is mended by the code that would have come next.

Not thread-safe: the caller locks. After `RecordHalted` it refuses everything, and the caller ends the
process.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text, open_checkpoint
from aar.formats.entry import SignedEntry, format_leaf, parse_leaf, parse_signed_entry
from aar.formats.errors import FormatError
from aar.formats.keys import ED25519, Signer
from aar.formats.note import Note, format_note
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.formats.strict import parse_decimal
from aar.formats.tile import TILE_WIDTH, entries_path, parse_bundle, tile_path
from aar.outside.record.anchors.write_through import WriteThrough
from aar.outside.record.disk import Disk, halting, refusing_when_full, replace
from aar.outside.record.errors import DiskFull, NotPublished, QuorumNotMet, RecordHalted, RefusedEntry
from aar.outside.record.frontier import Frontier
from aar.outside.record.quorum import Quorum
from aar.outside.record.store import Store
from aar.outside.record.tiles import filled_tiles, new_tiles
from aar.outside.record.tree import Tree, hash_leaf
from aar.outside.record.wal import Record, Wal
from aar.outside.record.witness_client import Witness
from aar.verify import merkle

__all__ = ["QuorumNotMet", "Sequencer"]


@dataclass(frozen=True, slots=True)
class _Head:
    """A signed checkpoint and the exact bytes of its note."""

    checkpoint: Checkpoint
    note: Note
    data: bytes

    @property
    def size(self) -> int:
        return self.checkpoint.size


class Sequencer:
    """The one writer of a record. In memory: 18 bytes per entry, and 56 more of what is not published."""

    @classmethod
    def open(
        cls,
        *,
        public: Path,
        private: Path,
        signer: Signer,
        witnesses: Sequence[Witness],
        quorum: int,
        clock_ms: Callable[[], int],
        disk: Disk | None = None,
        anchors: WriteThrough | None = None,
    ) -> Self:
        """Open a record, or begin one, and finish what a crash left undone.

        `signer`: the log's Ed25519 key; its name is the origin. `clock_ms`: unix time in ms. `public` and
        `private` are directories of one file system, their parents exist. `anchors`: where else everything
        goes before it is signed and published. A quorum that does not answer is no
        error here; a later `publish` says so. Raises `RecordInUse`, `DiskFull`, and `RecordHalted` when what
        is on the disk is damaged, or older than what was signed or what a witness saw.
        """
        if signer.algorithm != ED25519:
            raise ValueError(
                f"log key {signer.name} has algorithm {signer.algorithm:#04x}: want Ed25519, {ED25519:#04x}"
            )
        agreed = Quorum(witnesses, quorum)
        disk = disk or Disk()
        with refusing_when_full(f"make {private}"):
            if disk.make_directory(private, 0o700):
                disk.sync_directory(private.parent)
            lock = disk.lock(private / "lock")
        try:
            store = Store(disk, public, private / "staging")
            store.open()
            wal = Wal(disk, private / "wal", signer.name)
        except BaseException:
            disk.close(lock)
            raise
        opened = cls(disk, lock, store, wal, private, signer, agreed, clock_ms, anchors)
        try:
            opened._recover()
        except BaseException:
            opened.close()
            raise
        return opened

    def __init__(
        self,
        disk: Disk,
        lock: int,
        store: Store,
        wal: Wal,
        private: Path,
        signer: Signer,
        quorum: Quorum,
        clock_ms: Callable[[], int],
        anchors: WriteThrough | None,
    ) -> None:
        """Use `open`."""
        self._disk = disk
        self._lock = lock
        self._store = store
        self._wal = wal
        self._private = private
        self._signer = signer
        self._quorum = quorum
        self._clock_ms = clock_ms
        self._anchors = anchors
        # The leaf hashes of what is published lie in the public directory.
        self._tree = Tree(load=lambda tile: store.read(tile_path(0, tile)))
        self._offsets = array("Q")
        self._lengths = array("H")
        self._last_received_ms = 0
        # The second path: leaves as they are on the disk, hashed by the verifier's code.
        self._reread = wal.start
        self._frontier = Frontier()
        self._signed: _Head
        self._published: _Head | None = None
        # Whether a quorum has cosigned, in this life of the process, what was signed in an earlier one.
        self._is_confirmed = False
        self._halted = ""

    def close(self) -> None:
        """Let another sequencer open the record."""
        self._wal.close()
        self._disk.close(self._lock)
        self._halted = self._halted or "it was closed"

    @property
    def origin(self) -> str:
        return self._signer.name

    @property
    def size(self) -> int:
        """Entries that are durable."""
        return len(self._offsets)

    @property
    def signed_size(self) -> int:
        """Entries under a signed checkpoint; it may be known to nobody but this log."""
        return self._signed.size

    @property
    def published_size(self) -> int:
        """Entries under the published checkpoint; 0 before the first."""
        return self._published.size if self._published else 0

    @property
    def checkpoint(self) -> bytes | None:
        """The published checkpoint with its cosignatures."""
        return self._published.data if self._published else None

    @property
    def torn_bytes(self) -> int:
        """How much of an unfinished write `open` cut from the write-ahead log."""
        return self._wal.torn_bytes

    def append(self, batch: Sequence[bytes | SignedEntry]) -> range:
        """Sequence signed entries and make them durable, all or none; returns their indices.

        Bytes are parsed first, so that nothing else gets in; a `SignedEntry` was parsed by the caller.
        Raises `RefusedEntry` or `FormatError` for a bad one and `DiskFull`: nothing happened then.
        """
        with self._running():
            received_ms = max(self._clock_ms(), self._last_received_ms)
            # A leaf can state no other time: refuse before anything is written.
            parse_decimal(str(received_ms))
            first = self.size
            leaves = [self._frame(first + at, received_ms, data) for at, data in enumerate(batch)]
            if leaves:
                self._take(self._wal.append(leaves))
                self._last_received_ms = received_ms
            return range(first, self.size)

    def publish(self) -> bytes:
        """Bring every durable entry under a published checkpoint; returns it.

        Raises `QuorumNotMet` and `DiskFull`: the published checkpoint stays as it was, and a later call goes
        on.
        """
        with self._running():
            if self._published and self._published.size == self.size:
                return self._published.data
            return self._publish()

    def heartbeat(self) -> bytes:
        """As `publish`, with fresh cosignatures even if nothing is new: shows that the log is not frozen."""
        with self._running():
            return self._publish()

    def leaf(self, index: int) -> bytes:
        """The leaf of a durable entry, read from the disk and checked against its hash."""
        with self._running():
            if not 0 <= index < self.size:
                raise NotPublished(f"entry {index}: the record has {self.size}")
            return self._read_leaves(index, index + 1)[0]

    def prove_inclusion(self, index: int) -> TlogProof:
        """Proof that entry `index` is under the published checkpoint, with that checkpoint."""
        if self._published is None or not 0 <= index < self._published.size:
            raise NotPublished(f"entry {index}: {self.published_size} entries are published")
        return self._prove(index, self._published)

    def prove_consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """Proof that the tree of `old` entries is a prefix of that of `new`, by default the published one."""
        new = self.published_size if new is None else new
        if not 0 <= old <= new <= self.published_size:
            raise NotPublished(
                f"consistency from {old} to {new}: {self.published_size} entries are published"
            )
        return self._tree.prove_consistency(old, new)

    def _read_leaves(self, start: int, end: int) -> list[bytes]:
        """Leaves `start` to `end`, at least one, in one read."""
        first = self._offsets[start]
        data = self._wal.read(first, self._offsets[end - 1] + self._lengths[end - 1] - first)
        leaves = []
        for index in range(start, end):
            offset = self._offsets[index] - first
            leaf = data[offset : offset + self._lengths[index]]
            if hash_leaf(leaf) != self._tree.subtrees(0, index, 1):
                raise RecordHalted(
                    f"entry {index} reads back with another hash than it was written with: check the disk"
                )
            leaves.append(leaf)
        return leaves

    # Commit, step by step.

    def _frame(self, index: int, received_ms: int, given: bytes | SignedEntry) -> bytes:
        signed = given if isinstance(given, SignedEntry) else parse_signed_entry(given)
        if signed.entry.origin != self.origin:
            raise RefusedEntry(f"an entry for {signed.entry.origin!r} came to the record of {self.origin!r}")
        return format_leaf(index, received_ms, signed.data)

    def _take(self, record: Record) -> None:
        """Make a durable batch part of the tree in memory, after a commit and again after a restart."""
        for leaf, offset in zip(record.leaves, record.offsets, strict=True):
            self._tree.append(hash_leaf(leaf))
            self._offsets.append(offset)
            self._lengths.append(len(leaf))

    def _publish(self) -> bytes:
        if not self._is_confirmed:
            # A disk that was rolled back must not sign on: first a quorum accepts what was signed before.
            self._release()
        self._integrate()
        if self._signed.size < self.size:
            self._anchor_entries(self.size)
            self._sign()
        return self._release()

    def _anchor_entries(self, size: int) -> None:
        if self._anchors is not None:
            self._anchors.write_entries(size, self.size, self._tree.root, self._read_leaves)

    def _anchor_published(self, head: _Head) -> None:
        if self._anchors is not None:
            self._anchors.write_published(
                head.size,
                head.data,
                lambda old: new_tiles(self._tree, self._read_leaves, old, head.size),
            )

    def _integrate(self) -> None:
        """Read back what was written since the last time, hash it by other code, want the same root.

        A bit that flips between hashing and signing has killed a log before (Yeti 2022): nothing mends a
        signed root.
        """
        for record in self._wal.reread(self._reread):
            for leaf in record.leaves:
                index = self._frontier.size
                if self._frontier.append(leaf) != self._tree.subtrees(0, index, 1):
                    raise RecordHalted(
                        f"entry {index} is on the disk with another hash than it came with: check the memory"
                    )
            self._reread = record.end
        if self._frontier.size != self.size or self._frontier.root() != self._tree.root():
            raise RecordHalted(
                f"two computations of the root of {self.size} entries differ: check the machine's memory"
            )

    def _sign(self) -> None:
        """Sign the integrated tree, and remember that before anybody sees it: one root per size, for ever."""
        path = self._private / "signed"
        held = self._read_private(path)
        if held != self._signed.data:
            raise RecordHalted(
                f"{path} changed while this sequencer held the record: another one may be signing"
            )
        self._signed = self._write_signed(path, self.size, self._frontier.root())

    def _write_signed(self, path: Path, size: int, root: bytes) -> _Head:
        checkpoint = Checkpoint(self.origin, size, root)
        text = format_checkpoint_text(checkpoint)
        note = Note(text, (self._signer.sign(text),))
        head = _Head(checkpoint, note, format_note(note))
        replace(self._disk, path, head.data, staging=self._private / "staging", mode=0o600)
        return head

    def _release(self) -> bytes:
        """Cosignatures, tiles, publication of what is signed; every step may be done already."""
        head = self._signed
        # Signed by an earlier life of the process, perhaps, and not yet everywhere.
        self._anchor_entries(head.size)
        cosignatures = self._quorum.collect(
            head.size, head.data, lambda old: self._tree.prove_consistency(old, head.size)
        )
        note = Note(head.note.text, head.note.signatures + cosignatures)
        published = _Head(head.checkpoint, note, format_note(note))
        # Not before the quorum: a reader should find no tile that no published checkpoint covers.
        self._store.put(new_tiles(self._tree, self._read_leaves, self.published_size, head.size))
        self._check_acceptable(published)
        self._anchor_published(published)
        self._store.publish_checkpoint(published.data)
        old_size = self.published_size
        self._published = published
        self._is_confirmed = True
        self._store.remove_partials(filled_tiles(old_size, published.size))
        self._tree.let_go(published.size // TILE_WIDTH)
        return published.data

    def _check_acceptable(self, head: _Head) -> None:
        """Refuse to publish what a verifier would not accept, from the bytes that it would read."""
        try:
            checkpoint, note = open_checkpoint(head.data, self._signer.vkey)
            if not self._quorum.is_met(note):
                raise RecordHalted(
                    f"the checkpoint of size {head.size} lost cosignatures on the way to its file"
                )
            if self._published and self._published.size:
                old = self._published.checkpoint
                proof = self._tree.prove_consistency(old.size, checkpoint.size)
                merkle.check_consistency(old.size, checkpoint.size, proof, old.root, checkpoint.root)
            if checkpoint.size:
                self._check_last_entry(head, checkpoint)
        except (FormatError, merkle.InvalidProof) as error:
            raise RecordHalted(
                f"a verifier would refuse the checkpoint of size {head.size}: {error}"
            ) from error

    def _check_last_entry(self, head: _Head, checkpoint: Checkpoint) -> None:
        last = checkpoint.size - 1
        width = last % TILE_WIDTH + 1
        path = entries_path(last // TILE_WIDTH, width)
        bundle = self._store.read(path)
        if bundle is None:
            raise RecordHalted(f"{path} is gone right after it was written")
        leaf = parse_bundle(bundle, width)[-1]
        proof = parse_proof(format_proof(self._prove(last, head)))
        if parse_leaf(leaf).index != last or proof.index != last or proof.checkpoint != head.data:
            raise RecordHalted(f"the proof of entry {last} does not read back as it was written")
        merkle.check_inclusion(merkle.leaf_hash(leaf), last, checkpoint.size, proof.hashes, checkpoint.root)

    def _prove(self, index: int, head: _Head) -> TlogProof:
        return TlogProof(index, tuple(self._tree.prove_inclusion(index, head.size)), head.data, None)

    # Recovery.

    def _recover(self) -> None:
        last = b""
        published = self._published_tiles()
        for record in self._wal.recover():
            self._take(record)
            self._tree.let_go(min(published, self.size // TILE_WIDTH))
            last = record.leaves[-1]
        if last:
            self._last_received_ms = _received_ms(last)
        self._integrate()
        self._published = self._read_published()
        self._signed = self._read_signed()
        if self.published_size > self._signed.size:
            raise RecordHalted(
                f"size {self.published_size} is published, {self._signed.size} was signed last: "
                f"{self._private} is older than the public directory; restore the newer copy"
            )
        self._wal.cut_torn_tail()
        self._store.remove_partials(filled_tiles(0, self.published_size))
        try:
            self._release()
        except QuorumNotMet:
            # The entries are durable all the same; the next publish asks again before it signs anything.
            return

    def _published_tiles(self) -> int:
        """How many full tiles the published checkpoint implies; whether it is right is looked at later."""
        try:
            checkpoint, _note = open_checkpoint(self._store.read("checkpoint") or b"", self._signer.vkey)
        except FormatError:
            return 0
        return checkpoint.size // TILE_WIDTH

    def _read_signed(self) -> _Head:
        path = self._private / "signed"
        data = self._read_private(path)
        if data is not None:
            return self._checked_head(path, data)
        if self.size or self._published:
            raise RecordHalted(
                f"{path} is gone, and {self.size} entries are on the disk: without it this log could "
                f"sign a second root for a size; restore it"
            )
        return self._write_signed(path, 0, self._frontier.root())

    def _read_published(self) -> _Head | None:
        data = self._store.read("checkpoint")
        return None if data is None else self._checked_head(Path("checkpoint"), data)

    def _checked_head(self, path: Path, data: bytes) -> _Head:
        """A checkpoint of ours from the disk, which the durable entries must bear out."""
        try:
            checkpoint, note = open_checkpoint(data, self._signer.vkey)
        except FormatError as error:
            raise RecordHalted(f"{path} is no checkpoint of {self.origin}: {error}; restore it") from error
        if checkpoint.size > self.size:
            raise RecordHalted(
                f"{path} says size {checkpoint.size}, {self.size} entries are on the disk: the "
                f"write-ahead log is older than the record; restore the newer copy"
            )
        if checkpoint.root != self._tree.root(checkpoint.size):
            raise RecordHalted(
                f"{path} says root {checkpoint.root.hex()} for size {checkpoint.size}, the entries on "
                f"the disk give {self._tree.root(checkpoint.size).hex()}: they are not what was signed"
            )
        return _Head(checkpoint, note, data)

    def _read_private(self, path: Path) -> bytes | None:
        with halting(f"read {path}"):
            return self._disk.read(path)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Only a refusal that leaves everything in order lets the record go on."""
        if self._halted:
            raise RecordHalted(f"the record halted before ({self._halted}): end this process and start again")
        try:
            yield
        except (DiskFull, QuorumNotMet, RefusedEntry, NotPublished, FormatError):
            raise
        except BaseException as error:
            self._halted = str(error) or repr(error)
            raise


def _received_ms(leaf: bytes) -> int:
    try:
        return parse_leaf(leaf).received_ms
    except FormatError as error:
        raise RecordHalted(f"the last entry on the disk is none of this record: {error}") from error
