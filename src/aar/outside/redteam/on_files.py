"""Attacks on what lies on disk: bytes and files changed by somebody without any key."""

from __future__ import annotations

import hashlib
from random import Random

from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.note import format_signature
from aar.formats.tile import HASH_BYTES, TilePath, entries_path, format_bundle, tile_path
from aar.outside.record.tree import hash_leaf
from aar.outside.redteam.attack import CANNOT_BE_SEEN, attack
from aar.outside.redteam.forgery import Forgery, first_index, flipped, pick
from aar.outside.redteam.specimen import NoPlace

FIRST_OF_BUNDLE = "the first entry of that bundle"
NO_ENTRY = "none: no entry is meant"


@attack("flip-entry", "ENTRY_HASH", "flip one bit of one entry in its bundle", index="that entry")
def flip_entry(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice)
    place = dice.randrange(len(entries))
    entries[place] = flipped(entries[place], dice.randrange(len(entries[place])), dice.randrange(8))
    copy.files[tile.path] = format_bundle(entries)
    return first_index(tile) + place


@attack("edit-entry-and-tile", "FORK", "edit an entry, and its hash in the tile too", index=NO_ENTRY)
def edit_entry_and_tile(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice)
    place = dice.randrange(len(entries))
    entries[place] = flipped(entries[place], dice.randrange(len(entries[place])), dice.randrange(8))
    copy.files[tile.path] = format_bundle(entries)
    hashes = tile_path(0, tile.index, tile.width)
    start, data = place * HASH_BYTES, copy.files[hashes]
    copy.files[hashes] = data[:start] + hash_leaf(entries[place]) + data[start + HASH_BYTES :]
    return -1


@attack(
    "lengthen-an-entry",
    "BUNDLE_WIDTH",
    "say that the last entry of a bundle is longer",
    index=FIRST_OF_BUNDLE,
)
def lengthen_an_entry(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice)
    data = copy.files[tile.path]
    size = len(entries[-1])
    start = len(data) - size - 2
    longer = dice.randrange(size + 1, 1 << 16)
    copy.files[tile.path] = data[:start] + longer.to_bytes(2, "big") + data[start + 2 :]
    return first_index(tile)


@attack("truncate-bundle", "BUNDLE_WIDTH", "cut the end of a bundle off", index=FIRST_OF_BUNDLE)
def truncate_bundle(copy: Forgery, dice: Random) -> int:
    tile, _entries = copy.bundle(dice)
    copy.files[tile.path] = copy.files[tile.path][: dice.randrange(len(copy.files[tile.path]))]
    return first_index(tile)


@attack("delete-bundle", "MISSING", "delete a bundle", index=FIRST_OF_BUNDLE)
def delete_bundle(copy: Forgery, dice: Random) -> int:
    tile, _entries = copy.bundle(dice)
    del copy.files[tile.path]
    return first_index(tile)


@attack(
    "link-bundle", "MISSING", "put a link to itself elsewhere in place of a bundle", index=FIRST_OF_BUNDLE
)
def link_bundle(copy: Forgery, dice: Random) -> int:
    tile, _entries = copy.bundle(dice)
    copy.links[tile.path] = pick(dice, ["/dev/zero", "/etc/hostname", "../checkpoint"], "an aim")
    return first_index(tile)


@attack("delete-entry", "BUNDLE_WIDTH", "take one entry out of its bundle", index=FIRST_OF_BUNDLE)
def delete_entry(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice)
    del entries[dice.randrange(len(entries))]
    copy.files[tile.path] = format_bundle(entries)
    return first_index(tile)


@attack("smuggle-entry", "BUNDLE_WIDTH", "put one more entry behind a bundle's last", index=FIRST_OF_BUNDLE)
def smuggle_entry(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice)
    copy.files[tile.path] = format_bundle([*entries, dice.choice(entries)])
    return first_index(tile)


@attack("reorder-entries", "ENTRY_HASH", "swap two entries of a bundle", index="the earlier of the two")
def reorder_entries(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice, least=2)
    one, other = sorted(dice.sample(range(len(entries)), 2))
    entries[one], entries[other] = entries[other], entries[one]
    copy.files[tile.path] = format_bundle(entries)
    return first_index(tile) + one


@attack(
    "duplicate-entry", "ENTRY_HASH", "write one entry over another", index="the entry that was written over"
)
def duplicate_entry(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice, least=2)
    source, target = dice.sample(range(len(entries)), 2)
    entries[target] = entries[source]
    copy.files[tile.path] = format_bundle(entries)
    return first_index(tile) + target


def _tile(copy: Forgery, dice: Random) -> TilePath:
    tile: TilePath = pick(dice, copy.current(entries=False), "a tile")
    return tile


def _first_below(tile: TilePath, offset: int) -> int:
    return first_index(tile) + ((offset // HASH_BYTES) << (8 * (tile.level or 0)))


@attack("flip-tile", "TILE_HASH", "flip one bit of a tile", index="the first entry under that hash")
def flip_tile(copy: Forgery, dice: Random) -> int:
    tile = _tile(copy, dice)
    offset = dice.randrange(tile.width * HASH_BYTES)
    copy.files[tile.path] = flipped(copy.files[tile.path], offset, dice.randrange(8))
    return _first_below(tile, offset)


@attack("truncate-tile", "TILE_HASH", "cut the end of a tile off", index="the first entry that lost its hash")
def truncate_tile(copy: Forgery, dice: Random) -> int:
    tile = _tile(copy, dice)
    offset = dice.randrange(tile.width * HASH_BYTES)
    copy.files[tile.path] = copy.files[tile.path][:offset]
    return _first_below(tile, offset)


@attack("delete-tile", "MISSING", "delete a tile", index="the first entry under that tile")
def delete_tile(copy: Forgery, dice: Random) -> int:
    tile = _tile(copy, dice)
    del copy.files[tile.path]
    return first_index(tile)


@attack(
    "forge-earlier-bundle",
    "ENTRY_HASH",
    "leave a partial bundle of an earlier size in which one entry is another",
    index="that entry",
)
def forge_earlier_bundle(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice, least=2)
    width = dice.randrange(1, len(entries))
    place = dice.randrange(width)
    entries[place] = flipped(entries[place], dice.randrange(len(entries[place])), dice.randrange(8))
    copy.files[entries_path(tile.index, width)] = format_bundle(entries[:width])
    return first_index(tile) + place


@attack(
    "forge-earlier-tile",
    "TILE_HASH",
    "leave a partial tile of an earlier size in which one hash is another",
    index="the entry of that hash",
)
def forge_earlier_tile(copy: Forgery, dice: Random) -> int:
    tile, entries = copy.bundle(dice, least=2)
    width = dice.randrange(1, len(entries))
    hashes = b"".join(hash_leaf(one) for one in entries[:width])
    offset = dice.randrange(len(hashes))
    copy.files[tile_path(0, tile.index, width)] = flipped(hashes, offset, dice.randrange(8))
    return first_index(tile) + offset // HASH_BYTES


@attack(
    "forge-unimplied-partial",
    "UNEXPECTED_RESOURCE",
    "leave a partial tile that no tree of this log has",
    index=NO_ENTRY,
)
def forge_unimplied_partial(copy: Forgery, dice: Random) -> int:
    size = len(copy)
    width = size % 256 + dice.randrange(1, 256 - size % 256)
    path = dice.choice(
        [tile_path(0, size // 256, width), tile_path(1 + dice.randrange(5), 1, 1 + width % 255)]
    )
    copy.files[path] = dice.randbytes(width * HASH_BYTES)
    return -1


@attack("unknown-file", "UNEXPECTED_RESOURCE", "leave a file that nothing implies", index=NO_ENTRY)
def unknown_file(copy: Forgery, dice: Random) -> int:
    name = f"{dice.randrange(1 << 16):04x}"
    place = dice.choice(["", "tile/", "tile/0/", "tile/entries/", "blobs/", "more/"])
    copy.files[f"{place}{dice.choice(['note-', '.', 'checkpoint.', 'x'])}{name}"] = dice.randbytes(40)
    return -1


@attack("link-tile", "UNEXPECTED_RESOURCE", "put a link in place of a tile", index=NO_ENTRY)
def link_tile(copy: Forgery, dice: Random) -> int:
    copy.links[_tile(copy, dice).path] = pick(dice, ["/dev/zero", "../../checkpoint"], "an aim")
    return -1


@attack("flip-checkpoint", "CHECKPOINT_SIG", "flip one bit of the checkpoint", index=NO_ENTRY)
def flip_checkpoint(copy: Forgery, dice: Random) -> int:
    data = copy.files["checkpoint"]
    copy.files["checkpoint"] = flipped(data, dice.randrange(len(data)), dice.randrange(8))
    return -1


@attack("delete-checkpoint", "MISSING", "delete the checkpoint", index=NO_ENTRY)
def delete_checkpoint(copy: Forgery, _dice: Random) -> int:
    del copy.files["checkpoint"]
    return -1


@attack("strip-cosignatures", "POLICY", "take the witnesses' lines off the checkpoint", index=NO_ENTRY)
def strip_cosignatures(copy: Forgery, _dice: Random) -> int:
    if copy.specimen.policy.quorum == "none":
        raise NoPlace("no witness is required in this study")
    lines = copy.files["checkpoint"].decode().split("\n\n")
    copy.files["checkpoint"] = (lines[0] + "\n\n" + lines[1].split("\n")[0] + "\n").encode()
    return -1


@attack(
    "repeat-cosignature",
    "CHECKPOINT_SIG",
    "count one witness twice: its line stands there twice",
    index=NO_ENTRY,
)
def repeat_cosignature(copy: Forgery, _dice: Random) -> int:
    data = copy.files["checkpoint"]
    lines = data.decode().split("\n\n")[1].splitlines(keepends=True)
    if len(lines) < 2:
        raise NoPlace("no witness cosigned this study")
    copy.files["checkpoint"] = data + lines[-1].encode()
    return -1


@attack("stranger-cosigns", "CHECKPOINT_SIG", "add the line of a witness that nobody named", index=NO_ENTRY)
def stranger_cosigns(copy: Forgery, dice: Random) -> int:
    data = copy.files["checkpoint"]
    name = dice.choice(["witness-another", *(key.name for _n, key in copy.specimen.policy.witnesses)])
    text = data.decode().split("\n\n")[0] + "\n"
    line = Signer(name, dice.randbytes(32), COSIGNATURE).cosign(text, copy.specimen.published_s)
    copy.files["checkpoint"] = data + format_signature(line).encode()
    return -1


def _named_blobs(copy: Forgery) -> dict[str, int]:
    """Each blob that lies there, and the first entry that needs it."""
    redacted = {str(entry.body["sha256"]) for _index, entry in copy.entries("redaction")}
    found: dict[str, int] = {}
    for index, entry in copy.entries("submission", "score-revealed"):
        blob = entry.body["blob"] if entry.kind == "score-revealed" else {"sha256": entry.body["digest"]}
        digest = str(blob["sha256"]) if isinstance(blob, dict) else ""
        if f"blobs/{digest}" in copy.files and digest not in redacted:
            found.setdefault(digest, index)
    return found


@attack(
    "delete-blob", "MISSING", "delete a blob without a redaction", index="the first entry that names the blob"
)
def delete_blob(copy: Forgery, dice: Random) -> int:
    named = _named_blobs(copy)
    digest = pick(dice, sorted(named), "a blob that an entry names")
    del copy.files[f"blobs/{digest}"]
    return named[digest]


@attack("change-blob", "ENTRY_HASH", "put other bytes in place of a blob", index=NO_ENTRY)
def change_blob(copy: Forgery, dice: Random) -> int:
    path = f"blobs/{pick(dice, sorted(_named_blobs(copy)), 'a blob that an entry names')}"
    data = copy.files[path]
    kind = dice.randrange(3)
    if kind == 0 and data:
        copy.files[path] = flipped(data, dice.randrange(len(data)), dice.randrange(8))
    elif kind == 1 and data:
        copy.files[path] = data[:-1]
    else:
        copy.files[path] = data + b"\n"
    return -1


@attack(
    "unnamed-blob",
    CANNOT_BE_SEEN,
    "leave a blob under its own hash that no entry names",
    index="a blob is there before the entry that names it, also in an honest log; no entry refers to it",
)
def unnamed_blob(copy: Forgery, dice: Random) -> int:
    data = dice.randbytes(50)
    copy.files[f"blobs/{hashlib.sha256(data).hexdigest()}"] = data
    return -1


@attack(
    "written-ahead",
    CANNOT_BE_SEEN,
    "lay entries behind the published ones, as a stopped sequencer leaves them",
    index="nobody signed for them: the verifier counts them in a warning and believes none",
)
def written_ahead(copy: Forgery, dice: Random) -> int:
    size = len(copy)
    if size % 256 == 0:
        raise NoPlace("the last bundle is full")
    first = size // 256 * 256
    ahead = []
    for index in range(size, min(size + 1 + dice.randrange(3), first + 256)):
        line, _newline, signed = copy.leaves[dice.randrange(size)].partition(b"\n")
        received = line.split(b" ")[2]
        ahead.append(b"aar-leaf/v1 %d %s\n" % (index, received) + signed)
    entries = [*copy.leaves[first:], *ahead]
    copy.files[entries_path(first // 256, len(entries) % 256 or 256)] = format_bundle(entries)
    return -1
