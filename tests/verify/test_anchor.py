"""Anchors: what was written elsewhere as the log grew, and each way in which a copy can differ from it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from aar.formats.policy import parse_policy
from aar.verify.anchor import AnchorCheck
from aar.verify.log_check import LogCheck
from aar.verify.report import Report, format_report
from aar.verify.study import verify_study
from forge import (
    ORIGIN,
    STRANGER,
    assert_ok,
    assert_only,
    bundle,
    checkpoint,
    honest,
    sha256,
    tiles,
    tree_hash,
    with_comments,
    write,
)

LONG = with_comments(600)
LEAVES = LONG.leaves()
FILES = LONG.files(LEAVES)
SIZE = len(LEAVES)
CUTS = (0, 7, 300, 511, 513, SIZE)


def segment(first: int, end: int, leaves: Sequence[bytes] = LEAVES) -> tuple[str, bytes]:
    root = tree_hash(leaves[:end]).hex()[:16]
    return f"segment/{first:020d}-{end:020d}-{root}", bundle(leaves[first:end])


def anchored(note: bytes, size: int) -> tuple[str, bytes]:
    return f"checkpoint/{size:020d}-{sha256(note).hex()[:16]}", note


def full_tiles(leaves: Sequence[bytes]) -> dict[str, bytes]:
    return {path: data for path, data in tiles(leaves).items() if ".p/" not in path}


def write_once(leaves: Sequence[bytes] = LEAVES, cuts: Sequence[int] = CUTS) -> dict[str, bytes]:
    """What an anchor holds of that log when it was published at each of the cuts."""
    files = dict(segment(a, b, leaves) for a, b in pairwise(cuts))
    files |= dict(anchored(checkpoint(leaves, size=size), size) for size in cuts[1:])
    files |= full_tiles(leaves)
    blobs = {path: data for path, data in FILES.items() if path.startswith("record/blobs/")}
    return files | {path.removeprefix("record/"): data for path, data in blobs.items()}


def mirrored() -> dict[str, bytes]:
    return {p.removeprefix("record/"): data for p, data in FILES.items() if p.startswith("record/")}


@pytest.fixture
def held() -> dict[str, bytes]:
    return write_once()


def verdict(tmp_path: Path, held: dict[str, bytes], files: dict[str, bytes] = FILES) -> Report:
    write(tmp_path / "store", held)
    study = write(tmp_path / "study", files)
    return verify_study(study, policy=FILES["policy"], anchors=[tmp_path / "store"])


def re_signed(place: int) -> dict[str, bytes]:
    """The same log with another vote at `place`, all of it signed anew, the witness beside it included."""
    forge = with_comments(600)
    forge[f"remark-{place}"].body["text"] += "!"
    return forge.files()


def position(vote: int) -> int:
    return LONG.position(f"remark-{vote}")


def test_an_anchor_that_agrees_is_named_with_what_it_holds(tmp_path: Path, held: dict[str, bytes]) -> None:
    report = verdict(tmp_path, held)
    assert_ok(report)
    assert report.warnings == []
    assert report.anchors == [{"name": "store", "kind": "write-once", "checkpoint": SIZE, "entries": SIZE}]
    assert f"anchor    store (write-once): checkpoint {SIZE}, entries up to {SIZE}" in format_report(report)


def test_a_mirror_that_agrees_is_named_as_one(tmp_path: Path) -> None:
    report = verdict(tmp_path, mirrored())
    assert_ok(report)
    assert report.anchors == [{"name": "store", "kind": "mirror", "checkpoint": SIZE, "entries": SIZE}]


@pytest.mark.parametrize("size", [1, 255, 256, 300, 512, SIZE - 1])
def test_a_mirror_that_is_behind_agrees(tmp_path: Path, size: int) -> None:
    report = verdict(tmp_path, {"checkpoint": checkpoint(LEAVES, size=size), **tiles(LEAVES[:size])})
    assert_ok(report)
    assert report.anchors[0]["entries"] == size


def test_segments_may_overlap_and_repeat(tmp_path: Path, held: dict[str, bytes]) -> None:
    held |= dict([segment(0, 600), segment(256, 257), segment(300, 512)])
    assert_ok(verdict(tmp_path, held))


def test_an_edit_signed_anew_with_every_key_is_seen_at_its_entry(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    """No single copy shows it: the log, its witness and the author signed the edited one."""
    forged = re_signed(100)
    assert_ok(verify_study(write(tmp_path / "alone", forged), policy=FILES["policy"]))
    report = verdict(tmp_path, held, forged)
    codes = [one.code for one in report.findings]
    assert codes[0] == "WORM_DIVERGENCE"
    assert report.findings[0].first_index == position(100)
    assert "FORK" in codes
    # What no anchor bears out is not called anchored by it.
    assert verify_study(tmp_path / "study", policy=FILES["policy"]).anchored_up_to == SIZE


def test_an_edit_signed_anew_is_seen_in_a_mirror(tmp_path: Path) -> None:
    report = verdict(tmp_path, mirrored(), re_signed(100))
    assert {one.code for one in report.findings} == {"WORM_DIVERGENCE", "FORK"}


def test_segments_alone_show_an_edit(tmp_path: Path, held: dict[str, bytes]) -> None:
    only = {path: data for path, data in held.items() if path.startswith("segment/")}
    report = verdict(tmp_path, only, re_signed(100))
    assert report.findings[0].first_index == position(100)
    assert {one.code for one in report.findings} == {"WORM_DIVERGENCE"}


def test_a_changed_segment_is_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    path, data = segment(300, 511)
    held[path] = data[:-1] + bytes([data[-1] ^ 1])
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", 510, "of this copy", resource=f"anchor store: {path}")
    assert report.findings[0].got.startswith("entry of SHA-256")


def test_a_segment_that_ends_early_is_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    path, data = segment(300, 511)
    held[path] = data[:-1]
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", 510, "of this copy", resource=f"anchor store: {path}")
    assert report.findings[0].got == "the segment ends before it"


def test_a_segment_that_went_while_it_was_read_is_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    study, store = write(tmp_path / "study", FILES), write(tmp_path / "store", held)
    policy = parse_policy(FILES["policy"].decode())
    anchor, report = AnchorCheck(store, policy, study / "record"), Report()
    path, _data = segment(300, 511)
    (store / path).unlink()
    log = LogCheck(study / "record", policy, report, sizes=[*anchor.sizes()])
    log.run([anchor])
    anchor.finish(log, report)
    assert_only(report, "WORM_DIVERGENCE", 300, "of this copy", resource=f"anchor store: {path}")
    assert report.findings[0].got == "No such file or directory"


def test_what_is_no_plain_file_is_not_read(tmp_path: Path, held: dict[str, bytes]) -> None:
    study, store = write(tmp_path / "study", FILES), write(tmp_path / "store", held)
    path, _data = segment(300, 511)
    os.rename(store / path, tmp_path / "moved")
    (store / path).symlink_to(tmp_path / "moved")
    report = verify_study(study, policy=FILES["policy"], anchors=[store])
    assert_ok(report)  # full bundles hold the same entries
    assert ["1 files that are none of this log's" in one for one in report.warnings] == [True]


def test_bytes_behind_a_segment_are_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    path, data = segment(7, 300)
    held[path] = data + b"\0"
    assert_only(verdict(tmp_path, held), "WORM_DIVERGENCE", 300, "nothing behind its last entry")


def test_a_segment_under_another_root_than_its_name_says_is_named(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    path, data = segment(7, 300)
    del held[path]
    held[path[:-16] + "0" * 16] = data
    assert_only(verdict(tmp_path, held), "WORM_DIVERGENCE", 300, "in its name")


def test_a_lost_segment_is_named_with_its_first_entry(tmp_path: Path, held: dict[str, bytes]) -> None:
    del held[segment(300, 511)[0]], held[segment(7, 300)[0]], held["tile/entries/000"]
    assert_only(verdict(tmp_path, held), "MISSING", 7, "every entry under its checkpoint")


@pytest.mark.parametrize(
    ("path", "first"), [("tile/entries/001", 256), ("tile/0/001", 256), ("tile/entries/000", 0)]
)
def test_another_tile_is_named(tmp_path: Path, held: dict[str, bytes], path: str, first: int) -> None:
    held[path] = held[path][:-1] + b"?"
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", first, "bytes of this copy", resource=f"anchor store: {path}")


def test_another_upper_tile_is_named(tmp_path: Path) -> None:
    held = mirrored()
    held["tile/1/000.p/2"] = bytes(64)
    assert_only(
        verdict(tmp_path, held), "WORM_DIVERGENCE", 0, "the 64 bytes", resource="anchor store: tile/1/000.p/2"
    )


def test_a_tile_that_a_mirror_lacks_is_named(tmp_path: Path) -> None:
    held = mirrored()
    del held["tile/0/001"]
    assert_only(verdict(tmp_path, held), "MISSING", 256, "a resource of the mirrored tree")


def test_a_copy_older_than_its_anchor_is_rolled_back(tmp_path: Path, held: dict[str, bytes]) -> None:
    shorter = LEAVES[:300]
    forge = with_comments(600)
    report = verdict(tmp_path, held, forge.files(shorter))
    assert {one.code for one in report.findings} == {"ROLLBACK"}
    assert report.findings[0].first_index == 300
    assert "holds entries up to" in " ".join(report.warnings)


def test_a_checkpoint_of_another_history_is_a_fork(tmp_path: Path, held: dict[str, bytes]) -> None:
    path, note = anchored(checkpoint(LEAVES, size=400, root=bytes(32)), 400)
    held[path] = note
    assert_only(verdict(tmp_path, held), "FORK", -1, "at size 400", resource=f"anchor store: {path}")


def test_a_checkpoint_that_nobody_signed_is_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    path, note = anchored(checkpoint(LEAVES, log=STRANGER, origin=ORIGIN), SIZE)
    held[path] = note
    assert_only(verdict(tmp_path, held), "CHECKPOINT_SIG", -1, "a checkpoint of this log")


@pytest.mark.parametrize("wrong", ["size", "hash"])
def test_a_checkpoint_under_another_name_is_named(tmp_path: Path, held: dict[str, bytes], wrong: str) -> None:
    path, note = anchored(checkpoint(LEAVES, size=300), 300)
    del held[path]
    other = path[:-1] + ("1" if path.endswith("0") else "0")
    held[path.replace("300-", "301-") if wrong == "size" else other] = note
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", -1, "the size and the hash in its name")


def test_a_checkpoint_too_large_to_be_one_is_not_read(tmp_path: Path, held: dict[str, bytes]) -> None:
    study, store = write(tmp_path / "study", FILES), write(tmp_path / "store", held)
    path, _note = anchored(checkpoint(LEAVES, size=300), 300)
    os.truncate(store / path, (1 << 20) + 1)
    report = verify_study(study, policy=FILES["policy"], anchors=[store])
    assert_only(report, "WORM_DIVERGENCE", -1, "a checkpoint of this log", resource=f"anchor store: {path}")


def test_a_blob_whose_name_is_not_its_hash_is_named(tmp_path: Path, held: dict[str, bytes]) -> None:
    path = next(path for path in held if path.startswith("blobs/"))
    held[path] += b"?"
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", -1, path.removeprefix("blobs/"), resource=f"anchor store: {path}")


def test_objects_that_a_store_shows_as_written_again_are_named(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    held["versions.json"] = json.dumps([{"key": "segment/x", "versions": 2, "delete_markers": 1}]).encode()
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_VERSIONS", -1, "one version, never deleted", resource="anchor store: segment/x")
    assert report.findings[0].got == "2 versions, 1 delete markers"


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}x", b"[1]", b'[{"key": "x"}]', b"[" * 100_000),
        b'[{"key": "x", "versions": Infinity, "delete_markers": 0}]',
    ],
)
def test_versions_that_cannot_be_read_accuse_nobody(
    tmp_path: Path, held: dict[str, bytes], data: bytes
) -> None:
    held["versions.json"] = data
    report = verdict(tmp_path, held)
    assert_ok(report)
    assert ["versions were not judged" in one for one in report.warnings] == [True]


def test_files_that_are_none_of_the_log_s_are_counted(tmp_path: Path, held: dict[str, bytes]) -> None:
    held |= {".staging/half": b"", "lost+found/x": b"", "tile/strange": b"", "segment/1-2-3": b""}
    report = verdict(tmp_path, held)
    assert_ok(report)
    assert ["3 files that are none of this log's" in one for one in report.warnings] == [True]


def test_what_an_anchor_holds_counts_as_anchored_without_a_witness(tmp_path: Path) -> None:
    forge = honest()
    leaves = forge.leaves()
    files = forge.files(leaves)
    files["policy"] = files["policy"].split(b"witness")[0] + b"quorum none\n"
    files["record/checkpoint"] = checkpoint(leaves, witnesses=())
    note = checkpoint(leaves, size=9, witnesses=())
    store = write(tmp_path / "store", dict([anchored(note, 9), segment(0, 9, leaves)]))
    study = write(tmp_path / "study", files)
    assert verify_study(study, policy=files["policy"]).anchored_up_to == 0
    report = verify_study(study, policy=files["policy"], anchors=[store])
    assert_ok(report)
    assert report.anchored_up_to == 9


def test_a_record_that_names_anchors_warns_who_compares_with_none(tmp_path: Path) -> None:
    forge = honest()
    forge["opened"].body["anchors"] = [{"name": "vault", "kind": "s3", "where": "s3/b/"}]
    study = forge.write(tmp_path / "study")
    report = verify_study(study, policy=FILES["policy"])
    assert_ok(report)
    assert ["written through to vault" in one for one in report.warnings] == [True]
    store = write(tmp_path / "store", dict([segment(0, 9, forge.leaves())]))
    assert verify_study(study, policy=FILES["policy"], anchors=[store]).warnings == []


@pytest.mark.parametrize("what", ["missing", "empty", "another's"])
def test_a_directory_that_is_no_anchor_of_this_log_cannot_be_judged_by(tmp_path: Path, what: str) -> None:
    study, store = write(tmp_path / "study", FILES), tmp_path / "store"
    if what != "missing":
        store.mkdir()
    if what == "another's":
        write(store, dict([anchored(checkpoint(LEAVES, origin="aar.test/another"), SIZE)]))
    report = verify_study(study, policy=FILES["policy"], anchors=[store])
    assert report.verdict == "cannot-judge"
    says = {
        "missing": "no such directory",
        "empty": "holds no checkpoint, segment or tile",
        "another's": "is the anchor of aar.test/another",
    }
    assert says[what] in report.reason


def test_a_damaged_copy_is_told_from_what_the_anchor_holds(tmp_path: Path, held: dict[str, bytes]) -> None:
    files = dict(FILES)
    leaves = [*LEAVES[:300], LEAVES[301], LEAVES[300], *LEAVES[302:]]
    files["record/tile/entries/001"] = bundle(leaves[256:512])
    report = verdict(tmp_path, held, files)
    found = {(one.code, one.first_index) for one in report.findings}
    assert ("ENTRY_HASH", 300) in found
    assert ("WORM_DIVERGENCE", 300) in found


# What whoever may add to an anchor cannot do.


def test_a_checkpoint_of_another_log_among_ours_does_not_set_the_anchor_aside(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    path, note = anchored(checkpoint(LEAVES, log=STRANGER, origin="aar.test/another"), SIZE)
    held[path] = note
    report = verdict(tmp_path, held)
    assert_only(report, "WORM_DIVERGENCE", -1, "a checkpoint of this log", resource=f"anchor store: {path}")
    assert report.findings[0].got == "one of aar.test/another"


def test_a_segment_that_ends_before_it_begins_is_none_of_the_log_s(
    tmp_path: Path, held: dict[str, bytes]
) -> None:
    held[f"segment/{9:020d}-{5:020d}-{'0' * 16}"] = b""
    study, store = write(tmp_path / "study", FILES), write(tmp_path / "store", held)
    (store / f"segment/{0:020d}-{3:020d}-{'0' * 16}").symlink_to("/dev/zero")
    report = verify_study(study, policy=FILES["policy"], anchors=[store])
    assert_ok(report)
    assert ["2 files that are none of this log's" in one for one in report.warnings] == [True]


@pytest.mark.parametrize("how", ["itself", "link", "hard links"])
def test_the_record_is_no_anchor_of_itself(tmp_path: Path, how: str) -> None:
    study, store = write(tmp_path / "study", FILES), tmp_path / "store"
    if how == "link":
        store.symlink_to(study / "record")
    elif how == "hard links":
        shutil.copytree(study / "record", store, copy_function=os.link)
    report = verify_study(
        study, policy=FILES["policy"], anchors=[study / "record" if how == "itself" else store]
    )
    assert report.verdict == "cannot-judge"
    assert "is the record itself, or shares files with it" in report.reason
