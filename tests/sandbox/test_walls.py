"""Each wall that a probe names is the one that stops it: where it is missing, the attack works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aar.outside.sandbox.probes import PROBES, Probe

pytestmark = pytest.mark.sandbox

PROGRAM = Path(__file__).with_name("without_a_wall.py")
# To see these, our own package and scikit-learn would have to be mounted; /sys is where a root's stage is.
NOT_SHOWN = {"import-labels", "import-outside", "see-kernel-objects"}
# A view of the host brings along a file system of its size, and directories that are open to everybody.
COMES_ALONG = {
    "mount view": {"find-room-without-end", "write-outside-workspace"},
    "system-call filter": {"list-mounts"},
}


@pytest.fixture(scope="module")
def without(backend: None) -> dict[str, set[str]]:
    """What gets through where a wall is missing."""
    done = subprocess.run(
        [sys.executable, "-P", str(PROGRAM)],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, list[str]] = json.loads(done.stdout)
    return {wall: set(names) for wall, names in told.items()}


def stopped_by(probe: Probe, *, sure: bool) -> tuple[str, ...]:
    """The walls that each stop it here; an ordinary user's sandboxes all have that user's uid."""
    if os.geteuid() == 0 or sure:
        return probe.blocked_by
    return tuple(wall for wall in probe.blocked_by if wall != "own uid")


def test_with_all_walls_nothing_gets_through(without: dict[str, set[str]]) -> None:
    assert without.pop("none lacks") == set()
    assert len(without) == 16


def test_without_a_wall_exactly_what_it_alone_stops_gets_through(without: dict[str, set[str]]) -> None:
    unexpected, not_shown = {}, {}
    for wall, fired in without.items():
        only = {name for name, probe in PROBES.items() if stopped_by(probe, sure=False) == (wall,)}
        surely = {
            name
            for name, probe in PROBES.items()
            if stopped_by(probe, sure=True) == (wall,) and probe.attack is not None and not probe.needs
        }
        unexpected[wall] = fired - only - COMES_ALONG.get(wall, set())
        not_shown[wall] = surely - fired - NOT_SHOWN
    assert {wall: names for wall, names in unexpected.items() if names} == {}
    assert {wall: names for wall, names in not_shown.items() if names} == {}
    # Two walls stand before whatever needs more than one to go.
    assert not without["no nested user namespaces"]
