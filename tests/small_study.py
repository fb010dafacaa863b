"""A small study for tests that run whole ones: real in every part, quick in all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parent.parent / "src"

SMALL = """
[study]
name = "small"
problem = "digits"
researchers = 2
minutes = 2
seeds = 2
replicates = 2
draws = 60

[[task]]
task = "walk"
title = "Walk two steps"
workflow = "fixed"
direction = "the baseline, then neighbours"
submissions = 3
[[task.step]]
name = "s1"
what = "the baseline"
pipelines = ['[["probe", {}]]', '[["conf_keep", {}], ["probe", {}]]']
[[task.step]]
name = "s2"
what = "neighbours"
pipelines = ['[["knn", {}], ["probe", {}]]']

[[task]]
task = "search"
title = "Search"
workflow = "free"
direction = "neighbourhood"
submissions = 3
"""

# The smallest there is, and the template of the smallest comparison: one researcher, two submissions.
TINY = """
[study]
name = "tiny"
problem = "digits"
researchers = 1
minutes = 2
seeds = 2
replicates = 1
draws = 20

[[task]]
task = "walk"
title = "Walk two steps"
workflow = "fixed"
direction = "the baseline, then neighbours"
submissions = 2
[[task.step]]
name = "s1"
what = "the baseline"
pipelines = ['[["probe", {}]]']
[[task.step]]
name = "s2"
what = "neighbours"
pipelines = ['[["knn", {}], ["probe", {}]]']
"""

SERVICES = ("aar.outside.gateway", "aar.outside.evaluation", "aar.witness", "aar.outside.sandbox.launcher")


class Commands:
    """Runs `python -m aar` as a person would, with a config directory of its own.

    Studies are drawn for those who look at the pictures, `draws`: it takes an eighth of a small one's time.
    """

    def __init__(self, directory: Path, *, draws: bool = False) -> None:
        self.directory = directory
        self.draws = draws
        self.config = directory / "config"
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPATH": str(SOURCE),
            "XDG_CONFIG_HOME": str(self.config),
            "COLUMNS": "200",
        }

    def study_file(self, text: str = SMALL, name: str = "small.toml") -> str:
        path = self.directory / name
        path.write_text(text, "utf-8")
        return str(path)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        if arguments[0] == "run" and not self.draws:
            arguments = (*arguments, "--no-picture")
        return subprocess.Popen(
            [sys.executable, "-m", "aar", *arguments],
            cwd=self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments)
        try:
            out, error = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def entries(self, study: str, *filters: str) -> list[dict[str, Any]]:
        done = self.run("record", study, *filters)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


def processes_of(study: Path) -> dict[str, list[int]]:
    """Process ids of a running study, by what they are: the supervisor, each service, each sandbox."""
    found: dict[str, list[int]] = {}
    parents: dict[int, int] = {}
    words_of: dict[int, list[str]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            continue
        parents[int(folder.name)] = int(fields[1])
        words_of[int(folder.name)] = words
    supervisors = [
        pid for pid, words in words_of.items() if "aar" in words and "run" in words and str(study) in words
    ]
    family = set(supervisors)
    found["supervisor"] = supervisors
    while True:
        more = {pid for pid, parent in parents.items() if parent in family} - family
        if not more:
            break
        family |= more
    for pid in family.difference(supervisors):
        words = words_of[pid]
        name = next((one for one in SERVICES if one in words), "sandbox")
        found.setdefault(name, []).append(pid)
    return found


def wait_until_opened(study: Path, process: subprocess.Popen[str]) -> None:
    """Wait until the first entries of a study that is being run are published."""
    checkpoint = study / "record" / "checkpoint"
    while not checkpoint.exists() or checkpoint.read_text("utf-8").split("\n")[1] == "0":
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_until_gone(study: Path, timeout_s: float = 10) -> None:
    """Wait until no service of a study is left: they end with their supervisor."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        left = [
            folder.name
            for folder in Path("/proc").iterdir()
            if folder.name.isdigit() and str(study) in _command_line(folder)
        ]
        if not left:
            return
        time.sleep(0.02)
    raise AssertionError(f"processes {left} of {study} are still there after {timeout_s} s")


def _command_line(folder: Path) -> str:
    try:
        return (folder / "cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return ""
