"""Receipts: built from the public files alone, for any entry, at any size; never of what was not signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.entry import parse_leaf
from aar.formats.proof import format_proof, parse_proof
from aar.formats.tile import entries_path, tile_path
from aar.outside.record.errors import NotPublished
from aar.outside.record.receipt import build_receipt, prove_inclusion
from aar.outside.record.tree import Tree, hash_leaf
from aar.verify.merkle import check_inclusion, leaf_hash
from aar.verify.reader import NotARecord
from record.world import LOG, World, entries

SIZE = 300


@pytest.fixture
def published(real_world: World) -> World:
    sequencer = real_world.open()
    sequencer.append(entries(0, SIZE))
    sequencer.publish()
    sequencer.close()
    return real_world


def test_the_receipt_of_each_entry_holds_and_carries_the_entry(published: World):
    for index in (0, 1, 100, 254, 255, 256, 257, 298, 299):
        proof = parse_proof(build_receipt(Path("record"), index))
        checkpoint, _note = open_checkpoint(proof.checkpoint, LOG.vkey)
        assert (proof.index, checkpoint.size) == (index, SIZE)
        assert proof.extra is not None
        assert parse_leaf(proof.extra).index == index
        check_inclusion(leaf_hash(proof.extra), index, SIZE, proof.hashes, checkpoint.root)


def test_it_is_what_the_sequencer_hands_out(published: World):
    sequencer = published.open()
    proof = sequencer.prove_inclusion(123)
    built = parse_proof(build_receipt(Path("record"), 123))
    assert (built.index, built.hashes, built.extra) == (proof.index, proof.hashes, sequencer.leaf(123))
    assert format_proof(built) == build_receipt(Path("record"), 123)
    sequencer.close()


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256, 257, 511, 65_535, 65_536, 65_537, 131_073])
def test_the_proof_is_that_of_the_tree_at_every_edge(size: int):
    tree = Tree(hash_leaf(b"%d" % number) for number in range(size))
    for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
        proof = prove_inclusion(index, size, lambda height, at: tree.subtrees(height, at, 1))
        assert proof == tree.prove_inclusion(index, size)


@pytest.mark.parametrize("index", [-1, SIZE, 10**9])
def test_an_entry_that_is_not_published_has_no_receipt(published: World, index: int):
    with pytest.raises(NotPublished, match="300 entries are published"):
        build_receipt(Path("record"), index)


def test_no_receipt_is_built_of_an_entry_that_was_changed(published: World):
    bundle = Path("record") / entries_path(0)
    bundle.chmod(0o644)
    bundle.write_bytes(bundle.read_bytes().replace(b"entry 100", b"entry 1O0"))
    build_receipt(Path("record"), 99)
    with pytest.raises(NotARecord, match="entry 100 is not what was signed"):
        build_receipt(Path("record"), 100)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("checkpoint", "no published checkpoint"),
        (entries_path(0), "it is missing"),
        (tile_path(0, 1, SIZE - 256), "it is missing"),
    ],
)
def test_a_file_that_is_missing_is_named(published: World, path: str, why: str):
    (Path("record") / path).unlink()
    with pytest.raises(NotARecord, match=why) as refused:
        build_receipt(Path("record"), 3)
    assert path in str(refused.value)


def test_a_tile_cut_short_is_named(published: World):
    tile = Path("record") / tile_path(0, 0)
    tile.chmod(0o644)
    tile.write_bytes(tile.read_bytes()[:-1])
    with pytest.raises(NotARecord, match="run verify"):
        build_receipt(Path("record"), 3)


def test_a_partial_tile_that_was_filled_meanwhile_is_read_from_the_full_one(published: World):
    """The checkpoint was read before, the tiles after the log grew past them."""
    old = Path("record/checkpoint").read_bytes()
    sequencer = published.open()
    sequencer.append(entries(SIZE, 300))
    sequencer.publish()
    sequencer.close()
    assert not (Path("record") / entries_path(1, SIZE - 256)).exists()
    Path("record/checkpoint").write_bytes(old)
    assert parse_proof(build_receipt(Path("record"), 299)).index == 299
