"""The log on disk: each lie or damage to checkpoint, bundles, tiles, blobs, and the one check that tells."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from aar.formats.keys import Signer
from aar.formats.note import Signature
from aar.formats.policy import NO_QUORUM, Policy, format_policy
from aar.formats.proof import TlogProof, format_proof
from aar.verify.log_check import MAX_BLOB_BYTES, MAX_RESOURCE_BYTES
from aar.verify.report import MAX_FINDINGS
from aar.verify.study import verify_study
from forge import (
    LOG,
    ORIGIN,
    SECOND_WITNESS,
    STRANGER,
    WITNESS,
    WITNESS_STATE,
    assert_ok,
    assert_only,
    bundle,
    checkpoint,
    honest,
    sha256,
    tiles,
    two_witnesses,
    verdict_on,
    with_comments,
    write,
)
from verify.test_receipt import path_of

HONEST = honest()
LEAVES = HONEST.leaves()
FILES = HONEST.files(LEAVES)
SIZE = len(LEAVES)
BUNDLE = f"tile/entries/000.p/{SIZE}"
TILE = f"tile/0/000.p/{SIZE}"

# 600 entries and more: two full bundles, a level above, and a right edge.
LARGE = with_comments(600)
LARGE_LEAVES = LARGE.leaves()
LARGE_FILES = LARGE.files(LARGE_LEAVES)
LARGE_SIZE = len(LARGE_LEAVES)
EDGE = LARGE_SIZE - 512


@pytest.fixture
def files() -> dict[str, bytes]:
    return dict(FILES)


@pytest.fixture
def large() -> dict[str, bytes]:
    return dict(LARGE_FILES)


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


# Sizes.


@pytest.mark.parametrize("size", [255, 256, 257, 512, 513])
def test_a_log_of_full_tiles_holds(tmp_path: Path, size: int) -> None:
    forge = with_comments(size - SIZE)
    report = verdict_on(forge, tmp_path)
    assert_ok(report)
    assert (report.tree_size, report.anchored_up_to) == (size, size)


def test_a_log_of_no_entries_holds_nothing_and_holds(tmp_path: Path) -> None:
    files = {"policy": FILES["policy"], "record/checkpoint": checkpoint([])}
    assert_ok(verify_study(write(tmp_path, files)))


# The checkpoint.


def test_a_record_without_a_checkpoint_is_reported(files: dict[str, bytes], tmp_path: Path) -> None:
    del files["record/checkpoint"]
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "MISSING", -1, "a resource of the log", resource="checkpoint")


FORGED = Signer(ORIGIN, bytes(32))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"noise",
        checkpoint(LEAVES, log=FORGED),
        checkpoint(LEAVES, origin="aar.test/another"),
        flipped(FILES["record/checkpoint"], FILES["record/checkpoint"].index(b"\n") + 1),
    ],
    ids=["empty", "noise", "another key", "another origin", "another size"],
)
def test_a_checkpoint_is_signed_by_the_log(files: dict[str, bytes], tmp_path: Path, data: bytes) -> None:
    files["record/checkpoint"] = data
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "CHECKPOINT_SIG", -1, f"a checkpoint signed by {ORIGIN}", resource="checkpoint")


def test_a_signature_line_of_nobody_known_is_reported(files: dict[str, bytes], tmp_path: Path) -> None:
    line = Signature(STRANGER.name, STRANGER.vkey.key_id, bytes(64))
    files["record/checkpoint"] = checkpoint(LEAVES, more=[line])
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "CHECKPOINT_SIG", -1, "the policy's log and witnesses only")


@pytest.mark.parametrize(
    "line",
    [
        SECOND_WITNESS.cosign("another text\n", 7),
        Signature("witness-second", SECOND_WITNESS.vkey.key_id, b""),
    ],
    ids=["of another text", "empty"],
)
def test_a_bad_cosignature_is_reported_though_the_quorum_is_met(tmp_path: Path, line: Signature) -> None:
    forge = honest()
    forge.policy = two_witnesses(quorum=1)
    files = forge.files()
    if not line.signature:
        text = files["record/checkpoint"].decode().split("\n\n")[0] + "\n"
        line = SECOND_WITNESS.cosign(text, 0)  # a true signature at no time
    files["record/checkpoint"] = checkpoint(LEAVES, more=[line])
    report = verdict_on(forge, tmp_path, files=files, policy=files["policy"])
    assert_only(report, "CHECKPOINT_SIG", -1, "a cosignature of second")


def test_a_checkpoint_that_too_few_witnesses_saw_is_reported(files: dict[str, bytes], tmp_path: Path) -> None:
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=())
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "POLICY", -1, "the quorum 'local'")
    assert report.findings[0].got == "cosigned by nobody"
    assert report.anchored_up_to == 0


def test_one_of_two_witnesses_is_not_both(tmp_path: Path) -> None:
    forge = honest()
    forge.policy = two_witnesses(quorum=2)
    report = verdict_on(forge, tmp_path, policy=format_policy(forge.policy).encode())
    assert_only(report, "POLICY", -1, "the quorum 'both'")
    assert report.findings[0].got == "cosigned by ['local']"


def test_both_witnesses_meet_a_quorum_of_both(files: dict[str, bytes], tmp_path: Path) -> None:
    files["policy"] = format_policy(two_witnesses(quorum=2)).encode()
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=(WITNESS, SECOND_WITNESS))
    assert_ok(verdict_on(HONEST, tmp_path, files=files, policy=files["policy"]))


def test_what_no_witness_saw_is_not_called_anchored(files: dict[str, bytes], tmp_path: Path) -> None:
    files["policy"] = format_policy(Policy(LOG.vkey, (("local", WITNESS.vkey),), (), NO_QUORUM)).encode()
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=())
    report = verdict_on(HONEST, tmp_path, files=files, policy=files["policy"])
    assert_ok(report)
    assert (report.anchored_up_to, report.as_json()["unanchored"]) == (0, SIZE)


# Memories: what a witness or a reader kept.


def test_a_record_older_than_its_witness_is_rolled_back(files: dict[str, bytes], tmp_path: Path) -> None:
    forge = honest()
    forge.drafts.pop()
    older = forge.files()
    older[WITNESS_STATE] = files["record/checkpoint"]
    report = verdict_on(forge, tmp_path, files=older)
    assert_only(report, "ROLLBACK", SIZE - 1, f"size {SIZE} or more", resource="the witness")


def test_a_record_older_than_a_pin_is_rolled_back(files: dict[str, bytes], tmp_path: Path) -> None:
    forge = honest()
    forge.drafts.pop()
    report = verdict_on(forge, tmp_path, pins=[files["record/checkpoint"]])
    assert_only(report, "ROLLBACK", SIZE - 1, f"size {SIZE} or more", resource="a pinned checkpoint")


def test_a_record_rolled_back_to_nothing_is_rolled_back(files: dict[str, bytes], tmp_path: Path) -> None:
    nothing = {path: files[path] for path in ("policy", WITNESS_STATE)}
    nothing["record/checkpoint"] = checkpoint([])
    report = verify_study(write(tmp_path, nothing))
    assert_only(report, "ROLLBACK", 0, f"size {SIZE} or more", resource="the witness")


@pytest.mark.parametrize("kept", [SIZE, SIZE - 1, 1])
def test_another_history_than_a_witness_saw_is_a_fork(
    files: dict[str, bytes], tmp_path: Path, kept: int
) -> None:
    files[WITNESS_STATE] = checkpoint(LEAVES, size=kept, root=bytes(32))
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "FORK", -1, f"root {bytes(32).hex()} at size {kept}", resource="the witness")


@pytest.mark.parametrize("kept", [0, 1, SIZE - 1, SIZE])
def test_an_earlier_checkpoint_of_this_history_agrees(
    files: dict[str, bytes], tmp_path: Path, kept: int
) -> None:
    files[WITNESS_STATE] = checkpoint(LEAVES, size=kept)
    assert_ok(verdict_on(HONEST, tmp_path, files=files, pins=[checkpoint(LEAVES, size=kept, witnesses=())]))


@pytest.mark.parametrize(
    "pin",
    [b"", b"noise", checkpoint(LEAVES, log=FORGED), checkpoint(LEAVES, origin="aar.test/another", size=1)],
    ids=["empty", "noise", "another key", "another origin"],
)
def test_what_is_no_checkpoint_of_this_log_accuses_nobody_of_a_fork(tmp_path: Path, pin: bytes) -> None:
    report = verdict_on(HONEST, tmp_path, pins=[pin])
    assert_only(report, "CHECKPOINT_SIG", -1, "a checkpoint of this log", resource="a pinned checkpoint")


def test_a_damaged_record_is_not_called_a_fork_of_an_earlier_checkpoint(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    leaves = [LEAVES[0], flipped(LEAVES[1], 40), *LEAVES[2:]]
    files[f"record/{BUNDLE}"] = bundle(leaves)
    report = verdict_on(HONEST, tmp_path, files=files, pins=[checkpoint(LEAVES, size=SIZE - 1)])
    assert_only(report, "ENTRY_HASH", 1, "leaf hash", resource=BUNDLE)


def test_a_damaged_record_is_not_called_a_fork_as_well(files: dict[str, bytes], tmp_path: Path) -> None:
    del files[f"record/{BUNDLE}"]
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "MISSING", 0, "a resource of the log", resource=BUNDLE)


def test_a_record_without_a_checkpoint_is_not_called_rolled_back(tmp_path: Path) -> None:
    report = verdict_on(HONEST, tmp_path, files={**FILES, "record/checkpoint": b""})
    assert [one.code for one in report.findings] == ["CHECKPOINT_SIG"]


# Bundles and the tree.


def test_a_missing_bundle_is_named_with_its_first_entry(large: dict[str, bytes], tmp_path: Path) -> None:
    del large["record/tile/entries/001"]
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "MISSING", 256, "a resource of the log", resource="tile/entries/001")


@pytest.mark.parametrize("more", [b"", b"\x00\x01x", b"\x00"])
def test_a_bundle_holds_exactly_its_entries(large: dict[str, bytes], tmp_path: Path, more: bytes) -> None:
    path = "record/tile/entries/001"
    large[path] = large[path] + more if more else large[path][:-1]
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "BUNDLE_WIDTH", 256, "exactly 256 entries", resource="tile/entries/001")


def test_a_changed_entry_is_named(large: dict[str, bytes], tmp_path: Path) -> None:
    leaves = list(LARGE_LEAVES)
    leaves[300] = flipped(leaves[300], len(leaves[300]) // 2)
    large["record/tile/entries/001"] = bundle(leaves[256:512])
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(
        report, "ENTRY_HASH", 300, sha256(b"\x00" + LARGE_LEAVES[300]).hex(), resource="tile/entries/001"
    )
    assert report.findings[0].got == sha256(b"\x00" + leaves[300]).hex()


def test_entries_that_changed_places_are_named(large: dict[str, bytes], tmp_path: Path) -> None:
    leaves = list(LARGE_LEAVES)
    leaves[530], leaves[531] = leaves[531], leaves[530]
    path = f"tile/entries/002.p/{EDGE}"
    large[f"record/{path}"] = bundle(leaves[512:])
    assert_only(verdict_on(LARGE, tmp_path, files=large), "ENTRY_HASH", 530, "leaf hash", resource=path)


def test_entries_under_another_signed_root_are_a_fork(files: dict[str, bytes], tmp_path: Path) -> None:
    files["record/checkpoint"] = files[WITNESS_STATE] = checkpoint(LEAVES, root=sha256(b"another tree"))
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "FORK", -1, "the root that the log signed", resource="checkpoint")


def test_two_signed_roots_of_one_size_are_a_fork_whatever_the_entries_are(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    del files[f"record/{BUNDLE}"]
    files[WITNESS_STATE] = checkpoint(LEAVES, root=bytes(32))
    report = verdict_on(HONEST, tmp_path, files=files)
    assert [one.code for one in report.findings] == ["MISSING", "FORK"]


@pytest.mark.parametrize("tile", [None, b"", b"short", b"\x00" * (32 * SIZE + 1)])
def test_a_changed_entry_is_a_fork_where_no_tile_remembers_it(
    files: dict[str, bytes], tmp_path: Path, tile: bytes | None
) -> None:
    leaves = [LEAVES[0], LEAVES[1], flipped(LEAVES[2], 40), *LEAVES[3:]]
    files[f"record/{BUNDLE}"] = bundle(leaves)
    del files[f"record/{TILE}"], files[WITNESS_STATE]
    if tile is not None:
        files[f"record/{TILE}"] = tile
    report = verdict_on(HONEST, tmp_path, files=files)
    assert report.findings[0].code == "FORK"
    assert [one.code for one in report.findings[1:]] == (["MISSING"] if tile is None else [])


def test_a_size_that_no_disk_can_hold_is_judged_all_the_same(files: dict[str, bytes], tmp_path: Path) -> None:
    files["record/checkpoint"] = checkpoint(LEAVES, size=10**17, root=bytes(32))
    report = verdict_on(HONEST, tmp_path, files=files)
    assert report.verdict == "tampered"
    assert (report.findings[0].code, report.findings[0].resource) == ("MISSING", "tile/entries/000")
    assert len(report.findings) == MAX_FINDINGS
    assert report.more_findings > 0


# Tiles.


@pytest.mark.parametrize(
    ("path", "place", "first"),
    [
        ("tile/0/000", 32 * 7 + 31, 7),
        ("tile/0/001", 32 * 255, 511),
        (f"tile/0/002.p/{EDGE}", 32 * 3, 515),
        ("tile/1/000.p/2", 5, 0),
        ("tile/1/000.p/2", 32, 256),
    ],
)
def test_a_changed_tile_is_named_with_its_first_entry(
    large: dict[str, bytes], tmp_path: Path, path: str, place: int, first: int
) -> None:
    large[f"record/{path}"] = flipped(large[f"record/{path}"], place)
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "TILE_HASH", first, f"at offset {place}", resource=path)


def test_a_tile_with_more_behind_it_is_reported(large: dict[str, bytes], tmp_path: Path) -> None:
    large["record/tile/1/000.p/2"] += b"\x00"
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "TILE_HASH", 512, "64 bytes, ", resource="tile/1/000.p/2")


@pytest.mark.parametrize(
    ("path", "first"),
    [("tile/0/000", 0), ("tile/0/001", 256), (f"tile/0/002.p/{EDGE}", 512), ("tile/1/000.p/2", 0)],
)
def test_a_missing_tile_is_named(large: dict[str, bytes], tmp_path: Path, path: str, first: int) -> None:
    del large[f"record/{path}"]
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "MISSING", first, "a resource of the tree", resource=path)


# Earlier partials: what a smaller published tree left behind.

EARLIER = tiles(LARGE_LEAVES[:520])
PARTIALS = ["tile/entries/002.p/8", "tile/0/002.p/8"]


def test_a_partial_of_an_earlier_size_may_stay(large: dict[str, bytes], tmp_path: Path) -> None:
    large |= {f"record/{path}": EARLIER[path] for path in PARTIALS}
    large["record/tile/1/000.p/1"] = tiles(LARGE_LEAVES[:256])["tile/1/000.p/1"]
    # C2SP lets a log delete the partials of a full tile; it need not, and was perhaps about to.
    large["record/tile/entries/001.p/7"] = tiles(LARGE_LEAVES[:263])["tile/entries/001.p/7"]
    large["record/tile/0/000.p/7"] = tiles(LARGE_LEAVES[:7])["tile/0/000.p/7"]
    assert_ok(verdict_on(LARGE, tmp_path, files=large))


@pytest.mark.parametrize(("path", "code"), [(PARTIALS[0], "ENTRY_HASH"), (PARTIALS[1], "TILE_HASH")])
def test_a_partial_of_an_earlier_size_agrees_with_this_tree(
    large: dict[str, bytes], tmp_path: Path, path: str, code: str
) -> None:
    large[f"record/{path}"] = flipped(EARLIER[path], 3)
    assert_only(verdict_on(LARGE, tmp_path, files=large), code, 512, "at offset 3", resource=path)


@pytest.mark.parametrize("place", [0, 1, 7])
def test_in_a_partial_bundle_of_an_earlier_size_the_entry_that_differs_is_named(
    large: dict[str, bytes], tmp_path: Path, place: int
) -> None:
    entries = LARGE_LEAVES[512:520]
    entries[place] = flipped(entries[place], len(entries[place]) - 1)
    large[f"record/{PARTIALS[0]}"] = bundle(entries)
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "ENTRY_HASH", 512 + place, "at offset", resource=PARTIALS[0])


def test_what_stands_behind_an_earlier_partial_bundle_is_named_at_its_last_entry(
    large: dict[str, bytes], tmp_path: Path
) -> None:
    large[f"record/{PARTIALS[0]}"] = EARLIER[PARTIALS[0]] + b"more"
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "ENTRY_HASH", 519, "at offset", resource=PARTIALS[0])


@pytest.mark.parametrize(
    ("path", "got"),
    [
        (f"tile/0/002.p/{EDGE + 1}", "a file nobody asked for"),  # of a larger tree
        ("tile/0/003.p/1", "a file nobody asked for"),  # past the edge
        ("tile/1/000", "a file nobody asked for"),
        ("tile/2/000.p/1", "a file nobody asked for"),
        ("tile/63/000.p/1", "a file nobody asked for"),
        ("tile/00/000", "a file nobody asked for"),  # another spelling
        ("tile/0/003", "a file nobody asked for"),
        ("notes.txt", "a file nobody asked for"),
        ("blobs/notes.txt", "a file nobody asked for"),
        ("blobs/more/" + "ab" * 32, "a blob"),
        ("ab" * 32, "a file nobody asked for"),
    ],
)
def test_a_file_that_the_tree_does_not_imply_is_reported(
    large: dict[str, bytes], tmp_path: Path, path: str, got: str
) -> None:
    large[f"record/{path}"] = b""
    report = verdict_on(LARGE, tmp_path, files=large)
    assert_only(report, "UNEXPECTED_RESOURCE", -1, "only what the tree and its entries imply", resource=path)
    assert report.findings[0].got == got


# Ahead: what a sequencer wrote and was stopped before it published.


def published_at(size: int, written: int) -> dict[str, bytes]:
    """The files of a log that published `size` entries and wrote the tiles of `written`."""
    files = LARGE.files(LARGE_LEAVES[:size])
    return {**files, **{f"record/{path}": data for path, data in tiles(LARGE_LEAVES[:written]).items()}}


@pytest.mark.parametrize(("size", "written"), [(100, 101), (100, 256), (200, 300), (256, 257), (250, 520)])
def test_tiles_written_and_not_yet_published_are_counted_and_accuse_nobody(
    tmp_path: Path, size: int, written: int
) -> None:
    files = published_at(size, written)
    # Half-way through: the hashes of the last entries are not there yet.
    for partial in (False, True):
        if partial:
            width = written % 256
            last = f"/0/{written // 256:03d}.p/{width}"
            files = {path: data for path, data in files.items() if not path.endswith(last)}
        report = verdict_on(LARGE, tmp_path / str(partial), files=files)
        assert_ok(report)
        assert f"{written - size} more entries are written but not published" in " ".join(report.warnings)
        assert report.tree_size == size


@pytest.mark.parametrize(
    "change",
    [
        lambda entries: [*entries[:100], b"no entry at all"],
        lambda entries: [*entries[:100], entries[99]],
        lambda entries: [*entries[:100], entries[101]],
        lambda entries: [entries[1], entries[0], *entries[2:101]],
        lambda entries: entries[50:151],
    ],
    ids=["junk", "repeated", "one left out", "other past", "shifted"],
)
def test_a_bundle_ahead_that_does_not_go_on_as_the_log_writes_is_what_nobody_asked_for(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    files = published_at(100, 100)
    path = "tile/entries/000.p/101"
    files[f"record/{path}"] = bundle(change(LARGE_LEAVES))
    report = verdict_on(LARGE, tmp_path, files=files)
    assert_only(report, "UNEXPECTED_RESOURCE", -1, "only what the tree", resource=path)


def test_a_bundle_ahead_of_another_length_than_its_name_says_is_what_nobody_asked_for(tmp_path: Path) -> None:
    files = published_at(100, 100)
    files["record/tile/entries/000.p/101"] = bundle(LARGE_LEAVES[:102])
    report = verdict_on(LARGE, tmp_path, files=files)
    assert [one.code for one in report.findings] == ["UNEXPECTED_RESOURCE"]


def test_hashes_ahead_are_those_of_the_entries_ahead(tmp_path: Path) -> None:
    files = published_at(100, 101)
    files["record/tile/0/000.p/101"] = flipped(files["record/tile/0/000.p/101"], 3)
    report = verdict_on(LARGE, tmp_path, files=files)
    assert_only(report, "TILE_HASH", 0, "at offset 3", resource="tile/0/000.p/101")


def test_hashes_ahead_without_their_entries_are_what_nobody_asked_for(tmp_path: Path) -> None:
    files = published_at(100, 101)
    del files["record/tile/entries/000.p/101"]
    report = verdict_on(LARGE, tmp_path, files=files)
    assert_only(report, "UNEXPECTED_RESOURCE", -1, "only what the tree", resource="tile/0/000.p/101")


def test_nothing_is_ahead_of_a_record_that_does_not_hold(tmp_path: Path) -> None:
    files = published_at(100, 101)
    files["record/tile/entries/000.p/100"] = flipped(files["record/tile/entries/000.p/100"], 200)
    report = verdict_on(LARGE, tmp_path, files=files)
    assert "UNEXPECTED_RESOURCE" in {one.code for one in report.findings}
    assert not any("not published" in one for one in report.warnings)


# Blobs.


def test_a_blob_s_name_is_its_hash(files: dict[str, bytes], tmp_path: Path) -> None:
    path = "blobs/" + "ab" * 32
    files[f"record/{path}"] = b"something"
    report = verdict_on(HONEST, tmp_path, files=files)
    assert_only(report, "ENTRY_HASH", -1, f"SHA-256 {'ab' * 32}", resource=path)


def test_a_blob_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    directory = HONEST.write(tmp_path / "study")
    blob = directory / "record" / "blobs" / ("ab" * 32)
    blob.touch()
    os.truncate(blob, MAX_BLOB_BYTES + 1)
    report = verify_study(directory)
    assert_only(report, "MISSING", -1, "a resource of the log")
    assert report.findings[0].got == f"{MAX_BLOB_BYTES + 1} bytes, at most {MAX_BLOB_BYTES}"


def test_a_tile_too_large_to_be_one_is_not_read(tmp_path: Path) -> None:
    directory = HONEST.write(tmp_path / "study")
    os.truncate(directory / "record" / TILE, MAX_RESOURCE_BYTES + 1)
    assert_only(verify_study(directory), "MISSING", -1, "a resource of the log", resource=TILE)


# Things that are no files.


@pytest.mark.parametrize("path", ["checkpoint", BUNDLE, TILE])
@pytest.mark.parametrize("thing", ["link", "pipe", "folder"])
@pytest.mark.timeout(20)
def test_a_link_a_pipe_or_a_folder_is_no_resource(tmp_path: Path, path: str, thing: str) -> None:
    directory = HONEST.write(tmp_path / "study")
    place = directory / "record" / path
    elsewhere = tmp_path / "elsewhere"
    place.rename(elsewhere)
    if thing == "link":
        place.symlink_to(elsewhere)
    elif thing == "pipe":
        os.mkfifo(place)
    else:
        place.mkdir()
    report = verify_study(directory)
    assert report.verdict == "tampered"
    assert {one.resource for one in report.findings} == {path}
    if path != TILE or thing == "folder":
        assert report.findings[0].code == "MISSING"


@pytest.mark.parametrize("name", ["notes", "blobs/" + "ab" * 32, "tile/0/more"])
@pytest.mark.timeout(20)
def test_an_extra_link_or_pipe_is_reported(tmp_path: Path, name: str) -> None:
    directory = HONEST.write(tmp_path / "study")
    for number, make in enumerate((os.mkfifo, lambda place: os.symlink("/dev/zero", place))):
        place = directory / "record" / name
        place.unlink(missing_ok=True)
        make(place)
        report = verify_study(directory)
        assert_only(report, "UNEXPECTED_RESOURCE", -1, "only what the tree", resource=name)
        assert report.findings[0].got == "a link, pipe or device", number


@pytest.mark.timeout(20)
def test_a_pipe_in_a_tile_s_place_does_not_hold_up_the_search_for_a_changed_entry(
    files: dict[str, bytes], tmp_path: Path
) -> None:
    files[f"record/{BUNDLE}"] = flipped(files[f"record/{BUNDLE}"], 500)
    del files[WITNESS_STATE]
    directory = HONEST.write(tmp_path / "study", files)
    (directory / "record" / TILE).unlink()
    os.mkfifo(directory / "record" / TILE)
    report = verify_study(directory)
    assert [one.code for one in report.findings] == ["FORK", "UNEXPECTED_RESOURCE"]


def test_a_linked_folder_is_not_entered(tmp_path: Path) -> None:
    directory = HONEST.write(tmp_path / "study")
    blobs = directory / "record" / "blobs"
    blobs.rename(tmp_path / "blobs")
    blobs.symlink_to(tmp_path / "blobs")
    assert_only(verify_study(directory), "UNEXPECTED_RESOURCE", -1, "only what the tree", resource="blobs")


def test_folders_too_deep_to_be_read_are_reported(tmp_path: Path) -> None:
    directory = HONEST.write(tmp_path / "study")
    place = os.open(directory / "record", os.O_RDONLY)
    for _level in range(30):
        os.mkdir("d" * 200, dir_fd=place)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = deeper
    os.close(place)
    report = verify_study(directory)
    assert [one.code for one in report.findings] == ["UNEXPECTED_RESOURCE"]
    assert "folder that cannot be read" in report.findings[0].got


def test_a_report_names_so_many_findings_and_counts_the_rest(files: dict[str, bytes], tmp_path: Path) -> None:
    files |= {f"record/extra-{number}": b"" for number in range(MAX_FINDINGS + 3)}
    report = verdict_on(HONEST, tmp_path, files=files)
    assert (len(report.findings), report.more_findings) == (MAX_FINDINGS, 3)


def test_a_log_is_not_called_sound_because_a_report_is_full(files: dict[str, bytes], tmp_path: Path) -> None:
    strangers = [Signer(f"stranger-{number}", sha256(b"%d" % number)) for number in range(99)]
    lines = [Signature(one.name, one.vkey.key_id, bytes(64)) for one in strangers]
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=(), more=lines)
    del files[f"record/{BUNDLE}"]
    held = format_proof(TlogProof(0, tuple(path_of(0, LEAVES)), checkpoint(LEAVES), LEAVES[0]))
    report = verdict_on(HONEST, tmp_path, files=files, receipts=[held], pins=[checkpoint(LEAVES, size=9)])
    assert report.verdict == "tampered"
    assert report.count > MAX_FINDINGS
    assert report.leaderboard == []


def test_a_run_of_checks_says_what_it_saw(tmp_path: Path) -> None:
    report = verdict_on(HONEST, tmp_path)
    assert (report.origin, report.tree_size, report.anchored_up_to) == (ORIGIN, SIZE, SIZE)
