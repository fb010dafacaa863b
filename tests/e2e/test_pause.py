"""Pauses of real studies: by a limit, by a reviewer's hand; lifted, or still there when the time is over."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from aar.outside.study_directory import StudyDirectory
from aar.outside.study_run import read_projection
from small_study import SMALL, Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

LIMIT = """
[[oversight.limit]]
signal = "autonomous-subtasks"
above = 0.25
action = "pause"

[[oversight.limit]]
signal = "steps-without-human"
above = 0.5
action = "require-review"
"""


def paused(commands: Commands, study: Path, process: subprocess.Popen[str], *, wait_s: float = 90) -> Any:
    """The pause that holds, as soon as one does; nothing once the study is over."""
    deadline = time.monotonic() + wait_s
    while time.monotonic() < deadline and process.poll() is None:
        if study.is_dir() and read_projection(StudyDirectory(study)).paused >= 0:
            return json.loads(commands.run("status", str(study), "--json").stdout)["paused"]
        time.sleep(0.2)
    return {}


@pytest.mark.timeout(240)
def test_a_limit_pauses_the_queue_and_a_reviewer_lets_it_go_on(commands: Commands) -> None:
    study = commands.directory / "study"
    process = commands.start("run", commands.study_file(SMALL + LIMIT), "--dir", str(study))
    told = paused(commands, study, process)
    assert (told["by"], told["signal"]) == ("monitor", "autonomous-subtasks")
    shown = commands.run("status", str(study)).stdout
    assert f"PAUSED since entry {told['entry']} by monitor: autonomous-subtasks is" in shown
    assert "resume" in shown
    again = commands.run("pause", str(study), "--reason", "me too")
    assert again.returncode == 2
    assert "is paused already" in again.stderr
    lifted = 0
    while told:
        done = commands.run("resume", str(study), "--reason", "I read the plan")
        assert done.returncode == 0, done.stderr
        lifted += 1
        told = paused(commands, study, process)
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert "PAUSED since entry" in out
    entries = commands.entries(str(study))
    assert sum(one["kind"] == "queue-resumed" for one in entries) == lifted
    # Every method of both tasks was handed in, and none while the queue stood still.
    assert sum(one["kind"] == "submission" for one in entries) == 6
    assert commands.json("verify", str(study), "--json")["verdict"] == "ok"
    done = commands.run("resume", str(study), "--reason", "again")
    assert done.returncode == 2
    assert "is closed" in done.stderr
    # The other limit asks for a review: the command ends with 6 until a reviewer has given it.
    asked = commands.run("threshold", str(study))
    assert (asked.returncode, "not answered" in asked.stdout) == (6, True)
    (alarm,) = [one["index"] for one in entries if one["kind"] == "alarm" and one["body"]["code"] == "limit"]
    commands.run("review", str(study), "answer", str(alarm), "--note", "two small tasks; nothing odd")
    answered = commands.run("threshold", str(study))
    assert (answered.returncode, "; answered by reviewer" in answered.stdout) == (0, True)


@pytest.mark.timeout(240)
def test_a_study_whose_time_ends_while_it_is_paused_closes_in_order(commands: Commands) -> None:
    study = commands.directory / "study"
    text = SMALL.replace("minutes = 2", "minutes = 0.25")
    process = commands.start("run", commands.study_file(text), "--dir", str(study), "--json")
    deadline = time.monotonic() + 60
    while not (study.is_dir() and read_projection(StudyDirectory(study)).tasks):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done = commands.run("pause", str(study), "--reason", "lunch")
    assert done.returncode == 0, done.stderr
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert json.loads(out)["verdict"] == "ok"
    entries = commands.entries(str(study))
    (pause,) = [one for one in entries if one["kind"] == "queue-paused"]
    assert pause["body"]["reason"] == "lunch"
    assert not [one for one in entries if one["kind"] == "submission" and one["index"] > pause["index"]]
    assert entries[-1]["kind"] == "study-closed"
    assert entries[-1]["body"]["reason"] == "time-over"
    assert "PAUSED" not in commands.run("status", str(study)).stdout
    index = str(pause["index"])
    assert "neither an alarm nor a pause" in commands.run("review", str(study), "answer", "0").stderr
    assert "wants --note" in commands.run("review", str(study), "answer", index).stderr
    done = commands.run("review", str(study), "answer", index, "--note", "nothing was wrong")
    assert f"entry {index} is answered" in done.stdout
