"""The human gate on whole studies: the queue while a study is open, the review when it is closed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from small_study import SMALL, Commands, wait_until_opened

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]


@pytest.fixture
def copied(finished: Any, tmp_path: Path) -> tuple[Commands, str]:
    """A copy of the finished study, with its owners, and the same user on another machine.

    With the same pins the second copy to be decided on would be called what it is: a fork of the first.
    """
    subprocess.run(["cp", "-a", str(finished.path), str(tmp_path / "study")], check=True)
    subprocess.run(["cp", "-a", str(finished.commands.config), str(tmp_path / "config")], check=True)
    shutil.rmtree(tmp_path / "config" / "aar" / "pins")
    return Commands(tmp_path), str(tmp_path / "study")


def results_of(commands: Commands, study: str) -> list[dict[str, Any]]:
    findings = commands.entries(study, "--kind", "finding")
    return [one for one in findings if one["body"]["type"] == "result"]


def publish_one_that_holds(commands: Commands, study: str) -> dict[str, Any]:
    """The first result that a clean re-run bears out; the others are refused with the reason, and stay so.

    Seeds are fresh and values are real: that any given claim is borne out is likely, not certain.
    """
    for finding in results_of(commands, study):
        done = commands.run("review", study, "publish", str(finding["index"]), "--note", "holds")
        for word in ("claimed", "reproduced", "sealed"):
            assert word in done.stdout
        if done.returncode == 0:
            return finding
        assert done.returncode == 2, done.stderr
        assert "not published: the checklist fails on" in done.stderr
        is_alarmed = re.search(r"fail +alarms +#[0-9]+ ", done.stdout) is not None
        assert "is above" in done.stdout or "gap to it +" in done.stdout or is_alarmed
        assert commands.entries(study, "--kind", "decision") == []
    raise AssertionError("no result at all was borne out by a clean re-run")


def test_publish_runs_the_method_again_and_signs_over_the_findings_exact_bytes(
    copied: tuple[Commands, str],
) -> None:
    commands, study = copied
    finding = publish_one_that_holds(commands, study)
    decision = commands.entries(study, "--kind", "decision")[0]
    assert decision["author"].startswith("reviewer-")
    assert decision["body"]["decision"] == "publish"
    assert decision["body"]["override"] == ""
    assert {one["outcome"] for one in decision["body"]["checklist"]} == {"pass"}
    assert decision["body"]["claimed"] == finding["body"]["numbers"]["pgr"]
    receipts = commands.entries(study, "--kind", "score-receipt")
    explored = next(one["body"] for one in receipts if one["index"] in finding["body"]["receipts"])
    again = [
        one["body"]
        for one in receipts
        if one["body"]["tier"] == "reproduce" and one["body"]["submission"] == explored["submission"]
    ]
    assert len(again) == 1
    assert not set(again[0]["seeds"]) & set(explored["seeds"])
    row = next(row for row in commands.json("leaderboard", study, "--json") if row["decision"])
    assert row["decision"] == "publish"
    assert commands.json("verify", study, "--json")["verdict"] == "ok"


def test_publish_is_refused_when_the_record_does_not_verify_unless_the_reviewer_says_why(
    copied: tuple[Commands, str],
) -> None:
    commands, study = copied
    finding = str(results_of(commands, study)[0]["index"])
    blobs = {one["body"]["blob"]["sha256"] for one in commands.entries(study, "--kind", "score-revealed")}
    blob = Path(study) / "record" / "blobs" / sorted(blobs)[0]
    original = blob.read_bytes()
    blob.write_bytes(original.replace(b"pool", b"pond", 1))
    done = commands.run("review", study, "publish", finding)
    assert done.returncode == 2
    assert "record-verified" in done.stderr
    assert commands.run("record", study).returncode == 1
    done = commands.run(
        "review", study, "publish", finding, "--override", "a disk error in one blob, restored since"
    )
    assert done.returncode == 0, done.stderr
    blob.write_bytes(original)
    (decision,) = commands.entries(study, "--kind", "decision")
    assert decision["body"]["override"] == "a disk error in one blob, restored since"
    assert "fail" in {one["outcome"] for one in decision["body"]["checklist"]}
    assert commands.run("verify", study).returncode == 0


def test_retract_and_refine_are_entries_and_shown_in_the_forum(copied: tuple[Commands, str]) -> None:
    commands, study = copied
    first, second = (str(one["index"]) for one in results_of(commands, study)[:2])
    assert commands.run("review", study, "retract", first, "--note", "not what it says").returncode == 0
    assert commands.run("review", study, "refine", second).returncode == 2
    assert commands.run("review", study, "refine", second, "--note", "more seeds").returncode == 0
    shown = commands.run("forum", study).stdout
    assert "[RETRACTED]" in shown
    assert "[to be refined]" in shown
    assert commands.json("leaderboard", study, "--json")[-1]["decision"] == "retract"
    assert commands.json("verify", study, "--json")["verdict"] == "ok"


def test_a_closed_study_takes_no_new_task(copied: tuple[Commands, str]) -> None:
    commands, study = copied
    done = commands.run("task", study, "add", "--title", "too late")
    assert done.returncode == 2
    assert "closed" in done.stderr


def test_a_task_added_to_a_stopped_study_is_worked_on_when_it_goes_on(commands: Commands) -> None:
    study = str(commands.directory / "study")
    roomy = commands.study_file(SMALL.replace("minutes = 2", "minutes = 2\nsubmissions = 9"))
    process = commands.start("run", roomy, "--dir", study, "--json")
    wait_until_opened(Path(study), process)
    # While it runs, a task enters through the running gateway.
    running = commands.run(
        "task", study, "add", "--title", "while it runs", "--name", "live", "--submissions", "1",
        "--workflow", "hybrid", "--family", "confidence", "--priority", "9",
    )  # fmt: skip
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert running.returncode == 0, running.stderr
    added = commands.run(
        "task", study, "add", "--title", "while it rests", "--name", "rest", "--submissions", "1",
        "--workflow", "fixed", "--step", 's1=[["probe", {"l2_factor": 10}]]',
        "--minutes", "1.5", "--dollars", "2",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    (opened,) = [
        one for one in commands.entries(study, "--kind", "task-opened") if one["body"]["task"] == "rest"
    ]
    assert opened["body"]["limits"] == {"seconds": 90, "dollars": "2.00"}
    done = commands.run("run", "--dir", study, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "ok"
    tasks = {one["task"]: one for one in commands.json("status", study, "--json")["tasks"]}
    assert tasks["live"]["state"] == tasks["rest"]["state"] == "done"
    assert tasks["rest"]["submissions"] == 1


def test_a_proposal_is_opened_or_refused_by_the_reviewer_alone(commands: Commands) -> None:
    study = str(commands.directory / "study")
    # The search is over soon and proposes; the walk goes on for long enough to answer.
    steps = ", ".join(f'\'[["knn", {{"k": {k}}}], ["probe", {{}}]]\'' for k in range(3, 23))
    text = SMALL.replace("submissions = 3", "submissions = 21", 1).replace(
        "submissions = 3", "submissions = 1"
    )
    text = text.replace("""pipelines = ['[["knn", {}], ["probe", {}]]']""", f"pipelines = [{steps}]")
    process = commands.start("run", commands.study_file(text), "--dir", study, "--json")
    wait_until_opened(Path(study), process)
    proposals: list[dict[str, Any]] = []
    while not proposals:
        assert process.poll() is None, process.communicate()
        time.sleep(0.2)
        proposals = commands.json("task", study, "list", "--json")["proposals"]
    number = str(proposals[0]["index"])
    assert commands.run("task", study, "refuse", number).returncode == 2
    refused = commands.run("task", study, "refuse", number, "--note", "out of scope")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert refused.returncode == 0, refused.stderr
    assert commands.json("status", study, "--json")["proposals"][0]["state"] == "refused"
    again = commands.run("task", study, "approve", number, "--submissions", "1")
    assert again.returncode == 2
    assert "decided already" in again.stderr
