"""Models that loop, refuse, flood and invent, and one whose worker is killed: one study of them all.

What each of them does costs itself alone: the study runs to its end, its record holds, nothing is done twice.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llm import policies
from llm.fake_anthropic import fake_anthropic
from llm.fake_model import FakeModel, Reply, Request
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, ModelStudy, prepare, stand_in, study_text
from small_study import Commands

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

TOKENS = 60_000
KILLED, LOOPS, REFUSES, CLUTTERS, SHOUTS, DECLINES, WAITS, AGENT = (
    f"researcher-{one}" for one in range(1, 9)
)
AGENT_TOKENS = 18_000
TERMS = {
    LOOPS: f"tokens = {TOKENS}",
    SHOUTS: 'dollars = "1.00"',
    AGENT: f'tokens = {AGENT_TOKENS}\nagent = "claude-code"',
}
PAUSE_S = 3
WAIT_S = 90.0

POLICIES: dict[str, Callable[[Request], Reply]] = {
    KILLED: functools.partial(policies.diligent, pause_s=PAUSE_S),
    LOOPS: policies.looping,
    REFUSES: policies.refusing,
    CLUTTERS: policies.cluttering,
    SHOUTS: policies.verbose,
    DECLINES: policies.declining,
    # Its provider never answers.
    WAITS: policies.diligent,
    # It thinks through a program in its sandbox.
    AGENT: policies.in_agent(policies.suicidal),
}


# The killed one ends last: the others' ends are seen while the study runs.
MAY_END = threading.Event()
# What an agent does, it does after the worker was killed: what came of the kill is the same each time.
IS_KILLED = threading.Event()


def team(request: Request) -> Reply:
    if request.researcher == AGENT:
        IS_KILLED.wait(WAIT_S)
    reply = POLICIES[request.researcher](request)
    if request.researcher == KILLED and any(name == "finish_task" for name, _arguments in reply.calls):
        MAY_END.wait(WAIT_S)
    return reply


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


def wait_until_said(log: Path, words: str, *, after: int) -> None:
    """Wait until the worker's log has some words, beyond its first `after` characters."""
    deadline = time.monotonic() + WAIT_S
    while words not in log.read_text("utf-8")[after:]:
        assert time.monotonic() < deadline, words
        time.sleep(0.1)


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
    tables = [f'model = "{CLAUDE}"\n{TERMS.get(name, "")}' for name in POLICIES]
    with fake_anthropic(team) as claude, fake_openai(team) as other:
        claude.faults = {(WAITS, 0): ["drop"] * 10_000}
        prepare(commands, claude, other)
        study_file = commands.study_file(
            study_text(tables, tasks=len(tables), fresh=True, agents=stand_in(directory))
        )
        process = commands.start("run", study_file, "--dir", str(path), "--json")
        try:
            log = path / "log" / "worker.log"
            kill_while_its_program_runs(path)
            IS_KILLED.set()
            before = len(log.read_text("utf-8"))
            wait_until_said(log, f"{WAITS}: the provider fails", after=before)
            stopped = commands.run("stop", str(path), WAITS, "--reason", "its provider is down")
            assert stopped.returncode == 0, stopped.stderr
            wait_until_said(log, "stopped, it was stopped (0 turns)", after=before)
            MAY_END.set()
            out, error = process.communicate(timeout=120)
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
    *before, after = ran.numbers(KILLED)
    assert (before, after) == (list(range(len(before))), 0)
    assert [len(ran.study.by(KILLED, one)) for one in ("plan-declared", "submission", "finding")] == [1, 1, 1]
    results = [
        one
        for request in ran.claude.requests
        if request.researcher == KILLED
        for one in request.results_of("python")
    ]
    assert {one.strip() for one in results} == {"loads"}


def test_a_conversation_begins_afresh_after_a_finding_from_brief_and_notebook(ran: Ran) -> None:
    """The notebook lies in a workspace that came through the kill."""
    last = [one for one in ran.claude.requests if one.researcher == KILLED][-1]
    said = "".join(one.text for one in last.turns)
    assert {one.role for one in last.turns} == {"user"}
    assert said.startswith("You are researcher-1")
    assert said.endswith("plan: knn with k = 6\n")


def test_an_agent_whose_sandbox_or_worker_ended_begins_anew_in_its_workspace(ran: Ran) -> None:
    first = [one for one in ran.claude.requests if one.researcher == AGENT and one.number == 0]
    assert "This conversation began anew" in first[-1].turns[0].text
    assert "its sandbox ended" in ran.study.worker_log()
    last = [one for one in ran.claude.requests if one.researcher == AGENT][-1]
    (note,) = policies.as_ours(last).results_of("bash")
    assert note.split() == ["came", "came"]


def test_an_agent_at_its_limit_is_stopped_within_one_turn(ran: Ran) -> None:
    spent = ran.study.spent(AGENT)
    assert spent.limits[-1] == "tokens"
    last = sum(ran.study.trace(AGENT)["transcripts"][-1]["calls"][-1].values())
    assert sum(spent.tokens.values()) - last < AGENT_TOKENS <= sum(spent.tokens.values())


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
        (CLUTTERS, "done", "went on from the summary"),
        (KILLED, "done", "plan: knn with k = 6"),
    ],
)
def test_what_came_of_it_is_said(ran: Ran, name: str, outcome: str, reason: str) -> None:
    assert ran.closed(name) == (outcome, reason)


def test_one_whose_provider_is_down_waits_and_is_stopped_while_it_waits(ran: Ran) -> None:
    said = ran.study.worker_log()
    assert f"{WAITS}: the provider fails" in said
    assert re.search(rf"{WAITS}: t\d: stopped, it was stopped \(0 turns\)", said)
    (pause,) = [one for one in ran.study.of("queue-paused") if one["body"]["researcher"] == WAITS]
    leases = [one["index"] for one in ran.study.of("task-leased") if one["body"]["researcher"] == WAITS]
    # What it held was taken from it with the stop, and nothing was given to it afterwards.
    assert max(leases) <= pause["index"] + 1
    assert ran.study.by(WAITS, "finding") == []


def test_of_a_hundred_calls_at_once_sixteen_are_made_and_odd_ones_are_told_what_is_wrong(ran: Ran) -> None:
    summed_up = next(one for one in ran.claude.requests if one.researcher == CLUTTERS and not one.tools)
    answers = [one.result.strip() for one in summed_up.turns if one.role == "tool"]
    assert len(answers) == 16
    assert "launch_rocket not found" in answers[0]
    assert all("validation error" in one for one in answers[1:4])
    assert answers[4:] == [str(one) for one in range(12)]


def test_a_conversation_that_is_long_is_summed_up_and_goes_on(ran: Ran) -> None:
    assert f"{CLUTTERS}: its conversation has" in ran.study.worker_log()
    last = [one for one in ran.claude.requests if one.researcher == CLUTTERS and one.tools][-1]
    said = "".join(one.text for one in last.turns)
    assert said.startswith("You are researcher-4")
    assert "In short, researcher-4 went on." in said
