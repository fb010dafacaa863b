"""`aar ab`: the one clear line for what cannot be compared, before anything is made."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.cli.main import EXIT_BAD_INPUT, main
from small_study import SMALL


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere.toml"], "nowhere.toml: there is no such study file"),
        (["--arms", "fixed"], "arms fixed: want 2 or more"),
        (["--arms", "fixed,wild"], "want two or more of fixed, free, hybrid"),
        (["--arms", "free,free"], "each once"),
        (["--problems", "claims,chess"], "--problems chess: want some of claims, digits"),
        (["--repeats", "0"], "repeats 0: want a whole number from 1"),
        (["--repeats", "2", "--stop-rule", "looks:3"], "3 looks at 2 repeats"),
        (["--stop-rule", "often"], "stop rule 'often': want none, or looks:K"),
        (["--margin", "0"], "--margin 0.0: want a PGR above 0"),
        (["--researchers", "40"], "12 pipelines for 40 researchers"),
        (["--minutes", "0"], "--minutes"),
        (["--seed", "-1"], "seed -1: want a whole number from 0"),
    ],
)
def test_bad_words_are_refused_in_one_line_and_nothing_is_made(
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    status = main(["ab", *words, "--dir", "made"])
    told = capsys.readouterr()
    assert (status, told.out) == (EXIT_BAD_INPUT, "")
    assert says in told.err
    assert told.err.count("\n") == 1
    assert not (tmp_path / "made").exists()


def test_a_directory_that_is_something_else_is_left_as_it_is(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("mine", "utf-8")
    (tmp_path / "small.toml").write_text(SMALL, "utf-8")
    status = main(["ab", str(tmp_path / "small.toml"), "--dir", str(tmp_path)])
    assert status == EXIT_BAD_INPUT
    assert "is not empty and not a comparison" in capsys.readouterr().err
    assert main(["ab", "--dir", str(tmp_path)]) == EXIT_BAD_INPUT
    assert "nothing was begun" in capsys.readouterr().err
    assert {one.name for one in tmp_path.iterdir()} == {"notes", "small.toml"}


def test_an_empty_name_of_a_directory_is_refused_and_no_comparison_is_begun_elsewhere(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["ab", "--dir", ""]) == EXIT_BAD_INPUT
    assert "--dir '': want the name of a directory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
