"""A comparison for real: two runs, killed in the middle; the plan entered first is the one that binds."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from small_study import TINY, Commands, kill, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


def opened_in(commands: Commands, study: Path) -> dict[str, Any]:
    [entry] = commands.entries(str(study), "--kind", "study-opened")
    body: dict[str, Any] = entry["body"]
    return body


@pytest.mark.timeout(300)
def test_a_comparison_that_is_killed_goes_on_by_the_plan_that_was_entered_first(commands: Commands) -> None:
    directory = commands.directory / "ab"
    first, second = directory / "runs" / "001", directory / "runs" / "002"
    begin = ("ab", commands.study_file(TINY), "--problems", "digits", "--repeats", "1")
    again = ("ab", "--dir", str(directory))

    process = commands.start(*begin, "--dir", str(directory))
    checkpoint = first / "record" / "checkpoint"
    while not checkpoint.exists() or int(checkpoint.read_text("utf-8").split("\n")[1]) < 4:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    kill([process.pid])
    process.communicate(timeout=60)
    wait_until_gone(directory)
    entered = opened_in(commands, first)["comparison"]
    assert entered["run"] == 1
    assert entered["plan"] == (directory / "plan.json").read_text("utf-8").strip()

    # Another plan on the command line, in the file beside it, or in a study file, is refused: nothing runs.
    refused = commands.run(*again, "--repeats", "2", "--margin", "0.2")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "another plan (repeats 2, it has 1; margin 0.20, it has 0.05)" in refused.stderr
    forged = json.loads(entered["plan"]) | {"repeats": 3}
    plan_file = directory / "plan.json"
    plan_file.write_text(json.dumps(forged, sort_keys=True, separators=(",", ":")) + "\n", "utf-8")
    refused = commands.run(*again)
    assert refused.returncode == 2
    assert "says otherwise than entry 0 of run 001" in refused.stderr
    assert "repeats 3, it has 1" in refused.stderr
    plan_file.write_text(entered["plan"] + "\n", "utf-8")

    done = commands.run(*again, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told == json.loads((directory / "report.json").read_text("utf-8"))
    assert [one["arm"] for one in told["each_run"]] in (["fixed", "free"], ["free", "fixed"])
    assert {one["submissions"] for one in told["each_run"]} == {2}
    assert told["comparisons"][0]["winner"] == "", "one block names no winner"
    for number, study in enumerate((first, second), 1):
        opened = opened_in(commands, study)
        assert opened["comparison"] == {"plan": entered["plan"], "run": number}
        assert commands.run("verify", str(study)).returncode == 0
    for name in ("report.md", "report.svg", "report.png"):
        assert (directory / name).stat().st_size > 500, name

    # A run is not made a second time, and of a record that was changed no number is told.
    shutil.move(second, commands.directory / "away")
    stopped = commands.run(*again)
    assert stopped.returncode == 1
    assert "run 002 is gone, and the witness has cosigned a record of it" in stopped.stderr
    shutil.move(commands.directory / "away", second)
    bundle = next(one for one in sorted((second / "record" / "tile" / "entries").rglob("*")) if one.is_file())
    bundle.write_bytes(bundle.read_bytes().replace(b"researcher-1", b"researcher-9"))
    stopped = commands.run(*again, "--json")
    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "run 002 does not verify" in stopped.stderr
