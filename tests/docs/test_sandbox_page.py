"""The page of the sandbox names every probe and every wall that there is."""

from __future__ import annotations

import platform
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from aar.outside.sandbox import seccomp
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.probes import CHANNELS, PROBES
from aar.outside.sandbox.shell import SHELL_PROGRAMS
from aar.outside.sandbox.spec import Reason

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "sandbox.md").read_text("utf-8")


def walls() -> list[str]:
    """What the first table names, one wall a part."""
    table = PAGE.partition("## What stops what")[2].partition("\n## ")[0]
    return re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE)[1:]


def test_the_table_of_probes_is_that_of_the_code() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "sandbox_page.py"))
    assert tool["page"]() == PAGE, "run: PYTHONPATH=src python tools/sandbox_page.py"
    assert tool["table"]().count("\n| `") == len(PROBES)


def test_every_reason_for_an_end_has_a_row() -> None:
    table = PAGE.partition("## How a sandbox ends")[2].partition("\n## ")[0]
    named = [
        word
        for row in re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
        for word in re.findall("`([^`]+)`", row)
    ]
    assert sorted(named) == sorted(get_args(Reason))


def test_every_wall_that_stops_a_probe_has_a_row_and_every_row_stops_one() -> None:
    named = {wall for probe in PROBES.values() for wall in probe.blocked_by}
    rows = " | ".join(walls())
    assert [wall for wall in named if wall.split()[0] not in rows] == []
    assert [row for row in walls() if not any(wall.split()[0] in row for wall in named)] == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the page counts those of x86-64")
def test_the_page_counts_the_calls_that_are_refused() -> None:
    assert f"{len(seccomp.denied_calls('x86_64'))} calls refused on x86-64" in PAGE


def test_each_channel_is_among_what_gets_through() -> None:
    residues = PAGE.partition("## What gets through")[2].partition("\n## ")[0]
    assert list(CHANNELS) == ["share-file-locks"]
    assert "file locks" in residues


@pytest.mark.sandbox
def test_the_session_of_the_page_runs_as_it_stands() -> None:
    missing = missing_backend()
    if missing is not None:
        pytest.skip(missing)
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "-P", "-c", block],
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    told = "b'1\\n2\\n3\\n'\nwall\n(1.0, 0.0, 0.0, 1.0)\n"
    assert (ran.stdout, ran.returncode) == (told, 0), ran.stderr


def test_the_page_counts_the_programs_of_the_shell() -> None:
    (said,) = re.findall(r"about ([0-9]+) of the programs", PAGE)
    assert abs(int(said) - len(SHELL_PROGRAMS)) <= 10
