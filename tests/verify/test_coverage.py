"""Coverage of the intervals in simulated studies, in small; `python tools/coverage.py` is the whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "coverage.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_of_intervals", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(tool: ModuleType) -> None:
    """Forty studies where seeds scatter much: where a plain bootstrap of five seeds is too narrow."""
    rows = tool.simulate(tool.SETTINGS[0], 40, 11)
    fit = {row.interval: row.is_fit for row in rows}
    uncorrected = [name for name in fit if "uncorrected" in name]
    assert len(uncorrected) == 1
    assert {name for name, is_fit in fit.items() if not is_fit} <= set(uncorrected)
    widths = {row.interval: row.width for row in rows}
    assert widths["best of 10"] > widths["best of 10, uncorrected"]


def test_a_share_that_93_to_97_percent_exclude_is_unfit(tool: ModuleType) -> None:
    for held, studies, is_fit in ((95, 100, True), (60, 100, False), (1000, 1000, False), (930, 1000, True)):
        low, high = tool.binomial_interval(held, studies)
        assert tool.Row("s", "i", studies, held, held / studies, low, high, 0.1).is_fit == is_fit
