"""Parameters have sources, and the page that lists them lists these."""

from __future__ import annotations

import re
from pathlib import Path

from aar.simulation.parameters import ARMS, CLASSES, IDEAS, PARAMETERS, POPULARITY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "simulate.md"


def test_the_page_lists_every_parameter_with_its_value_and_where_it_comes_from() -> None:
    table = re.search(
        r"^<!-- parameters: .*?-->\n(.*?)^<!-- end of parameters -->", PAGE.read_text("utf-8"), re.M | re.S
    )
    assert table is not None
    rows = [line.strip("| ").split(" | ") for line in table.group(1).splitlines()[2:]]
    assert rows == [
        [f"`{one.name}`", f"{one.value:,}", one.meaning, one.source] for one in PARAMETERS.values()
    ]


def test_every_parameter_says_whether_it_was_measured_published_or_assumed() -> None:
    for one in PARAMETERS.values():
        assert re.match("measured here|published|assumed|near src/|the embedded study", one.source), one.name


def test_arms_and_classes_are_what_they_say() -> None:
    assert len(POPULARITY) == IDEAS
    for name, kind in CLASSES.items():
        assert name.endswith(f"-{kind.parts}")
        assert kind.values[0] == kind.base
        assert kind.values[-1] == kind.top
    assert [ARMS["one-lying"].role(number) for number in range(3)] == ["honest", "honest", "lying"]
    assert [ARMS["one-lazy"].role(number) for number in range(3)] == ["honest", "honest", "lazy"]
    tastes = [ARMS["free"].taste(number) for number in range(3)]
    assert len(set(tastes)) == 3
    assert len({ARMS["undirected"].taste(number) for number in range(3)}) == 1
