"""The write-ahead log: batches are whole or absent, damage is told from a torn write."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from aar.outside.record.disk import Disk
from aar.outside.record.errors import DiskFull, RecordHalted, RefusedEntry
from aar.outside.record.wal import HEADER_BYTES, MAX_BODY_BYTES, Wal

BATCHES = [[b"one"], [b"two", b"", b"x" * 65_535], [b"five"]]
ORIGIN = "aar.local/study-1"


def opened(path: Path, origin: str = ORIGIN, disk: Disk | None = None) -> tuple[Wal, list[bytes]]:
    wal = Wal(disk or Disk(), path, origin)
    leaves = [leaf for record in wal.recover() for leaf in record.leaves]
    wal.cut_torn_tail()
    return wal, leaves


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "wal"
    wal, _ = opened(path)
    for batch in BATCHES:
        wal.append(batch)
    wal.close()
    return path


def ends(path: Path) -> list[int]:
    """Offsets of the ends of all records."""
    wal = Wal(Disk(), path, ORIGIN)
    found = [record.end.offset for record in wal.recover()]
    wal.close()
    return found


def test_what_was_appended_is_there_after_a_restart(written: Path):
    wal, leaves = opened(written)
    assert leaves == [leaf for batch in BATCHES for leaf in batch]
    assert (wal.end.index, wal.torn_bytes) == (5, 0)
    wal.close()


def test_an_offset_leads_to_the_bytes_of_its_leaf(written: Path):
    wal = Wal(Disk(), written, ORIGIN)
    for record in wal.recover():
        for leaf, offset in zip(record.leaves, record.offsets, strict=True):
            assert wal.read(offset, len(leaf)) == leaf
    with pytest.raises(RecordHalted, match="are left"):
        wal.read(wal.end.offset - 1, 2)
    wal.close()


def test_a_torn_last_record_is_cut_at_whatever_byte_it_was_torn(tmp_path: Path):
    path = tmp_path / "wal"
    wal, _ = opened(path)
    wal.append([b"kept"])
    kept = wal.end.offset
    wal.append([b"torn", b"away"])
    wal.close()
    whole = path.read_bytes()
    for length in range(kept, len(whole)):
        path.write_bytes(whole[:length])
        wal, leaves = opened(path)
        assert (leaves, wal.torn_bytes, path.stat().st_size) == ([b"kept"], length - kept, kept)
        wal.append([b"next"])
        wal.close()
        assert opened(path)[1] == [b"kept", b"next"]


def test_zeros_where_the_last_record_should_be_are_a_torn_write(written: Path):
    *_, before, end = ends(written)
    data = written.read_bytes()
    written.write_bytes(data[:before] + bytes(end - before))
    assert len(opened(written)[1]) == 4


def test_a_flipped_bit_before_a_good_record_halts_and_nothing_is_cut(tmp_path: Path):
    path = tmp_path / "wal"
    wal, _ = opened(path)
    for leaf in (b"a", b"b", b"c"):
        wal.append([leaf])
    wal.close()
    whole = path.read_bytes()
    second, _ = ends(path)[1:]
    for offset in range(second):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1 :])
        with pytest.raises(RecordHalted, match="a good one follows"):
            opened(path)
        assert path.stat().st_size == len(whole)


def test_a_good_record_is_found_behind_a_large_damaged_one(tmp_path: Path):
    path = tmp_path / "wal"
    wal, _ = opened(path)
    wal.append([b"x" * 60_000] * 40)
    wal.append([b"good"])
    wal.close()
    with path.open("r+b") as file:
        file.write(b"\x00")
    with pytest.raises(RecordHalted, match="a good one follows"):
        opened(path)


def test_a_record_that_was_cut_out_is_missed(written: Path):
    first, second, _ = ends(written)
    data = written.read_bytes()
    written.write_bytes(data[:first] + data[second:])
    with pytest.raises(RecordHalted, match="put together from several"):
        opened(written)


def test_the_file_of_another_log_is_refused(written: Path):
    with pytest.raises(RecordHalted, match="another log"):
        opened(written, "aar.local/study-2")


def test_a_record_that_no_longer_reads_back_halts(written: Path):
    wal, _ = opened(written)
    with written.open("r+b") as file:
        file.seek(HEADER_BYTES + 2)
        file.write(b"X")
    with pytest.raises(RecordHalted, match="does not read back"):
        list(wal.reread(wal.start))
    wal.close()


def test_a_batch_past_the_limit_is_refused_before_it_is_written(written: Path):
    wal, _ = opened(written)
    size = written.stat().st_size
    with pytest.raises(RefusedEntry, match="split it"):
        wal.append([b"x" * 65_535] * (MAX_BODY_BYTES // 65_535 + 1))
    assert written.stat().st_size == size
    wal.close()


class FillingDisk(Disk):
    """A disk that takes half of the next write."""

    is_full = False

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        if self.is_full:
            super().write_at(descriptor, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write_at(descriptor, data, offset)


def test_a_batch_that_does_not_fit_leaves_no_trace(written: Path):
    disk = FillingDisk()
    wal, leaves = opened(written, disk=disk)
    size = written.stat().st_size
    disk.is_full = True
    with pytest.raises(DiskFull, match="free some space"):
        wal.append([b"y" * 1000])
    assert written.stat().st_size == size
    disk.is_full = False
    wal.append([b"z"])
    wal.close()
    assert opened(written)[1] == [*leaves, b"z"]
