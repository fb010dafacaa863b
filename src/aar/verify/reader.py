"""Reading a public log directory: checkpoint, bundles, blobs; nothing is believed here, only found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.entry import Leaf, parse_leaf
from aar.formats.errors import FormatError
from aar.formats.note import MAX_NOTE_BYTES, parse_note
from aar.formats.tile import MAX_ENTRY_BYTES, TILE_WIDTH, entries_path, parse_bundle
from aar.verify.resources import read_plain


class NotARecord(Exception):
    """The directory does not hold a record that can be read; the message is one line."""


class RecordReader:
    """One log directory, read as it is now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def checkpoint_bytes(self) -> bytes:
        """The published checkpoint's note; raises `NotARecord`."""
        path = self._directory / "checkpoint"
        try:
            return read_plain(path, MAX_NOTE_BYTES, is_link_followed=True)
        except OSError as error:
            raise NotARecord(f"{path}: no published checkpoint: {error.strerror}") from error

    def size(self) -> int:
        """The tree size that the published checkpoint states."""
        try:
            return parse_checkpoint_text(parse_note(self.checkpoint_bytes()).text).size
        except FormatError as error:
            raise NotARecord(f"{self._directory / 'checkpoint'}: {error}; run verify") from error

    def leaves(self, size: int | None = None) -> Iterator[bytes]:
        """The bytes of the first `size` leaves (by default all published ones), in order, streaming."""
        size = self.size() if size is None else size
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            width = min(size - index * TILE_WIDTH, TILE_WIDTH)
            yield from self._bundle(index, width)

    def _bundle(self, index: int, width: int) -> list[bytes]:
        # A partial bundle may have been replaced by its full one since the checkpoint was read.
        for path in dict.fromkeys((entries_path(index, width), entries_path(index))):
            file = self._directory / path
            if file.is_file():
                full_width = width if path == entries_path(index, width) else TILE_WIDTH
                try:
                    return parse_bundle(_bundle_bytes(file), full_width)[:width]
                except (FormatError, OSError) as error:
                    raise NotARecord(f"{file}: {error}; run verify") from error
        raise NotARecord(f"{self._directory / entries_path(index, width)} is missing; run verify")

    def entries(self, size: int | None = None) -> Iterator[Leaf]:
        """The parsed leaves, in order, streaming."""
        for number, data in enumerate(self.leaves(size)):
            try:
                yield parse_leaf(data)
            except FormatError as error:
                raise NotARecord(f"{self._directory}: entry {number}: {error}; run verify") from error

    def blob(self, digest: str) -> bytes:
        """The blob of that SHA-256; raises `FileNotFoundError`."""
        return (self._directory / "blobs" / digest).read_bytes()


def _bundle_bytes(file: Path) -> bytes:
    return read_plain(file, (MAX_ENTRY_BYTES + 2) * TILE_WIDTH, is_link_followed=True)
