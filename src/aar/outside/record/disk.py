"""The file-system effects of the record, one method each, so that a test can make any of them fail.

Paths are used as they are given, never made absolute: a process that changed its directory and then dropped
its user can still reach a relative path. The working directory must not change after that.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from aar.outside.record.errors import DiskFull, RecordError, RecordHalted, RecordInUse

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class Disk:
    """Plain files of one file system. Every method raises `OSError` as the kernel says it."""

    def read(self, path: Path) -> bytes | None:
        """The whole file; None when there is no such file."""
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None

    def list(self, path: Path) -> tuple[str, ...]:
        """Names in a directory, sorted; none when there is no such directory."""
        try:
            return tuple(sorted(os.listdir(path)))
        except FileNotFoundError:
            return ()

    def make_directory(self, path: Path, mode: int) -> bool:
        """Make one directory with exactly `mode`; False when it was there."""
        try:
            os.mkdir(path, mode)
        except FileExistsError:
            return False
        os.chmod(path, mode)
        return True

    def create(self, path: Path, mode: int) -> int:
        """Open a new file with exactly `mode`, to be written; raises `FileExistsError`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        try:
            os.fchmod(descriptor, mode)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def open(self, path: Path) -> int:
        """Open a file that exists, to be read and written; raises `FileNotFoundError`."""
        return os.open(path, os.O_RDWR)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def size(self, descriptor: int) -> int:
        return os.fstat(descriptor).st_size

    def read_at(self, descriptor: int, length: int, offset: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""
        parts: list[bytes] = []
        while length:
            part = os.pread(descriptor, length, offset)
            if not part:
                break
            parts.append(part)
            length -= len(part)
            offset += len(part)
        return b"".join(parts)

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        """All of `data`, or an `OSError` with any part of it written."""
        view = memoryview(data)
        while view:
            written = os.pwrite(descriptor, view, offset)
            view = view[written:]
            offset += written

    def drop_cache(self, descriptor: int) -> None:
        """Have later reads ask the disk: after a failed sync the page cache may hold what it does not."""
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    def truncate(self, descriptor: int, size: int) -> None:
        os.ftruncate(descriptor, size)

    def sync(self, descriptor: int) -> None:
        """Make the bytes of a file durable."""
        os.fdatasync(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Give the file the name `target`, whatever had it before."""
        os.rename(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Give the file a second name; raises `FileExistsError`."""
        os.link(source, target)

    def remove(self, path: Path) -> None:
        os.unlink(path)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory; nothing when there is none."""
        with suppress(FileNotFoundError):
            os.rmdir(path)

    def lock(self, path: Path) -> int:
        """Hold `path` until the descriptor is closed or the process ends; raises `RecordInUse`."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise RecordInUse(f"{path} is held by another sequencer: stop that one first") from error
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


@contextmanager
def halting(what: str) -> Iterator[None]:
    """An I/O error in here is fatal: after it nobody knows what is on the disk."""
    try:
        yield
    except RecordError:
        raise
    except OSError as error:
        raise RecordHalted(f"cannot {what}: {error}; end this process, mend the disk, start again") from error


@contextmanager
def refusing_when_full(what: str) -> Iterator[None]:
    """As `halting`, except that a full disk refuses the request and no more."""
    try:
        yield
    except RecordError:
        raise
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise RecordHalted(
                f"cannot {what}: {error}; end this process, mend the disk, start again"
            ) from error
        raise DiskFull(f"cannot {what}: {error.strerror}; free some space and try again") from error


def write_staged(disk: Disk, path: Path, data: bytes, *, mode: int) -> None:
    """A new durable file at a staging path; after an error no file is left there that matters."""
    with refusing_when_full(f"write {path}"):
        descriptor = disk.create(path, mode)
    try:
        try:
            with refusing_when_full(f"write {path}"):
                disk.write_at(descriptor, data, 0)
        except DiskFull:
            # Give the space back: it is what the caller lacks.
            with halting(f"remove {path}"):
                disk.remove(path)
            raise
        with halting(f"sync {path}"):
            disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def replace(disk: Disk, path: Path, data: bytes, *, staging: Path, mode: int) -> None:
    """Make `data` the content of `path`, durably and at once: a reader sees the old bytes or the new.

    `staging` is a directory of the same file system, in which nobody else writes.
    """
    staged = staging / path.name
    write_staged(disk, staged, data, mode=mode)
    try:
        with refusing_when_full(f"rename {staged} to {path}"):
            disk.rename(staged, path)
    except DiskFull:
        with halting(f"remove {staged}"):
            disk.remove(staged)
        raise
    with halting(f"sync {path.parent}"):
        disk.sync_directory(path.parent)
