"""Going on from a bookmark: what is new is read, and nothing that is wrong with it goes unseen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from aar.formats.bookmark import format_bookmark
from aar.verify import study as study_module
from aar.verify.__main__ import main
from aar.verify.report import Report, format_report
from aar.verify.study import verify_new, verify_study
from forge import (
    STRANGER,
    WITNESS_STATE,
    assert_ok,
    checkpoint,
    tiles,
    with_comments,
    write,
)

# Two full bundles, a level above, and a right edge.
REMARKS = 600


LONG = with_comments(REMARKS)
LEAVES = LONG.leaves()
FILES = LONG.files(LEAVES)
SIZE = len(LEAVES)
SIZES = [1, 100, 255, 256, 257, 400, 511, 512, 513, 600, SIZE - 1, SIZE]


def bookmark_at(size: int) -> bytes:
    """Where a reader stands who verified the first `size` entries: the naive way, by one pass over them."""
    from aar.formats.bookmark import Bookmark
    from aar.formats.entry import parse_leaf
    from aar.formats.keys import parse_vkey

    parsed = [parse_leaf(leaf) for leaf in LEAVES[:size]]
    body = parsed[0].signed.entry.body
    chains = {one.signed.entry.author: (one.signed.entry.seq + 1, one.signed.text_digest) for one in parsed}
    return format_bookmark(
        Bookmark(
            checkpoint(LEAVES, size=size),
            tuple((one["name"], one["role"], parse_vkey(one["vkey"])) for one in body["keys"]),  # type: ignore[index,call-overload,union-attr,arg-type]
            chains,
            max(one.received_ms for one in parsed),
            any(one.signed.entry.kind == "study-closed" for one in parsed),
        )
    )


def only_new(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes whether the whole study was verified after all."""
    said: list[str] = []

    def whole(*_arguments: object, **_options: object) -> Report:
        said.append("whole")
        return verify_study(*_arguments, **_options)  # type: ignore[arg-type]

    monkeypatch.setattr(study_module, "verify_study", whole)
    return said


@pytest.mark.parametrize("size", SIZES)
def test_only_what_is_new_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    study = write(tmp_path / "study", FILES)
    # What was read before is not read again: it may even be gone.
    for index in range(size // 256):
        (study / "record" / f"tile/entries/{index:03d}").unlink()
    said = only_new(monkeypatch)
    report = verify_new(study, bookmark_at(size), policy=FILES["policy"])
    assert_ok(report)
    assert (said, report.verified_from, report.tree_size) == ([], size, SIZE)
    assert f"{SIZE}, {SIZE - size} of them new" in format_report(report)
    assert report.bookmark is not None
    assert format_bookmark(report.bookmark) == bookmark_at(SIZE)


def test_a_whole_verification_leaves_the_same_bookmark(tmp_path: Path) -> None:
    report = verify_study(write(tmp_path / "study", FILES), policy=FILES["policy"])
    assert report.bookmark is not None
    assert format_bookmark(report.bookmark) == bookmark_at(SIZE)


def changed_entry(files: dict[str, bytes]) -> None:
    path = "record/tile/entries/001"
    assert b'"text":"remark' in files[path]
    files[path] = files[path].replace(b'"text":"remark', b'"text":"Remark', 1)


def changed_edge(files: dict[str, bytes]) -> None:
    path = f"record/tile/0/002.p/{SIZE - 512}"
    files[path] = files[path][:-1] + b"?"


def changed_upper(files: dict[str, bytes]) -> None:
    files["record/tile/1/000.p/2"] = bytes(64)


def lost_upper(files: dict[str, bytes]) -> None:
    del files["record/tile/1/000.p/2"]


def lost_tile(files: dict[str, bytes]) -> None:
    del files["record/tile/0/001"]


def lost_bundle(files: dict[str, bytes]) -> None:
    del files["record/tile/entries/001"]


def lost_checkpoint(files: dict[str, bytes]) -> None:
    del files["record/checkpoint"]


def another_root(files: dict[str, bytes]) -> None:
    files["record/checkpoint"] = files[WITNESS_STATE] = checkpoint(LEAVES, root=bytes(32))


def rolled_back(files: dict[str, bytes]) -> None:
    files["record/checkpoint"] = files[WITNESS_STATE] = checkpoint(LEAVES, size=200)
    files |= {f"record/{path}": data for path, data in tiles(LEAVES[:200]).items()}


def uncosigned(files: dict[str, bytes]) -> None:
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=())


def ahead_of_the_log(files: dict[str, bytes]) -> None:
    files[WITNESS_STATE] = checkpoint([*LEAVES, b"more"])


def witness_saw_another(files: dict[str, bytes]) -> None:
    files[WITNESS_STATE] = checkpoint(LEAVES, size=600, root=bytes(32))


def witness_of_another(files: dict[str, bytes]) -> None:
    files[WITNESS_STATE] = b"noise"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (changed_entry, "ENTRY_HASH"),
        (changed_edge, "TILE_HASH"),
        (changed_upper, "TILE_HASH"),
        (lost_upper, "MISSING"),
        (lost_tile, "MISSING"),
        (lost_bundle, "MISSING"),
        (lost_checkpoint, "MISSING"),
        (another_root, "FORK"),
        (rolled_back, "ROLLBACK"),
        (uncosigned, "POLICY"),
        (ahead_of_the_log, "ROLLBACK"),
        (witness_saw_another, "FORK"),
        (witness_of_another, "CHECKPOINT_SIG"),
    ],
)
def test_what_is_wrong_with_the_new_is_named_as_ever(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], code: str
) -> None:
    files = dict(FILES)
    change(files)
    study = write(tmp_path / "study", files)
    report = verify_new(study, bookmark_at(300), policy=FILES["policy"])
    assert report.verdict == "tampered"
    assert code in {one.code for one in report.findings}
    assert report.bookmark is None


def test_another_history_than_was_verified_is_a_fork(tmp_path: Path) -> None:
    other = with_comments(REMARKS)
    other["remark-7"].body["text"] += ", and more"
    study = write(tmp_path / "study", other.files())
    report = verify_new(study, bookmark_at(300), policy=FILES["policy"])
    assert [one.code for one in report.findings] == ["FORK"]
    # The same from a full bundle on, where the old edge is in the tiles alone.
    assert verify_new(study, bookmark_at(512), policy=FILES["policy"]).verdict == "tampered"


@pytest.mark.parametrize("size", [256, 300])
def test_a_new_entry_of_a_stranger_or_out_of_order_is_named(tmp_path: Path, size: int) -> None:
    other = with_comments(REMARKS)
    other["remark-400"].kind = "gossip"
    report = verify_new(write(tmp_path / "a", other.files()), bookmark_at(size), policy=FILES["policy"])
    assert [one.code for one in report.findings] == ["UNKNOWN_KIND"]


def test_a_new_entry_is_held_against_the_last_one_of_its_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bookmark that knows another past of the author: only the whole record can tell who is right."""
    said = only_new(monkeypatch)
    study = write(tmp_path / "study", FILES)
    held = study_module.parse_bookmark(bookmark_at(300))
    for other in (
        replace(held, chains={**held.chains, "r2": (3, "0a" * 32)}),
        replace(held, received_ms=10**15),
        replace(held, is_closed=True),
        replace(held, keys=held.keys[:-1]),
    ):
        assert_ok(verify_new(study, format_bookmark(other), policy=FILES["policy"]))
    assert said == ["whole"] * 4


def test_an_entry_from_the_future_is_named(tmp_path: Path) -> None:
    study = write(tmp_path / "study", FILES)
    report = verify_new(study, bookmark_at(300), policy=FILES["policy"], now_ms=1)
    assert "CLOCK_REGRESSION" in {one.code for one in report.findings}


def test_a_pin_older_than_the_bookmark_takes_a_whole_verification(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = only_new(monkeypatch)
    study = write(tmp_path / "study", FILES)
    pins = [checkpoint(LEAVES, size=200)]
    assert_ok(verify_new(study, bookmark_at(300), policy=FILES["policy"], pins=pins))
    assert said == ["whole"]


@pytest.mark.parametrize("data", [b"", b"noise\n"])
def test_a_damaged_bookmark_judges_nobody(tmp_path: Path, data: bytes) -> None:
    report = verify_new(write(tmp_path / "study", FILES), data, policy=FILES["policy"])
    assert (report.verdict, "remove it" in report.reason) == ("cannot-judge", True)


def test_a_bookmark_of_another_log_judges_nobody(tmp_path: Path) -> None:
    held = study_module.parse_bookmark(bookmark_at(300))
    other = replace(held, checkpoint=checkpoint(LEAVES, log=STRANGER, origin="aar.test/another"))
    study = write(tmp_path / "study", FILES)
    report = verify_new(study, format_bookmark(other), policy=FILES["policy"])
    assert (report.verdict, "not of this log" in report.reason) == ("cannot-judge", True)


def test_without_a_policy_the_study_s_own_is_judged_by_a_whole_verification(tmp_path: Path) -> None:
    files = dict(FILES)
    del files["policy"]
    report = verify_new(write(tmp_path / "study", files), bookmark_at(300))
    assert (report.verdict, "no usable policy" in report.reason) == ("cannot-judge", True)


@pytest.mark.parametrize("policy", [None, b""])
def test_a_policy_in_the_study_s_directory_is_not_taken_for_the_one_given_before(
    tmp_path: Path, policy: bytes | None
) -> None:
    """Somebody without the witness's key drops the witness from the policy, and signs on alone."""
    files = dict(FILES)
    files["policy"] = FILES["policy"].split(b"witness")[0] + b"quorum none\n"
    files["record/checkpoint"] = checkpoint(LEAVES, witnesses=())
    study = write(tmp_path / "study", files)
    report = verify_new(study, bookmark_at(300), policy=policy)
    if policy is None:
        assert ("POLICY", 0) in {(one.code, one.first_index) for one in report.findings}
    else:
        assert (report.verdict, "no usable policy" in report.reason) == ("cannot-judge", True)


def test_new_entries_later_than_a_cosignature_over_them_are_named(tmp_path: Path) -> None:
    files = {**FILES, "record/checkpoint": checkpoint(LEAVES, unix_s=1_700_000_000)}
    report = verify_new(write(tmp_path / "study", files), bookmark_at(300), policy=FILES["policy"])
    assert {one.code for one in report.findings} == {"CLOCK_REGRESSION"}


def test_a_new_cosignature_from_the_future_is_named(tmp_path: Path) -> None:
    files = {**FILES, "record/checkpoint": checkpoint(LEAVES, unix_s=1_800_000_000)}
    study = write(tmp_path / "study", files)
    report = verify_new(study, bookmark_at(300), policy=FILES["policy"], now_ms=1_750_000_000_000)
    assert [(one.code, one.resource) for one in report.findings] == [("CLOCK_REGRESSION", "checkpoint")]


def test_the_module_goes_on_from_its_bookmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, mark = write(tmp_path / "study", FILES), tmp_path / "mark"
    (tmp_path / "policy").write_bytes(FILES["policy"])
    words = [str(study), "--policy", str(tmp_path / "policy"), "--bookmark", str(mark)]
    assert main(words) == 0
    assert "of them new" not in capsys.readouterr().out
    assert main(words) == 0
    assert f"{SIZE}, 0 of them new" in capsys.readouterr().out
    (study / "record" / f"tile/entries/002.p/{SIZE - 512}").write_bytes(b"")
    before = mark.read_bytes()
    assert main(words) == 1
    assert mark.read_bytes() == before
    with pytest.raises(SystemExit):
        main([*words, "--anchor", str(tmp_path)])
