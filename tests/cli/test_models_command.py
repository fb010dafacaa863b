"""`aar run --model`: what is missing or wrong is one line before anything is made; --dry-run tells all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from aar.cli import models
from aar.cli.main import build_parser, main
from aar.cli.run import _same_study
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import StudyFileError, parse_study
from small_study import SMALL

SONNET = "anthropic/claude-sonnet-4-5"
OWN = '["test/one"]\ninput = 1\noutput = 2\ncache_read = "0.10"\ncache_write = 1\n'


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "TEST_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    # A runtime that is there, whether or not the extra is.
    monkeypatch.setattr(models, "RUNTIME", "json")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def study_file(here: Path, more: str) -> str:
    (here / "study.toml").write_text(SMALL.replace("[[task]]", f"{more}\n\n[[task]]", 1))
    return "study.toml"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", SONNET], "wants a key: put it into the environment as ANTHROPIC_API_KEY"),
        (
            ["--model", "anthropic/claude-sonet-4-5"],
            "its price is not known.* is it anthropic/claude-sonnet-4-5",
        ),
        (["--model", "claude"], "want PROVIDER/NAME"),
        (["--model", SONNET, "--prices", "absent.toml"], "prices: .*absent.toml cannot be read"),
        (["--model", SONNET, "--dollars", "much"], "--dollars: got 'much'"),
        (["--model", SONNET, "--tokens", "0"], "--tokens 0: want at least 1"),
        (["--dollars", "3"], "--tokens and --dollars are for researchers that are models"),
        (["--dry-run"], "there is none, see --model"),
        (["--monitor", SONNET], "wants a key: put it into the environment as ANTHROPIC_API_KEY"),
        (["--monitor", "claude"], "--monitor: got 'claude', want PROVIDER/NAME"),
        (["--monitor", "anthropic/claude-sonet-4-5"], "its price is not known"),
        (["--monitor", SONNET, "--backend", "bare"], "it has no monitor that is a model"),
    ],
)
def test_what_is_missing_or_wrong_is_one_line_and_nothing_is_made(
    somewhere: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert main(["run", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert re.search(says, line), line
    assert list(somewhere.iterdir()) == []


def test_a_brief_with_an_unknown_field_is_one_line(
    somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (somewhere / "brief.md").write_text("You are {{researcher}}, from {{place}}.\n")
    (somewhere / "prices.toml").write_text(OWN)
    text = '[[researcher]]\nmodel = "test/one"\n[llm]\nprices = "prices.toml"\nbrief = "brief.md"'
    assert main(["run", study_file(somewhere, text), "--dir", "study"]) == 2
    assert "there is no field 'place'" in capsys.readouterr().err
    assert not (somewhere / "study").exists()


def test_without_the_runtime_the_line_says_how_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "RUNTIME", "no_such_runtime")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "x")
    assert main(["run", "--model", SONNET]) == 2
    assert "pip install 'aar[llm]'; in a checkout ./aar run --model installs it" in capsys.readouterr().err


def test_a_dry_run_tells_brief_tools_limits_and_what_it_may_cost_and_makes_nothing(
    somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--model", SONNET, "--researchers", "2", "--dollars", "4", "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "You are researcher-1" in told
    assert "submit_method" in told
    assert "researcher-2  anthropic/claude-sonnet-4-5  2000000     5.00" in told
    assert "expected: about 4.00 dollars" in told
    assert "assumed: 10 turns for each task and 8 for each submission" in told
    assert list(somewhere.iterdir()) == []


def test_a_dry_run_of_a_mixed_team_counts_only_what_its_models_do(
    somewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (somewhere / "prices.toml").write_text(OWN)
    limits = "minutes = 1.5\nsandbox_seconds = 60\nsubmissions = 4\n[budget]\nsandbox_seconds = 70"
    text = f'[[researcher]]\nmodel = "test/one"\n{limits}\n[llm]\nprices = "prices.toml"'
    assert main(["run", study_file(somewhere, text), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "of all researchers: 6 submissions, 6 confirmations, 70 CPU-s of sandboxes, 2 minutes" in told
    assert "of researcher-1: 1.5 minutes, 60 CPU-s of sandboxes, 4 submissions" in told
    # 2 tasks and 6 submissions are 68 turns, of which the model does half; each costs 0.007 dollars.
    assert "expected: about 0.24 dollars and 703800 tokens; at most 5.00 dollars" in told


def test_a_dry_run_tells_what_a_monitor_may_spend_beside_the_others(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", "--monitor", SONNET, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert f"monitor, beside them  {SONNET}  2000000     5.00" in told
    assert "the monitor: at most 5.00 dollars more" in told
    assert "brief" not in told
    assert main(["run", "--model", SONNET, "--monitor", SONNET, "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "You are researcher-1" in told
    assert "the monitor: at most 5.00 dollars more" in told


@pytest.mark.parametrize("names_the_file_again", [False, True])
def test_a_study_goes_on_with_its_agent_where_that_lies_now(
    tmp_path: Path, names_the_file_again: bool
) -> None:
    table = '[[researcher]]\nmodel = "anthropic/x"\nagent = "codex"\n\n[llm.agents]\ncodex = "/old/codex"\n'
    given = parse_study(f"{SMALL}\n{table}", source="x", problems=("digits",)).as_written()
    study = StudyDirectory(tmp_path)
    study.study_file.write_text(given.text, "utf-8")
    options = build_parser().parse_args(["run", "--agent", "codex", "--agent-binary", "/new/codex"])
    options.study = "x" if names_the_file_again else None
    moved = given.with_agent("codex", "/new/codex")
    goes_on = _same_study(study, moved, options)
    assert (goes_on.agent_programs, goes_on.team) == ({"codex": "/new/codex"}, given.team)
    assert goes_on.text == given.text
    options.study = "x"
    with pytest.raises(StudyFileError, match="another study file"):
        _same_study(study, moved.with_minutes(9), options)
