"""The page about a researcher of one's own: its program works in a study, its table is what a file says."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from small_study import Commands

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "own-researcher.md").read_text("utf-8")
STUDY = """
[study]
name = "own"
problem = "digits"
researchers = 2
minutes = 2
seeds = 2
replicates = 2
draws = 40
allocation = "round-robin"
"""
TASK = """
[[task]]
task = "{name}"
title = "Search"
workflow = "free"
direction = "neighbourhood"
submissions = 2
"""


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    text: str = found
    return text


@pytest.mark.slow
@pytest.mark.sandbox
def test_the_program_of_the_page_works_among_scripted_ones_and_its_digest_is_in_the_record(
    tmp_path: Path,
) -> None:
    commands = Commands(tmp_path)
    (tmp_path / "mine.py").write_text(block("python"))
    file = commands.study_file(STUDY + block("toml") + TASK.format(name="t1") + TASK.format(name="t2"))
    done = commands.run("run", file, "--dir", "study", "--json")
    assert done.returncode == 0, done.stderr
    (opened,) = commands.entries("study", "--kind", "study-opened")
    digest = hashlib.sha256(block("python").encode()).hexdigest()
    assert opened["body"]["programs"] == [{"researcher": "researcher-2", "sha256": digest}]
    mine = commands.entries("study", "--kind", "finding", "--author", "researcher-2")
    assert [one["body"]["title"][-10:] for one in mine] == [" was tried"] * 2
    assert commands.entries("study", "--kind", "finding", "--author", "researcher-1")
    # Another program is another study.
    (tmp_path / "mine.py").write_text(block("python") + "# changed\n")
    again = commands.run("run", file, "--dir", "study", "--json")
    assert again.returncode == 2
    assert "is not the one that" in again.stderr
    assert commands.run("run", "--dir", "study", "--json").returncode == 0
