"""A record to test on: keys, entries, witnesses, and a disk in memory whose power can be cut at any time."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import Entry, sign_entry
from aar.formats.keys import COSIGNATURE, Signer, VerifierKey
from aar.formats.note import Note, format_note, parse_note
from aar.formats.tile import parse_bundle, tiles_of
from aar.outside.record.anchors.write_through import WriteThrough
from aar.outside.record.disk import Disk
from aar.outside.record.errors import RecordInUse, WitnessError
from aar.outside.record.sequencer import Sequencer
from aar.outside.record.witness_client import format_request, read_answer
from aar.verify import merkle
from aar.witness.witness import Seen, add_checkpoint

ORIGIN = "aar.local/study-00112233445566778899"
LOG = Signer(ORIGIN, bytes(range(32)))
AUTHOR = Signer("researcher-1", bytes(range(32, 64)))
START_MS = 1_700_000_000_000


class PowerCut(BaseException):
    """The machine stops here; nothing catches it."""


@dataclass
class Inode:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@cache
def _folder(path: Path) -> str:
    """The directory of a name: asked for hundreds of names at every effect."""
    return str(path.parent)


class MemoryDisk(Disk):
    """A file system that knows what a power cut leaves: what was synced surely, of the rest anything."""

    EFFECTS = (
        "make_directory",
        "create",
        "write_at",
        "truncate",
        "sync",
        "sync_directory",
        "rename",
        "link",
        "remove",
        "remove_directory",
    )

    def __init__(self) -> None:
        # A name is mapped to an inode, or to None for a directory.
        self.names: dict[Path, Inode | None] = {Path("."): None}
        self.synced_names: dict[Path, Inode | None] = dict(self.names)
        self.descriptors: dict[int, tuple[Path, Inode]] = {}
        self.locked: set[Path] = set()
        self.effects: list[str] = []
        # Every content that the file `signed` ever had.
        self.signed: list[bytes] = []
        self.fault: Callable[[int, str, Callable[[], Any]], Any] | None = None

    def _effect(self, name: str, detail: object, act: Callable[[], Any]) -> Any:
        self.effects.append(f"{name} {detail}")
        return self.fault(len(self.effects) - 1, name, act) if self.fault else act()

    def read(self, path: Path) -> bytes | None:
        inode = self.names.get(path)
        return None if inode is None else bytes(inode.data)

    def list(self, path: Path) -> tuple[str, ...]:
        told = str(path)
        return tuple(sorted(one.name for one in self.names if _folder(one) == told and one != path))

    def _need_directory(self, path: Path) -> None:
        if self.names.get(path, 0) is not None:
            raise FileNotFoundError(errno.ENOENT, f"no directory {path}")

    def make_directory(self, path: Path, mode: int) -> bool:
        def act() -> bool:
            self._need_directory(path.parent)
            made = path not in self.names
            self.names.setdefault(path, None)
            return made

        return bool(self._effect("make_directory", path, act))

    def create(self, path: Path, mode: int) -> int:
        def act() -> int:
            self._need_directory(path.parent)
            if path in self.names:
                raise FileExistsError(errno.EEXIST, f"{path} exists")
            self.names[path] = Inode()
            return self.open(path)

        return int(self._effect("create", path, act))

    def open(self, path: Path) -> int:
        inode = self.names.get(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, f"no file {path}")
        descriptor = max(self.descriptors, default=2) + 1
        self.descriptors[descriptor] = (path, inode)
        return descriptor

    def close(self, descriptor: int) -> None:
        path, _ = self.descriptors.pop(descriptor)
        self.locked.discard(path)

    def size(self, descriptor: int) -> int:
        return len(self.descriptors[descriptor][1].data)

    def read_at(self, descriptor: int, length: int, offset: int) -> bytes:
        return bytes(self.descriptors[descriptor][1].data[offset : offset + length])

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        path, inode = self.descriptors[descriptor]

        def act() -> None:
            inode.data[offset : offset + len(data)] = data

        self._effect("write_at", path, act)

    def drop_cache(self, descriptor: int) -> None:
        """There is no cache."""

    def truncate(self, descriptor: int, size: int) -> None:
        path, inode = self.descriptors[descriptor]

        def act() -> None:
            del inode.data[size:]

        self._effect("truncate", path, act)

    def sync(self, descriptor: int) -> None:
        path, inode = self.descriptors[descriptor]

        def act() -> None:
            inode.synced = bytes(inode.data)

        self._effect("sync", path, act)

    def sync_directory(self, path: Path) -> None:
        def act() -> None:
            self._need_directory(path)
            told = str(path)
            kept = {
                one: inode for one, inode in self.synced_names.items() if _folder(one) != told or one == path
            }
            self.synced_names = kept | {
                one: inode for one, inode in self.names.items() if _folder(one) == told
            }

        self._effect("sync_directory", path, act)

    def rename(self, source: Path, target: Path) -> None:
        def act() -> None:
            inode = self.names[target] = self.names.pop(source)
            if inode and target.name == "signed":
                self.signed.append(bytes(inode.data))

        self._effect("rename", target, act)

    def link(self, source: Path, target: Path) -> None:
        def act() -> None:
            self._need_directory(target.parent)
            if target in self.names:
                raise FileExistsError(errno.EEXIST, f"{target} exists")
            self.names[target] = self.names[source]

        self._effect("link", target, act)

    def remove(self, path: Path) -> None:
        def act() -> None:
            if path not in self.names:
                raise FileNotFoundError(errno.ENOENT, f"no file {path}")
            del self.names[path]

        self._effect("remove", path, act)

    def remove_directory(self, path: Path) -> None:
        def act() -> None:
            if self.list(path):
                raise OSError(errno.ENOTEMPTY, f"{path} is not empty")
            self.names.pop(path, None)

        self._effect("remove_directory", path, act)

    def lock(self, path: Path) -> int:
        if path in self.locked:
            raise RecordInUse(f"{path} is held")
        self.names.setdefault(path, Inode())
        self.locked.add(path)
        return self.open(path)

    def after_kill(self) -> MemoryDisk:
        """The disk after every process died: the page cache is there, what was not synced still is not."""
        after = MemoryDisk()
        copies: dict[int, Inode] = {}
        for names, kept in ((self.names, after.names), (self.synced_names, after.synced_names)):
            for path, inode in names.items():
                if inode is not None and id(inode) not in copies:
                    copies[id(inode)] = Inode(bytearray(inode.data), inode.synced)
                kept[path] = copies[id(inode)] if inode is not None else None
        after.signed = list(self.signed)
        return after

    def after_power_cut(self, kept: str, rng: random.Random) -> MemoryDisk:
        """The disk at the next start; `kept`: "synced", what had to be; or "some", any of the rest too."""
        after = MemoryDisk()
        copies: dict[int, Inode] = {}

        def copied(inode: Inode | None) -> Inode | None:
            if inode is None:
                return None
            if id(inode) not in copies:
                data = bytes(inode.data)
                if kept == "synced" or rng.random() < 0.3:
                    data = inode.synced
                elif rng.random() < 0.5 and data.startswith(inode.synced):
                    data = data[: rng.randint(len(inode.synced), len(data))]
                copies[id(inode)] = Inode(bytearray(data), data)
            return copies[id(inode)]

        for path in sorted(self.names.keys() | self.synced_names.keys()):
            names = self.synced_names if kept == "synced" or rng.random() < 0.5 else self.names
            if path == Path(".") or (path in names and path.parent in after.names):
                after.names[path] = copied(names[path])
        after.synced_names = dict(after.names)
        after.signed = list(self.signed)
        return after


class LocalWitness:
    """The real witness without its process, and every checkpoint it was asked for."""

    def __init__(self, number: int = 1) -> None:
        self.signer = Signer(f"witness-{number}", bytes([number]) * 32, COSIGNATURE)
        self.is_up = True
        self.unix_s = START_MS // 1000
        self.asked: list[Checkpoint] = []
        self.seen: dict[str, Seen] = {}

    @property
    def vkey(self) -> VerifierKey:
        return self.signer.vkey

    @property
    def size(self) -> int:
        return self.seen.get(ORIGIN, Seen()).size

    def add_checkpoint(self, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
        if not self.is_up:
            raise WitnessError("it is down")
        self.asked.append(open_checkpoint(note, LOG.vkey)[0])
        request = format_request(old_size, proof, note)
        answer = add_checkpoint(
            request, logs={ORIGIN: LOG.vkey}, seen=self.seen, signer=self.signer, now_s=self.unix_s
        )
        if answer.seen is not None:
            self.seen[answer.origin] = answer.seen
        return read_answer(answer.status, answer.body)

    def cosign(self, note: bytes) -> bytes:
        """A signature line over whatever text comes."""
        text = parse_note(note).text
        signed = format_note(Note(text, (self.signer.cosign(text, self.unix_s),)))
        return signed.removeprefix(text.encode() + b"\n")


@cache
def signed_entry(number: int, *, origin: str = ORIGIN) -> bytes:
    entry = Entry(
        origin=origin,
        author=AUTHOR.name,
        seq=number,
        prev="0" * 64 if number else "",
        kind="comment",
        refs=(0,) if number else (),
        body={"text": f"entry {number}"},
        at=START_MS + number,
    )
    return sign_entry(entry, AUTHOR).data


def entries(start: int, count: int) -> list[bytes]:
    return [signed_entry(number) for number in range(start, start + count)]


class World:
    """Everything around one record. It stays when the sequencer, or the machine, goes."""

    def __init__(
        self,
        disk: Disk | None = None,
        *,
        public: Path = Path("record"),
        private: Path = Path("gateway"),
        witnesses: int = 1,
        quorum: int = 1,
    ) -> None:
        self.disk = disk or MemoryDisk()
        self.public = public
        self.private = private
        self.witnesses = [LocalWitness(number + 1) for number in range(witnesses)]
        self.quorum = quorum
        self.now_ms = START_MS
        self.signer = LOG
        self.anchors: WriteThrough | None = None

    def open(self) -> Sequencer:
        return Sequencer.open(
            public=self.public,
            private=self.private,
            signer=self.signer,
            witnesses=self.witnesses,
            quorum=self.quorum,
            clock_ms=lambda: self.now_ms,
            disk=self.disk,
            anchors=self.anchors,
        )

    def check_public(self) -> Checkpoint:
        """Read the public directory as anyone would: signatures, every tile, every entry."""
        data = self.disk.read(self.public / "checkpoint")
        assert data is not None
        checkpoint, note = open_checkpoint(data, LOG.vkey)
        assert sum(cosigned_at(note, one.vkey) is not None for one in self.witnesses) >= self.quorum
        hashes: list[bytes] = []
        for tile in tiles_of(checkpoint.size):
            held = self.disk.read(self.public / tile.path)
            assert held is not None, tile.path
            if tile.level is None:
                leaves = parse_bundle(held, tile.width)
                for index, leaf in enumerate(leaves, len(hashes)):
                    assert leaf.startswith(b"aar-leaf/v1 %d " % index)
                hashes += [merkle.leaf_hash(one) for one in leaves]
        assert merkle.root_of(hashes) == checkpoint.root
        for tile in tiles_of(checkpoint.size):
            if tile.level is not None:
                span = 256**tile.level
                first = tile.index * 256
                wanted = [
                    merkle.root_of(hashes[one * span : (one + 1) * span])
                    for one in range(first, first + tile.width)
                ]
                assert self.disk.read(self.public / tile.path) == b"".join(wanted), tile.path
        return checkpoint
