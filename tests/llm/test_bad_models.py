"""Models that loop, refuse, flood and invent, and one whose worker is killed: one study of them all.

What each of them does costs itself alone: the study runs to its end, its record holds, nothing is done twice.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm import policies
from llm.fake_anthropic import fake_anthropic
from llm.fake_model import FakeModel, Reply, Request
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, ModelStudy, prepare, study_text
from small_study import Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

TOKENS = 60_000
KILLED, LOOPS, REFUSES, FLOODS, SHOUTS, INVENTS, DECLINES = (f"researcher-{one}" for one in range(1, 8))
LIMITS = {LOOPS: f"tokens = {TOKENS}", SHOUTS: 'dollars = "1.00"'}
PAUSE_S = 3
WAIT_S = 90.0

POLICIES: dict[str, Callable[[Request], Reply]] = {
    KILLED: functools.partial(policies.diligent, pause_s=PAUSE_S),
    LOOPS: policies.looping,
    REFUSES: policies.refusing,
    FLOODS: policies.flooding,
    SHOUTS: policies.verbose,
    INVENTS: policies.inventing,
    DECLINES: policies.declining,
}


def team(request: Request) -> Reply:
    return POLICIES[request.researcher](request)


def kill_while_its_program_runs(study: Path) -> int:
    """End the worker, at once, when the model's words are kept and what it asked for is being done."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        for path in study.glob(f"worker/kept/{KILLED}/*/state.json"):
            last = json.loads(path.read_bytes())["messages"][-1]
            if [one["function"] for one in last.get("tool_calls") or ()] == ["python"]:
                (pid,) = workers_of(study)
                os.kill(pid, signal.SIGKILL)
                return pid
        time.sleep(0.02)
    raise AssertionError(f"{KILLED} never ran its program")


def workers_of(study: Path) -> list[int]:
    """Process ids of the study's worker: it stands in the study's directory."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                where = os.readlink(folder / "cwd")
            except OSError:
                continue
            if b"aar.llm.worker" in words and where.startswith(str(study)):
                found.append(int(folder.name))
    return found


class Ran:
    def __init__(self, study: ModelStudy, claude: FakeModel) -> None:
        self.study, self.claude = study, claude

    def numbers(self, researcher: str) -> list[int]:
        """How far the conversation was, of each request of a researcher's first task."""
        requests = [one for one in self.claude.requests if one.researcher == researcher]
        first = policies.task_of(requests[0])
        return [one.number for one in requests if policies.task_of(one) == first]

    def closed(self, researcher: str) -> tuple[str, str]:
        """Outcome and reason of the first task that it handed back."""
        body = self.study.by(researcher, "task-closed")[0]
        return body["outcome"], body["reason"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    directory = tmp_path_factory.mktemp("bad")
    commands = Commands(directory)
    path = directory / "study"
    tables = [f'model = "{CLAUDE}"\n{LIMITS.get(name, "")}' for name in POLICIES]
    with fake_anthropic(team) as claude, fake_openai(team) as other:
        prepare(commands, claude, other)
        study_file = commands.study_file(study_text(tables, tasks=len(tables)))
        process = commands.start("run", study_file, "--dir", str(path), "--json")
        try:
            kill_while_its_program_runs(path)
            out, error = process.communicate(timeout=200)
        finally:
            process.kill()
    assert process.returncode == 0, error
    yield Ran(ModelStudy(commands, path, out, said=error), claude)
    shutil.rmtree(directory, ignore_errors=True)


def test_the_study_ends_in_order_and_its_record_holds(ran: Ran) -> None:
    assert ran.claude.errors == []
    assert ran.study.commands.run("verify", str(ran.study.path)).returncode == 0
    assert "Traceback" not in ran.study.worker_log() + ran.study.said


def test_a_killed_one_goes_on_and_does_nothing_twice(ran: Ran) -> None:
    """The model is not asked again for what it had said, and what it asked for is done once."""
    (told,) = ran.study.trace(KILLED)["transcripts"]
    assert told["lives"] == [{"turns": 3, "life": 2}]
    assert ran.numbers(KILLED) == list(range(len(ran.numbers(KILLED))))
    results = [one["text"].strip() for one in told["messages"] if one.get("tool") == "python"]
    assert results == ["loads"]
    assert [len(ran.study.by(KILLED, one)) for one in ("plan-declared", "submission", "finding")] == [1, 1, 1]


def test_its_notebook_came_through_the_kill(ran: Ran) -> None:
    (told,) = ran.study.trace(KILLED)["transcripts"]
    assert "plan: knn with k = 6" in next(
        one["text"] for one in told["messages"] if one.get("tool") == "bash"
    )


@pytest.mark.parametrize(("name", "limit"), [(LOOPS, "tokens"), (SHOUTS, "dollars")])
def test_a_limit_stops_its_researcher_within_one_turn_and_is_entered(ran: Ran, name: str, limit: str) -> None:
    spent = ran.study.spent(name)
    assert spent.limits[-1] == limit
    if name == LOOPS:
        last = sum(ran.study.trace(name)["transcripts"][-1]["calls"][-1].values())
        assert sum(spent.tokens.values()) - last < TOKENS <= sum(spent.tokens.values())
    else:
        assert spent.calls == 1


@pytest.mark.parametrize(
    ("name", "outcome", "reason"),
    [
        (REFUSES, "failed", "it used no tool in 4 turns"),
        (DECLINES, "failed", "the model refused three times in a row"),
        (FLOODS, "done", "flooded"),
        (INVENTS, "done", "nothing works"),
    ],
)
def test_what_came_of_it_is_said(ran: Ran, name: str, outcome: str, reason: str) -> None:
    assert ran.closed(name) == (outcome, reason)


def test_of_a_hundred_calls_at_once_sixteen_are_made(ran: Ran) -> None:
    told = ran.study.trace(FLOODS)["transcripts"][0]
    assert [one["text"].strip() for one in told["messages"] if one["role"] == "tool"][:-1] == [
        str(one) for one in range(16)
    ]


def test_tools_that_there_are_not_are_answered_with_what_is_wrong(ran: Ran) -> None:
    told = ran.study.trace(INVENTS)["transcripts"][0]
    answers = [one["text"] for one in told["messages"] if one.get("is_error")]
    assert len(answers) == 4
    assert "launch_rocket not found" in answers[0]
