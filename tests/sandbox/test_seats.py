"""A client of the launcher that may only start the sandboxes of its own researchers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.groups import Groups
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.spec import SandboxRefused, SandboxSpec

SLOT = 41


@pytest.fixture(scope="module")
def clients(
    backend: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, LauncherClient, LauncherClient]]:
    """Where its researcher's gateway is, a client that may choose, and one that may not."""
    folder = tmp_path_factory.mktemp("seats")
    (folder / "own").mkdir(mode=0o711)
    (folder / "other").mkdir(mode=0o711)
    with Launcher.spawn({"researcher"}, {"researcher"}, seats=[(SLOT, str(folder / "own"))]) as launcher:
        free, bound = map(LauncherClient, launcher.sockets)
        yield folder, free, bound


def asked(folder: Path, name: str, slot: int) -> SandboxSpec:
    argv = (*sandbox_python(), "-c", "pass")
    return researcher_spec(name="seat", argv=argv, gateway_dir=str(folder / name), uid_slot=slot, wall_s=20)


@pytest.mark.sandbox
def test_its_own_researchers_sandbox_is_started(clients: tuple[Path, LauncherClient, LauncherClient]) -> None:
    folder, _free, bound = clients
    with bound.start(asked(folder, "own", SLOT), stdin=b"") as running:
        assert running.wait(20).reason == "exited"


@pytest.mark.sandbox
def test_what_each_slot_used_is_told_to_whoever_started_the_launcher_alone(
    clients: tuple[Path, LauncherClient, LauncherClient],
) -> None:
    folder, free, bound = clients
    burn = "import time\nwhile time.process_time() < 0.6: pass\nprint(flush=True)\ntime.sleep(20)"
    spec = dataclasses.replace(asked(folder, "own", SLOT), name="another-name")
    spec = dataclasses.replace(spec, argv=(*sandbox_python(), "-c", burn))
    before = free.used_by_slot()
    with bound.start(spec, stdin=b"") as running:
        assert running.stdout.readline() == b"\n"
        alive = free.used_by_slot()
        running.kill()
        running.wait(20)
    after = free.used_by_slot()
    assert alive[SLOT] - before.get(SLOT, 0.0) >= 0.5
    assert alive[SLOT] <= after[SLOT] < alive[SLOT] + 1
    assert set(after) - set(before) <= {SLOT}
    with pytest.raises(SandboxRefused, match="whoever started the launcher"):
        bound.used_by_slot()


# Children whose parent ignores that they end leave their time to nobody.
FORGETTING = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for _child in range(12):
    if os.fork() == 0:
        while time.process_time() < 0.05: pass
        os._exit(0)
    time.sleep(0.06)
"""


@pytest.mark.sandbox
def test_what_children_used_counts_whatever_their_parent_does_to_be_rid_of_it(
    clients: tuple[Path, LauncherClient, LauncherClient],
) -> None:
    groups = Groups.find()
    if groups is None:
        pytest.skip("no control group counts here")
    groups.close()
    folder, free, bound = clients
    spec = dataclasses.replace(asked(folder, "own", SLOT), argv=(*sandbox_python(), "-c", FORGETTING))
    before = free.used_by_slot().get(SLOT, 0.0)
    with bound.start(spec, stdin=b"") as running:
        ended = running.wait(20)
    assert free.used_by_slot()[SLOT] - before >= 0.5
    assert ended.cpu_s >= 0.5


@pytest.mark.sandbox
@pytest.mark.parametrize(("name", "slot"), [("other", SLOT), ("own", SLOT + 1), ("..", SLOT)])
def test_anothers_gateway_or_slot_is_refused_and_only_to_that_client(
    clients: tuple[Path, LauncherClient, LauncherClient], name: str, slot: int
) -> None:
    folder, free, bound = clients
    with pytest.raises(SandboxRefused, match="not a researcher of this client's"):
        bound.start(asked(folder, name, slot), stdin=b"")
    if name != "..":
        with free.start(asked(folder, name, slot), stdin=b"") as running:
            assert running.wait(20).reason == "exited"


@pytest.mark.sandbox
def test_a_sandbox_without_a_gateway_is_none_of_its_own_either(
    clients: tuple[Path, LauncherClient, LauncherClient],
) -> None:
    _folder, _free, bound = clients
    spec = SandboxSpec(name="seat", profile="researcher", argv=("true",), uid_slot=SLOT)
    with pytest.raises(SandboxRefused, match="not a researcher of this client's"):
        bound.start(spec, stdin=b"")


@pytest.mark.sandbox
def test_a_crowd_in_one_seat_leaves_the_others_their_places(
    clients: tuple[Path, LauncherClient, LauncherClient],
) -> None:
    folder, free, bound = clients
    own = dataclasses.replace(asked(folder, "own", SLOT), argv=(*sandbox_python(), "-c", "input()"))
    with bound.start(own), bound.start(own):
        with pytest.raises(SandboxRefused, match="wait for one to end"):
            bound.start(own)
        with free.start(asked(folder, "other", SLOT + 1), stdin=b"") as running:
            assert running.wait(20).reason == "exited"
