"""The page of tasks: what it shows can be read, and it names every workflow and policy that there is."""

from __future__ import annotations

import re
from pathlib import Path

from aar.formats.kinds import POLICIES, WORKFLOWS
from aar.outside.allocation import POLICY_NAMED
from aar.outside.study_file import default_study_text, parse_study

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text("utf-8")


def rows(of: tuple[str, ...]) -> list[str]:
    named = re.findall(r"^\| `([a-z-]+)`", PAGE, re.MULTILINE)
    return [one for one in named if one in of]


def test_each_workflow_and_each_policy_has_a_row() -> None:
    assert sorted(rows(WORKFLOWS)) == sorted(WORKFLOWS)
    assert rows(POLICIES) == list(POLICIES)
    assert sorted(POLICY_NAMED) == sorted(POLICIES)


def test_the_hybrid_task_that_is_shown_is_one() -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    text = default_study_text() + "\n" + shown
    problems = ("claims", "overlap", "shortcut")
    study = parse_study(text, source="page", problems=problems)
    scope = study.tasks[-1].scope
    assert scope is not None
    assert scope.families == ("confidence", "neighbourhood")
