"""The `directory` anchor: files of another directory, each created once, append-only where that can be had.

Files are staged beside it, linked into place and read-only. Where the caller may set it and the file system
has it, the directories carry the append-only attribute: then nobody, the owner included, can remove or
replace a name in them. Only root can take the attribute off.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from aar.outside.record.anchors.anchor import (
    AnchorConflict,
    AnchorError,
    AnchorRefused,
    NewTiles,
    ReadLeaves,
)
from aar.outside.record.anchors.layout import (
    blob_path,
    checkpoint_path,
    entries_held,
    format_segment,
    segment_path,
)
from aar.outside.record.disk import Disk

FOLDERS = ("checkpoint", "segment", "blobs")
FILE_MODE = 0o444
DIRECTORY_MODE = 0o755

_FS_IOC_GETFLAGS = 0x80086601
_FS_IOC_SETFLAGS = 0x40086602
_FS_APPEND_FL = 0x20


def make_append_only(folder: Path) -> bool:
    """Set the append-only attribute; whether it is set. Needs root and a file system that has it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = array.array("i", [0])
        fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
        flags[0] |= _FS_APPEND_FL
        fcntl.ioctl(descriptor, _FS_IOC_SETFLAGS, flags)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES, errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise
    finally:
        os.close(descriptor)
    return is_append_only(folder)


def is_append_only(folder: Path) -> bool:
    """Whether the attribute is set; `False` where there is none."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        flags = array.array("i", [0])
        fcntl.ioctl(descriptor, _FS_IOC_GETFLAGS, flags)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return bool(flags[0] & _FS_APPEND_FL)


def prepare(path: Path, uid: int = 0) -> None:
    """Make the directory's folders for the uid that will write there, append-only where that can be had.

    For whoever starts the record: as root before it gives its rights away. Raises `OSError`.
    """
    staging = staging_of(path)
    for folder in (path, staging, *(path / name for name in FOLDERS)):
        if not folder.is_dir():
            folder.mkdir(parents=True)
            folder.chmod(0o700 if folder == staging else DIRECTORY_MODE)
            if uid and folder != path:
                os.chown(folder, uid, uid)
    for name in FOLDERS:
        make_append_only(path / name)


def staging_of(path: Path) -> Path:
    """Where files are made ready: the same file system, outside the append-only folders."""
    return path / ".staging"


class DirectoryAnchor:
    """One directory. `path` and its staging directory exist (`prepare`)."""

    def __init__(
        self, name: str, path: Path, *, is_append_only_wanted: bool = False, disk: Disk | None = None
    ) -> None:
        self._name = name
        self._path = path
        self._is_wanted = is_append_only_wanted
        self._disk = disk or Disk()

    @property
    def name(self) -> str:
        return self._name

    def probe(self) -> str:
        """Write a canary beside the files; where append-only is claimed, removing a name must be refused."""
        staged = staging_of(self._path) / "canary"
        try:
            with suppress(FileNotFoundError):
                self._disk.remove(staged)
            self._write(staged, b"canary\n")
            self._disk.remove(staged)
            has_it = all(is_append_only(self._path / folder) for folder in FOLDERS)
        except OSError as error:
            raise AnchorRefused(f"anchor {self._name}: {self._path} cannot be written: {error}") from error
        if self._is_wanted and not has_it:
            raise AnchorRefused(
                f"anchor {self._name}: {self._path} is not append-only: that takes root and a file system "
                "with the attribute (ext4, xfs, btrfs); say append_only = false to do without it"
            )
        if has_it:
            self._try_to_remove()
        return "append-only" if has_it else "created once; its owner can remove files"

    def _try_to_remove(self) -> None:
        """The newest checkpoint cannot be moved, or the promise is empty; before the first there is none."""
        names = self._disk.list(self._path / "checkpoint")
        if not names:
            return
        path = self._path / "checkpoint" / names[-1]
        other = path.with_name(names[-1] + ".moved")
        try:
            os.rename(path, other)
        except OSError:
            return
        os.rename(other, path)
        raise AnchorRefused(f"anchor {self._name}: a file in {path.parent} could be renamed: no append-only")

    def start(self) -> int:
        """What its segments hold."""
        try:
            return entries_held(self._disk.list(self._path / "segment"))
        except OSError as error:
            raise AnchorError(f"anchor {self._name}: {error}") from error

    def put_entries(self, first: int, end: int, root: bytes, leaves: ReadLeaves) -> None:
        self._put(segment_path(first, end, root), format_segment(leaves(first, end)))

    def put_published(self, size: int, note: bytes, _tiles: NewTiles, /) -> None:
        """The checkpoint alone: tiles follow from the segments."""
        self._put(checkpoint_path(size, note), note)

    def put_blob(self, digest: str, data: bytes) -> None:
        self._put(blob_path(digest), data)

    def _put(self, resource: str, data: bytes) -> None:
        """Give `data` the name, whole or not at all; what is there already must be the same."""
        path = self._path / resource
        staged = staging_of(self._path) / resource.replace("/", "-")
        try:
            held = self._disk.read(path)
            if held is None:
                with suppress(FileNotFoundError):
                    self._disk.remove(staged)
                self._write(staged, data)
                with suppress(FileExistsError):
                    self._disk.link(staged, path)
                self._disk.remove(staged)
                held = self._disk.read(path)
            self._disk.sync_directory(path.parent)
        except OSError as error:
            raise AnchorError(f"anchor {self._name}: {resource}: {error.strerror or error}") from error
        if held != data:
            raise AnchorConflict(
                f"anchor {self._name} holds other bytes under {resource}: another history was written there; "
                "verify the record against it before it goes on"
            )

    def _write(self, path: Path, data: bytes) -> None:
        descriptor = self._disk.create(path, FILE_MODE)
        try:
            self._disk.write_at(descriptor, data, 0)
            self._disk.sync(descriptor)
        finally:
            self._disk.close(descriptor)
