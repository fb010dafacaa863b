"""Write-through: nothing is signed before its entries, nothing published before its checkpoint, is elsewhere.

So many of the anchors must have taken each; the others catch up when they answer again. Which entries an
anchor holds it says itself: nothing is believed about it from an earlier life of this process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from aar.outside.record.anchors.anchor import Anchor, AnchorConflict, AnchorError, NewTiles, ReadLeaves
from aar.outside.record.errors import AnchorsNotMet

# Entries of one segment: a batch of a million would be half a gigabyte.
MAX_SEGMENT = 4_096


class WriteThrough:
    """`needed` of `anchors` must hold what is signed and published; `blobs` is the record's own folder."""

    def __init__(self, anchors: Sequence[Anchor], needed: int, *, blobs: Path) -> None:
        names = [one.name for one in anchors]
        if len(set(names)) != len(names):
            raise ValueError(f"two anchors share a name: {', '.join(names)}")
        if not 0 <= needed <= len(anchors):
            raise ValueError(f"{needed} of {len(anchors)} anchors: want 0 to {len(anchors)}")
        self._anchors = tuple(anchors)
        self._needed = needed
        self._blobs = blobs
        self._entries: dict[str, int] = {}
        self._blobs_held: dict[str, set[str]] = {name: set() for name in names}
        self.troubles: dict[str, str] = {}
        """What an anchor said last instead of taking what it was given."""

    def write_entries(
        self, size: int, durable: int, root_at: Callable[[int], bytes], leaves: ReadLeaves
    ) -> None:
        """Before a checkpoint of that size is signed. Raises `AnchorsNotMet`, and `AnchorConflict`.

        `durable` entries are on the disk here: an anchor that holds more shows that this disk is older.
        """
        self._all(lambda one: self._write_entries(one, size, durable, root_at, leaves))

    def write_published(self, size: int, note: bytes, tiles: NewTiles) -> None:
        """Before a cosigned checkpoint is published, and after `write_entries`. Raises the same."""
        self._all(lambda one: self._write_published(one, size, note, tiles))

    def _all(self, act: Callable[[Anchor], None]) -> None:
        done = 0
        for one in self._anchors:
            try:
                act(one)
            except AnchorError as error:
                # What it holds is asked again: a put that failed may have been done all the same.
                self._entries.pop(one.name, None)
                self.troubles[one.name] = str(error)
            else:
                self.troubles.pop(one.name, None)
                done += 1
        if done < self._needed:
            said = "; ".join(self.troubles.values())
            raise AnchorsNotMet(
                f"{done} anchors took it, want {self._needed}; {said}: entries stay durable here, nothing is "
                "published until the anchors answer"
            )

    def _write_entries(
        self, anchor: Anchor, size: int, durable: int, root_at: Callable[[int], bytes], leaves: ReadLeaves
    ) -> None:
        if anchor.name not in self._entries:
            held = anchor.start()
            if held > durable:
                raise AnchorConflict(
                    f"anchor {anchor.name} holds {held} entries, {durable} are on this disk: "
                    "it is older than what was written there; restore the newer copy"
                )
            self._entries[anchor.name] = held
        for first in range(self._entries[anchor.name], size, MAX_SEGMENT):
            end = min(first + MAX_SEGMENT, size)
            anchor.put_entries(first, end, root_at(end), leaves)
            self._entries[anchor.name] = end

    def _write_published(self, anchor: Anchor, size: int, note: bytes, tiles: NewTiles) -> None:
        if self._entries.get(anchor.name, -1) < size:
            raise AnchorError(self.troubles.get(anchor.name, f"anchor {anchor.name} lacks entries"))
        held = self._blobs_held[anchor.name]
        for path in sorted(self._blobs.glob("*")) if self._blobs.is_dir() else ():
            # A blob that is being written has another name until it is whole.
            if len(path.name) == 64 and path.name not in held:
                anchor.put_blob(path.name, path.read_bytes())
                held.add(path.name)
        anchor.put_published(size, note, tiles)
