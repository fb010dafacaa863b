"""Bad input: one clear line, exit status 2, nothing lost."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from small_study import SMALL, TINY, Commands, wait_until_gone, wait_until_opened

pytestmark = pytest.mark.slow


def refused(commands: Commands, *arguments: str) -> str:
    """Run, expect exit 2 and one line on standard error; returns the line."""
    done = commands.run(*arguments)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_missing_study_file_is_named(commands: Commands) -> None:
    assert "there is no such study file" in refused(commands, "run", "absent.toml")


def test_a_malformed_study_file_is_refused_before_anything_is_made(commands: Commands) -> None:
    assert "not TOML" in refused(commands, "run", commands.study_file("[study"), "--dir", "study")
    assert not (commands.directory / "study").exists()


@pytest.mark.parametrize(
    ("was", "is_now", "told"),
    [
        ('problem = "digits"', 'problem = "nonsense"', "unknown problem 'nonsense'"),
        ("submissions = 3", "submissions = -5", "submissions: got -5"),
        ("minutes = 2", "minutes = -1", "minutes above 0"),
    ],
)
def test_a_study_that_cannot_be_is_refused(commands: Commands, was: str, is_now: str, told: str) -> None:
    assert told in refused(commands, "run", commands.study_file(SMALL.replace(was, is_now)), "--dir", "study")


def test_binary_noise_is_no_study_file(commands: Commands) -> None:
    (commands.directory / "noise.toml").write_bytes(os.urandom(2_000))
    refused(commands, "run", "noise.toml", "--dir", "study")


@pytest.mark.parametrize("value", ["0", "-3", "1000"])
def test_a_count_of_researchers_out_of_range_is_refused(commands: Commands, value: str) -> None:
    assert "--researchers" in refused(commands, "run", f"--researchers={value}", "--dir", "study")


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_time_budget_out_of_range_is_refused(commands: Commands, value: str) -> None:
    assert "minutes" in refused(commands, "run", f"--minutes={value}", "--dir", "study")


@pytest.mark.parametrize("command", ["verify", "record", "forum", "leaderboard", "status", "review"])
def test_a_directory_that_is_not_a_study_is_refused_by_every_command(
    commands: Commands, command: str
) -> None:
    (commands.directory / "empty").mkdir()
    assert "study" in refused(commands, command, "empty")
    assert "absent" in refused(commands, command, "absent")


def test_a_directory_with_other_files_is_not_made_a_study(commands: Commands) -> None:
    (commands.directory / "mine").mkdir()
    (commands.directory / "mine" / "letter.txt").write_text("dear aunt")
    assert "not empty" in refused(commands, "run", "--dir", "mine")
    assert os.listdir(commands.directory / "mine") == ["letter.txt"]


def test_a_file_is_not_a_study_directory(commands: Commands) -> None:
    (commands.directory / "file").write_text("x")
    refused(commands, "run", "--dir", "file")


def test_a_marker_of_something_else_is_refused(commands: Commands) -> None:
    (commands.directory / "odd").mkdir()
    (commands.directory / "odd" / "aar-study.json").write_text('{"format": "aar-study/v9", "origin": "x"}')
    assert "want format" in refused(commands, "status", "odd")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("review", "{}", "show", "99999"), "not a finding"),
        (("review", "{}", "publish"), "wants the index"),
        (("review", "{}", "publish", "0"), "not a finding"),
        (("task", "{}", "approve", "0"), "not a proposed task"),
        (("task", "{}", "add"), "wants --title"),
        (("task", "{}", "add", "--title", "x", "--submissions", "0"), "at least 1"),
        (("task", "{}", "add", "--title", "x", "--minutes", "0"), "--minutes 0: want more than 0"),
        (("task", "{}", "add", "--title", "x", "--sandbox-seconds", "0"), "--sandbox-seconds 0: want 1 to"),
        (("task", "{}", "add", "--title", "x", "--workflow", "fixed"), "wants its steps"),
        (("task", "{}", "add", "--title", "x", "--workflow", "fixed", "--step", "s1=[["), "as JSON"),
        (("task", "{}", "add", "--title", "x", "--workflow", "hybrid"), "wants the families"),
        (("task", "{}", "add", "--title", "x", "--family", "prior"), "--family is for a hybrid workflow"),
        (("verify", "{}", "--policy", "absent"), "no such file"),
        (("task", "{}", "add", "--title", "x", "--key", "absent"), "no such file"),
    ],
)
def test_commands_on_a_study_refuse_what_makes_no_sense(
    finished: Any, arguments: tuple[str, ...], told: str
) -> None:
    words = [word.format(finished.path) for word in arguments]
    assert told in refused(finished.commands, *words)


def test_a_key_that_others_can_read_is_refused(finished: Any) -> None:
    copy = finished.commands.directory / "loose.key"
    shutil.copy(finished.commands.config / "aar" / "reviewer.key", copy)
    copy.chmod(0o644)
    line = refused(finished.commands, "task", str(finished.path), "add", "--title", "x", "--key", str(copy))
    assert "0600" in line


def test_going_on_with_another_study_file_is_refused(finished: Any) -> None:
    other = finished.commands.study_file(SMALL.replace("draws = 60", "draws = 61"), "other.toml")
    assert "another study file" in refused(finished.commands, "run", other, "--dir", str(finished.path))


@pytest.mark.sandbox
def test_a_study_in_use_is_refused_and_left_alone(commands: Commands) -> None:
    study = commands.directory / "study"
    first = commands.start("run", commands.study_file(TINY), "--dir", str(study), "--json")
    wait_until_opened(study, first)
    line = refused(commands, "run", "--dir", str(study))
    assert f"in use by process {first.pid}" in line
    out, error = first.communicate(timeout=120)
    assert first.returncode == 0, error
    assert '"verdict": "ok"' in out


@pytest.mark.sandbox
@pytest.mark.skipif(os.getuid() != 0, reason="mounting a small file system takes root")
def test_a_full_disk_is_told_in_one_line_and_the_study_goes_on_when_there_is_space(
    commands: Commands,
) -> None:
    small = commands.directory / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(small)], check=True)
    try:
        study = small / "study"
        done = commands.run("run", commands.study_file(), "--dir", str(study), "--json")
        assert done.returncode == 2, (done.returncode, done.stderr)
        assert "disk is full" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        wait_until_gone(study)
        had = commands.entries(str(study)) if (study / "record" / "checkpoint").exists() else []
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        done = commands.run("run", "--dir", str(study), "--json")
        assert done.returncode == 0, done.stderr
        entries = commands.entries(str(study))
        assert entries[: len(had)] == had
        submissions = [one for one in entries if one["kind"] == "submission"]
        assert len(submissions) == 6
        assert commands.run("verify", str(study)).returncode == 0
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


def test_help_of_every_command_is_there(commands: Commands) -> None:
    words = ("run", "verify", "record", "forum", "leaderboard", "status", "task", "review", "doctor")
    for word in words:
        done = commands.run(word, "--help")
        assert done.returncode == 0
        assert "usage: aar" in done.stdout


def test_an_unknown_command_is_refused(commands: Commands) -> None:
    assert commands.run("frobnicate").returncode == 2


def test_the_reviewer_can_be_somebody_else_only_by_an_enrolled_key(finished: Any, tmp_path: Path) -> None:
    stranger = Commands(tmp_path)
    done = stranger.run("review", str(finished.path), "retract", _first_finding(finished), "--note", "no")
    assert done.returncode == 2
    assert "is not enrolled in this study" in done.stderr
    assert "--key FILE" in done.stderr


def _first_finding(finished: Any) -> str:
    return str(finished.commands.entries(str(finished.path), "--kind", "finding")[0]["index"])
