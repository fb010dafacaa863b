"""Go's golang.org/x/mod/sumdb accepts our logs and refuses changed ones; we do so with its logs."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.keys import ED25519, Signer, format_skey, format_vkey
from aar.formats.tile import tiles_of
from aar.outside.record.disk import Disk
from aar.verify import merkle
from aar.verify.reader import NotARecord, RecordReader
from aar.verify.study import verify_study
from forge import LOG as FORGE_LOG
from forge import assert_ok, checkpoint, honest, with_comments
from programs import Sumdb
from record.world import LOG, World, entries

SIZES = (0, 1, 2, 3, 255, 256, 257, 511, 512, 513)
LARGE = 65_536 + 1
BATCH = 512
VKEY = format_vkey(LOG.vkey)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Written:
    """A log of ours on the disk, and proofs of ours from its sequencer, as the driver reads them."""

    def __init__(self, directory: Path, size: int) -> None:
        directory.mkdir(exist_ok=True)
        self.world = World(Disk(), public=directory / "record", private=directory / "gateway")
        self.directory = self.world.public
        sequencer = self.world.open()
        for start in range(0, size, BATCH):
            sequencer.append(entries(0, min(BATCH, size - start)))
        sequencer.publish()
        self.checkpoint, _ = open_checkpoint((self.directory / "checkpoint").read_bytes(), LOG.vkey)
        assert self.checkpoint.size == size
        self.leaves = list(RecordReader(self.directory).leaves())
        hashes = [merkle.leaf_hash(leaf) for leaf in self.leaves]
        root = b64(self.checkpoint.root)
        places = {0, 1, size // 3, size // 2, size - 2, size - 1, 255, 256, 65_535} & set(range(size))
        self.proofs = []
        for place in sorted(places):
            proof = sequencer.prove_inclusion(place).hashes
            words = [f"inclusion {place} {size} {root} {b64(hashes[place])}", *map(b64, proof)]
            self.proofs.append(" ".join(words))
            if place:
                old = b64(merkle.root_of(hashes[:place]))
                words = [f"consistency {place} {size} {old} {root}"]
                self.proofs.append(" ".join([*words, *map(b64, sequencer.prove_consistency(place))]))
        sequencer.close()


@pytest.mark.parametrize("size", SIZES)
def test_sumdb_accepts_our_log_of_any_size_with_its_entries_and_proofs(
    sumdb: Sumdb, tmp_path: Path, size: int
):
    ours = Written(tmp_path, size)
    said = sumdb.verified(VKEY, ours.directory, ours.proofs)
    assert said == f"entries {size} proofs {len(ours.proofs)} signatures {LOG.name} witness-1"


@pytest.mark.slow
def test_sumdb_accepts_our_log_that_has_three_levels_of_tiles(sumdb: Sumdb, tmp_path: Path):
    ours = Written(tmp_path, LARGE)
    assert (ours.directory / "tile/2/000.p/1").is_file()
    said = sumdb.verified(VKEY, ours.directory, ours.proofs)
    assert said.startswith(f"entries {LARGE} proofs {len(ours.proofs)} ")


def test_sumdb_refuses_our_log_after_a_flip_of_one_bit_in_any_resource(sumdb: Sumdb, tmp_path: Path):
    ours = Written(tmp_path, 258)
    for resource in ["checkpoint", *(tile.path for tile in tiles_of(258))]:
        file = ours.directory / resource
        data = bytearray(file.read_bytes())
        # Of the checkpoint the root, of a bundle an entry, of a tile a hash.
        data[len(data) // 3] ^= 1
        kept = file.read_bytes()
        file.write_bytes(data)
        assert sumdb.refusal(VKEY, ours.directory), resource
        file.write_bytes(kept)
    assert sumdb.verified(VKEY, ours.directory)


def test_sumdb_refuses_our_log_under_another_key_of_the_same_name(sumdb: Sumdb, tmp_path: Path):
    ours = Written(tmp_path, 3)
    other = format_vkey(Signer(LOG.name, b"o" * 32).vkey)
    assert "no verifiable signatures" in sumdb.refusal(other, ours.directory)


def test_sumdb_refuses_each_of_our_proofs_after_a_flip_of_one_bit(sumdb: Sumdb, tmp_path: Path):
    ours = Written(tmp_path, 21)
    for proof in ours.proofs:
        words = proof.split(" ")
        if len(words) == 5:
            continue
        changed = bytearray(base64.b64decode(words[-1]))
        changed[7] ^= 1
        assert sumdb.refusal(VKEY, ours.directory, [" ".join([*words[:-1], b64(changed)])]), proof


def test_sumdb_accepts_the_record_of_a_study(sumdb: Sumdb, tmp_path: Path):
    study = honest().write(tmp_path / "study")
    size = verify_study(study).tree_size
    said = sumdb.verified(format_vkey(FORGE_LOG.vkey), study / "record")
    assert said == f"entries {size} proofs 0 signatures {FORGE_LOG.name} witness-local"


@pytest.mark.parametrize("size", SIZES[1:])
def test_we_accept_a_log_that_sumdb_wrote_and_its_proofs(sumdb: Sumdb, tmp_path: Path, size: int):
    written = [b"entry %d" % number for number in range(size)]
    proofs = sumdb.write(format_skey(LOG), tmp_path, written)
    checkpoint, _ = open_checkpoint((tmp_path / "checkpoint").read_bytes(), LOG.vkey)
    assert (checkpoint.size, checkpoint.origin) == (size, LOG.name)
    assert list(RecordReader(tmp_path).leaves()) == written
    assert checkpoint.root == merkle.root_of(map(merkle.leaf_hash, written))
    found = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*") if file.is_file()}
    assert found == {"checkpoint", *(tile.path for tile in tiles_of(size))}
    assert proofs
    for proof in proofs:
        check(proof)
        words = proof.split(" ")
        if len(words) > 5:
            changed = bytearray(base64.b64decode(words[-1]))
            changed[7] ^= 1
            with pytest.raises(merkle.InvalidProof):
                check(" ".join([*words[:-1], b64(changed)]))


def check(proof: str) -> None:
    """A proof as the driver prints it, by our code."""
    kind, *words = proof.split(" ")
    first, second = int(words[0]), int(words[1])
    one, two, *hashes = map(base64.b64decode, words[2:])
    if kind == "inclusion":
        merkle.check_inclusion(two, first, second, hashes, one)
    else:
        merkle.check_consistency(first, second, hashes, one, two)


def test_our_tiles_and_bundles_are_byte_for_byte_those_of_sumdb(sumdb: Sumdb, tmp_path: Path):
    ours = Written(tmp_path / "ours", 700)
    sumdb.write(format_skey(LOG), tmp_path / "theirs", ours.leaves)
    for tile in tiles_of(700):
        assert (tmp_path / "theirs" / tile.path).read_bytes() == (ours.directory / tile.path).read_bytes(), (
            tile.path
        )
    theirs, note = open_checkpoint((tmp_path / "theirs/checkpoint").read_bytes(), LOG.vkey)
    assert theirs == ours.checkpoint
    assert note.signatures[0] == LOG.sign(note.text)


def study_by_sumdb(sumdb: Sumdb, directory: Path) -> Path:
    """The honest study with more than one bundle; its tiles and bundles are of Go's making."""
    forge = with_comments(300)
    leaves = forge.leaves()
    study = forge.write(directory, forge.files(leaves))
    shutil.rmtree(study / "record/tile")
    assert FORGE_LOG.algorithm == ED25519
    sumdb.write(format_skey(FORGE_LOG), study / "record", leaves)
    theirs = (study / "record/checkpoint").read_bytes()
    cosigned = checkpoint(leaves)
    # The witness signs the text that Go wrote, which is ours to the byte; so is the log's own signature.
    assert cosigned.startswith(theirs)
    (study / "record/checkpoint").write_bytes(cosigned)
    return study


def test_our_verifier_accepts_a_study_whose_log_sumdb_wrote(sumdb: Sumdb, tmp_path: Path):
    assert_ok(verify_study(study_by_sumdb(sumdb, tmp_path / "study")))


def test_our_verifier_names_the_entry_after_a_flip_in_a_log_that_sumdb_wrote(sumdb: Sumdb, tmp_path: Path):
    study = study_by_sumdb(sumdb, tmp_path / "study")
    bundle = study / "record/tile/entries/000"
    data = bytearray(bundle.read_bytes())
    data[-20] ^= 1
    bundle.write_bytes(data)
    report = verify_study(study)
    assert [(one.code, one.first_index) for one in report.findings[:1]] == [("ENTRY_HASH", 255)]


def test_our_reader_refuses_a_log_of_sumdb_that_lost_bytes(sumdb: Sumdb, tmp_path: Path):
    sumdb.write(format_skey(LOG), tmp_path, [b"one", b"two"])
    bundle = tmp_path / "tile/entries/000.p/2"
    bundle.write_bytes(bundle.read_bytes()[:-1])
    with pytest.raises(NotARecord, match="inside entry 1"):
        list(RecordReader(tmp_path).leaves())
