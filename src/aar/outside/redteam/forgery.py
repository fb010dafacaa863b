"""A forgery: a copy of a study in memory, altered, signed again with the keys at hand, and written down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from aar.formats.checkpoint import Checkpoint
from aar.formats.entry import Entry, Leaf, format_entry_text, format_leaf, parse_leaf
from aar.formats.keys import Signer
from aar.formats.note import Note, format_note
from aar.formats.tile import TILE_WIDTH, TilePath, parse_bundle, tiles_of
from aar.outside.record.tiles import new_tiles
from aar.outside.record.tree import Tree, hash_leaf
from aar.outside.redteam.specimen import NoPlace, Specimen, sign_checkpoint, witness_state_path

Change = Callable[[Entry], Entry]


class Forgery:
    """One copy: alter `leaves` and `files` at will; `pins` and the like are what the reader holds."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen
        self.leaves = list(specimen.leaves)
        self.files = dict(specimen.files)
        self.links: dict[str, str] = {}
        self.study_policy = specimen.policy_bytes
        self.policy: bytes | None = None
        self.pins: list[bytes] = []
        self.receipts: list[bytes] = []
        self.anchor: dict[str, bytes] | None = None
        self.witness_state: bytes | None = None
        self.now_ms: int | None = None

    @property
    def origin(self) -> str:
        return self.specimen.policy.log.name

    def __len__(self) -> int:
        return len(self.leaves)

    def entry(self, index: int) -> Entry:
        return parse_leaf(self.leaves[index]).signed.entry

    def entries(self, *kinds: str) -> list[tuple[int, Entry]]:
        """(index, entry) of those kinds, as they are in the study (all when none is named)."""
        return [
            (leaf.index, leaf.signed.entry)
            for leaf in self.specimen.entries
            if not kinds or leaf.signed.entry.kind in kinds
        ]

    # What lies on disk.

    def current(self, *, entries: bool) -> list[TilePath]:
        """The bundles, or the tiles, that a tree of the study's size has."""
        return [one for one in tiles_of(len(self.specimen.leaves)) if (one.level is None) == entries]

    def bundle(self, dice: Random, *, least: int = 1) -> tuple[TilePath, list[bytes]]:
        """One of the current bundles with at least so many entries, and its entries."""
        tile = pick(dice, [one for one in self.current(entries=True) if one.width >= least], "a bundle")
        return tile, parse_bundle(self.files[tile.path], tile.width)

    # Signing again.

    def publish(self, leaves: Sequence[bytes] | None = None) -> None:
        """Write the leaves down as an honest log would have, and sign: no earlier partial tile is left."""
        if leaves is not None:
            self.leaves = list(leaves)
        tree = Tree(map(hash_leaf, self.leaves))
        self.lay_out(tree)
        self.files["checkpoint"] = self.sign(tree)

    def lay_out(self, tree: Tree) -> None:
        """The tiles and bundles of the leaves as they are, and no others."""
        kept = {path: data for path, data in self.files.items() if not path.startswith("tile/")}
        tiles = new_tiles(tree, lambda start, end: self.leaves[start:end], 0, len(self.leaves))
        self.files = {**kept, **dict(tiles)}

    def tree_root(self) -> bytes:
        """The root over the leaves as they are."""
        return Tree(map(hash_leaf, self.leaves)).root()

    def sign(self, tree: Tree | None = None, *, size: int | None = None) -> bytes:
        """A checkpoint over the leaves as they are, with the log's key and the witnesses'."""
        tree = Tree(map(hash_leaf, self.leaves)) if tree is None else tree
        size = len(tree) if size is None else size
        checkpoint = Checkpoint(self.origin, size, tree.root(min(size, len(tree))))
        specimen = self.specimen
        return sign_checkpoint(checkpoint, specimen.log, specimen.witnesses, specimen.published_s)

    def signer(self, role: str, dice: Random) -> Signer:
        """The key of one author of that role."""
        roles = self.specimen.roles
        names = sorted(name for name in self.specimen.authors if roles[name] == role)
        return self.specimen.authors[pick(dice, names, f"a {role} whose key is at hand")]

    def chain(self, author: str) -> tuple[int, str]:
        """(next seq, digest of its newest text) of an author."""
        for leaf in reversed([parse_leaf(one) for one in self.leaves]):
            if leaf.signed.entry.author == author:
                return leaf.signed.entry.seq + 1, leaf.signed.text_digest
        return 0, ""

    def append(
        self,
        signer: Signer,
        kind: str,
        body: Any,
        *,
        cosigners: Sequence[Signer] = (),
        change: Change = lambda entry: entry,
    ) -> int:
        """Add an entry as its author would, but for `change`; its index."""
        index = len(self.leaves)
        last = parse_leaf(self.leaves[-1])
        seq, prev = self.chain(signer.name)
        isolation = last.signed.entry.isolation
        entry = Entry(self.origin, signer.name, seq, prev, kind, (), body, last.received_ms, isolation)
        self.leaves.append(
            format_leaf(index, last.received_ms + 1, signed_by(change(entry), signer, *cosigners))
        )
        return index

    def rewrite(self, index: int, change: Change) -> None:
        """Change one entry and sign it, and whatever its author said later, with the authors' own keys."""
        author, prev = self.entry(index).author, ""
        for place in range(index, len(self.leaves)):
            leaf = parse_leaf(self.leaves[place])
            entry = leaf.signed.entry
            if entry.author != author:
                continue
            entry = change(entry) if place == index else replace(entry, prev=prev)
            data = signed_by(entry, *self._signers_of(leaf))
            self.leaves[place] = format_leaf(leaf.index, leaf.received_ms, data)
            prev = parse_leaf(self.leaves[place]).signed.text_digest

    def can_rewrite(self, index: int) -> bool:
        """Whether all keys are at hand that `rewrite` needs."""
        author = self.entry(index).author
        return all(
            line.name in self.specimen.authors
            for leaf in self.specimen.entries[index:]
            if leaf.signed.entry.author == author
            for line in leaf.signed.note.signatures
        )

    def _signers_of(self, leaf: Leaf) -> list[Signer]:
        names = [line.name for line in leaf.signed.note.signatures]
        lost = [name for name in names if name not in self.specimen.authors]
        if lost:
            raise NoPlace(f"the key of {lost[0]} is not at hand")
        return [self.specimen.authors[name] for name in names]

    def write(self, directory: Path) -> None:
        """Put the public part into a new directory, with what the witness kept if the reader has that.

        What an anchor holds lies in `anchor` there.
        """
        files = {f"record/{path}": data for path, data in self.files.items()}
        files |= {f"anchor/{path}": data for path, data in (self.anchor or {}).items()}
        files["policy"] = self.study_policy
        if self.witness_state is not None:
            files[witness_state_path(self.origin)] = self.witness_state
        made: set[Path] = set()
        for path, data in files.items():
            target = directory / path
            if target.parent not in made:
                target.parent.mkdir(parents=True, exist_ok=True)
                made.add(target.parent)
            target.write_bytes(data)
        for path, aim in self.links.items():
            target = directory / "record" / path
            target.unlink(missing_ok=True)
            target.symlink_to(aim)


def signed_by(entry: Entry, *signers: Signer) -> bytes:
    """The author's part of an entry under whatever keys are given, also wrong ones."""
    text = format_entry_text(entry)
    return format_note(Note(text, tuple(one.sign(text) for one in signers)))


def with_body(**fields: Any) -> Change:
    """Change some fields of an entry's body."""
    return lambda entry: replace(entry, body={**entry.body, **fields})


def pick(dice: Random, places: Sequence[Any], what: str) -> Any:
    """One of the places, by the dice; `NoPlace` when there is none."""
    if not places:
        raise NoPlace(f"there is not {what} in this study")
    return dice.choice(places)


def flipped(data: bytes, position: int, bit: int) -> bytes:
    """The same bytes, one bit of them the other way round."""
    return data[:position] + bytes([data[position] ^ (1 << bit)]) + data[position + 1 :]


def first_index(tile: TilePath) -> int:
    """Index of the first entry under a tile."""
    return (tile.index * TILE_WIDTH) << (8 * (tile.level or 0))
