"""The reader: what was published, in order, or one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.verify.reader import NotARecord, RecordReader
from forge import bundle, honest, sha256, with_comments, write

FORGE = honest()
LEAVES = FORGE.leaves()
FILES = {
    path.removeprefix("record/"): data
    for path, data in FORGE.files(LEAVES).items()
    if path.startswith("record/")
}
BUNDLE = f"tile/entries/000.p/{len(LEAVES)}"


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return write(tmp_path / "record", FILES)


def test_all_published_leaves_are_read_in_order(record: Path) -> None:
    reader = RecordReader(record)
    assert reader.size() == len(LEAVES)
    assert list(reader.leaves()) == LEAVES
    assert [leaf.index for leaf in reader.entries()] == list(range(len(LEAVES)))
    assert reader.checkpoint_bytes() == FILES["checkpoint"]


def test_leaves_are_read_across_bundles(tmp_path: Path) -> None:
    forge = with_comments(500)
    leaves = forge.leaves()
    reader = RecordReader(forge.write(tmp_path, forge.files(leaves)) / "record")
    assert list(reader.leaves()) == leaves
    assert len(leaves) > 512
    # A smaller size than published: the full bundles stand in for the partial ones that are gone.
    for size in (0, 1, 256, 300):
        assert list(reader.leaves(size)) == leaves[:size]


def test_a_partial_bundle_is_preferred_to_the_full_one(record: Path) -> None:
    (record / "tile/entries/000").write_bytes(bundle([b"other"] * 256))
    assert list(RecordReader(record).leaves()) == LEAVES


def test_without_a_checkpoint_there_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(NotARecord, match="no published checkpoint: No such file"):
        RecordReader(tmp_path).size()


@pytest.mark.parametrize("data", [b"", b"noise", b"a\nb\nc\n\n\xe2\x80\x94 x AAAAAAAA\n"])
def test_a_checkpoint_that_is_none_is_said_to_be_none(record: Path, data: bytes) -> None:
    (record / "checkpoint").write_bytes(data)
    with pytest.raises(NotARecord, match="run verify"):
        RecordReader(record).size()


def test_a_missing_bundle_is_named(record: Path) -> None:
    (record / BUNDLE).unlink()
    with pytest.raises(NotARecord, match=rf"{BUNDLE} is missing; run verify"):
        list(RecordReader(record).leaves())


@pytest.mark.parametrize("data", [b"", FILES[BUNDLE] + b"x", FILES[BUNDLE][:-1]])
def test_a_damaged_bundle_is_named(record: Path, data: bytes) -> None:
    (record / BUNDLE).write_bytes(data)
    with pytest.raises(NotARecord, match=rf"{BUNDLE}: .*; run verify"):
        list(RecordReader(record).leaves())


def test_a_full_bundle_in_a_partial_one_s_place_has_256_entries(record: Path) -> None:
    (record / BUNDLE).rename(record / "tile/entries/000")
    with pytest.raises(NotARecord, match="tile/entries/000: .*; run verify"):
        list(RecordReader(record).leaves())


def test_a_leaf_that_is_no_entry_is_named(record: Path) -> None:
    leaves = [LEAVES[0], b"noise", *LEAVES[2:]]
    (record / BUNDLE).write_bytes(bundle(leaves))
    with pytest.raises(NotARecord, match="entry 1: .*; run verify"):
        list(RecordReader(record).entries())


def test_a_blob_is_read_by_its_digest(record: Path) -> None:
    data = next(iter(FORGE.blobs.values()))
    assert RecordReader(record).blob(sha256(data).hex()) == data
    with pytest.raises(FileNotFoundError):
        RecordReader(record).blob("ab" * 32)
