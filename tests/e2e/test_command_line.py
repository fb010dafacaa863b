"""The command line itself: how fast it starts, what it needs, when it refuses to start a study."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_LEAK, EXIT_NO_BACKEND
from small_study import Commands


def test_the_parser_needs_no_heavy_library(commands: Commands) -> None:
    code = (
        "import sys, aar.cli.main as m; m.build_parser();"
        "heavy = ('numpy', 'rich', 'sklearn', 'matplotlib', 'nacl', 'asyncio');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=commands.environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_help_takes_150_ms_of_processor_time_more_than_a_bare_python(
    commands: Commands, capsys: pytest.CaptureFixture[str]
) -> None:
    """Processor time: what else this machine does is no fault of ours."""

    def best_s(words: list[str]) -> float:
        times = []
        for _round in range(5):
            process = subprocess.Popen(
                words, env=commands.environment, stdout=subprocess.DEVNULL, cwd=commands.directory
            )
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            assert process.returncode == 0
            times.append(usage.ru_utime + usage.ru_stime)
        return min(times)

    bare_s, full_s = best_s([sys.executable, "-c", "pass"]), best_s([sys.executable, "-m", "aar", "--help"])
    with capsys.disabled():
        os.write(2, f"\naar --help {full_s * 1000:.0f} ms, bare python {bare_s * 1000:.0f} ms\n".encode())
    assert full_s - bare_s < 0.150


@pytest.mark.sandbox
def test_doctor_holds_on_this_machine(commands: Commands) -> None:
    report = commands.json("doctor", "--json")
    assert report["verdict"] == "ok"
    assert len(report["probes"]) >= 15
    assert all(not probe["fires_within"] for probe in report["probes"])
    bombs = {name: text for name, text in report["limits"].items() if name.endswith(" bomb")}
    assert len(bombs) == 7
    assert all(text.startswith("hard: ended after") for text in bombs.values()), bombs
    assert {"labels", "keys"} <= {probe["area"] for probe in report["probes"]}


def _report(verdict: str, status: str) -> Any:
    from aar.outside.sandbox.doctor import DoctorReport, ProbeResult

    probe = ProbeResult("read-labels", "labels", True, status == "leak", ("mount view",), status, "")  # type: ignore[arg-type]
    return DoctorReport(verdict, (probe,), "bubblewrap", {}, {}, "why")  # type: ignore[arg-type]


def test_a_leak_refuses_the_study_with_exit_4_and_names_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    from aar.cli import run

    monkeypatch.setattr(run, "examine", lambda _study, **_how: _report("leak", "leak"))
    monkeypatch.setattr(run, "missing_backend", lambda _name: None)
    with pytest.raises(CommandFailed, match="read-labels") as refused:
        run.examine_or_explain(Path(), quiet=True)
    assert refused.value.status == EXIT_LEAK


def test_a_missing_backend_is_exit_3_with_the_line_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    from aar.cli import run

    monkeypatch.setattr(run, "missing_backend", lambda _name: "apt-get install bubblewrap")
    with pytest.raises(CommandFailed, match="apt-get install bubblewrap") as refused:
        run.examine_or_explain(Path(), quiet=True)
    assert refused.value.status == EXIT_NO_BACKEND
