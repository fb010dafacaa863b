"""A study as a whole: three verdicts, and nothing on the disk that makes the verifier fall over."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nacl
import pytest

from aar.formats.bookmark import format_bookmark
from aar.formats.cosignature import cosigned_at
from aar.formats.keys import Signer
from aar.formats.note import parse_note
from aar.formats.policy import Policy, format_policy
from aar.verify import claims
from aar.verify import study as study_module
from aar.verify.__main__ import main
from aar.verify.entry_check import MAX_CLOCK_SKEW_MS
from aar.verify.evidence import judge
from aar.verify.report import Report
from aar.verify.study import verify_new, verify_study
from forge import (
    LOG,
    STRANGER,
    WITNESS,
    WITNESS_STATE,
    assert_ok,
    assert_only,
    checkpoint,
    honest,
    publication,
    verdict_on,
    write,
)

SOURCE = Path(__file__).resolve().parents[2] / "src"
HONEST = honest()
FILES = HONEST.files()
OWN_KEYS = "trusted the keys in the study's own directory"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write(tmp_path / "study", FILES)


# Policies.


def test_a_study_verified_by_its_own_policy_says_so(study: Path) -> None:
    report = verify_study(study)
    assert_ok(report)
    assert [OWN_KEYS in one for one in report.warnings] == [True]


def test_a_study_verified_by_a_given_policy_needs_no_warning(study: Path) -> None:
    (study / "policy").unlink()
    report = verify_study(study, policy=FILES["policy"])
    assert_ok(report)
    assert report.warnings == []


def test_a_given_policy_is_the_one_that_counts(study: Path) -> None:
    namesake = Signer(LOG.name, b"n" * 32)
    other = Policy.with_one_witness(namesake.vkey, "local", WITNESS.vkey)
    report = verify_study(study, policy=format_policy(other).encode())
    assert [one.code for one in report.findings] == ["CHECKPOINT_SIG"]


def test_a_policy_of_another_log_judges_nothing(study: Path) -> None:
    other = Policy.with_one_witness(STRANGER.vkey, "local", WITNESS.vkey)
    report = verify_study(study, policy=format_policy(other).encode())
    assert report.verdict == "cannot-judge"
    assert f"is the record of {LOG.name}, the policy is for {STRANGER.name}" in report.reason
    # Nor does a study in which another's record lies.
    (study / "record" / "checkpoint").write_bytes(
        checkpoint(HONEST.leaves(), log=STRANGER, origin="stranger")
    )
    assert "is the record of stranger" in verify_study(study).reason


@pytest.mark.parametrize("lies", ["origin", "signature"])
def test_half_a_name_of_another_log_is_no_other_log(study: Path, lies: str) -> None:
    note = FILES["record/checkpoint"].decode()
    old, new = (f"{LOG.name}\n", "stranger\n") if lies == "origin" else (f"{LOG.name} ", "stranger ")
    (study / "record" / "checkpoint").write_bytes(note.replace(old, new, 1).encode())
    assert [one.code for one in verify_study(study).findings] == ["CHECKPOINT_SIG"]


def test_a_policy_with_the_same_key_twice_judges_nothing(study: Path) -> None:
    lines = FILES["policy"].decode().splitlines(keepends=True)
    twice = "".join([*lines[:2], lines[1].replace("witness local ", "witness again "), *lines[2:]])
    report = verify_study(study, policy=twice.encode())
    assert (report.verdict, "the same key twice" in report.reason) == ("cannot-judge", True)


@pytest.mark.parametrize("policy", [b"", b"noise\n", b"\xff\n", FILES["policy"] + b"\n"])
def test_without_a_usable_policy_nothing_is_judged(study: Path, policy: bytes) -> None:
    for report in (
        verify_study(study, policy=policy),
        verify_study(write(study, {"policy": policy})),
    ):
        assert report.verdict == "cannot-judge"
        assert report.reason.startswith("no usable policy")


@pytest.mark.timeout(20)
def test_a_pipe_or_nothing_in_the_policy_s_place_is_no_policy(study: Path) -> None:
    (study / "policy").unlink()
    assert verify_study(study).reason.startswith("no usable policy")
    os.mkfifo(study / "policy")
    assert verify_study(study).reason.startswith("no usable policy")


# Nothing to judge.


def test_a_directory_without_a_record_is_no_study(tmp_path: Path) -> None:
    for directory in (tmp_path, tmp_path / "nowhere", write(tmp_path / "odd", {"record": b"a file"})):
        report = verify_study(directory, policy=FILES["policy"])
        assert report.verdict == "cannot-judge"
        assert "is not a study" in report.reason


def test_an_empty_record_is_not_judged(tmp_path: Path) -> None:
    (tmp_path / "record").mkdir()
    report = verify_study(tmp_path, policy=FILES["policy"])
    assert report.verdict == "cannot-judge"
    assert "is empty" in report.reason


# Memories that cannot be read.


@pytest.mark.timeout(20)
def test_a_witness_s_memory_that_is_no_file_is_said_not_to_be_compared(study: Path) -> None:
    (study / WITNESS_STATE).unlink()
    os.mkfifo(study / WITNESS_STATE)
    report = verify_study(study, policy=FILES["policy"])
    assert_ok(report)
    assert ["was not compared" in one for one in report.warnings] == [True]


def test_a_study_without_a_witness_beside_it_holds(study: Path) -> None:
    (study / WITNESS_STATE).unlink()
    report = verify_study(study, policy=FILES["policy"])
    assert_ok(report)
    assert report.warnings == []


def refusing(monkeypatch: pytest.MonkeyPatch, target: object, name: str, path: Path) -> None:
    """The superuser may read everything, so that permissions cannot show what another user meets."""
    allowed = getattr(target, name)

    def refuse(asked: Any, *arguments: Any, **more: Any) -> Any:
        if Path(asked) == path:
            raise PermissionError(13, "Permission denied", str(asked))
        return allowed(asked, *arguments, **more)

    monkeypatch.setattr(target, name, refuse)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("scandir", "record"),
        ("scandir", "record/blobs"),
        ("listdir", "record"),
        ("open", "record/checkpoint"),
        ("open", f"record/tile/entries/000.p/{len(HONEST.leaves())}"),
        ("open", "policy"),
    ],
)
def test_what_this_user_may_not_read_is_not_called_tampered_with(
    study: Path, monkeypatch: pytest.MonkeyPatch, name: str, path: str
) -> None:
    refusing(monkeypatch, os, name, study / path)
    report = verify_study(study)
    assert (report.verdict, report.findings) == ("cannot-judge", [])
    assert "Permission denied" in report.reason


def test_a_bookmark_does_not_help_who_may_not_read(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = verify_study(study, policy=FILES["policy"]).bookmark
    assert held is not None
    path = study / "record" / "tile" / "entries" / f"000.p/{len(HONEST.leaves())}"
    refusing(monkeypatch, os, "open", path)
    report = verify_new(study, format_bookmark(held), policy=FILES["policy"])
    assert (report.verdict, "Permission denied" in report.reason) == ("cannot-judge", True)


# Order of judgement: what was not signed for is not believed.


def test_no_score_is_derived_from_entries_that_fail(tmp_path: Path) -> None:
    forge = honest()
    forge["comment"].signers = [forge.keys["r1"]]
    report = verdict_on(forge, tmp_path)
    assert (report.verdict, report.leaderboard, report.opened) == ("tampered", [], 0)


def test_the_leaderboard_is_part_of_the_report(tmp_path: Path) -> None:
    forge = honest()
    forge["decision"].body = publication(forge)
    report = verdict_on(forge, tmp_path)
    ranked = [(row["rank"], row["method"], row["decision"]) for row in report.leaderboard]
    assert ranked == [
        (1, "method better", ""),
        (2, "method other", ""),
        (3, "method first", "publish"),
        (4, "method worse", ""),
    ]


# Damage.


def is_named(report_findings: list[dict[str, object]], path: str) -> bool:
    return any(
        one["resource"] == path or (path.startswith("tile/entries/") and one["first_index"] is not None)
        for one in report_findings
    )


def test_any_flipped_byte_under_the_record_is_found_and_named(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = random.Random(20250101)
    paths = sorted(path for path in FILES if path.startswith("record/"))
    # Every file once, then at random, weighted by nothing.
    chosen = paths + [source.choice(paths) for _flip in range(max(200 - len(paths), 100))]
    assert len(chosen) >= 200 - len(paths)
    for path in chosen:
        data = bytearray(FILES[path])
        place = source.randrange(len(data))
        data[place] ^= source.randrange(1, 256)
        (study / path).write_bytes(data)
        assert main([str(study), "--json"]) == 1, (path, place)
        report = json.loads(capsys.readouterr().out)
        assert is_named(report["findings"], path.removeprefix("record/")), (path, place, report["findings"])
        (study / path).write_bytes(FILES[path])
    assert main([str(study)]) == 0


@pytest.mark.parametrize("keep", [0, 1, -1])
def test_any_shortened_file_under_the_record_is_found_and_named(study: Path, keep: int) -> None:
    for path in (one for one in FILES if one.startswith("record/")):
        (study / path).write_bytes(FILES[path][:keep])
        report = verify_study(study)
        assert report.verdict == "tampered", path
        assert is_named([one.as_json() for one in report.findings], path.removeprefix("record/")), path
        (study / path).write_bytes(FILES[path])


def test_any_deleted_file_under_the_record_is_found_and_named(study: Path) -> None:
    named = {one for one in FILES if one.startswith("record/")}
    named -= {f"record/blobs/{digest}" for digest in _unnamed_blobs()}
    for path in named:
        (study / path).unlink()
        report = verify_study(study)
        assert report.verdict == "tampered", path
        assert is_named([one.as_json() for one in report.findings], path.removeprefix("record/")), path
        (study / path).write_bytes(FILES[path])


@pytest.mark.parametrize("became", [b"other values", "No such file or directory"])
def test_a_blob_that_becomes_another_between_two_readings_is_not_believed(
    study: Path, monkeypatch: pytest.MonkeyPatch, became: bytes | str
) -> None:
    """Its hash is checked with the log, its values are read when the entries that open them are judged."""
    honest_bytes = claims.plain_bytes
    opened: list[str] = []

    def second_reading(directory: Path, path: str, most: int) -> bytes | str:
        opened.append(path)
        return became if len(opened) == 1 else honest_bytes(directory, path, most)

    monkeypatch.setattr(claims, "plain_bytes", second_reading)
    report = verify_study(study, policy=FILES["policy"])
    place = HONEST.position("closed") + 2
    assert_only(report, "RECEIPT", place, f"the blob {opened[0].removeprefix('blobs/')}, as it was")


def _unnamed_blobs() -> set[str]:
    said = b"".join(HONEST.leaves())
    blobs = {path.removeprefix("record/blobs/") for path in FILES if path.startswith("record/blobs/")}
    return {digest for digest in blobs if digest.encode() not in said}


# How old it may be.


@pytest.mark.parametrize(("late_s", "is_stale"), [(0, False), (60, False), (61, True)])
def test_a_record_that_no_witness_saw_lately_is_stale(study: Path, late_s: int, is_stale: bool) -> None:
    last_s = cosigned_s(study)
    now_ms = (last_s + late_s) * 1000
    report = verify_study(study, policy=FILES["policy"], now_ms=now_ms, max_age_s=60)
    if is_stale:
        assert_only(report, "STALE", -1, "not older than 60 s", resource="checkpoint")
        outcome, why = judge("STALE", -1, report.findings[0].evidence, HONEST.policy)
        assert (outcome, str(last_s) in why) == ("shown", True)
    else:
        assert "STALE" not in {one.code for one in report.findings}
    assert "STALE" not in {
        one.code for one in verify_study(study, policy=FILES["policy"], now_ms=now_ms).findings
    }


@pytest.mark.parametrize(("ahead_s", "is_named"), [(0, False), (1, True)])
def test_a_cosignature_from_the_future_keeps_no_record_fresh(
    study: Path, ahead_s: int, is_named: bool
) -> None:
    now_ms = (cosigned_s(study) - ahead_s) * 1000 - MAX_CLOCK_SKEW_MS
    found = verify_study(study, policy=FILES["policy"], now_ms=now_ms, max_age_s=60).findings
    named = [one for one in found if (one.code, one.resource) == ("CLOCK_REGRESSION", "checkpoint")]
    assert len(named) == is_named


def cosigned_s(study: Path) -> int:
    note = parse_note((study / "record" / "checkpoint").read_bytes())
    times = [cosigned_at(note, key) for _name, key in HONEST.policy.witnesses]
    return max(one for one in times if one is not None)


# The verifier alone.


def test_the_verifier_runs_from_a_copied_folder_with_nothing_but_the_crypto_library(
    study: Path, tmp_path: Path
) -> None:
    source = Path(study_module.__file__).parents[1]
    for name in ("formats", "verify"):
        shutil.copytree(source / name, tmp_path / "copied" / "aar" / name)
    shutil.copy(source / "__init__.py", tmp_path / "copied" / "aar")
    (tmp_path / "crypto").mkdir()
    packages = Path(nacl.__file__).parents[1]
    for one in ("nacl", "cffi", "pycparser"):
        if (packages / one).exists():
            (tmp_path / "crypto" / one).symlink_to(packages / one)
    for one in packages.glob("_cffi_backend*"):
        (tmp_path / "crypto" / one.name).symlink_to(one)
    code = (
        f"import sys, runpy; sys.path[:0] = {[str(tmp_path / 'copied'), str(tmp_path / 'crypto')]!r}; "
        f"sys.argv = ['aar.verify', {str(study)!r}]; runpy.run_module('aar.verify', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "OK: everything holds" in done.stdout


# A record that is written while it is read.


class Meanwhile:
    """Counts the readings of a study, and publishes something behind each reader's back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *publish: Callable[[], object]) -> None:
        self.readings = 0
        self._publish = publish
        self._verify_once = study_module._verify_once
        monkeypatch.setattr(study_module, "_verify_once", self)

    def __call__(self, *arguments: Any) -> Report:
        report = self._verify_once(*arguments)
        if self._publish:
            self._publish[min(self.readings, len(self._publish) - 1)]()
        self.readings += 1
        return report


def test_a_mixture_of_two_moments_is_read_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = study / "record" / "checkpoint"
    published.write_bytes(checkpoint(HONEST.leaves(), size=3))
    meanwhile = Meanwhile(monkeypatch, lambda: published.write_bytes(FILES["record/checkpoint"]))
    assert_ok(verify_study(study))
    assert meanwhile.readings == 2


def test_a_damaged_record_is_not_read_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (study / "record" / "notes").write_bytes(b"")
    meanwhile = Meanwhile(monkeypatch)
    assert verify_study(study).verdict == "tampered"
    assert meanwhile.readings == 1


def test_what_held_is_not_read_again(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meanwhile = Meanwhile(monkeypatch, (study / "record" / "checkpoint").unlink)
    assert_ok(verify_study(study))
    assert meanwhile.readings == 1


def test_a_record_that_always_changes_is_judged_in_the_end(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = study / "record" / "checkpoint"
    sizes = [checkpoint(HONEST.leaves(), size=size) for size in range(1, 9)]
    meanwhile = Meanwhile(monkeypatch, *(partial(published.write_bytes, one) for one in sizes))
    (study / "record" / "notes").write_bytes(b"")
    assert verify_study(study).verdict == "tampered"
    assert meanwhile.readings == study_module.MAX_ATTEMPTS


# The command.


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "aar.verify", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_what_holds_by_its_exit_status(study: Path, tmp_path: Path) -> None:
    (tmp_path / "trusted").write_bytes(FILES["policy"])
    (tmp_path / "pin").write_bytes(FILES["record/checkpoint"])
    held = run("study", "--policy", "trusted", "--pin", "pin", cwd=tmp_path)
    assert (held.returncode, held.stderr) == (0, "")
    assert held.stdout.endswith("OK: everything holds\n")
    (study / "record" / "notes").write_bytes(b"")
    tampered = run("study", cwd=tmp_path)
    assert (tampered.returncode, tampered.stderr) == (1, "")
    assert "UNEXPECTED_RESOURCE: notes" in tampered.stdout
    assert tampered.stdout.endswith("TAMPERED: the record does not hold\n")
    nothing = run("elsewhere", cwd=tmp_path)
    assert (nothing.returncode, nothing.stderr) == (2, "")
    assert nothing.stdout.startswith("cannot judge: elsewhere is not a study")


def test_the_command_answers_a_program_in_json(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(study), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["verdict"], report["origin"], report["unanchored"]) == ("ok", LOG.name, 0)
    assert len(report["leaderboard"]) == 4


@pytest.mark.parametrize("option", ["--policy", "--pin"])
def test_a_file_to_trust_that_is_not_there_leaves_nothing_judged(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    assert main([str(study), option, str(tmp_path / "nowhere")]) == 2
    assert "No such file" in capsys.readouterr().out


def test_the_command_compares_with_pins(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pin").write_bytes(b"noise")
    assert main([str(study), "--pin", str(tmp_path / "pin")]) == 1
    assert "CHECKPOINT_SIG: a pinned checkpoint" in capsys.readouterr().out


def test_the_command_knows_the_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forge = honest()
    forge["decision"].received_ms = 2**52
    forge.write(tmp_path)
    assert main([str(tmp_path)]) == 1
    assert "CLOCK_REGRESSION" in capsys.readouterr().out
