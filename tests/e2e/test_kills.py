"""kill -9 at any moment, of everything or of one process: the study goes on where the record says."""

from __future__ import annotations

import json
import random
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from small_study import SMALL, TINY, Commands, kill, processes_of, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

# Two researchers with two submissions each: enough to be killed at, twice.
FEW = SMALL.replace("submissions = 3", "submissions = 2").replace(
    """pipelines = ['[["probe", {}]]', '[["conf_keep", {}], ["probe", {}]]']""",
    """pipelines = ['[["probe", {}]]']""",
)

KINDS_OF_KILL = (
    "all",
    "supervisor",
    "aar.outside.gateway",
    "aar.outside.evaluation",
    "aar.witness",
    "aar.outside.sandbox.launcher",
    "sandbox",
)


@pytest.mark.parametrize("victim", KINDS_OF_KILL)
@pytest.mark.timeout(300)
def test_after_kill_9_every_restart_finishes_and_nothing_is_counted_twice(
    commands: Commands, victim: str
) -> None:
    generator = random.Random(KINDS_OF_KILL.index(victim))
    study = commands.directory / "study"
    arguments = ("run", commands.study_file(FEW), "--dir", str(study), "--json")
    acknowledged: list[dict[str, object]] = []
    kills = 0
    for _kill in range(2):
        process = commands.start(*arguments)
        try:
            process.communicate(timeout=generator.uniform(1.0, 4.0))
            break
        except subprocess.TimeoutExpired:
            kills += 1
            found = processes_of(study)
            pids = (
                [pid for some in found.values() for pid in some] if victim == "all" else found.get(victim, [])
            )
            kill(pids if victim != "sandbox" else pids[:1])
            process.communicate(timeout=120)
        wait_until_gone(study)
        if (study / "record" / "checkpoint").exists():
            entries = commands.entries(str(study))
            assert entries[: len(acknowledged)] == acknowledged
            acknowledged = entries
    assert kills, "the study was over before anything was killed: this run shows nothing"
    done = commands.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verdict"] == "ok"
    entries = commands.entries(str(study))
    assert entries[: len(acknowledged)] == acknowledged
    submissions = [one["index"] for one in entries if one["kind"] == "submission"]
    receipts = [
        (one["body"]["tier"], one["body"]["submission"]) for one in entries if one["kind"] == "score-receipt"
    ]
    charges = [
        (one["body"]["what"], one["body"]["submission"]) for one in entries if one["kind"] == "budget-charged"
    ]
    assert len(submissions) <= 4
    for tier, what in (("explore", "submissions"), ("confirm", "confirmations")):
        run = sorted(one for of, one in receipts if of == tier)
        assert run == sorted(one for of, one in charges if of == what)
        assert run == submissions or tier == "confirm"
    findings = Counter(json.dumps(one["body"]) for one in entries if one["kind"] == "finding")
    assert set(findings.values()) == {1}
    assert commands.run("verify", str(study)).returncode == 0


def test_a_second_run_right_after_a_kill_waits_for_the_first_ones_end(
    commands: Commands, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    arguments = ("run", commands.study_file(TINY), "--dir", str(study), "--json")
    process = commands.start(*arguments)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=2.5)
    kill(processes_of(study)["supervisor"])
    done = commands.run(*arguments)
    process.communicate(timeout=90)
    assert done.returncode == 0, done.stderr
