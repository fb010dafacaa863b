"""One finished small study for all tests that only read, and commands for those that run their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from small_study import Commands


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
