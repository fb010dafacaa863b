"""Write-through: what is signed and published is elsewhere first, and nothing is when it cannot be."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aar.formats.checkpoint import open_checkpoint
from aar.formats.policy import Policy, format_policy
from aar.outside.record.anchors.anchor import AnchorConflict, AnchorError, AnchorRefused
from aar.outside.record.anchors.directory import (
    FOLDERS,
    DirectoryAnchor,
    is_append_only,
    make_append_only,
    prepare,
)
from aar.outside.record.anchors.layout import segment_path
from aar.outside.record.anchors.mirror import Mirror
from aar.outside.record.anchors.opening import open_anchor
from aar.outside.record.anchors.s3 import S3Anchor
from aar.outside.record.anchors.write_through import WriteThrough
from aar.outside.record.disk import Disk
from aar.outside.record.errors import AnchorsNotMet, RecordHalted
from aar.verify.report import Report
from aar.verify.study import verify_log
from record.object_store import ObjectStore, serving
from record.test_record_s3 import anchor as s3_anchor
from record.world import LOG, World, entries


class FailingDisk(Disk):
    """A disk on which the named effect fails, or is done and then said to have failed."""

    def __init__(self) -> None:
        self.effect = ""
        self.is_done_first = False
        self.is_full = False

    def _maybe(self, name: str, act: Callable[[], Any]) -> Any:
        if name != self.effect:
            return act()
        if self.is_done_first:
            act()
        raise OSError(errno.ENOSPC if self.is_full else errno.EIO, "the disk is away")

    def link(self, source: Path, target: Path) -> None:
        self._maybe("link", lambda: super(FailingDisk, self).link(source, target))

    def sync(self, descriptor: int) -> None:
        self._maybe("sync", lambda: super(FailingDisk, self).sync(descriptor))

    def write_at(self, descriptor: int, data: bytes, offset: int) -> None:
        self._maybe("write_at", lambda: super(FailingDisk, self).write_at(descriptor, data, offset))

    def rename(self, source: Path, target: Path) -> None:
        self._maybe("rename", lambda: super(FailingDisk, self).rename(source, target))

    def sync_directory(self, path: Path) -> None:
        self._maybe("sync_directory", lambda: super(FailingDisk, self).sync_directory(path))

    def read(self, path: Path) -> bytes | None:
        found: bytes | None = self._maybe("read", lambda: super(FailingDisk, self).read(path))
        return found


def directory(name: str, path: Path, disk: Disk | None = None) -> DirectoryAnchor:
    prepare(path)
    return DirectoryAnchor(name, path, disk=disk)


@pytest.fixture
def real(real_world: World) -> World:
    return real_world


def through(world: World, *anchors: Any, needed: int | None = None) -> None:
    world.anchors = WriteThrough(
        anchors, len(anchors) if needed is None else needed, blobs=Path("record/blobs")
    )


def report_on(world: World, *anchors: str) -> Report:
    """What the verifier says of the record beside what the anchors hold."""
    from aar.verify.study import _verify_once

    policy = Policy.with_one_witness(LOG.vkey, "local", world.witnesses[0].vkey)
    Path("policy").write_text(format_policy(policy), "utf-8")
    return _verify_once(
        Path(), Path("policy").read_bytes(), (), None, (), [Path(one) for one in anchors], is_log_only=True
    )


def assert_agrees(world: World, name: str, size: int) -> None:
    report = report_on(world, name)
    assert (report.verdict, report.findings) == ("ok", [])
    assert report.anchors[0]["checkpoint"] == size
    assert report.anchors[0]["entries"] == size
    assert report.warnings == []


@pytest.mark.parametrize("kind", ["directory", "mirror"])
def test_what_is_published_is_held_by_the_anchor(real: World, kind: str) -> None:
    through(real, directory("a", Path("a")) if kind == "directory" else Mirror("a", Path("a")))
    Path("record/blobs").mkdir(parents=True)
    blob = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    (Path("record/blobs") / blob).write_bytes(b"x")
    sequencer = real.open()
    for count in (3, 250, 1, 300):
        sequencer.append(entries(sequencer.size, count))
        sequencer.publish()
    assert_agrees(real, "a", 554)
    assert (Path("a/blobs") / blob).read_bytes() == b"x"


def test_a_mirror_is_the_record_byte_for_byte(real: World) -> None:
    through(real, Mirror("a", Path("a")))
    sequencer = real.open()
    for count in (200, 100, 300):
        sequencer.append(entries(sequencer.size, count))
        sequencer.publish()

    def files(top: str) -> dict[str, bytes]:
        return {str(one.relative_to(top)): one.read_bytes() for one in Path(top).rglob("*") if one.is_file()}

    assert files("a") == files("record")


def test_an_anchor_that_comes_later_is_given_everything(real: World) -> None:
    sequencer = real.open()
    sequencer.append(entries(0, 700))
    sequencer.publish()
    sequencer.close()
    through(real, directory("a", Path("a")), Mirror("b", Path("b")))
    again = real.open()
    again.append(entries(700, 5))
    again.publish()
    assert_agrees(real, "a", 705)
    assert_agrees(real, "b", 705)


def test_large_batches_are_anchored_in_pieces(real: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.outside.record.anchors.write_through.MAX_SEGMENT", 100)
    through(real, directory("a", Path("a")))
    sequencer = real.open()
    sequencer.append(entries(0, 350))
    sequencer.publish()
    assert len(list(Path("a/segment").iterdir())) == 4
    assert_agrees(real, "a", 350)


# Fail closed.


class Away:
    """An anchor that may be away; what it was told before it left is kept in order."""

    def __init__(self, name: str = "a", *, size: int = 0) -> None:
        self._name = name
        self.size = size
        self.is_away = False
        self.told: list[str] = []

    @property
    def name(self) -> str:
        return self._name

    def probe(self) -> str:
        return "it is there"

    def start(self) -> int:
        self._tell("start")
        return self.size

    def put_entries(self, first: int, end: int, _root: bytes, _leaves: Any) -> None:
        self._tell(f"entries {first}-{end}")
        self.size = end

    def put_published(self, size: int, note: bytes, _tiles: Any, /) -> None:
        self._tell(f"published {size}")
        assert open_checkpoint(note, LOG.vkey)[0].size == size

    def put_blob(self, digest: str, _data: bytes) -> None:
        self._tell(f"blob {digest[:4]}")

    def _tell(self, what: str) -> None:
        if self.is_away:
            raise AnchorError(f"anchor {self._name}: it is away")
        self.told.append(what)


def test_entries_go_there_before_they_are_signed_and_checkpoints_before_they_are_published(
    real: World,
) -> None:
    one = Away()
    through(real, one)
    seen: list[tuple[str, int, int]] = []
    sequencer = real.open()
    tell = one._tell

    def telling(what: str) -> None:
        seen.append((what, sequencer.signed_size, sequencer.published_size))
        tell(what)

    one._tell = telling  # type: ignore[method-assign]
    sequencer.append(entries(0, 3))
    sequencer.publish()
    assert seen == [("entries 0-3", 0, 0), ("published 3", 3, 0)]
    assert sequencer.published_size == 3


def test_without_the_anchors_it_needs_nothing_is_signed_or_published(real: World) -> None:
    one = Away()
    through(real, one)
    sequencer = real.open()
    one.is_away = True
    sequencer.append(entries(0, 3))
    with pytest.raises(AnchorsNotMet, match="0 anchors took it, want 1; anchor a: it is away"):
        sequencer.publish()
    assert (sequencer.size, sequencer.signed_size, sequencer.published_size) == (3, 0, 0)
    one.is_away = False
    sequencer.publish()
    assert sequencer.published_size == 3


def test_an_anchor_beyond_those_needed_may_be_away_and_catches_up(real: World) -> None:
    first, second = Away("a"), Away("b")
    through(real, first, second, needed=1)
    sequencer = real.open()
    second.is_away = True
    sequencer.append(entries(0, 3))
    sequencer.publish()
    assert real.anchors is not None
    assert real.anchors.troubles == {"b": "anchor b: it is away"}
    second.is_away = False
    sequencer.append(entries(3, 2))
    sequencer.publish()
    assert second.told[-3:] == ["start", "entries 0-5", "published 5"]
    assert real.anchors.troubles == {}


def test_an_anchor_that_lacks_the_entries_is_given_no_checkpoint(real: World) -> None:
    one = Away("a")
    write = WriteThrough([one], 1, blobs=Path("none"))
    with pytest.raises(AnchorsNotMet, match="lacks entries"):
        write.write_published(3, b"", lambda _old: ())
    assert one.told == []


def test_an_anchor_that_holds_more_than_the_disk_halts_the_record(real: World) -> None:
    """The disk was put back to an older state; the anchor was not."""
    through(real, Away("a", size=7))
    with pytest.raises(RecordHalted, match="holds 7 entries, 0 are on this disk"):
        real.open()


@pytest.mark.parametrize("effect", ["link", "sync", "write_at", "sync_directory", "read"])
@pytest.mark.parametrize("is_done_first", [False, True])
@pytest.mark.parametrize("kind", ["directory", "mirror"])
def test_an_anchor_that_fails_at_any_step_costs_nothing_but_time(
    real: World, effect: str, is_done_first: bool, kind: str
) -> None:
    disk = FailingDisk()
    through(
        real, directory("a", Path("a"), disk) if kind == "directory" else Mirror("a", Path("a"), disk=disk)
    )
    sequencer = real.open()
    sequencer.append(entries(0, 300))
    sequencer.publish()
    disk.effect, disk.is_done_first = effect, is_done_first
    sequencer.append(entries(300, 300))
    with pytest.raises(AnchorsNotMet):
        sequencer.publish()
    assert sequencer.published_size == 300
    disk.effect = ""
    sequencer.publish()
    assert_agrees(real, "a", 600)


def test_a_full_mirror_is_no_halt(real: World) -> None:
    disk = FailingDisk()
    disk.is_full = True
    through(real, Mirror("a", Path("a"), disk=disk))
    sequencer = real.open()
    sequencer.append(entries(0, 3))
    disk.effect = "write_at"
    with pytest.raises(AnchorsNotMet):
        sequencer.publish()
    disk.effect = ""
    sequencer.publish()
    assert_agrees(real, "a", 3)


def test_a_restart_at_any_moment_goes_on_with_the_anchor(real: World) -> None:
    """A crash after the segment and before the signature: the same entries again, and others with them."""
    one = directory("a", Path("a"))
    through(real, one)
    sequencer = real.open()
    sequencer.append(entries(0, 3))
    one.put_entries(0, 3, sequencer._tree.root(3), sequencer._read_leaves)
    sequencer.close()
    again = real.open()
    again.append(entries(3, 2))
    again.publish()
    assert_agrees(real, "a", 5)


# Two histories.


@pytest.mark.parametrize("kind", ["directory", "mirror"])
def test_another_history_at_the_anchor_halts_the_record(real: World, kind: str) -> None:
    def fresh() -> Any:
        return directory("a", Path("a")) if kind == "directory" else Mirror("a", Path("a"))

    through(real, fresh())
    sequencer = real.open()
    sequencer.append(entries(0, 3))
    sequencer.publish()
    sequencer.close()
    os.rename("record", "old-record")
    os.rename("gateway", "old-gateway")
    real.now_ms += 1_000
    real.witnesses = World().witnesses
    through(real, fresh())
    # Empty as it is, the new record knows that something was written there already.
    with pytest.raises(RecordHalted, match=r"holds 3 entries, 0 are on this disk|holds size 3"):
        real.open()


def test_other_bytes_under_a_name_are_a_conflict(real: World) -> None:
    one = directory("a", Path("a"))
    one.put_blob("ab" * 32, b"x")
    one.put_blob("ab" * 32, b"x")
    with pytest.raises(AnchorConflict, match="other bytes under blobs/"):
        one.put_blob("ab" * 32, b"y")
    mirror = Mirror("m", Path("m"))
    mirror.probe()
    mirror.put_blob("ab" * 32, b"x")
    with pytest.raises(AnchorConflict, match="other bytes under blobs/"):
        mirror.put_blob("ab" * 32, b"y")


def test_a_mirror_s_tile_of_another_history_is_a_conflict(real: World) -> None:
    through(real, Mirror("a", Path("a")))
    sequencer = real.open()
    sequencer.append(entries(0, 3))
    sequencer.publish()
    Path("a/tile/0/000.p/5").write_bytes(b"x")
    sequencer.append(entries(3, 2))
    with pytest.raises(AnchorConflict, match="someone else wrote there"):
        sequencer.publish()


def test_a_damaged_checkpoint_of_a_mirror_is_for_a_person(real: World) -> None:
    Path("a").mkdir()
    Path("a/checkpoint").write_bytes(b"noise")
    through(real, Mirror("a", Path("a")))
    with pytest.raises(AnchorConflict, match="is damaged"):
        real.open()


def test_two_anchors_have_two_names_and_no_more_are_needed_than_there_are() -> None:
    with pytest.raises(ValueError, match="share a name"):
        WriteThrough([Away("a"), Away("a")], 1, blobs=Path())
    with pytest.raises(ValueError, match="2 of 1 anchors"):
        WriteThrough([Away("a")], 2, blobs=Path())


# The promise of a directory.


def has_attribute(path: Path) -> bool:
    path.mkdir()
    try:
        return make_append_only(path)
    finally:
        subprocess.run(["chattr", "-a", str(path)], check=False, capture_output=True)


@pytest.fixture
def append_only(tmp_path: Path) -> Any:
    if not has_attribute(tmp_path / "try"):
        pytest.skip("no append-only attribute: it takes root and a file system that has it")
    yield tmp_path / "vault"
    subprocess.run(["chattr", "-R", "-a", str(tmp_path / "vault")], check=False, capture_output=True)


def test_where_it_can_be_had_nobody_removes_a_name(append_only: Path) -> None:
    prepare(append_only)
    one = DirectoryAnchor("a", append_only, is_append_only_wanted=True)
    one.put_published(3, b"note\n", lambda _old: ())
    assert one.probe() == "append-only"
    (held,) = (append_only / "checkpoint").iterdir()
    for attempt in (held.unlink, lambda: held.rename(held.with_name("x"))):
        with pytest.raises(PermissionError):
            attempt()
    one.put_published(3, b"note\n", lambda _old: ())
    one.put_published(4, b"note\n", lambda _old: ())
    assert len(list((append_only / "checkpoint").iterdir())) == 2


def test_a_study_that_wants_append_only_is_refused_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.outside.record.anchors.directory.make_append_only", lambda _path: False)
    prepare(tmp_path / "a")
    one = DirectoryAnchor("a", tmp_path / "a", is_append_only_wanted=True)
    with pytest.raises(AnchorRefused, match="is not append-only"):
        one.probe()
    assert DirectoryAnchor("a", tmp_path / "a").probe() == "created once; its owner can remove files"


def test_an_attribute_that_does_not_hold_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aar.outside.record.anchors.directory.make_append_only", lambda _path: False)
    prepare(tmp_path / "a")
    one = DirectoryAnchor("a", tmp_path / "a")
    one.put_published(3, b"note\n", lambda _old: ())
    monkeypatch.setattr("aar.outside.record.anchors.directory.is_append_only", lambda _path: True)
    with pytest.raises(AnchorRefused, match="could be renamed"):
        one.probe()
    assert len(list((tmp_path / "a" / "checkpoint").iterdir())) == 1


@pytest.mark.parametrize("kind", ["directory", "mirror"])
def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path, kind: str) -> None:
    disk = FailingDisk()
    one = (
        directory("a", tmp_path / "a", disk)
        if kind == "directory"
        else Mirror("a", tmp_path / "a", disk=disk)
    )
    disk.effect = "write_at"
    with pytest.raises(AnchorRefused, match="cannot be written"):
        one.probe()
    disk.effect = ""
    one.probe()


def test_without_the_attribute_nothing_is_claimed(tmp_path: Path) -> None:
    assert not is_append_only(tmp_path)
    prepare(tmp_path / "a")
    assert sorted(one.name for one in (tmp_path / "a").iterdir()) == sorted((".staging", *FOLDERS))
    subprocess.run(["chattr", "-R", "-a", str(tmp_path / "a")], check=False, capture_output=True)


def test_an_anchor_is_opened_by_what_the_study_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "y")
    (tmp_path / "a").mkdir()
    place = {"name": "a", "path": str(tmp_path / "a"), "append_only": False}
    assert isinstance(open_anchor({**place, "kind": "mirror"}), Mirror)
    assert isinstance(open_anchor({**place, "kind": "directory"}), DirectoryAnchor)
    bucket = {"bucket": "b", "prefix": "", "region": "r", "endpoint": "", "retain_days": 1}
    assert isinstance(open_anchor({"name": "a", "kind": "s3", **bucket}), S3Anchor)
    with pytest.raises(AnchorRefused, match="No such file"):
        open_anchor({**place, "kind": "mirror", "path": str(tmp_path / "none")})


# A store with Object Lock, from the first entry to the verifier.


def test_a_record_written_through_to_a_locked_store_agrees_with_what_is_fetched(
    real: World, tmp_path: Path
) -> None:
    store = ObjectStore()
    store.make("vault", has_lock=True)
    with serving(store) as endpoint:
        one = s3_anchor(endpoint)
        through(real, one)
        sequencer = real.open()
        for count in (3, 290, 7):
            sequencer.append(entries(sequencer.size, count))
            sequencer.publish()
        sequencer.close()
        # A second life of the process knows what lies there.
        through(real, s3_anchor(endpoint))
        again = real.open()
        again.append(entries(300, 5))
        again.publish()
        # Whoever holds the writer's credential puts other bytes over a segment.
        bucket = store.buckets["vault"]
        segment = next(key for key in bucket.objects if "segment/" in key)
        store.put(bucket, segment, b"forged", {})
        one.fetch(Path("fetched"))
    report = report_on(real, "fetched")
    assert [one.code for one in report.findings] == ["WORM_VERSIONS"]
    assert report.findings[0].resource.endswith(segment.removeprefix("study/"))
    assert report.anchors[0]["entries"] == 305


def test_a_log_that_was_verified_needs_no_anchor(real: World) -> None:
    sequencer = real.open()
    sequencer.append(entries(0, 3))
    sequencer.publish()
    policy = Policy.with_one_witness(LOG.vkey, "local", real.witnesses[0].vkey)
    assert verify_log(Path(), policy=format_policy(policy).encode()).verdict == "ok"


def test_the_names_in_an_anchor_are_those_that_the_verifier_reads() -> None:
    assert segment_path(7, 300, bytes(32)) == f"segment/{7:020d}-{300:020d}-{'0' * 16}"
