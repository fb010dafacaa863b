"""The commands of oversight on a real study: what they print, and how they end."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from e2e.conftest import Finished
from small_study import SMALL

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

LIMIT = '[[oversight.limit]]\nsignal = "steps-without-human"\nabove = 0.5\naction = "require-review"\n'


def test_signals_are_told_with_what_frameworks_say(finished: Finished) -> None:
    told = finished.commands.run("threshold", str(finished.path))
    assert (told.returncode, told.stderr) == (0, "")
    for words in ("## steps-without-human: 0.", "Frontier Safety Framework", "Not estimable: ", "## Limits"):
        assert words in told.stdout
    parsed = finished.commands.json("threshold", str(finished.path), "--json")
    assert parsed["signals"][0]["name"] == "steps-without-human"
    assert (
        0 < parsed["signals"][0]["low"] <= parsed["signals"][0]["value"] <= parsed["signals"][0]["high"] <= 1
    )
    assert {one["state"] for one in parsed["limits"]} <= {"within", "unclear", "passed", "not estimable"}
    assert len(parsed["quotations"]) >= 3
    assert parsed["not_done"]


def test_a_limit_put_into_the_study_file_afterwards_is_said_and_a_changed_record_ends_with_1(
    finished: Finished, tmp_path: Path
) -> None:
    copy = shutil.copytree(finished.path, tmp_path / "copy")
    file = copy / "study.toml"
    file.write_text(file.read_text().replace("[[task]]", LIMIT + "\n[[task]]", 1))
    told = finished.commands.run("threshold", str(copy))
    assert (told.returncode, "require-review" in told.stdout) == (0, False), told.stdout
    assert "says otherwise of oversight than the record" in told.stderr
    newest = sorted((copy / "record" / "tile" / "entries").rglob("*"))[-1]
    newest.write_bytes(newest.read_bytes().replace(b"researcher-1", b"researcher-2"))
    told = finished.commands.run("threshold", str(copy))
    assert (told.returncode, told.stdout) == (1, "")
    assert "TAMPERED" in told.stderr
    told = finished.commands.run("deployment-review", str(copy))
    assert (told.returncode, "**no-tamper-evident-record**" in told.stdout) == (1, True)
    assert "Nothing that stands in the record was read" in told.stdout


def test_a_study_without_anchors_is_no_go_for_that_alone(finished: Finished) -> None:
    told = finished.commands.run("deployment-review", str(finished.path))
    assert (told.returncode, told.stderr) == (6, "")
    lines = told.stdout.splitlines()
    assert lines[0].endswith(": NO-GO")
    assert lines[2] == "## Not checked"
    statements = [line for line in lines if line.startswith("- ")]
    assert len(statements) > 25
    cites = r"\[(?:(?:entry \d+|probe [\w:.-]+|key [^;\]]+)(?:; )?)+\]"
    assert [line for line in statements if not re.search(cites + "$", line)] == []
    assert [line for line in statements if "Holds the verdict up" in line] == []
    assert lines[-1] == "No-go: editable-storage."


def test_a_study_file_is_reviewed_before_there_is_a_study(finished: Finished, tmp_path: Path) -> None:
    commands = finished.commands
    plan = tmp_path / "plan.toml"
    plan.write_text(SMALL + '\n[[oversight.downstream]]\nname = "web"\nkind = "publication"\ngate = "none"\n')
    before = sorted(tmp_path.rglob("*"))

    def review(*more: str) -> list[str]:
        done = commands.run("deployment-review", str(plan), "--json", *more)
        assert done.returncode == 6, done.stderr
        return [one["code"] for one in json.loads(done.stdout)["refusals"]]

    assert review() == ["output-without-human", "editable-storage"]
    assert sorted(tmp_path.rglob("*")) == before
    # Whoever has no key yet is told so, and none is made behind their back.
    mine = commands.environment["XDG_CONFIG_HOME"]
    commands.environment["XDG_CONFIG_HOME"] = str(tmp_path / "nobody")
    try:
        assert review() == ["output-without-human", "editable-storage", "no-reviewer"]
        assert not (tmp_path / "nobody").exists()
    finally:
        commands.environment["XDG_CONFIG_HOME"] = mine
    key = tmp_path / "ada.key"
    key.write_text((commands.config / "aar" / "reviewer.key").read_text())
    key.chmod(0o644)
    done = commands.run("deployment-review", str(plan), "--key", str(key))
    assert "others can read ada.key, and sign with it" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("deployment-review", "nowhere"), "nowhere: there is no such study and no such study file"),
        (("deployment-review", "."), "is not a study"),
        (("threshold", "nowhere"), "there is no such directory"),
    ],
)
def test_what_is_no_study_is_said_in_a_line(finished: Finished, words: tuple[str, ...], says: str) -> None:
    done = finished.commands.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
