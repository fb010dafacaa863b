"""Control groups around sandboxes: read back, ended for the right reason, and nothing of them left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox import groups as of_groups
from aar.outside.sandbox.client import Launcher, LauncherClient, Output
from aar.outside.sandbox.doctor import LIMITS, limits_of
from aar.outside.sandbox.groups import Groups, LimitNotHeld, new_name, owner
from aar.outside.sandbox.groups import limits_of as limits_of_spec
from aar.outside.sandbox.spec import SandboxSpec

MIB = 1 << 20
ROOT = Path("/sys/fs/cgroup")
LIMITS_HERE = {"memory": 64 * MIB, "pids": 32}


@pytest.fixture
def groups() -> Iterator[Groups]:
    found = Groups.find()
    if found is None:
        pytest.skip("no control groups can be made here")
    yield found
    found.close()


def names(pid: int = 0) -> set[str]:
    """The groups that there are of a launcher, by default of this process: others may run beside us."""
    return {path.name for path in ROOT.glob(f"**/aar-{owner(pid or os.getpid())}-*")}


def test_a_group_is_made_with_its_limits_and_goes_again(groups: Groups) -> None:
    before, name = names(), new_name()
    groups.make(name, LIMITS_HERE)
    assert names() - before == {name}
    groups.remove(name)
    assert names() - before == set()


def test_a_limit_that_the_kernel_rounds_is_no_limit_of_ours(groups: Groups) -> None:
    before = names()
    with pytest.raises(LimitNotHeld, match=f"memory of a control group: {64 * MIB}, want {64 * MIB + 1}"):
        groups.make(new_name(), {**LIMITS_HERE, "memory": 64 * MIB + 1})
    assert names() == before


def test_what_is_started_within_a_group_is_in_it_and_we_are_not(groups: Groups) -> None:
    name, before = new_name(), Path("/proc/self/cgroup").read_text()
    groups.make(name, LIMITS_HERE)
    with groups.entered(name):
        told = subprocess.check_output(["cat", "/proc/self/cgroup"], text=True)
    assert told.count(f"/{name}") == (len(groups.directories) if groups.version == 1 else 1)
    assert Path("/proc/self/cgroup").read_text() == before
    groups.remove(name)


def test_a_group_that_is_gone_cannot_be_entered_and_we_are_where_we_were(groups: Groups) -> None:
    before = Path("/proc/self/cgroup").read_text()
    with pytest.raises(FileNotFoundError), groups.entered(new_name()):
        raise AssertionError("it was entered")
    assert Path("/proc/self/cgroup").read_text() == before


def test_a_group_that_is_still_lived_in_goes_with_a_later_one(groups: Groups) -> None:
    before = names()
    lived_in, other = new_name(), new_name()
    groups.make(lived_in, LIMITS_HERE)
    with groups.entered(lived_in):
        sleeper = subprocess.Popen(["sleep", "60"])
    groups.remove(lived_in)
    assert names() - before == {lived_in}
    sleeper.kill()
    sleeper.wait()
    groups.make(other, LIMITS_HERE)
    groups.remove(other)
    assert names() == before


def test_what_a_killed_launcher_left_is_swept_and_what_a_living_one_has_is_not(groups: Groups) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    of_dead, of_living = f"aar-{owner(ended.pid)}-00000000", new_name()
    groups.make(of_dead, LIMITS_HERE)
    groups.make(of_living, LIMITS_HERE)
    with groups.entered(of_dead):
        outliving = subprocess.Popen(["sleep", "60"])
    again = Groups.find()
    assert again is not None
    again.close()
    # Not yet reaped, it kept its group until now.
    assert outliving.wait() == -9
    once_more = Groups.find()
    assert once_more is not None
    once_more.close()
    assert (names(ended.pid), names()) == (set(), {of_living})
    groups.remove(of_living)


def test_a_group_of_another_namespace_of_processes_is_left_alone(groups: Groups) -> None:
    code = "import os; from aar.outside.sandbox.groups import owner; print(owner(os.getpid()))"
    told = subprocess.check_output(
        ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": "/usr/sbin:/usr/bin:/bin"},
        text=True,
    )
    name = f"aar-{told.strip()}-00000000"
    groups.make(name, LIMITS_HERE)
    with groups.entered(name):
        other = subprocess.Popen(["sleep", "60"])
    again = Groups.find()
    assert again is not None
    again.close()
    assert other.poll() is None
    other.kill()
    other.wait()
    groups.remove(name)
    assert not list(ROOT.glob(f"**/{name}"))


def test_where_nobody_can_be_moved_to_be_counted_nothing_is_left_of_the_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / of_groups.METER
    place.mkdir()
    monkeypatch.setattr(of_groups, "_ROOT", tmp_path)
    monkeypatch.setattr(of_groups, "_own_group", lambda _controller: "")
    opened: dict[str, int] = {}
    # A directory that is no group: it can be made and has no file for those in it.
    of_groups._add_meter(opened, {})
    assert (opened, list(place.iterdir())) == ({}, [])


def test_a_process_without_a_number_here_is_not_our_own_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "cgroup.procs").write_text("0\n0\n")
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda pid, _number: killed.append(pid))
    monkeypatch.setattr(of_groups, "_SWEEPS", 1)
    directory = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    of_groups._end_all("left", directory)
    os.close(directory)
    assert killed == []


def test_one_that_began_while_groups_were_listed_is_alive(
    groups: Groups, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[object] = []
    read = os.listdir

    def watched(place: object) -> list[str]:
        listed.append(place)
        return read(place)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(os, "listdir", watched)
    groups._sweep()
    # Each list of groups is older than the list of processes that it is judged by.
    assert [place == "/proc" for place in listed] == [False, True] * (len(listed) // 2)


def test_the_doctor_says_which_limits_are_hard_here(groups: Groups, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limits_of("bubblewrap")["memory"].startswith("hard: a control group")
    assert limits_of("bubblewrap")["files on disk"].startswith("soft")
    assert limits_of("container")["files on disk"].startswith("hard")
    monkeypatch.setattr(Groups, "find", lambda: None)
    assert limits_of("bubblewrap") == LIMITS
    assert LIMITS["memory"].startswith("soft")


# Around real sandboxes.

HUNGRY = """
import mmap
kept = []
while True:
    kept.append(mmap.mmap(-1, 64 << 20))
    for at in range(0, 64 << 20, 4096): kept[-1][at] = 1
"""


# Files without a name are no process's own memory: nothing else than a group counts them.
NAMELESS = """
import os
held = os.memfd_create('x')
while True: os.write(held, bytes(1 << 20))
"""


@pytest.mark.sandbox
@pytest.mark.parametrize("code", [HUNGRY, NAMELESS], ids=["shared", "nameless"])
def test_the_kernel_ends_what_holds_more_than_was_granted_and_that_is_the_reason(
    groups: Groups, launcher: Launcher, run: Callable[..., Output], code: str
) -> None:
    # Shared memory in pieces: no limit of a process counts it, and it comes faster than the launcher looks.
    ended = run(code, memory_mib=32).exit
    assert ended.reason == "memory"
    assert names(launcher.process.pid) == set()


@pytest.mark.sandbox
def test_a_sandbox_is_in_a_group_with_the_limits_of_its_spec(
    groups: Groups, launcher: Launcher, client: LauncherClient, python: Callable[..., SandboxSpec]
) -> None:
    spec = python("print(open('/proc/self/cgroup').read(), flush=True); input()", memory_mib=100, processes=9)
    with client.start(spec) as running:
        told = running.stdout.readline() + running.stdout.read1()
        # In there it is the root of all groups, and has no name.
        assert b"aar-" not in told
        (name,) = names(launcher.process.pid)
        (where,) = {str(path.parent) for path in ROOT.glob(f"**/{name}/memory.*oom*")} or {""}
        assert len(Path(where, "cgroup.procs").read_text().split()) >= 2
        held = {path.name: path.read_text().strip() for path in ROOT.glob(f"**/{name}/*.max")}
        held |= {
            path.name: path.read_text().strip() for path in ROOT.glob(f"**/{name}/memory.*limit_in_bytes")
        }
    limits = limits_of_spec(spec)
    assert limits == {"memory": (2 * 100 + 64) * MIB, "pids": 17}
    assert held["pids.max"] == "17"
    assert held.get("memory.limit_in_bytes", held.get("memory.max")) == str(limits["memory"])
    # Where swap is counted at all there is none for it.
    assert held.get("memory.memsw.limit_in_bytes", str(limits["memory"])) == str(limits["memory"])
    assert held.get("memory.swap.max", "0") == "0"


@pytest.mark.sandbox
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cycles", [9, pytest.param(500, marks=pytest.mark.deep)])
def test_sandboxes_leave_no_group_however_they_end(
    groups: Groups,
    launcher: Launcher,
    client: LauncherClient,
    python: Callable[..., SandboxSpec],
    cycles: int,
) -> None:
    for number in range(cycles):
        with client.start(
            python("import time; time.sleep(60)" if number % 3 else "pass"), stdin=b""
        ) as running:
            if number % 3:
                running.kill()
            running.wait(20)
    # The last one may be busy for a moment longer.
    until = time.monotonic() + 2
    while names(launcher.process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert names(launcher.process.pid) == set()


@pytest.mark.sandbox
def test_a_launcher_that_is_killed_leaves_groups_only_until_the_next_one_starts(
    groups: Groups, python: Callable[..., SandboxSpec]
) -> None:
    launcher = Launcher.spawn({"probe"})
    running = LauncherClient(launcher.sockets[0]).start(python("import time; time.sleep(60)"), stdin=b"")
    launcher.process.kill()
    launcher.process.wait()
    running.close()
    launcher.close()
    until = time.monotonic() + 10
    while names(launcher.process.pid) and time.monotonic() < until:
        # Its sandbox dies with it, in a moment; only then can its group go.
        with Launcher.spawn({"probe"}):
            pass
    assert names(launcher.process.pid) == set()
