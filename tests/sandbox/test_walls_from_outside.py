"""A sandbox that lacks a wall is seen from outside, and ended with the name of what is missing."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from aar.outside.sandbox import processes
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.processes import Use
from aar.outside.sandbox.spec import Exit, SandboxSpec
from aar.outside.sandbox.walls import UP_S, Walls, missing_wall

pytestmark = pytest.mark.sandbox

# What is said of a sandbox without this wall; nothing of one that has all.
SAID = {
    "none lacks": "",
    "system-call filter": "no system-call filter after",
    "system-call ceiling": "one system-call filter",
    "no capabilities": "capabilities",
    "network namespace": "namespace: net",
    "IPC namespace": "namespace: ipc",
    "host-name namespace": "namespace: uts",
    "process namespace": "namespace: pid",
    "read-only mounts": "writable: /",
}
# A launcher that leaves out of each sandbox the wall that it is named for.
CARELESS = """
import sys
sys.path.insert(0, sys.argv[1])
from without_a_wall import CHANGES
from aar.outside.sandbox import bubblewrap, launcher, walls
whole = bubblewrap.bwrap_options
lacking = sys.argv[2].split(",")
bubblewrap.bwrap_options = lambda spec, *given, **named: CHANGES[lacking[int(spec.name)]](
    whole(spec, *given, **named)
)
walls.UP_S = 0.4
raise SystemExit(launcher.main(sys.argv[3:]))
"""
Build = Callable[..., SandboxSpec]


@pytest.fixture(scope="module")
def careless(backend: None) -> Iterator[LauncherClient]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    told, ready = os.pipe()
    launcher = subprocess.Popen(
        [
            *(sys.executable, "-P", "-c", CARELESS, str(Path(__file__).parent), ",".join(SAID)),
            *("--ready", str(ready), "--client", f"{far.fileno()}:probe"),
        ],
        pass_fds=[ready, far.fileno()],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/usr/bin:/bin"},
    )
    far.close()
    os.close(ready)
    with os.fdopen(told) as line:
        assert json.load(line) == {"ready": True}
    with near:
        yield LauncherClient(near)
    assert launcher.wait(10) == 0


@pytest.fixture(scope="module")
def ended(careless: LauncherClient, python: Build) -> dict[str, Exit]:
    """How sandboxes without a wall ended that had nothing else to end for, all at once."""
    with ExitStack() as stack:
        running: dict[str, Running] = {
            wall: stack.enter_context(
                careless.start(python("import time; time.sleep(2)", name=str(number)), stdin=b"")
            )
            for number, wall in enumerate(SAID)
        }
        return {wall: one.wait(20) for wall, one in running.items()}


@pytest.mark.parametrize("wall", SAID)
def test_one_without_a_wall_is_ended(ended: dict[str, Exit], wall: str) -> None:
    if wall == "none lacks":
        assert (ended[wall].reason, ended[wall].detail) == ("exited", "")
    else:
        assert ended[wall].reason == "killed"
        assert ended[wall].detail.startswith("a wall is missing: ")
        assert SAID[wall] in ended[wall].detail


def test_one_without_a_wall_is_over_before_anything_is_handed_to_it(
    careless: LauncherClient, python: Build
) -> None:
    for wall in ("none lacks", "network namespace"):
        code = "import time; print(1, flush=True); time.sleep(20)"
        spec = python(code, name=str(list(SAID).index(wall)), waits=True, wall_s=30.0)
        with careless.start(spec, stdin=b"") as running:
            running.stdout.readline()
            running.begin()
            assert running.is_over() is (wall != "none lacks")


def test_a_process_without_walls_is_reported_when_it_is_seen_twice() -> None:
    """A process of ours, which has none, in the place of one in a sandbox whose walls were up."""
    walls = Walls(are_up=True)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        use = processes.tree_use(process.pid, process.pid)
        assert use.unwalled == {process.pid}
        assert processes.tree_use(process.pid).unwalled == set()
        assert walls.look(use, 1, None, 1.0) is None
        assert str(process.pid) in (walls.look(use, 1, None, 1.25) or "")
        process.kill()
    assert walls.look(Use(0.0, 0), 1, None, 1.5) is None
    assert walls.look(use, 1, None, 1.75) is None


def test_one_that_is_to_begin_is_taken_at_a_single_look() -> None:
    bare = Use(0.0, 0, unwalled=frozenset([7]))
    assert "filter" in (Walls().look(bare, 7, None, 0.1, at_once=True) or "")
    # This process has walls of nobody, and for a first look that may be because it is on its way.
    walls, own = Walls(), os.getpid()
    assert walls.look(Use(0.0, 0), own, None, 0.1) is None
    assert "the host's own namespace" in (walls.look(Use(0.0, 0), own, None, 0.35) or "")
    assert "the host's own namespace" in (Walls().look(Use(0.0, 0), own, None, 0.1, at_once=True) or "")


def test_memory_that_lies_in_swap_is_memory_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    told = b"VmRSS:\t64 kB\nRssAnon:\t4 kB\nRssFile:\t32 kB\nRssShmem:\t1 kB\nVmSwap:\t8 kB\n"
    monkeypatch.setattr(processes, "_status", lambda _pid: told)
    with subprocess.Popen(["/bin/sleep", "60"]) as process:
        assert processes.tree_use(process.pid).memory_bytes == 13 << 10
        process.kill()


def test_walls_that_cannot_be_read_are_not_taken_for_walls_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without_descriptors(*_given: object) -> str:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "readlink", without_descriptors)
    assert "cannot be looked at: [Errno 24]" in (missing_wall(os.getpid(), None) or "")


def test_one_that_is_not_up_yet_has_time_and_not_without_end() -> None:
    bare = Use(0.0, 0, unwalled=frozenset([7]))
    assert Walls().look(bare, 7, None, UP_S - 1) is None
    assert Walls().look(bare, None, None, UP_S - 1) is None
    assert "filter" in (Walls().look(bare, 7, None, UP_S + 1) or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every sandbox has our uid")
def test_another_uid_than_its_own_is_a_wall_that_is_missing(client: LauncherClient, python: Build) -> None:
    code = "import time; print(1, flush=True); time.sleep(20)"
    with client.start(python(code, uid_slot=3), stdin=b"") as running:
        running.stdout.readline()
        pid = next(pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _is(pid, slot_uid(3)))
        assert missing_wall(pid, slot_uid(3)) is None
        assert "want" in (missing_wall(pid, slot_uid(4)) or "")


def _is(pid: int, uid: int | None) -> bool:
    """Whether it is a program in a sandbox of that uid."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        return Path(f"/proc/{pid}").stat().st_uid == uid and "Seccomp:\t2" in status
    except OSError:
        return False
