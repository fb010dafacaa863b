"""Each row of the threat model names a test that exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text("utf-8")


def attack_rows() -> list[list[str]]:
    attacks = PAGE.partition("## Attacks")[2].partition("## What this does not buy")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in attacks.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[0].strip() != "attack"]


def test_each_attack_names_a_test_that_exists() -> None:
    missing = []
    for attack, stopped_by, tested in attack_rows():
        references = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", tested)
        assert references, f"no test is named for: {attack.strip()}"
        assert stopped_by.strip()
        for file, name in references:
            path = ROOT / file
            functions = (
                {
                    node.name
                    for node in ast.walk(ast.parse(path.read_text("utf-8")))
                    if isinstance(node, ast.FunctionDef)
                }
                if path.exists()
                else set()
            )
            if name not in functions:
                missing.append(f"{file}::{name}")
    assert not missing


def test_every_section_of_attacks_has_rows() -> None:
    attacks = PAGE.partition("## Attacks")[2].partition("## What this does not buy")[0]
    sections = re.split(r"^### ", attacks, flags=re.MULTILINE)[1:]
    assert len(sections) >= 4
    assert all(section.count("\n| ") > 2 for section in sections), [
        section.splitlines()[0] for section in sections
    ]


def test_what_is_not_bought_is_said() -> None:
    assert PAGE.rstrip().partition("## What this does not buy")[2].count("\n- **") >= 10
