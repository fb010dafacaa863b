"""docs/llm-researchers.md: what it shows without a key is so; tests/llm/test_model_study.py runs the rest."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.study_file import parse_study
from docs.test_readme import shown_commands
from small_study import SMALL, Commands

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "llm-researchers.md").read_text("utf-8")
STUDY_FILES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_the_dry_run_prints_what_the_page_shows_and_makes_nothing(tmp_path: Path) -> None:
    (shown,) = [one for one in shown_commands(PAGE) if "--dry-run" in one.command]
    commands = Commands(tmp_path)
    commands.environment.pop("ANTHROPIC_API_KEY", None)
    done = commands.run(*shown.command.split()[1:])
    assert done.returncode == 0, done.stderr
    shown.check(done.stdout)
    assert not list(tmp_path.rglob("study.toml"))


def test_the_study_file_of_the_page_means_what_it_says() -> None:
    tables = STUDY_FILES[0]
    study = parse_study(SMALL + tables, source="page", problems=STUDY_PROBLEMS)
    model, scripted = study.team
    assert (model.model, model.tokens, model.dollars) == ("anthropic/claude-sonnet-4-5", 2_000_000, 5)
    assert scripted.model == ""
    assert (study.dollars, study.fresh, study.brief) == (Fraction(8), True, "my-brief.md")


def test_the_agent_of_the_page_is_named_with_its_program() -> None:
    study = parse_study(SMALL + STUDY_FILES[1], source="page", problems=STUDY_PROBLEMS)
    assert study.team[0].agent == "claude-code"
    assert study.agent_programs == {"claude-code": "/usr/local/bin/claude"}


def test_an_agent_that_is_not_there_is_one_line_and_makes_nothing(tmp_path: Path) -> None:
    words = ("--model", "anthropic/claude-sonnet-4-5", "--agent", "codex", "--agent-binary", "nowhere")
    commands = Commands(tmp_path)
    done = commands.run("run", *words, "--dir", str(tmp_path / "study"), "--dry-run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nowhere is no program that everybody may run" in done.stderr
    assert not (tmp_path / "study").exists()
