"""Fixtures of the record's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from aar.outside.record.disk import Disk

from record.world import World


@pytest.fixture
def world() -> World:
    """A record on a disk in memory."""
    return World()


@pytest.fixture
def real_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A record on a real file system, reached by relative paths."""
    monkeypatch.chdir(tmp_path)
    return World(Disk())
