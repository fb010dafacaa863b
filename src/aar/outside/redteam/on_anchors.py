"""Attacks that an anchor shows: what was written elsewhere contradicts a copy that agrees with itself.

The reader holds an anchor of the honest past. Some attacks are on the anchor itself, by whoever runs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from random import Random

from aar.formats.checkpoint import Checkpoint
from aar.formats.tile import format_bundle, tiles_of
from aar.outside.record.tiles import new_tiles
from aar.outside.redteam.attack import CANNOT_BE_SEEN, attack
from aar.outside.redteam.forgery import Forgery, first_index, flipped, pick
from aar.outside.redteam.on_history import NO_ENTRY, SIZE, edit_unseen, truncate
from aar.outside.redteam.specimen import NoPlace, Specimen, sign_checkpoint

ANCHOR, MIRROR = "an anchor", "a mirror"
ENTRY = "the entry"


def anchor_of(specimen: Specimen, dice: Random, size: int = 0) -> dict[str, bytes]:
    """What an append-only store holds of an honest log that was published at a few sizes, last at `size`."""
    size = size or len(specimen.leaves)
    sizes = [one for one in specimen.publishable_sizes if one < size]
    cuts = sorted({*dice.sample(sizes, min(3, len(sizes))), size})
    held: dict[str, bytes] = {}
    first = 0
    for cut in cuts:
        root = specimen.tree.root(cut).hex()[:16]
        held[f"segment/{first:020d}-{cut:020d}-{root}"] = format_bundle(specimen.leaves[first:cut])
        note = specimen.note_at(cut)
        held[checkpoint_path(cut, note)] = note
        first = cut
    full = {one.path for one in tiles_of(size) if one.width == 256}
    tiles = new_tiles(specimen.tree, lambda start, end: list(specimen.leaves[start:end]), 0, first)
    held |= {path: data for path, data in tiles if path in full}
    return held | {path: data for path, data in specimen.files.items() if path.startswith("blobs/")}


def checkpoint_path(size: int, note: bytes) -> str:
    """Under which name an anchor keeps a checkpoint."""
    return f"checkpoint/{size:020d}-{hashlib.sha256(note).hexdigest()[:16]}"


def mirror_of(specimen: Specimen) -> dict[str, bytes]:
    """A second copy of the record, byte for byte."""
    return dict(specimen.files)


def _segments(held: Mapping[str, bytes]) -> list[tuple[str, int, int]]:
    """(path, first entry, end) of each segment."""
    found = []
    for path in sorted(path for path in held if path.startswith("segment/")):
        first, end, _root = path.removeprefix("segment/").split("-")
        found.append((path, int(first), int(end)))
    return found


@attack(
    "edit-after-pin-anchored",
    "WORM_DIVERGENCE",
    "edit an entry newer than the reader's pin, sign everything again",
    keys="log witness researcher",
    holds=ANCHOR,
    index=ENTRY,
)
def edit_after_pin_anchored(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    index = edit_unseen(copy, dice, len(copy))
    if index == 0:
        raise NoPlace("nothing is older than that entry")
    copy.pins = [copy.specimen.note_at(dice.randrange(1, index + 1))]
    return index


@attack(
    "edit-mirrored",
    "WORM_DIVERGENCE",
    "edit an entry and sign everything again, the witness's memory included",
    keys="log witness researcher",
    holds=MIRROR,
    index="the first entry of its bundle",
)
def edit_mirrored(copy: Forgery, dice: Random) -> int:
    copy.anchor = mirror_of(copy.specimen)
    index = edit_unseen(copy, dice, len(copy))
    copy.witness_state = copy.files["checkpoint"]
    return index // 256 * 256


@attack(
    "truncate-anchored",
    "ROLLBACK",
    "serve the log as it was at an earlier size",
    needs="log witness",
    holds=ANCHOR,
    index=SIZE,
)
def truncate_anchored(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    sizes = copy.specimen.publishable_sizes[:-1]
    size: int = pick(dice, sizes, "an earlier size")
    truncate(copy, size)
    return size


@attack(
    "anchor-other-root",
    "FORK",
    "sign another history for an anchor than for everybody else",
    keys="log witness",
    holds=ANCHOR,
    index=NO_ENTRY,
)
def anchor_other_root(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    copy.anchor = anchor_of(specimen, dice)
    size = dice.randrange(1, len(copy) + 1)
    other = Checkpoint(copy.origin, size, dice.randbytes(32))
    note = sign_checkpoint(other, specimen.log, specimen.witnesses, specimen.published_s)
    copy.anchor[checkpoint_path(size, note)] = note
    return -1


@attack(
    "anchor-flip-entry",
    "WORM_DIVERGENCE",
    "change a byte of a segment in the store",
    holds=ANCHOR,
    index=ENTRY,
)
def anchor_flip_entry(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    path, first, end = pick(dice, _segments(copy.anchor), "a segment")
    index = dice.randrange(first, end)
    start = len(format_bundle(copy.specimen.leaves[first:index])) + 2
    place = start + dice.randrange(len(copy.specimen.leaves[index]))
    copy.anchor[path] = flipped(copy.anchor[path], place, dice.randrange(8))
    return index


@attack(
    "anchor-lose-segment",
    "MISSING",
    "delete a segment from the store",
    holds=ANCHOR,
    index="its first entry",
)
def anchor_lose_segment(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    # A full bundle beside it holds the same entries: then nothing is lost.
    copy.anchor = {path: data for path, data in copy.anchor.items() if not path.startswith("tile/")}
    path, first, _end = pick(dice, _segments(copy.anchor), "a segment")
    del copy.anchor[path]
    return int(first)


@attack(
    "anchor-rename-segment",
    "WORM_DIVERGENCE",
    "put a segment under the root of another tree",
    holds=ANCHOR,
    index="the entry behind its last",
)
def anchor_rename_segment(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    path, _first, end = pick(dice, _segments(copy.anchor), "a segment")
    copy.anchor[path[:-16] + dice.randbytes(8).hex()] = copy.anchor.pop(path)
    return int(end)


@attack(
    "anchor-flip-blob",
    "WORM_DIVERGENCE",
    "change a byte of a blob in the store",
    holds=ANCHOR,
    index=NO_ENTRY,
)
def anchor_flip_blob(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    blobs = sorted(path for path, data in copy.anchor.items() if path.startswith("blobs/") and data)
    path = pick(dice, blobs, "a blob")
    data = copy.anchor[path]
    copy.anchor[path] = flipped(data, dice.randrange(len(data)), dice.randrange(8))
    return -1


@attack(
    "anchor-more-versions",
    "WORM_VERSIONS",
    "write an object of a versioned store again",
    holds=ANCHOR,
    index=NO_ENTRY,
)
def anchor_more_versions(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    _say_versions(copy, dice, versions=2 + dice.randrange(3), delete_markers=0)
    return -1


@attack(
    "anchor-delete-marker",
    "WORM_VERSIONS",
    "put a delete marker over an object of a versioned store",
    holds=ANCHOR,
    index=NO_ENTRY,
)
def anchor_delete_marker(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    _say_versions(copy, dice, versions=1, delete_markers=1)
    return -1


def _say_versions(copy: Forgery, dice: Random, **counted: int) -> None:
    """What fetching the store wrote down: locked versions outlive what was put over them."""
    assert copy.anchor is not None
    key = dice.choice(sorted(copy.anchor))
    copy.anchor["versions.json"] = json.dumps([{"key": key, **counted}]).encode()


@attack(
    "mirror-flip-bundle",
    "WORM_DIVERGENCE",
    "change a byte of a bundle in a mirror",
    holds=MIRROR,
    index="the first entry of the bundle",
)
def mirror_flip_bundle(copy: Forgery, dice: Random) -> int:
    copy.anchor = mirror_of(copy.specimen)
    tile, _entries = copy.bundle(dice)
    data = copy.anchor[tile.path]
    copy.anchor[tile.path] = flipped(data, dice.randrange(len(data)), dice.randrange(8))
    return first_index(tile)


@attack(
    "anchored-by-the-forger",
    CANNOT_BE_SEEN,
    "edit an entry, sign everything again, and write the anchor again as well",
    keys="log witness researcher",
    holds=ANCHOR,
    index="whoever can write the anchor again can make it agree; a store that is write-once prevents it",
)
def anchored_by_the_forger(copy: Forgery, dice: Random) -> int:
    edit_unseen(copy, dice, len(copy))
    size = len(copy)
    note = copy.files["checkpoint"]
    root = copy.tree_root().hex()[:16]
    copy.anchor = {
        f"segment/{0:020d}-{size:020d}-{root}": format_bundle(copy.leaves),
        checkpoint_path(size, note): note,
    }
    return -1
