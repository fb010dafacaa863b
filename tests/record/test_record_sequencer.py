"""The sequencer: two acknowledgements, one history, and a halt when the disk tells another one."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aar.formats.entry import parse_leaf, parse_signed_entry
from aar.formats.errors import FormatError, MalformedEntry
from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.proof import format_proof, parse_proof
from aar.outside.record.disk import Disk
from aar.outside.record.errors import (
    NotPublished,
    QuorumNotMet,
    RecordHalted,
    RecordInUse,
    RefusedEntry,
    WitnessConflict,
)
from aar.verify import merkle
from record.world import ORIGIN, World, entries, signed_entry


def test_a_new_record_publishes_the_empty_tree(world: World):
    sequencer = world.open()
    assert (sequencer.size, sequencer.signed_size, sequencer.published_size) == (0, 0, 0)
    assert world.check_public().root == merkle.EMPTY_ROOT
    assert sequencer.prove_consistency(0) == []
    assert sequencer.append([]) == range(0)


def test_entries_are_numbered_and_stamped_in_order(world: World):
    sequencer = world.open()
    world.now_ms = 5_000
    assert sequencer.append(entries(0, 3)) == range(3)
    world.now_ms = 4_000
    assert sequencer.append(entries(3, 2)) == range(3, 5)
    leaves = [parse_leaf(sequencer.leaf(index)) for index in range(5)]
    assert [leaf.index for leaf in leaves] == [0, 1, 2, 3, 4]
    assert [leaf.received_ms for leaf in leaves] == [5_000] * 5
    assert [leaf.signed.data for leaf in leaves] == entries(0, 5)
    assert (sequencer.size, sequencer.published_size) == (5, 0)


def test_entries_that_were_parsed_before_are_taken_as_they_are(world: World):
    sequencer = world.open()
    given = [parse_signed_entry(data) for data in entries(0, 3)]
    assert sequencer.append(given) == range(3)
    assert [parse_leaf(sequencer.leaf(index)).signed.data for index in range(3)] == entries(0, 3)
    foreign = parse_signed_entry(signed_entry(3, origin="aar.local/study-ffeeddccbbaa99887766"))
    with pytest.raises(RefusedEntry):
        sequencer.append([foreign])


def test_the_time_of_receipt_never_runs_back_over_a_restart(world: World):
    sequencer = world.open()
    world.now_ms = 9_000
    sequencer.append(entries(0, 1))
    sequencer.close()
    world.now_ms = 1_000
    again = world.open()
    again.append(entries(1, 1))
    assert parse_leaf(again.leaf(1)).received_ms == 9_000


def test_publishing_brings_every_durable_entry_under_the_checkpoint(world: World):
    sequencer = world.open()
    sequencer.append(entries(0, 7))
    data = sequencer.publish()
    assert data == sequencer.checkpoint
    assert (sequencer.signed_size, sequencer.published_size) == (7, 7)
    checkpoint = world.check_public()
    for index in range(7):
        proof = parse_proof(format_proof(sequencer.prove_inclusion(index)))
        leaf_hash = merkle.leaf_hash(sequencer.leaf(index))
        merkle.check_inclusion(leaf_hash, index, 7, proof.hashes, checkpoint.root)
        assert proof.checkpoint == data


@given(st.lists(st.integers(1, 140), min_size=1, max_size=6), st.data())
@settings(max_examples=12, deadline=None)
def test_batches_of_any_size_give_the_tree_of_their_leaves(sizes: list[int], data: st.DataObject):
    world = World()
    sequencer = world.open()
    roots = {0: merkle.EMPTY_ROOT}
    for size in sizes:
        sequencer.append(entries(sequencer.size, size))
        if data.draw(st.booleans()):
            sequencer.publish()
            checkpoint = world.check_public()
            assert checkpoint.size == sequencer.size
            roots[checkpoint.size] = checkpoint.root
        if data.draw(st.booleans()):
            sequencer.close()
            sequencer = world.open()
    sequencer.publish()
    newest = world.check_public()
    assert newest.size == sum(sizes)
    for size, root in roots.items():
        if size:
            merkle.check_consistency(size, newest.size, sequencer.prove_consistency(size), root, newest.root)


def test_partials_stay_until_their_full_tile_is_published(world: World):
    sequencer = world.open()
    for _ in range(3):
        sequencer.append(entries(sequencer.size, 1))
        sequencer.publish()
    assert world.disk.list(Path("record/tile/entries/000.p")) == ("1", "2", "3")
    sequencer.append(entries(3, 254))
    sequencer.publish()
    assert world.disk.list(Path("record/tile/entries")) == ("000", "001.p")
    assert world.disk.list(Path("record/tile/0")) == ("000", "001.p")
    assert world.disk.list(Path("record/tile/1")) == ("000.p",)


def test_only_entries_of_this_record_are_taken_and_a_bad_one_spoils_its_batch(world: World):
    sequencer = world.open()
    foreign = signed_entry(1, origin="aar.local/study-ffeeddccbbaa99887766")
    for bad, error in (
        (foreign, RefusedEntry),
        (b"no entry", MalformedEntry),
        (b"x" * 65_535, MalformedEntry),
    ):
        with pytest.raises(error):
            sequencer.append([*entries(0, 1), bad])
    assert sequencer.size == 0
    assert sequencer.append(entries(0, 1)) == range(1)


def test_a_clock_that_makes_no_leaf_is_refused(world: World):
    sequencer = world.open()
    world.now_ms = 10**19
    with pytest.raises(FormatError):
        sequencer.append(entries(0, 1))
    assert sequencer.size == 0


def test_what_is_not_there_yet_cannot_be_proved(world: World):
    sequencer = world.open()
    sequencer.append(entries(0, 2))
    for ask in (
        lambda: sequencer.leaf(2),
        lambda: sequencer.leaf(-1),
        lambda: sequencer.prove_inclusion(0),
        lambda: sequencer.prove_consistency(0, 2),
        lambda: sequencer.prove_consistency(1),
    ):
        with pytest.raises(NotPublished):
            ask()
    sequencer.publish()
    assert sequencer.prove_consistency(2) == []


def test_publishing_nothing_new_asks_no_witness_and_a_heartbeat_asks_again(world: World):
    sequencer = world.open()
    sequencer.append(entries(0, 1))
    first = sequencer.publish()
    asked = len(world.witnesses[0].asked)
    assert sequencer.publish() == first
    assert len(world.witnesses[0].asked) == asked
    world.witnesses[0].unix_s += 60
    second = sequencer.heartbeat()
    assert second != first
    assert sequencer.checkpoint == second
    assert len(world.witnesses[0].asked) == asked + 1
    assert world.check_public().size == 1


def test_without_a_quorum_entries_stay_durable_and_the_published_checkpoint_stays():
    world = World(witnesses=3, quorum=2)
    sequencer = world.open()
    sequencer.append(entries(0, 2))
    before = sequencer.publish()
    world.witnesses[0].is_up = world.witnesses[2].is_up = False
    sequencer.append(entries(2, 2))
    with pytest.raises(QuorumNotMet, match=r"witness-1: it is down; witness-3: it is down"):
        sequencer.publish()
    assert (sequencer.size, sequencer.signed_size, sequencer.published_size) == (4, 4, 2)
    assert sequencer.checkpoint == before
    assert world.check_public().size == 2
    sequencer.append(entries(4, 1))
    world.witnesses[2].is_up = True
    sequencer.publish()
    assert world.check_public().size == 5


def test_a_witness_that_starts_over_or_falls_behind_is_brought_up_to_date():
    world = World(witnesses=2, quorum=2)
    sequencer = world.open()
    sequencer.append(entries(0, 5))
    sequencer.publish()
    world.witnesses[0].seen.clear()
    sequencer.append(entries(5, 1))
    sequencer.publish()
    assert [one.size for one in world.witnesses] == [6, 6]


def test_a_witness_that_keeps_changing_its_mind_is_given_up(world: World):
    sequencer = world.open()
    sequencer.append(entries(0, 3))
    sizes = itertools.cycle((1, 2))

    def add_checkpoint(*_arguments: object) -> bytes:
        raise WitnessConflict(next(sizes))

    world.witnesses[0].add_checkpoint = add_checkpoint
    with pytest.raises(QuorumNotMet, match="changed its mind"):
        sequencer.publish()


@pytest.mark.parametrize("damage", ["flipped", "foreign", "empty", "garbage", "of another text"])
def test_a_cosignature_that_does_not_hold_does_not_count(world: World, damage: str):
    sequencer = world.open()
    sequencer.append(entries(0, 3))
    honest = world.witnesses[0].add_checkpoint
    other = World(witnesses=2).witnesses[1]

    def add_checkpoint(old: int, proof: list[bytes], note: bytes) -> bytes:
        line: bytes = honest(old, proof, note)
        return {
            "flipped": line[:-6] + (b"A" if line[-6:-5] != b"A" else b"B") + line[-5:],
            "foreign": other.cosign(note),
            "empty": b"",
            "garbage": b"\xff",
            "of another text": world.witnesses[0].cosign(note.replace(b"\n3\n", b"\n4\n")),
        }[damage]

    world.witnesses[0].add_checkpoint = add_checkpoint
    with pytest.raises(QuorumNotMet):
        sequencer.publish()
    assert world.check_public().size == 0


def test_a_quorum_that_cannot_be_or_counts_one_twice_is_refused():
    with pytest.raises(ValueError, match="quorum 2 of 1"):
        World(quorum=2).open()
    world = World(witnesses=2)
    world.witnesses[1] = world.witnesses[0]
    with pytest.raises(ValueError, match="share a name or a key"):
        world.open()


def test_a_log_key_of_another_kind_is_refused(world: World):
    world.signer = Signer(ORIGIN, bytes(32), COSIGNATURE)
    with pytest.raises(ValueError, match="want Ed25519"):
        world.open()


# What a restart finds.


def history(world: World) -> None:
    """Five entries published, two more durable; the sequencer is gone."""
    sequencer = world.open()
    sequencer.append(entries(0, 3))
    sequencer.append(entries(3, 2))
    sequencer.publish()
    sequencer.append(entries(5, 2))
    sequencer.close()


def test_a_restart_finds_everything(real_world: World):
    history(real_world)
    sequencer = real_world.open()
    assert (sequencer.size, sequencer.published_size, sequencer.torn_bytes) == (7, 5, 0)
    assert [parse_leaf(sequencer.leaf(index)).signed.data for index in range(7)] == entries(0, 7)
    sequencer.publish()
    assert real_world.check_public().size == 7
    sequencer.close()


def cut_wal(directory: Path) -> None:
    wal = directory / "gateway/wal"
    wal.write_bytes(wal.read_bytes()[:-4_000])


def remove(name: str) -> Callable[[Path], None]:
    return lambda directory: (directory / name).unlink()


def flip(name: str, offset: int) -> Callable[[Path], None]:
    def change(directory: Path) -> None:
        data = bytearray((directory / name).read_bytes())
        data[offset] ^= 1
        (directory / name).write_bytes(data)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda directory: os.truncate(directory / "gateway/wal", 1_000), "the write-ahead log is older"),
        (remove("gateway/wal"), "the write-ahead log is older"),
        (remove("gateway/signed"), "is gone"),
        (flip("gateway/signed", 60), "is no checkpoint"),
        (flip("record/checkpoint", 60), "is no checkpoint"),
        (flip("gateway/wal", 300), "a good one follows"),
        (
            flip("record/tile/0/000.p/5", 40),
            "holds 160 bytes and this log would write 160, different from byte 40",
        ),
        (flip("record/tile/entries/000.p/5", 40), "different from byte 40"),
        (lambda directory: os.truncate(directory / "record/tile/0/000.p/5", 32), "different from byte 32"),
    ],
)
def test_a_disk_that_tells_another_story_halts_the_record(
    real_world: World, tmp_path: Path, change: Callable[[Path], None], reason: str
):
    history(real_world)
    change(tmp_path)
    with pytest.raises(RecordHalted, match=reason):
        real_world.open()
    # The lock is free again: it is the disk that halts, not a sequencer left behind.
    with pytest.raises(RecordHalted, match=reason):
        real_world.open()


def test_a_lost_right_edge_tile_is_written_again(real_world: World, tmp_path: Path):
    history(real_world)
    shutil.rmtree(tmp_path / "record/tile")
    real_world.open().close()
    assert real_world.check_public().size == 5


def test_entries_that_were_put_in_place_of_signed_ones_halt_the_record(real_world: World, tmp_path: Path):
    history(real_world)
    other = World(Disk(), public=Path("other-record"), private=Path("other"))
    forged = other.open()
    forged.append(entries(10, 9))
    forged.close()
    shutil.copy(tmp_path / "other/wal", tmp_path / "gateway/wal")
    with pytest.raises(RecordHalted, match="they are not what was signed"):
        real_world.open()


def test_a_private_directory_older_than_the_public_one_halts_the_record(real_world: World, tmp_path: Path):
    history(real_world)
    shutil.copytree(tmp_path / "gateway", tmp_path / "older")
    sequencer = real_world.open()
    sequencer.publish()
    sequencer.close()
    shutil.copy(tmp_path / "older/signed", tmp_path / "gateway/signed")
    with pytest.raises(RecordHalted, match="size 7 is published, 5 was signed last"):
        real_world.open()


@pytest.mark.parametrize("is_down_at_first", [False, True])
def test_a_disk_that_was_rolled_back_as_a_whole_is_found_out_by_a_witness(
    real_world: World, tmp_path: Path, is_down_at_first: bool
):
    history(real_world)
    for name in ("gateway", "record"):
        shutil.copytree(tmp_path / name, tmp_path / "backup" / name)
    sequencer = real_world.open()
    sequencer.publish()
    sequencer.close()
    for name in ("gateway", "record"):
        shutil.rmtree(tmp_path / name)
        shutil.copytree(tmp_path / "backup" / name, tmp_path / name)
    witness = real_world.witnesses[0]
    if is_down_at_first:
        # It must not sign another history of size 7 and more before the witness was asked about size 5.
        witness.is_up = False
        sequencer = real_world.open()
        sequencer.append(entries(20, 4))
        with pytest.raises(QuorumNotMet):
            sequencer.publish()
        assert sequencer.signed_size == 5
        witness.is_up = True
        with pytest.raises(RecordHalted, match=r"cosigned size 7 .* signed no more than 5"):
            sequencer.publish()
        with pytest.raises(RecordHalted, match="halted before"):
            sequencer.append(entries(24, 1))
        sequencer.close()
    else:
        with pytest.raises(RecordHalted, match=r"cosigned size 7 .* signed no more than 5"):
            real_world.open()


def test_a_record_begun_anew_under_a_used_key_is_found_out_by_a_witness(real_world: World, tmp_path: Path):
    history(real_world)
    shutil.rmtree(tmp_path / "gateway")
    shutil.rmtree(tmp_path / "record")
    with pytest.raises(RecordHalted, match=r"cosigned size 5 .* signed no more than 0"):
        real_world.open()


def test_a_checkpoint_that_was_signed_and_not_published_is_published_at_the_next_start(real_world: World):
    sequencer = real_world.open()
    sequencer.append(entries(0, 4))
    real_world.witnesses[0].is_up = False
    with pytest.raises(QuorumNotMet):
        sequencer.publish()
    sequencer.close()
    again = real_world.open()
    assert (again.signed_size, again.published_size) == (4, 0)
    again.close()
    real_world.witnesses[0].is_up = True
    assert real_world.open().published_size == 4


def test_a_torn_write_is_cut_and_said(real_world: World, tmp_path: Path):
    history(real_world)
    with (tmp_path / "gateway/wal").open("ab") as wal:
        wal.write(b"\xffaarwal\x01torn")
    sequencer = real_world.open()
    assert (sequencer.size, sequencer.torn_bytes) == (7, 12)
    sequencer.close()
    assert real_world.open().torn_bytes == 0


def test_a_second_sequencer_is_kept_out(real_world: World):
    first = real_world.open()
    with pytest.raises(RecordInUse):
        real_world.open()
    first.close()
    with pytest.raises(RecordHalted, match="closed"):
        first.append(entries(0, 1))
    real_world.open().close()


def test_a_signed_state_that_changes_underneath_halts_before_anything_is_signed(
    real_world: World, tmp_path: Path
):
    sequencer = real_world.open()
    sequencer.append(entries(0, 1))
    (tmp_path / "gateway/signed").write_bytes(b"other")
    with pytest.raises(RecordHalted, match="another one may be signing"):
        sequencer.publish()
    with pytest.raises(RecordHalted, match="halted before"):
        sequencer.publish()


def test_an_entry_that_changes_on_the_disk_is_never_signed(real_world: World, tmp_path: Path):
    sequencer = real_world.open()
    sequencer.append(entries(0, 2))
    flip("gateway/wal", 100)(tmp_path)
    with pytest.raises(RecordHalted, match=r"another hash|does not read back"):
        sequencer.leaf(0)
    sequencer.close()


def test_a_leaf_whose_bytes_and_hash_part_ways_in_memory_is_never_signed(real_world: World):
    sequencer = real_world.open()
    sequencer.append(entries(0, 2))
    sequencer._tree._levels[0][3] ^= 1
    with pytest.raises(RecordHalted, match="entry 0 is on the disk with another hash"):
        sequencer.publish()


def test_an_inner_hash_that_changes_in_memory_is_never_signed(real_world: World):
    sequencer = real_world.open()
    sequencer.append(entries(0, 2))
    sequencer._tree._levels[1][3] ^= 1
    with pytest.raises(RecordHalted, match="two computations of the root"):
        sequencer.publish()


def test_a_checkpoint_that_a_verifier_would_refuse_is_not_published(real_world: World):
    sequencer = real_world.open()
    sequencer.append(entries(0, 2))
    before = sequencer.checkpoint
    sequencer._tree.prove_inclusion = lambda *_arguments: [bytes(32)]
    with pytest.raises(RecordHalted, match="a verifier would refuse"):
        sequencer.publish()
    assert Path("record/checkpoint").read_bytes() == before


def test_a_checkpoint_without_its_cosignatures_is_not_published(real_world: World):
    sequencer = real_world.open()
    sequencer.append(entries(0, 2))
    sequencer._quorum.collect = lambda *_arguments: ()
    with pytest.raises(RecordHalted, match="lost cosignatures"):
        sequencer.publish()
    assert real_world.check_public().size == 0


def test_public_files_are_public_and_private_ones_are_not_whatever_the_umask(
    real_world: World, tmp_path: Path
):
    mask = os.umask(0o077)
    try:
        sequencer = real_world.open()
        sequencer.append(entries(0, 300))
        sequencer.publish()
    finally:
        os.umask(mask)
    for path in (tmp_path / "record", *(tmp_path / "record").rglob("*")):
        wanted = 0o755 if path.is_dir() else 0o644
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    assert stat.S_IMODE((tmp_path / "gateway").stat().st_mode) == 0o700
    for name in ("wal", "signed", "lock"):
        assert stat.S_IMODE((tmp_path / "gateway" / name).stat().st_mode) == 0o600, name
    assert list((tmp_path / "gateway/staging").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to drop to another user")
def test_a_process_that_gave_up_its_user_still_reaches_its_relative_paths(tmp_path: Path):
    locked = tmp_path / "locked"
    study = locked / "study"
    study.mkdir(parents=True)
    for name in ("record", "gateway"):
        (study / name).mkdir()
        os.chown(study / name, 12_345, 12_345)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(study)
            locked.chmod(0o700)
            os.setgroups([])
            os.setgid(12_345)
            os.setuid(12_345)
            world = World(Disk())
            sequencer = world.open()
            sequencer.append(entries(0, 3))
            sequencer.publish()
            code = 0 if world.check_public().size == 3 and not os.access(study, os.R_OK) else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_published_is_proved_from_the_public_tiles(world: World):
    sequencer = world.open()
    for start in range(0, 700, 100):
        sequencer.append(entries(start, 100))
        sequencer.publish()
    sequencer.close()
    again = world.open()
    for index in (0, 300, 511, 699):
        merkle.check_inclusion(
            merkle.leaf_hash(again.leaf(index)),
            index,
            700,
            again.prove_inclusion(index).hashes,
            world.check_public().root,
        )
