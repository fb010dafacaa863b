"""What an opening says of models, and that a study goes on with those, and their agents, alone."""

from __future__ import annotations

from typing import Any

import pytest

from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.sandbox.agent_programs import AgentProgram
from aar.outside.study_file import StudyFile, StudyFileError, default_study_text, parse_study
from aar.outside.study_run import ModelTerms, check_models, models_of
from spending import PRICES

MODEL = "test/one"
NAMES = ["researcher-1", "researcher-2"]


def study() -> StudyFile:
    table = f'[[researcher]]\nmodel = "{MODEL}"\n'
    text = default_study_text().replace("[[task]]", f'{table}\n{table}agent = "codex"\n\n[[task]]', 1)
    return parse_study(text, source="x", problems=STUDY_PROBLEMS)


def terms(sha256: str = "ab" * 32) -> ModelTerms:
    agents = {"codex": AgentProgram("/bin/codex", sha256)}
    return ModelTerms(prices={MODEL: PRICES}, brief="go", environment={}, agents=agents)


def opened() -> dict[str, Any]:
    return models_of(study(), NAMES, terms())


def test_the_opening_names_the_agent_of_a_model_and_its_digest() -> None:
    assert [one["agent"] for one in opened()["researchers"]] == [{}, {"name": "codex", "sha256": "ab" * 32}]


def test_a_study_goes_on_with_the_agent_that_it_was_opened_with() -> None:
    check_models(opened(), study(), NAMES, terms())
    with pytest.raises(StudyFileError, match="/bin/codex is not the codex that the study was opened with"):
        check_models(opened(), study(), NAMES, terms("cd" * 32))


def test_a_study_does_not_go_on_with_another_agent_than_it_was_opened_with() -> None:
    other = opened()
    other["researchers"][0]["agent"] = {"name": "claude-code", "sha256": "ab" * 32}
    with pytest.raises(StudyFileError, match="opened with other models than these: researchers"):
        check_models(other, study(), NAMES, terms())
