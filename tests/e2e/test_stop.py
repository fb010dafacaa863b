"""Stops by a human's hand: a researcher, then all; they hold after kill -9, and until one is lifted."""

from __future__ import annotations

import pytest

from small_study import SMALL, Commands, kill, processes_of, wait_until_gone, wait_until_opened

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

# Both researchers can do either task.
FREE = SMALL.replace("minutes = 2", "minutes = 4").replace("submissions = 3", "submissions = 4", 1)


@pytest.mark.timeout(300)
def test_a_stopped_researcher_stays_stopped_and_another_does_its_work(commands: Commands) -> None:
    study = commands.directory / "study"
    process = commands.start("run", commands.study_file(FREE), "--dir", str(study))
    wait_until_opened(study, process)
    unknown = commands.run("stop", str(study), "researcher-9", "--reason", "x")
    assert (unknown.returncode, "there is no researcher 'researcher-9'" in unknown.stderr) == (2, True)
    done = commands.run("stop", str(study), "researcher-1", "--reason", "it wanders")
    assert done.returncode == 0, done.stderr
    assert "researcher-1 is stopped (entry " in done.stdout
    kill(processes_of(study)["supervisor"])
    process.communicate()
    wait_until_gone(study)

    everybody = commands.run("stop", str(study), "--reason", "lunch")
    assert everybody.stdout.count("is stopped (entry ") == 1
    shown = commands.run("status", str(study)).stdout
    assert "researcher-1 STOPPED since entry" in shown
    assert "lunch" in shown
    refused = commands.run("run", "--dir", str(study))
    assert refused.returncode == 5
    assert "every researcher is stopped (it wanders; lunch)" in refused.stderr
    lifted = commands.run("resume", str(study), "researcher-2", "--reason", "back")
    assert lifted.returncode == 0, lifted.stderr

    ended = commands.run("run", "--dir", str(study), "--json")
    assert ended.returncode == 0, ended.stderr
    entries = commands.entries(str(study))
    stop = next(one["index"] for one in entries if one["kind"] == "queue-paused")
    assert entries[stop]["body"]["reason"] == "it wanders"
    after = [
        one for one in entries if one["index"] > stop and one["body"].get("researcher") == "researcher-1"
    ]
    # What its sandbox used until it was ended is charged when it is known.
    said = [one for one in after if one["body"].get("what") != "sandbox"]
    assert {one["kind"] for one in said} <= {"score-receipt", "task-leased"}
    leases = [one for one in after if one["kind"] == "task-leased"]
    assert all(one["body"]["until_ms"] <= one["at"] for one in leases)
    assert entries[-1]["body"]["reason"] == "tasks-done"
    assert commands.run("verify", str(study)).returncode == 0
