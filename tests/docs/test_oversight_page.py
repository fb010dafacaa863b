"""The page of oversight, and the skill that runs the review, name everything that there is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from aar.cli.main import build_parser
from aar.outside.oversight.memo import Memo
from aar.outside.oversight.refusals import GUARDS
from aar.outside.oversight.terms import SIGNALS, parse_terms

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "oversight.md").read_text("utf-8")
SKILL_FILE = ROOT / "skills" / "aar-deployment-review" / "SKILL.md"
SKILL = SKILL_FILE.read_text("utf-8")


@pytest.mark.parametrize("text", [PAGE, SKILL], ids=["page", "skill"])
def test_each_refusal_has_a_row(text: str) -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)
    assert [one for one in rows if one in GUARDS] == list(GUARDS)


def test_each_signal_has_a_row() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    assert [one for one in rows if one in SIGNALS] == list(SIGNALS)


def test_the_study_file_that_is_shown_can_be_read() -> None:
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    terms = parse_terms(tomllib.loads(shown)["oversight"], "docs")
    assert terms.human is not None
    assert terms.limits
    assert terms.downstream


@pytest.mark.parametrize("text", [PAGE, SKILL], ids=["page", "skill"])
def test_the_keys_of_the_json_are_those_that_are_named(text: str) -> None:
    empty: dict[str, dict[str, object]] = {
        name: {} for name in ("isolation", "log_integrity", "allocation", "review_gate", "monitors")
    }
    memo = Memo(
        subject="",
        verdict="go",
        refusals=(),
        not_checked=(),
        said={name: [] for name in empty},
        sections=empty,
    )
    for key in memo.as_json():
        assert f"`{key}`" in text, key


def test_the_skill_begins_as_a_skill_does() -> None:
    front = re.match(r"---\nname: ([a-z0-9-]{1,64})\ndescription: (.{1,1024})\n---\n", SKILL)
    assert front is not None
    assert front.group(1) == SKILL_FILE.parent.name
    assert ": " not in front.group(2), "a colon would want quotes in YAML"


def test_every_command_in_the_skill_is_one_of_the_program() -> None:
    parser = build_parser()
    commands = re.findall(r"`\./aar ([^`]+)`", SKILL)
    assert len(commands) >= 5
    for command in commands:
        parser.parse_args(command.split() if " " in command or command == "doctor" else [command, "DIR"])
