"""The agents themselves, where somebody has them: AAR_AGENT_CLAUDE_CODE and AAR_AGENT_CODEX name them.

They are other people's, are never downloaded here, and ask a server of ours. One line says what a study took.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from llm import policies
from llm.fake_anthropic import fake_anthropic
from llm.fake_model import CANARY_KEY, Reply, Request
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, ModelStudy, dollars_of, prepare, study_text
from llm.test_model_study import searching
from small_study import Commands

pytestmark = [pytest.mark.deep, pytest.mark.slow, pytest.mark.sandbox]

PROGRAMS = {"claude-code": "AAR_AGENT_CLAUDE_CODE", "codex": "AAR_AGENT_CODEX"}
NAME = "researcher-1"
# Tools that would reach a network, or a person.
MAY_NOT_BE_OFFERED = {"WebSearch", "WebFetch", "web_search", "AskUserQuestion"}


def hesitant(request: Request) -> Reply:
    """As a model that ends its first turn with words alone, and has to be told to go on."""
    return Reply("I shall begin.") if request.number == 0 else policies.in_agent(searching)(request)


@pytest.mark.parametrize("agent", sorted(PROGRAMS))
def test_a_real_agent_does_a_whole_task_in_its_sandbox(tmp_path: Path, agent: str) -> None:
    program = os.environ.get(PROGRAMS[agent], "")
    if not program:
        pytest.skip(f"{PROGRAMS[agent]} names no program")
    commands, path = Commands(tmp_path), tmp_path / "study"
    with fake_anthropic(hesitant) as claude, fake_openai(hesitant) as other:
        prepare(commands, claude, other)
        tables = [f'model = "{CLAUDE}"\nagent = "{agent}"']
        text = study_text(tables, tasks=1, agents={agent: Path(program)})
        done = commands.run("run", commands.study_file(text), "--dir", str(path), "--json", timeout_s=280)
    assert done.returncode == 0, done.stderr
    study = ModelStudy(commands, path, done.stdout, said=done.stderr)
    assert claude.errors == []
    assert commands.run("verify", str(path)).returncode == 0
    assert [len(study.by(NAME, kind)) for kind in ("plan-declared", "submission", "finding")] == [1, 1, 1]
    assert [one["outcome"] for one in study.by(NAME, "task-closed")] == ["done"]
    spent, account = study.spent(NAME), claude.accounts[NAME]
    assert (spent.calls, spent.dollars) == (account.calls, dollars_of(account, CLAUDE))
    assert claude.keys == {CANARY_KEY}
    *_others, last = (one for one in claude.requests if one.tools)
    assert "and found []" in policies.as_ours(last).results_of("python")[-1]
    assert MAY_NOT_BE_OFFERED.isdisjoint(last.tools)
    print(agent, done.stdout)
