"""A model hands in a method that never ends: the official run ends it, and the model is told."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from llm import policies
from llm.fake_anthropic import fake_anthropic
from llm.fake_openai import fake_openai
from llm.model_study import CLAUDE, ModelStudy, prepare, study_text
from small_study import Commands

pytestmark = [pytest.mark.deep, pytest.mark.sandbox]


def test_a_method_that_never_ends_costs_its_researcher_a_submission_and_nobody_else(tmp_path: Path) -> None:
    commands = Commands(tmp_path)
    path = tmp_path / "study"
    endless = functools.partial(policies.diligent, method=policies.ENDLESS)
    with fake_anthropic(endless) as claude, fake_openai(endless) as other:
        prepare(commands, claude, other)
        file = commands.study_file(study_text([f'model = "{CLAUDE}"'], tasks=1))
        done = commands.run("run", file, "--dir", str(path), "--json", timeout_s=290)
    assert done.returncode == 0, done.stderr
    study = ModelStudy(commands, path, done.stdout)
    (receipt,) = study.of("score-receipt")
    assert receipt["body"]["outcome"] == "failed"
    assert receipt["body"]["reason"] in ("cpu", "wall")
    (finding,) = study.by("researcher-1", "finding")
    assert receipt["body"]["reason"] in finding["text"]
    assert claude.errors == []
