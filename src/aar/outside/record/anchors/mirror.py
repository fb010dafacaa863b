"""The `mirror` anchor: a second directory, perhaps another host's, that holds every byte of the record."""

from __future__ import annotations

from pathlib import Path

from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.note import parse_note
from aar.formats.tile import TILE_WIDTH
from aar.outside.record.anchors.anchor import (
    AnchorConflict,
    AnchorError,
    AnchorRefused,
    NewTiles,
    ReadLeaves,
)
from aar.outside.record.anchors.layout import blob_path
from aar.outside.record.disk import Disk, replace, write_staged
from aar.outside.record.errors import DiskFull, RecordHalted
from aar.outside.record.store import DIRECTORY_MODE, FILE_MODE, Store
from aar.outside.record.tiles import filled_tiles

STAGING = ".staging"


class Mirror:
    """A copy that is written as the record is: tiles once, the checkpoint after them."""

    def __init__(self, name: str, path: Path, *, disk: Disk | None = None) -> None:
        self._name = name
        self._path = path
        self._disk = disk or Disk()
        self._store = Store(self._disk, path, path / STAGING)

    @property
    def name(self) -> str:
        return self._name

    def probe(self) -> str:
        """A mirror promises nothing but to be elsewhere: it must take a file and give it back."""
        try:
            self._open()
            canary = self._path / STAGING / "canary"
            write_staged(self._disk, canary, b"canary\n", mode=FILE_MODE)
            is_there = self._disk.read(canary) == b"canary\n"
            self._disk.remove(canary)
        except (OSError, AnchorError) as error:
            raise AnchorRefused(f"anchor {self._name}: {self._path} cannot be written: {error}") from error
        if not is_there:
            raise AnchorRefused(f"anchor {self._name}: {self._path} does not give back what it was given")
        return "a copy; its owner can change it"

    def _open(self) -> None:
        try:
            self._store.open()
        except OSError as error:
            raise AnchorError(f"anchor {self._name}: {error}") from error

    def start(self) -> int:
        """The size of its checkpoint; whether that is of this history, its tiles will say."""
        self._open()
        try:
            data = self._disk.read(self._path / "checkpoint")
            return parse_checkpoint_text(parse_note(data).text).size if data is not None else 0
        except OSError as error:
            raise AnchorError(f"anchor {self._name}: {error}") from error
        except FormatError as error:
            raise AnchorConflict(
                f"anchor {self._name}: {self._path / 'checkpoint'} is damaged ({error}): look at it, then "
                "remove the mirror's checkpoint to have it written again"
            ) from error

    def put_entries(self, first: int, end: int, root: bytes, leaves: ReadLeaves) -> None:
        """Bundles hold the entries; they come with the checkpoint."""

    def put_published(self, size: int, note: bytes, tiles: NewTiles, /) -> None:
        old = self.start()
        if old > size:
            raise AnchorConflict(
                f"anchor {self._name} holds size {old}, this record is about to publish {size}: this copy is "
                "the older one"
            )
        try:
            self._store.put(tiles(old))
            replace(self._disk, self._path / "checkpoint", note, staging=self._path / STAGING, mode=FILE_MODE)
            self._store.remove_partials(filled_tiles(old // TILE_WIDTH * TILE_WIDTH, size))
        except DiskFull as error:
            raise AnchorError(f"anchor {self._name}: {error}") from error
        except RecordHalted as error:
            raise self._as_ours(error) from error

    def put_blob(self, digest: str, data: bytes) -> None:
        path = self._path / blob_path(digest)
        try:
            if self._disk.make_directory(path.parent, DIRECTORY_MODE):
                self._disk.sync_directory(path.parent.parent)
            held = self._disk.read(path)
            if held is None:
                replace(self._disk, path, data, staging=self._path / STAGING, mode=FILE_MODE)
        except OSError as error:
            raise AnchorError(f"anchor {self._name}: {blob_path(digest)}: {error}") from error
        if held not in (None, data):
            raise AnchorConflict(f"anchor {self._name} holds other bytes under {blob_path(digest)}")

    def _as_ours(self, error: RecordHalted) -> Exception:
        """The store halts for other bytes and for a disk that fails; the second is the mirror's alone."""
        if isinstance(error.__cause__, OSError):
            return AnchorError(f"anchor {self._name}: {error}")
        return AnchorConflict(f"anchor {self._name}: {error}")
