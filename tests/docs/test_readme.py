"""Every command of a console block in the README runs, in order, and prints what the block says."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from small_study import TINY

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("aar", "check", "src", "tools", "pyproject.toml", "requirements.lock", "requirements-dev.lock")


@dataclass
class Shown:
    """A command and the lines that the README shows under it; `...` stands for anything."""

    command: str
    lines: list[str] = field(default_factory=list)

    def check(self, output: str) -> None:
        """The shown lines are in the output, in this order, with nothing between them but where `...` is."""
        pattern = "".join(
            r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(re.escape("..."), ".*") + r"\n"
            for line in self.lines
        )
        assert re.fullmatch(pattern + ("" if not self.lines else r"(?:.*\n)*"), output), (
            f"$ {self.command}\nprinted:\n{output}\nbut the README shows:\n" + "\n".join(self.lines)
        )


def shown_commands(page: str) -> list[Shown]:
    """The commands of all console blocks of a page."""
    commands: list[Shown] = []
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith("$ "):
                commands.append(Shown(line[2:]))
            else:
                commands[-1].lines.append(line)
    return commands


def test_a_shown_line_must_be_in_the_output_and_dots_stand_for_anything() -> None:
    shown = shown_commands("```console\n$ make\none ... three\n...\nlast\n$ quiet\n```\n")
    assert [one.command for one in shown] == ["make", "quiet"]
    shown[0].check("one two three\nx\ny\nlast\nmore\n")
    shown[1].check("")
    for wrong in ("one two\nlast\n", "x\none two three\nlast\n", "one two three\nx\n"):
        with pytest.raises(AssertionError):
            shown[0].check(wrong)
    with pytest.raises(AssertionError):
        shown[1].check("something\n")


def test_the_readme_links_to_files_that_exist() -> None:
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "docs/threat-model.md",
        "docs/witness.md",
        "docs/anchors.md",
        "docs/lab.md",
        "docs/own-data.md",
        "docs/simulate.md",
        "docs/oversight.md",
        "docs/ab.md",
        "docs/tasks.md",
        "docs/sandbox.md",
        "docs/redteam-study.md",
        "docs/own-researcher.md",
        "docs/llm-researchers.md",
        "docs/verifying.md",
        "docs/monitor.md",
        "docs/exercises.md",
        "docs/decisions/README.md",
    ):
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{name} links to {target}"


def test_the_readme_names_every_command_of_the_program() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    told = subprocess.run(
        [sys.executable, "-m", "aar", "--help"], check=True, capture_output=True, text=True, env=environment
    )
    commands = [*re.findall(r"^    (\w+) ", told.stdout, re.MULTILINE), "leaderboard"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert [
        name for name in commands if f"`aar {name} " not in readme and f"`aar {name}`" not in readme
    ] == []


def a_checkout(tmp_path: Path) -> Path:
    """A copy of this checkout whose virtual environment is the running one; skips where that cannot be."""
    checkout = tmp_path / "aar"
    checkout.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name)
        else:
            shutil.copy(ROOT / name, checkout)
    # The set-up itself has tests of its own, which need no network.
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    if not (checkout / ".venv" / "requirements.lock").exists():
        pytest.skip("this Python is not the one that ./aar set up: run ./check")
    return checkout


def run_shown(page: str, checkout: Path) -> None:
    """Run the commands of a page in order and compare what they print."""
    home = checkout.parent
    environment = os.environ | {"HOME": str(home), "XDG_CONFIG_HOME": str(home / "config")}
    for shown in shown_commands(page):
        done = subprocess.run(
            ["sh", "-c", shown.command],
            cwd=checkout,
            env=environment,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert done.returncode == 0, f"$ {shown.command}\n{done.stdout}\n{done.stderr}"
        shown.check(done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_readme_run_in_order_and_print_what_it_says(tmp_path: Path) -> None:
    run_shown((ROOT / "README.md").read_text("utf-8"), a_checkout(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_anchors_page_run_in_order_and_print_what_it_says(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    (checkout / "study.toml").write_text(TINY, "utf-8")
    try:
        run_shown((ROOT / "docs" / "anchors.md").read_text("utf-8"), checkout)
    finally:
        subprocess.run(["chattr", "-R", "-a", str(checkout / "shelf")], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_commands_of_the_witness_page_run_in_order_and_print_what_it_says(tmp_path: Path) -> None:
    checkout = a_checkout(tmp_path)
    (checkout / "study.toml").write_text(TINY, "utf-8")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    try:
        run_shown((ROOT / "docs" / "witness.md").read_text("utf-8").replace("8087", port), checkout)
    finally:
        pid = checkout / "witness.pid"
        if pid.exists():
            with suppress(ProcessLookupError):
                os.kill(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("page", "study"),
    [
        ("own-data.md", ""),
        ("oversight.md", TINY),
        pytest.param("sandbox.md", "", marks=pytest.mark.sandbox),
        ("ab.md", TINY),
        ("lab.md", ""),
        ("simulate.md", ""),
        ("exercises.md", ""),
    ],
)
def test_the_commands_of_a_page_run_in_order_and_print_what_it_says(
    page: str, study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`study` is the study.toml that the page speaks of."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    checkout = a_checkout(tmp_path)
    if study:
        (checkout / "study.toml").write_text(study, "utf-8")
    run_shown((ROOT / "docs" / page).read_text("utf-8"), checkout)


def test_every_page_with_commands_is_run() -> None:
    tests = Path(__file__), ROOT / "tests" / "llm" / "test_llm_page.py"
    code = "".join(path.read_text("utf-8") for path in tests)
    for page in (ROOT / "docs").glob("*.md"):
        if shown_commands(page.read_text("utf-8")):
            assert f'"docs" / "{page.name}"' in code or f'("{page.name}", ' in code, page.name


def test_the_python_of_the_lab_page_runs_as_it_stands() -> None:
    [code] = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "lab.md").read_text("utf-8"), re.DOTALL | re.MULTILINE
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True, env=environment
    )
    assert re.fullmatch(r"PGR 0\.\d\d, 95 % \(.*\), lead over vanilla 0\.\d\d \(.*\)\n", done.stdout), (
        done.stdout
    )
