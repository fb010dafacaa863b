"""The public directory and the disk below it: written once, whole or not at all, open to anyone."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.record.disk import Disk, replace
from aar.outside.record.errors import DiskFull, RecordHalted, RecordInUse
from aar.outside.record.store import Store

TILE = "tile/0/000"


@pytest.fixture
def public(tmp_path: Path) -> Path:
    (tmp_path / "private").mkdir()
    return tmp_path / "public"


def opened(public: Path, disk: Disk | None = None) -> Store:
    store = Store(disk or Disk(), public, public.parent / "private/staging")
    store.open()
    return store


def test_a_tile_is_written_once_and_the_same_bytes_again_are_nothing(public: Path):
    store = opened(public)
    store.put([(TILE, b"bytes")])
    before = (public / TILE).stat()
    store.put([(TILE, b"bytes")])
    opened(public).put([(TILE, b"bytes")])
    assert (public / TILE).stat().st_ino == before.st_ino
    assert store.read(TILE) == b"bytes"
    assert store.read("tile/0/001") is None


@pytest.mark.parametrize("other", [b"", b"byte", b"bytes and more", b"Bytes"])
def test_other_bytes_under_the_name_of_a_tile_halt(public: Path, other: bytes):
    store = opened(public)
    store.put([(TILE, b"bytes")])
    with pytest.raises(RecordHalted, match="someone else wrote there"):
        store.put([(TILE, other)])
    assert store.read(TILE) == b"bytes"


class RacingDisk(Disk):
    """Another writer makes the file between our look and our link."""

    def link(self, source: Path, target: Path) -> None:
        target.write_bytes(b"theirs")
        super().link(source, target)


def test_a_tile_that_comes_in_between_is_not_overwritten(public: Path):
    store = opened(public, RacingDisk())
    with pytest.raises(RecordHalted, match="File exists"):
        store.put([(TILE, b"ours")])
    assert store.read(TILE) == b"theirs"
    assert list((public.parent / "private/staging").iterdir()) == []


def test_what_a_crash_left_in_staging_is_cleared(public: Path):
    opened(public)
    (public.parent / "private/staging/tile").write_bytes(b"half")
    opened(public).put([(TILE, b"whole")])
    assert (public / TILE).read_bytes() == b"whole"


def test_partials_go_with_their_directory_and_other_tiles_stay(public: Path):
    store = opened(public)
    store.put([(f"{TILE}.p/1", b"a"), (f"{TILE}.p/2", b"ab"), ("tile/0/001.p/1", b"c"), (TILE, b"abc")])
    store.remove_partials([TILE, "tile/0/007"])
    assert sorted(path.name for path in (public / "tile/0").iterdir()) == ["000", "001.p"]
    store.put([(f"{TILE}.p/1", b"a")])
    assert store.read(f"{TILE}.p/1") == b"a"


def test_the_checkpoint_is_replaced_in_one_step(public: Path):
    store = opened(public)
    store.publish_checkpoint(b"old")
    with (public / "checkpoint").open("rb") as reader:
        store.publish_checkpoint(b"new")
        assert reader.read() == b"old"
    assert store.read("checkpoint") == b"new"


class FullDisk(Disk):
    """No space for the effect of one name."""

    def __init__(self, full: str) -> None:
        self.full = full

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        if self.full == "write_at":
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_at(descriptor, data, offset)

    def rename(self, source: Path, target: Path) -> None:
        if self.full == "rename":
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        super().rename(source, target)

    def sync(self, descriptor: int) -> None:
        if self.full == "sync":
            raise OSError(errno.ENOSPC, "No space left on device")
        super().sync(descriptor)


@pytest.mark.parametrize("full", ["write_at", "rename"])
def test_a_replacement_that_does_not_fit_leaves_the_old_bytes_and_no_rest(tmp_path: Path, full: str):
    path, staging = tmp_path / "file", tmp_path / "staging"
    staging.mkdir()
    replace(Disk(), path, b"old", staging=staging, mode=0o600)
    with pytest.raises(DiskFull):
        replace(FullDisk(full), path, b"new", staging=staging, mode=0o600)
    assert path.read_bytes() == b"old"
    assert list(staging.iterdir()) == []


def test_no_space_at_a_sync_is_no_refusal_but_the_end(tmp_path: Path):
    (tmp_path / "staging").mkdir()
    with pytest.raises(RecordHalted, match="cannot sync"):
        replace(FullDisk("sync"), tmp_path / "file", b"new", staging=tmp_path / "staging", mode=0o600)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "lock"
    descriptor = Disk().lock(path)
    yield path
    os.close(descriptor)


def test_a_lock_is_held_once(held: Path):
    with pytest.raises(RecordInUse, match="stop that one first"):
        Disk().lock(held)


def test_a_file_that_cannot_get_its_mode_is_not_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(PermissionError):
        Disk().create(tmp_path / "file", 0o600)
    assert len(os.listdir("/proc/self/fd")) == before
