"""A study that draws afresh, with problems held out: exact values, confirmations, reproductions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from e2e.conftest import Finished
from small_study import SMALL, Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

FRESH = (
    SMALL.replace('problem = "digits"', 'problem = "overlap"\nheldout = ["shortcut", "digits"]')
    .replace("submissions = 3", "submissions = 2")
    .replace(
        '[[task.step]]\nname = "s2"\nwhat = "neighbours"\npipelines = [\'[["knn", {}], ["probe", {}]]\']\n',
        "",
    )
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    commands = Commands(tmp_path_factory.mktemp("fresh"))
    path = commands.directory / "study"
    done = commands.run("run", commands.study_file(FRESH), "--dir", str(path), "--json")
    assert done.returncode == 0, done.stderr
    return Finished(commands, path, done.stdout)


def receipts_of(study: Finished, tier: str) -> list[dict[str, Any]]:
    entries = study.commands.entries(str(study.path), "--kind", "score-receipt")
    return [one for one in entries if one["body"]["tier"] == tier]


def test_it_verifies_and_nothing_is_left_closed(study: Finished) -> None:
    report = study.commands.json("verify", str(study.path), "--json")
    assert (report["verdict"], report["findings"], report["warnings"]) == ("ok", [], [])
    (opened,) = study.commands.entries(str(study.path), "--kind", "study-opened")
    assert opened["body"]["pool"]["items"] == 0
    assert opened["body"]["release"] == {"rule": "exact", "step": "0.0000"}
    assert [one["name"] for one in opened["body"]["heldout"]] == ["shortcut", "digits"]


def test_exact_values_are_told_and_are_what_is_opened(study: Finished) -> None:
    revealed = {
        (one["body"]["receipt"], one["body"]["half"]): one["body"]
        for one in study.commands.entries(str(study.path), "--kind", "score-revealed")
    }
    for tier in ("explore", "confirm"):
        for receipt in receipts_of(study, tier):
            released = {key: one for key, one in receipt["body"]["released"].items() if key != "improved"}
            told = revealed[receipt["index"], "public"]
            assert released == {key: told[key] for key in released}


def test_what_results_claim_is_run_on_every_problem_held_out(study: Finished) -> None:
    rows = study.commands.json("leaderboard", str(study.path), "--json")
    assert rows[0]["heldout_problems"].keys() == {"digits", "shortcut"}
    assert all(row["heldout_problems"].get("shortcut", {"pgr": 0})["pgr"] < 0.3 for row in rows)
    status = study.commands.json("status", str(study.path), "--json")
    assert "canary-solved" not in {one["code"] for one in status["alarms"]}


@pytest.mark.parametrize("tier", ["explore", "confirm", "heldout"])
def test_a_receipt_is_met_again_from_a_copy_of_the_record(study: Finished, tmp_path: Path, tier: str) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copytree(study.path / "record", copy / "record")
    for name in ("policy", "aar-study.json"):
        shutil.copy(study.path / name, copy / name)
    receipt = receipts_of(study, tier)[0]["index"]
    done = study.commands.run("reproduce", str(copy), str(receipt), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["verdict"], told["exact"]) == (0, "met", True)
    assert told["committed"].items() <= told["reproduced"].items()


def test_what_cannot_be_reproduced_is_said(study: Finished, tmp_path: Path) -> None:
    done = study.commands.run("reproduce", str(study.path), "0")
    assert (done.returncode, done.stdout) == (2, "")
    assert "entry 0 is not a score receipt" in done.stderr
    secret = tmp_path / "secret"
    secret.write_text("00" * 32)
    receipt = str(receipts_of(study, "explore")[0]["index"])
    done = study.commands.run("reproduce", str(study.path), receipt, "--secret", str(secret), "--json")
    assert done.returncode == 2
    assert json.loads(done.stdout)["verdict"] == "cannot-judge"
    for words in (("--secret", str(tmp_path / "none")), ("--tolerance", "-1"), ("--tolerance", "nan")):
        assert study.commands.run("reproduce", str(study.path), receipt, *words).returncode == 2
