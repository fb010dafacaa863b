"""Finished small studies for all tests that only read, and commands for those that run their own."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from small_study import Commands, processes_of, wait_until_gone, wait_until_opened


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    return Commands(tmp_path)


class Finished:
    """A study that ran to its close, and what `run --json` printed."""

    def __init__(self, commands: Commands, path: Path, printed: str) -> None:
        self.commands = commands
        self.path = path
        self.printed = printed


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    commands = Commands(tmp_path_factory.mktemp("finished"), draws=True)
    path = commands.directory / "study"
    done = commands.run("run", commands.study_file(), "--dir", str(path), "--json")
    assert done.returncode == 0, done.stderr
    return Finished(commands, path, done.stdout)


class Interrupted:
    """A study that Ctrl-C ended soon after it was opened and that went on to its close, and what was seen.

    `early` is a copy of it as it was between; `usage` what it had used then, before `added_s` were put on.
    """

    def __init__(self, commands: Commands) -> None:
        self.commands, self.path = commands, commands.directory / "study"
        process = commands.start("run", commands.study_file(), "--dir", str(self.path))
        wait_until_opened(self.path, process)
        time.sleep(1.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        self.error = process.communicate(timeout=20)[1]
        self.took_s, self.status = time.monotonic() - began, process.returncode
        wait_until_gone(self.path)
        self.left = processes_of(self.path)["supervisor"]
        self.entries = commands.entries("study")
        self.early = commands.directory / "early"
        shutil.copytree(self.path, self.early, ignore=shutil.ignore_patterns("*.sock"))
        self.early_verified = commands.run("verify", "early").returncode
        usage = self.path / "operator" / "usage.json"
        self.usage: dict[str, Any] = json.loads(usage.read_text())
        # Longer than what is still to do can take: counting only the last run would show.
        self.added_s = 1_000
        usage.write_text(json.dumps({**self.usage, "seconds": self.usage["seconds"] + self.added_s}))
        done = commands.run("run", "--dir", "study")
        assert done.returncode == 0, done.stderr
        self.printed = done.stdout
        self.summary: dict[str, Any] = json.loads((self.path / "summary.json").read_text())


@pytest.fixture(scope="session")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    return Interrupted(Commands(tmp_path_factory.mktemp("interrupted")))
