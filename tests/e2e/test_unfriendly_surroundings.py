"""Commands in unfriendly surroundings: no reader, no home, an early Ctrl-C, a damaged pin, a tampered log."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from small_study import SMALL, SOURCE, Commands, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


@pytest.fixture
def copied(finished: Any, tmp_path: Path) -> tuple[Commands, Path]:
    """A copy of a finished study, and a user who never saw it."""
    subprocess.run(["cp", "-a", str(finished.path), str(tmp_path / "study")], check=True)
    return Commands(tmp_path), tmp_path / "study"


def tamper(study: Path) -> None:
    bundles = sorted((study / "record" / "tile" / "entries").glob("000.p/*"), key=lambda path: int(path.name))
    data = bundles[-1].read_bytes()
    assert b'"improved":1' in data
    bundles[-1].write_bytes(data.replace(b'"improved":1', b'"improved":0', 1))


@pytest.mark.parametrize("command", ["leaderboard", "record", "forum", "status"])
def test_no_number_is_told_of_a_tampered_record(copied: tuple[Commands, Path], command: str) -> None:
    commands, study = copied
    tamper(study)
    done = commands.run(command, str(study))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "TAMPERED" in done.stderr
    assert "./aar verify study says more" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_forged_score_whose_log_is_signed_anew_is_on_no_leaderboard(copied: tuple[Commands, Path]) -> None:
    """The log holds, the claims do not: `leaderboard` derives every number again first."""
    commands, study = copied
    blobs = {
        one["body"]["blob"]["sha256"] for one in commands.entries(str(study), "--kind", "score-revealed")
    }
    (study / "record" / "blobs" / min(blobs)).unlink()
    assert commands.run("record", str(study)).returncode == 0
    done = commands.run("leaderboard", str(study), "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "MISSING" in done.stderr


def test_evidence_of_what_was_found_is_for_others_to_judge(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    tamper(study)
    done = commands.run("verify", str(study), "--evidence", "shown")
    assert done.returncode == 1
    assert "whoever has the keys checks it alone" in done.stderr
    folders = sorted(one.name for one in (commands.directory / "shown").iterdir())
    assert folders
    assert all((commands.directory / "shown" / one / "finding.json").is_file() for one in folders)
    again = commands.run("verify", str(study), "--evidence", "shown")
    assert again.returncode == 2
    assert "it is not empty: name a new directory" in again.stderr
    judged = subprocess.run(
        [sys.executable, "-m", "aar.verify.evidence", "shown", "--policy", str(study / "policy")],
        cwd=commands.directory,
        env=commands.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    # Bytes of a copy were changed: that accuses nobody.
    assert (judged.returncode, judged.stdout.split()[0]) == (1, "reported")


def test_an_old_record_is_stale_only_to_who_asks(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    time.sleep(1.1)
    done = commands.run("verify", str(study), "--max-age", "0")
    assert done.returncode == 1
    assert "STALE" in done.stdout
    assert commands.run("verify", str(study), "--max-age", "86400").returncode == 0
    done = commands.run("verify", str(study), "--max-age", "0", "--incremental")
    assert (done.returncode, "leave --incremental out" in done.stderr) == (2, True)


def test_a_tampered_study_run_again_is_not_drawn_and_its_figures_stay(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    kept = {name: (study / name).read_bytes() for name in ("pgr.png", "pgr.svg", "summary.json")}
    tamper(study)
    done = commands.run("run", "--dir", str(study), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["verdict"] == "tampered"
    assert {name: (study / name).read_bytes() for name in kept} == kept


def test_a_closed_study_run_again_shows_what_was_measured_when_it_ran(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    measured = json.loads((study / "summary.json").read_text())
    shown = commands.json("run", "--dir", str(study), "--json")
    same = ("seconds", "submissions", "control_plane_cpu_share", "best", "verdict")
    assert {name: shown[name] for name in same} == {name: measured[name] for name in same}
    assert json.loads((study / "summary.json").read_text()) == measured


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.45, 0.6, 0.8])
def test_ctrl_c_at_a_terminal_in_the_first_second_is_no_traceback(commands: Commands, delay_s: float) -> None:
    """A terminal interrupts every process of its group, not only the first."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aar", "run", commands.study_file(), "--dir", "study"],
        cwd=commands.directory,
        env=commands.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    time.sleep(delay_s)
    os.killpg(process.pid, signal.SIGINT)
    _out, error = process.communicate(timeout=10)
    wait_until_gone(commands.directory / "study")
    # Before the program has started Python itself has the word, and an exit status of its own.
    if process.returncode == 1:
        assert str(SOURCE) not in error, error
        assert not (commands.directory / "study").exists()
    else:
        assert process.returncode in (130, -signal.SIGINT), error
    assert "Traceback" not in error or not (commands.directory / "study").exists()
    if (commands.directory / "study" / "study.toml").exists():
        assert "goes on" in error


def test_a_reader_who_leaves_does_not_end_the_study(commands: Commands) -> None:
    short = SMALL.replace("submissions = 3", "submissions = 1").replace(
        """pipelines = ['[["probe", {}]]', '[["conf_keep", {}], ["probe", {}]]']""",
        """pipelines = ['[["probe", {}]]']""",
    )
    process = commands.start("run", commands.study_file(short), "--dir", "study")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    assert process.wait(timeout=120) == 0, error
    assert "the study runs on" in error
    assert commands.json("status", "study", "--json")["tree_size"] > 10


def test_verify_tells_its_verdict_where_nothing_can_be_pinned(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    commands.environment["XDG_CONFIG_HOME"] = "/proc/nowhere"
    done = commands.run("verify", str(study))
    assert done.returncode == 0, done.stderr
    assert "was not pinned" in done.stdout
    assert "OK: everything holds" in done.stdout


def test_a_damaged_pin_accuses_nobody(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    assert commands.run("verify", str(study)).returncode == 0
    for pin in (commands.config / "aar" / "pins").iterdir():
        good = pin.read_bytes()
        pin.write_bytes(b"junk\n")
        # The bookmark is read by an incremental verification only, and made anew by any other.
        more = ["--incremental"] if pin.suffix == ".bookmark" else []
        done = commands.run("verify", str(study), *more)
        assert done.returncode == 2
        assert pin.name in done.stderr
        pin.write_bytes(good)
    assert commands.run("verify", str(study)).returncode == 0


def test_a_pinned_study_without_its_record_is_not_taken_for_a_new_one(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    assert commands.run("verify", str(study)).returncode == 0
    shutil.rmtree(study / "record")
    done = commands.run("verify", str(study), "--json")
    assert done.returncode == 2
    assert "verified here before" in json.loads(done.stdout)["reason"]


def test_a_marker_with_another_name_does_not_make_a_reader_forget(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    assert commands.run("verify", str(study)).returncode == 0
    marker = study / "aar-study.json"
    named = json.loads(marker.read_text())
    marker.write_text(json.dumps({**named, "origin": "aar.local/study-" + "0" * 16}))
    for command in ("verify", "leaderboard", "forum"):
        done = commands.run(command, str(study))
        assert (done.returncode, done.stdout) == (2, ""), command
        assert f"names aar.local/study-{'0' * 16}, the record is of {named['origin']}" in done.stderr


def test_what_cannot_be_judged_is_not_shown(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    (study / "policy").write_text("noise\n")
    for command in ("record", "leaderboard", "forum"):
        done = commands.run(command, str(study))
        assert (done.returncode, done.stdout) == (2, ""), command
        assert "no usable policy" in done.stderr


def test_a_policy_of_another_log_judges_nothing(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    other = (study / "policy").read_text().replace("aar.local/study-", "aar.local/other-")
    (commands.directory / "policy").write_text(other)
    done = commands.run("verify", str(study), "--policy", "policy")
    assert done.returncode == 2
    assert "policy" in done.stderr


def test_a_stream_that_is_closed_or_narrow_ends_no_command(copied: tuple[Commands, Path]) -> None:
    commands, study = copied
    line = f"'{sys.executable}' -m aar verify '{study}' >&-"
    done = subprocess.run(["sh", "-c", line], env=commands.environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    narrow = {**commands.environment, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "POSIX"}
    words = [sys.executable, "-m", "aar", "forum", str(study)]
    done = subprocess.run(words, env=narrow, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('title = "Search"', f'title = "{"x" * 300}"', "200 characters"),
        ("""'[["knn", {}], ["probe", {}]]'""", "'zzz'", "is not JSON"),
        ("""'[["knn", {}], ["probe", {}]]'""", """'[["nope", {}]]'""", "no block 'nope'"),
        ("""'[["knn", {}], ["probe", {}]]'""", """'[["probe", {"l2_factor": -5}]]'""", "l2_factor"),
        ("""'[["knn", {}], ["probe", {}]]'""", """'[["probe", {}]]'""", "stands in step s1 already"),
        ("""['[["knn", {}], ["probe", {}]]']""", "[]", "no pipeline"),
        ('what = "neighbours"', f'what = "{"x" * 7_900}"\n' + 'name = "s2"', "not TOML"),
    ],
)
def test_a_task_that_cannot_be_walked_opens_no_study(
    commands: Commands, old: str, new: str, says: str
) -> None:
    assert old in SMALL
    done = commands.run("run", commands.study_file(SMALL.replace(old, new)), "--dir", "study")
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (commands.directory / "study").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--title", "x" * 70_000], "200 characters"),
        (["--title", " "], "--title"),
        (["--title", "t", "--submissions", "99999999999999999999"], "from 1 to 100000"),
        (["--title", "t", "--workflow", "fixed", "--step", 's=[["nonsense",{}]]'], "no block 'nonsense'"),
    ],
)
def test_a_task_added_by_hand_is_held_to_the_same(finished: Any, words: list[str], says: str) -> None:
    done = finished.commands.run("task", str(finished.path), "add", *words)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
