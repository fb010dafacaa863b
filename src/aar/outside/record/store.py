"""The public log directory: ``checkpoint`` and ``tile/**`` (C2SP tlog-tiles).

A tile is written once and never changed: the same bytes again are nothing, other bytes halt the record.
Partial tiles stay until their full tile is published. Directories are 0755 and files 0644 whatever the umask:
anyone may read.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aar.outside.record.disk import Disk, halting, refusing_when_full, replace, write_staged
from aar.outside.record.errors import RecordHalted

DIRECTORY_MODE = 0o755
FILE_MODE = 0o644


class Store:
    """The one writer of a public log directory."""

    def __init__(self, disk: Disk, public: Path, staging: Path) -> None:
        """`staging`: a private directory of the same file system, in which nobody else writes."""
        self._disk = disk
        self._public = public
        self._staging = staging
        # What this process knows to be durable. A name left by one that died may be in the cache only.
        self._durable_directories: set[Path] = set()
        self._durable_edge: set[str] = set()

    def open(self) -> None:
        """Make what is missing of the two directories, and clear what a crash left in staging."""
        self._make_directories(self._public)
        with refusing_when_full(f"make {self._staging}"):
            # Needs no sync: a staging directory that is lost is made again.
            self._disk.make_directory(self._staging, 0o700)
        with halting(f"clear {self._staging}"):
            for name in self._disk.list(self._staging):
                self._disk.remove(self._staging / name)

    def read(self, resource: str) -> bytes | None:
        """The bytes that anyone would read at this path of the log; None when there are none."""
        with halting(f"read {self._public / resource}"):
            return self._disk.read(self._public / resource)

    def publish_checkpoint(self, data: bytes) -> None:
        """Replace ``checkpoint``: durably, and a reader sees the old one or the new."""
        replace(self._disk, self._public / "checkpoint", data, staging=self._staging, mode=FILE_MODE)

    def put(self, resources: Iterable[tuple[str, bytes]]) -> None:
        """Create each (path, bytes), durably; raises `RecordHalted` where a path has other bytes already."""
        edge: set[str] = set()
        for resource, data in resources:
            path = self._public / resource
            held = self.read(resource)
            if held is None:
                self._make_directories(path.parent)
                self._create(path, data)
            else:
                _check_same(path, held, data)
            edge.add(resource)
        for directory in sorted({(self._public / resource).parent for resource in edge - self._durable_edge}):
            with halting(f"sync {directory}"):
                self._disk.sync_directory(directory)
        self._durable_edge = edge

    def remove_partials(self, full_tiles: Iterable[str]) -> None:
        """Remove the partials of each of these tiles, which are all in place in full."""
        for resource in full_tiles:
            directory = self._public / f"{resource}.p"
            with halting(f"remove {directory}"):
                for name in self._disk.list(directory):
                    self._disk.remove(directory / name)
                self._disk.remove_directory(directory)
            self._durable_directories.discard(directory)

    def _make_directories(self, directory: Path) -> None:
        """Make `directory` and what is missing above it, and all those names durable."""
        if directory not in self._durable_directories:
            if directory != self._public:
                self._make_directories(directory.parent)
            with refusing_when_full(f"make {directory}"):
                self._disk.make_directory(directory, DIRECTORY_MODE)
            with halting(f"sync {directory.parent}"):
                self._disk.sync_directory(directory.parent)
            self._durable_directories.add(directory)

    def _create(self, path: Path, data: bytes) -> None:
        """Give `data` the name `path`, whole or not at all, and only if nothing has it."""
        staged = self._staging / "tile"
        write_staged(self._disk, staged, data, mode=FILE_MODE)
        try:
            # A rename would silently take the place of a file that came in between.
            with refusing_when_full(f"link {staged} to {path}"):
                self._disk.link(staged, path)
        finally:
            with halting(f"remove {staged}"):
                self._disk.remove(staged)


def _check_same(path: Path, held: bytes, data: bytes) -> None:
    if held == data:
        return
    pairs = enumerate(zip(held, data, strict=False))
    first = next((at for at, (one, other) in pairs if one != other), min(len(held), len(data)))
    raise RecordHalted(
        f"{path} holds {len(held)} bytes and this log would write {len(data)}, different from byte {first} "
        f"on: someone else wrote there; verify the record before it goes on"
    )
