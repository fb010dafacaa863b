"""A hybrid task in a real study, and a researcher that is lost for good in the middle of its work."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from aar.verify.reader import NotARecord, RecordReader
from aar.verify.workflow import plan_faults
from small_study import SMALL, Commands, kill, processes_of

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

SCOPE = """
[task.scope]
families = ["neighbourhood", "confidence"]
submissions = 3
"""
HYBRID = (
    SMALL.replace('workflow = "free"', 'workflow = "hybrid"\npriority = 3\nrisk = "medium"')
    .replace("[study]", '[study]\nallocation = "risk-tiered"')
    .replace("submissions = 3\n[[task.step]]", 'submissions = 3\nrisk = "high"\n[[task.step]]')
    + SCOPE
).replace('direction = "neighbourhood"\nsubmissions = 3', 'direction = "neighbourhood"\nsubmissions = 5')


def researcher_processes(study: Path, name: str) -> list[int]:
    """The processes of a researcher's sandbox, known by the seed that the fleet gives it."""
    origin = json.loads((study / "aar-study.json").read_text("utf-8"))["origin"]
    seed = int.from_bytes(hashlib.sha256(f"{origin}/{name}".encode()).digest()[:4], "big")
    found = []
    for pid in processes_of(study).get("sandbox", []):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"aar.inside.researcher" in words and f"{seed}".encode() in words:
            found.append(pid)
    return found


@pytest.mark.timeout(240)
def test_a_lost_researcher_s_hybrid_task_is_finished_by_another_inside_its_scope(
    commands: Commands,
) -> None:
    study = commands.directory / "study"
    process = commands.start("run", commands.study_file(HYBRID), "--dir", str(study), "--json")
    deadline = time.monotonic() + 120
    lost = ""
    while process.poll() is None and time.monotonic() < deadline:
        entries = _published(study)
        if not lost:
            lost = next((one["body"]["researcher"] for one in entries if _is_lease(one, "search")), "")
            time.sleep(0.02)
            continue
        if any(_is_lease(one, "search") and one["body"]["epoch"] > 1 for one in entries):
            break
        kill(researcher_processes(study, lost))
        time.sleep(0.02)
    out, error = process.communicate(timeout=180)
    assert process.returncode == 0, error
    assert json.loads(out)["verdict"] == "ok"
    entries = commands.entries(str(study))
    leases = [one["body"] for one in entries if _is_lease(one, "search")]
    assert [one["epoch"] for one in leases] == [1, 2, 3]
    assert [one["researcher"] for one in leases[:2]] == [lost, lost]
    assert leases[2]["researcher"] != lost
    task = next(one["body"] for one in entries if one["kind"] == "task-opened" and one["body"]["scope"])
    plans = [one["body"] for one in entries if one["kind"] == "plan-declared"]
    for plan in plans:
        if plan["task"] == "search":
            assert list(plan_faults(task["scope"], plan["steps"])) == []
    handed_in = [one["body"] for one in entries if one["kind"] == "submission"]
    mine = [one for one in handed_in if one["task"] == "search"]
    assert len(mine) == task["submissions"]
    assert len({one["digest"] for one in mine}) == len(mine)
    assert all(set(one["families"]) <= {"neighbourhood", "confidence", "baseline"} for one in mine)
    closed = {one["body"]["task"]: one["body"] for one in entries if one["kind"] == "task-closed"}
    assert {name: body["outcome"] for name, body in closed.items()} == {"walk": "done", "search": "done"}


def _published(study: Path) -> list[dict[str, Any]]:
    """Entries as far as they are published now; it has to be quick, for the researcher is."""
    try:
        leaves = list(RecordReader(study / "record").entries())
    except (NotARecord, OSError):
        return []
    return [{"kind": one.signed.entry.kind, "body": dict(one.signed.entry.body)} for one in leaves]


def _is_lease(entry: dict[str, Any], task: str) -> bool:
    return bool(entry["kind"] == "task-leased" and entry["body"]["task"] == task)
