"""Researchers of the user's own: what a study file may name, what is kept of it, what is refused."""

from __future__ import annotations

import hashlib
import os
from importlib import resources
from pathlib import Path

import pytest

from aar.outside import study_programs
from aar.outside.study_file import ResearcherSpec, StudyFile, StudyFileError, parse_study
from aar.outside.study_programs import (
    MAX_PROGRAM_BYTES,
    check_programs,
    digests_of,
    keep_programs,
    kept_programs,
    over_mcp,
    read_programs,
    researcher_names,
)

PROGRAM = b"print('at work')\n"


def study_with(tables: str) -> StudyFile:
    text = resources.files("aar.outside.studies").joinpath("digits.toml").read_text("utf-8")
    return parse_study(text.replace("[[task]]", f"{tables}\n[[task]]", 1), source="x", problems=("digits",))


def test_the_kth_table_is_the_kth_researchers_and_an_empty_one_is_the_scripted_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_bytes(PROGRAM)
    study = study_with('[[researcher]]\n[[researcher]]\nprogram = "mine.py"\nseed = 7')
    assert study.team == (ResearcherSpec(), ResearcherSpec(program="mine.py", seed=7))
    beside = study.with_programs_from(tmp_path)
    assert read_programs(beside) == {"researcher-2": PROGRAM}
    again = parse_study(beside.as_written().text, source="again", problems=("digits",))
    assert again.team == beside.team
    assert again.with_programs_from(Path("/elsewhere")).team == beside.team


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ("[[researcher]]\n" * 4, "4 [[researcher]] tables for 3 researchers"),
        ("[researcher]", "want [[researcher]] tables"),
        ('[[researcher]]\nprogram = "mine.sh"', "want a single .py file"),
        ("[[researcher]]\nprogram = 3", "program: got 3, want a text"),
        ("[[researcher]]\nseed = -1", "seed: got -1, want a whole number"),
        ('[[researcher]]\nname = "me"', "name"),
        ('[[researcher]]\nprogram = "mine.py"\ntools = "soap"', 'want "rest", or "mcp"'),
        ('[[researcher]]\nprogram = "mine.py"\ntools = 3', "tools: got 3"),
        ('[[researcher]]\ntools = "mcp"', "for a researcher with a program"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tables: str, says: str) -> None:
    with pytest.raises(StudyFileError) as refused:
        study_with(tables)
    assert says in str(refused.value)


def test_a_study_file_says_whose_tools_come_as_mcp_too(monkeypatch: pytest.MonkeyPatch) -> None:
    study = study_with('[[researcher]]\n[[researcher]]\nprogram = "mine.py"\ntools = "mcp"')
    again = parse_study(study.as_written().text, source="again", problems=("digits",))
    assert [one.tools for one in again.team] == ["rest", "mcp"]
    names = researcher_names(3)
    monkeypatch.setattr(study_programs, "MCP_SDK", "json")
    assert over_mcp(names, study) == ["researcher-2"]
    assert over_mcp(names, study_with("")) == []
    monkeypatch.setattr(study_programs, "MCP_SDK", "a_package_that_nobody_has")
    assert over_mcp(names, study_with("")) == []
    with pytest.raises(StudyFileError, match="researcher-2 wants the extra llm: pip install"):
        over_mcp(names, study)


def test_fewer_researchers_than_tables_are_refused() -> None:
    with pytest.raises(StudyFileError, match="the study file has 3"):
        study_with("[[researcher]]\n" * 3).with_researchers(2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file"),
        (b"x = 1\n" * MAX_PROGRAM_BYTES, f"more than {MAX_PROGRAM_BYTES} bytes"),
        (b"\xff\xfe", "not UTF-8 text"),
        (b" \n", "empty or not plain text"),
        (b"x = '\0'", "empty or not plain text"),
        (b"def (", "not a Python program"),
    ],
)
def test_a_program_that_cannot_be_used_says_why(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "mine.py"
    if content is not None:
        path.write_bytes(content)
    study = study_with('[[researcher]]\nprogram = "mine.py"').with_programs_from(tmp_path)
    with pytest.raises(StudyFileError) as refused:
        read_programs(study)
    assert says in str(refused.value)
    assert "the program of researcher-1" in str(refused.value)


def test_a_pipe_in_the_place_of_a_program_does_not_keep_us_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.py")
    study = study_with('[[researcher]]\nprogram = "mine.py"').with_programs_from(tmp_path)
    with pytest.raises(StudyFileError, match="is not a file"):
        read_programs(study)


def test_what_was_kept_first_stays_and_has_to_be_what_the_record_says(tmp_path: Path) -> None:
    folder = tmp_path / "programs"
    keep_programs(folder, {"researcher-1": PROGRAM})
    keep_programs(folder, {"researcher-1": b"another"})
    kept = kept_programs(folder)
    assert kept == {"researcher-1": PROGRAM}
    digest = hashlib.sha256(PROGRAM).hexdigest()
    assert digests_of(kept) == [{"researcher": "researcher-1", "sha256": digest}]
    check_programs(kept, {"programs": digests_of(kept)})
    for other in ({"researcher-1": b"another"}, {}, {**kept, "researcher-2": PROGRAM}):
        with pytest.raises(StudyFileError, match="was another program when the study was opened"):
            check_programs(other, {"programs": digests_of(kept)})
