"""What an anchor is to the record: something that keeps what it was given, or says that it did not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from aar.outside.record.errors import RecordError, RecordHalted

# Leaves `start` to `end` of the record.
ReadLeaves = Callable[[int, int], Sequence[bytes]]
# (path, bytes) of the tiles that the checkpoint needs beyond one of that earlier size.
NewTiles = Callable[[int], Iterable[tuple[str, bytes]]]


class AnchorError(RecordError):
    """The anchor does not have what it was given: it did not answer, or refused."""


class AnchorConflict(RecordHalted):
    """The anchor holds other bytes under a name: two histories were written to it. A person must look."""


class AnchorRefused(RecordError):
    """The anchor does not keep its promise, or cannot be used: the study does not start with it."""


class Anchor(Protocol):
    """One anchor. Everything given is durable there when a call returns; given again, it is nothing new.

    Every method raises `AnchorError` when it could not be done, and `AnchorConflict`.
    """

    @property
    def name(self) -> str:
        """The study file's name for it."""
        ...

    def probe(self) -> str:
        """Try the promise with a canary; a line about what holds. Raises `AnchorRefused`."""
        ...

    def start(self) -> int:
        """How many entries it holds already, as far as it can tell; 0 has everything written again."""
        ...

    def put_entries(self, first: int, end: int, root: bytes, leaves: ReadLeaves) -> None:
        """Entries `first` to `end`, before a checkpoint of size `end` and that root is signed."""
        ...

    def put_published(self, size: int, note: bytes, tiles: NewTiles, /) -> None:
        """A cosigned checkpoint, before it is published."""
        ...

    def put_blob(self, digest: str, data: bytes) -> None:
        """A blob, by its SHA-256."""
        ...
