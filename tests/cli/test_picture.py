"""The picture of PGR over time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from aar.cli.picture import Point, draw_pgr_over_time

PNG = b"\x89PNG\r\n\x1a\n"


def points(count: int, researchers: Sequence[str] = ("researcher-1", "researcher-2")) -> list[Point]:
    return [
        Point(
            minutes=0.1 + number * 0.07,
            researcher=researchers[number % len(researchers)],
            released=0.05 * (number // 2),
            low=0.05 * (number // 2) - 0.1,
            high=0.05 * (number // 2) + 0.1,
            improved=True,
            exact=0.05 * (number // 2) + 0.01,
            heldout=0.5 if number % 5 == 0 else None,
        )
        for number in range(count)
    ]


def draw(
    directory: Path, drawn: Sequence[Point], title: str = "digits: PGR over time"
) -> tuple[bytes, bytes]:
    draw_pgr_over_time(drawn, directory / "pgr.svg", directory / "pgr.png", title=title)
    return (directory / "pgr.svg").read_bytes(), (directory / "pgr.png").read_bytes()


def test_both_files_are_pictures(tmp_path: Path) -> None:
    svg, png = draw(tmp_path, points(12))
    assert ElementTree.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert png.startswith(PNG)
    assert len(png) > 10_000


def test_the_same_points_give_the_same_bytes_in_another_process_with_another_home(tmp_path: Path) -> None:
    svg, png = draw(tmp_path, points(12))
    (tmp_path / "matplotlibrc").write_text("axes.facecolor: red\n")
    code = "import sys, pathlib, test_picture as t; t.draw(pathlib.Path(sys.argv[1]), t.points(12))"
    other = tmp_path / "other"
    other.mkdir()
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }
    subprocess.run([sys.executable, "-c", code, str(other)], check=True, env=environment, cwd=tmp_path)
    assert (other / "pgr.svg").read_bytes() == svg
    assert (other / "pgr.png").read_bytes() == png


def test_a_drawn_value_changes_the_picture(tmp_path: Path) -> None:
    before = draw(tmp_path, points(12))
    changed = points(12)
    changed[0] = Point(
        minutes=0.1,
        researcher="researcher-1",
        released=0,
        low=0,
        high=0,
        improved=True,
        exact=0.3,
        heldout=0.5,
    )
    assert draw(tmp_path, changed) != before


def one(*, exact: float, heldout: float | None = None) -> Point:
    return Point(
        minutes=1,
        researcher="researcher-1",
        released=0.5,
        low=0.4,
        high=0.6,
        improved=True,
        exact=exact,
        heldout=heldout,
    )


@pytest.mark.parametrize("value", [-40.0, 40.0])
def test_a_value_far_beyond_the_scale_is_noted_with_its_number(tmp_path: Path, value: float) -> None:
    assert draw(tmp_path, [one(exact=value)]) != draw(tmp_path, [one(exact=value + 1)])
    assert draw(tmp_path, [one(exact=0, heldout=value)]) != draw(tmp_path, [one(exact=0, heldout=value + 1)])


@pytest.mark.parametrize("count", [0, 1])
def test_a_study_with_hardly_any_run_has_a_picture_too(tmp_path: Path, count: int) -> None:
    assert draw(tmp_path, points(count))[1].startswith(PNG)


def test_values_still_sealed_leave_the_panel_of_held_out_values_empty(tmp_path: Path) -> None:
    sealed = Point(
        minutes=1,
        researcher="researcher-1",
        released=0.5,
        low=0.4,
        high=0.6,
        improved=True,
        exact=None,
        heldout=None,
    )
    assert draw(tmp_path, [sealed])[1].startswith(PNG)


def test_names_that_look_like_formulas_are_drawn_as_text(tmp_path: Path) -> None:
    hostile = points(4, researchers=("$\\frac{1}{$", "_hidden", "\x1b[31mred"))
    assert draw(tmp_path, hostile, title="$\\undefined{ 100 % \x00")[1].startswith(PNG)


def test_twenty_researchers_fit(tmp_path: Path) -> None:
    assert draw(tmp_path, points(60, [f"researcher-{number}" for number in range(20)]))[1].startswith(PNG)


def test_the_command_line_starts_without_loading_matplotlib_or_rich() -> None:
    code = (
        "import sys, aar.cli.main, aar.cli.view, aar.cli.picture;"
        "print(sorted({'matplotlib', 'rich', 'numpy'} & set(sys.modules)))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert told.stdout == "[]\n"
