"""`aar simulate`: what it prints, and the one clear line for what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aar.cli.main import EXIT_BAD_INPUT, main


@pytest.fixture
def simulate(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `aar simulate ...`: the exit status and what it printed to both streams."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["simulate", *arguments])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_power_is_a_row_per_class_as_a_table_as_json_and_as_a_picture(simulate: Any, tmp_path: Path) -> None:
    status, out, _err = simulate("power", "--runs", "122", "--figure", "power.svg")
    assert status == 0
    assert "routine-3" in out
    assert "figure: power.svg" in out
    picture = (tmp_path / "power.svg").read_bytes()
    simulate("power", "--runs", "122", "--figure", "power.svg", "--json")
    assert picture.startswith(b"<?xml")
    assert (tmp_path / "power.svg").read_bytes() == picture
    rows = json.loads(simulate("power", "--runs", "122", "--arms", "undirected,free", "--json")[1])
    assert [row["one"] for row in rows] == ["undirected"] * 5
    assert set(rows[0]) >= {"problem", "difference", "low", "high", "power", "needed", "false_alarms"}


def test_compression_says_of_each_level_of_trust_whether_one_more_result_helps(simulate: Any) -> None:
    _status, out, _err = simulate("compression")
    assert "does not narrow (-0.50)" in out
    rows = json.loads(simulate("compression", "--json")[1])
    assert {row["narrows"] for row in rows if row["trust"] == 50} == {False}
    assert {row["narrows"] for row in rows if row["trust"] > 50} == {True}


def test_calibration_says_where_the_model_does_not_fit(simulate: Any) -> None:
    rows = json.loads(simulate("calibrate", "--runs", "30", "--json")[1])
    assert {row["fits"] for row in rows} == {True, False}
    assert all(row["source"] for row in rows)


def test_parameters_are_printed_with_their_sources(simulate: Any) -> None:
    _status, out, _err = simulate("parameters")
    assert "cheap_test" in out
    assert "assumed" in out
    told = json.loads(simulate("parameters", "--json")[1])
    assert set(told) == {"parameters", "popularity", "classes", "arms"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("power", "--runs", "10"), "want 122 to"),
        (("compression", "--runs", "10"), "nothing to repeat"),
        (("--problem", "hard-9"), "want one of easy-1"),
        (("--seed", "-1"), "want 0 to"),
        (("power", "--arms", "free"), "want two of"),
        (("power", "--arms", "free,free"), "want two of"),
        (("--figure", "x.pdf"), "want a .png or .svg"),
        (("--figure", "nowhere/x.svg"), "no such directory"),
        (("calibrate", "--figure", "x.svg"), "only demo and power"),
        (("power", "--keep", "x"), "only demo"),
        (("--keep", "."), "name a new directory"),
    ],
)
def test_what_cannot_be_simulated_is_said_in_one_line(
    simulate: Any, arguments: tuple[str, ...], says: str
) -> None:
    status, out, err = simulate(*arguments)
    assert (status, out) == (EXIT_BAD_INPUT, "")
    assert says in err
    assert len(err.splitlines()) == 1
