"""Control groups: bounds on memory and processes that hold a whole sandbox, where groups can be made here.

They also count its processor time, to the end and whatever its processes do to be forgotten by their parents.

Version 1 has a directory tree for each controller, version 2 one for all. A sandbox's group is made in the
launcher's own (version 1) or at the top (version 2, where a group that holds processes gives its own none of
the controllers). Whoever reads its name learns nothing: not the launcher's number, nor how many there were.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Self

from aar.outside.sandbox.spec import SandboxError, SandboxSpec

PREFIX = "aar"
CONTROLLERS = ("memory", "pids")
# Of version 1, where it can be had: version 2 counts in every group.
METER = "cpuacct"
# bubblewrap's own processes, and what starts and reaps: the program's own count is held inside.
SPARE_PROCESSES = 8
_MIB = 1 << 20
# Files in memory count here and not among a program's own, and it may fill both; so does the kernel's.
_SPARE_MIB = 64
_ROOT = Path("/sys/fs/cgroup")
_LIMIT_FILES = {
    1: {"memory": "memory.limit_in_bytes", "pids": "pids.max"},
    2: {"memory": "memory.max", "pids": "pids.max"},
}
# Version 1 counts memory and swap together, version 2 swap alone; where swap is not counted there is no file.
_SWAP_FILES = {1: "memory.memsw.limit_in_bytes", 2: "memory.swap.max"}
_OURSELVES = "0"
_MACHINE_ID = Path("/etc/machine-id")
_SWEEPS, _SWEEP_PAUSE_S = 50, 0.01
_EVENTS = {1: "memory.oom_control", 2: "memory.events"}


class LimitNotHeld(SandboxError):
    """The kernel does not hold a limit that it was told; the message says which."""


def new_name() -> str:
    """A name for a group of this process."""
    return f"{PREFIX}-{owner(os.getpid())}-{secrets.token_hex(4)}"


def owner(pid: int) -> str:
    """What stands for a launcher in its groups' names: of no use to whoever has not the machine's id.

    It begins with what stands for our namespace of processes, outside of which `pid` is another's number.
    """
    return f"{_here()}-" + hashlib.sha256(f"{_machine()}/{_here()}/{pid}".encode()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _here() -> str:
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return hashlib.sha256(f"{_machine()}/{namespace}".encode()).hexdigest()[:8]


@lru_cache(maxsize=1)
def _machine() -> str:
    return _MACHINE_ID.read_text().strip() if _MACHINE_ID.exists() else ""


def memory_bytes(spec: SandboxSpec) -> int:
    """What a whole sandbox may hold: its memory, as much again in files, and some of the kernel's."""
    return (2 * spec.memory_mib + _SPARE_MIB) * _MIB


def limits_of(spec: SandboxSpec) -> dict[str, int]:
    """The limit of each controller for a sandbox."""
    return {"memory": memory_bytes(spec), "pids": spec.processes + SPARE_PROCESSES}


@dataclass(frozen=True, slots=True)
class Groups:
    """Directories in which groups can be made, one for each controller; open, whatever is mounted later."""

    version: int
    directories: Mapping[str, int]
    # The groups that we are in ourselves.
    homes: Mapping[str, int]
    # Groups whose last process was not reaped yet when they were to go.
    late: set[str] = field(default_factory=set)

    @classmethod
    def find(cls) -> Self | None:
        """Where groups with both limits can be made, or None; what dead launchers left there is removed.

        Those of launchers in another namespace of processes, a container's for one, are not ours to judge.
        """
        version = 2 if (_ROOT / "cgroup.controllers").exists() else 1
        opened: dict[str, int] = {}
        homes: dict[str, int] = {}
        try:
            for controller in CONTROLLERS:
                tree = _ROOT if version == 2 else _ROOT / controller
                own = tree / _own_group("" if version == 2 else controller)
                homes[controller] = os.open(own, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                place = tree if version == 2 else own
                opened[controller] = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            if version == 1:
                _add_meter(opened, homes)
            groups = cls(version, opened, homes)
            groups._sweep()
            name = new_name()
            groups.make(name, {"memory": 64 * _MIB, "pids": 64})
            with groups.entered(name):
                pass
            groups.remove(name)
        except (OSError, LimitNotHeld):
            for descriptor in (*opened.values(), *homes.values()):
                os.close(descriptor)
            return None
        return groups

    def close(self) -> None:
        """Let go of the directories."""
        for descriptor in (*self.directories.values(), *self.homes.values()):
            os.close(descriptor)

    def make(self, name: str, limits: Mapping[str, int]) -> None:
        """Make a group and set its limits, and read them back; raises `LimitNotHeld` and `OSError`."""
        try:
            for directory in self._distinct():
                os.mkdir(name, 0o755, dir_fd=directory)
            for controller, wanted in limits.items():
                self._limit(controller, f"{name}/{_LIMIT_FILES[self.version][controller]}", wanted)
            with contextlib.suppress(FileNotFoundError):
                no_swap = limits["memory"] if self.version == 1 else 0
                self._limit("memory", f"{name}/{_SWAP_FILES[self.version]}", no_swap)
        except BaseException:
            self.remove(name)
            raise

    @contextlib.contextmanager
    def entered(self, name: str) -> Iterator[None]:
        """Be in the group, and so what is started meanwhile, and be back where we were; raises `OSError`."""
        # The one thread that a launcher has: to move a process the kernel stops all other forks, and each of
        # the four moves would take a millisecond.
        members = "tasks" if self.version == 1 else "cgroup.procs"
        try:
            for controller in self.directories:
                self._write(controller, f"{name}/{members}", _OURSELVES)
            yield
        finally:
            for home in set(self.homes.values()):
                _write_at(home, members, _OURSELVES)

    def cpu_s(self, name: str) -> float:
        """Processor seconds of all that ever ran in the group; 0 where nobody counts them."""
        with contextlib.suppress(OSError, ValueError):
            if self.version == 1 and METER in self.directories:
                return int(self._read(METER, f"{name}/{METER}.usage")) / 1e9
            if self.version == 2:
                told = dict(line.split() for line in self._read("memory", f"{name}/cpu.stat").splitlines())
                return int(told.get("usage_usec", 0)) / 1e6
        return 0.0

    def oom_kills(self, name: str) -> int:
        """How often the kernel ended something in the group for want of memory."""
        with contextlib.suppress(OSError):
            for line in self._read("memory", f"{name}/{_EVENTS[self.version]}").splitlines():
                word, _, number = line.partition(" ")
                if word == "oom_kill":
                    return int(number)
        return 0

    def remove(self, name: str) -> None:
        """Remove the group, now or with a later one: it stays while a process of it is not reaped."""
        self.late.add(name)
        for one in tuple(self.late):
            if all(_is_removed(one, directory) for directory in self._distinct()):
                self.late.discard(one)

    def _distinct(self) -> Iterator[int]:
        yield from self.directories.values() if self.version == 1 else [self.directories["memory"]]

    def _limit(self, controller: str, path: str, wanted: int) -> None:
        self._write(controller, path, str(wanted))
        told = self._read(controller, path)
        if told != str(wanted):
            raise LimitNotHeld(f"{controller} of a control group: {told}, want {wanted}")

    def _write(self, controller: str, path: str, text: str) -> None:
        _write_at(self.directories[controller], path, text)

    def _read(self, controller: str, path: str) -> str:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self.directories[controller])
        with os.fdopen(descriptor) as file:
            return file.read().strip()

    def _sweep(self) -> None:
        for directory in self._distinct():
            found = [name for name in os.listdir(directory) if name.startswith(f"{PREFIX}-{_here()}-")]
            # After them: whose group is found and who is not among the living now has ended.
            living = {owner(int(name)) for name in os.listdir("/proc") if name.isdigit()}
            for name in found:
                if name.removeprefix(f"{PREFIX}-").rpartition("-")[0] not in living:
                    _end_all(name, directory)
                    _is_removed(name, directory)


def _add_meter(opened: dict[str, int], homes: dict[str, int]) -> None:
    """Add where processor time is counted, if groups can be made there: nothing is bounded by it."""
    name, found = new_name(), list[int]()
    try:
        for _both in range(2):
            place = _ROOT / METER / _own_group(METER)
            found.append(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        os.mkdir(name, 0o755, dir_fd=found[0])
        _write_at(found[0], f"{name}/tasks", _OURSELVES)
        _write_at(found[1], "tasks", _OURSELVES)
        os.rmdir(name, dir_fd=found[0])
    except OSError:
        if found:
            with contextlib.suppress(OSError):
                os.rmdir(name, dir_fd=found[0])
        for descriptor in found:
            os.close(descriptor)
        return
    opened[METER], homes[METER] = found


def _end_all(name: str, directory: int) -> None:
    """End what outlived its launcher: one that is killed at the wrong moment may leave a sandbox."""
    for _ in range(_SWEEPS):
        try:
            descriptor = os.open(f"{name}/cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        except OSError:
            return
        with os.fdopen(descriptor) as file:
            pids = file.read().split()
        if not pids:
            return
        # 0 is one that has no number in our namespace; to `kill` it would mean all of our own group.
        for pid in set(pids) - {"0"}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(_SWEEP_PAUSE_S)


def _write_at(directory: int, path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _is_removed(name: str, directory: int) -> bool:
    try:
        os.rmdir(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _own_group(controller: str) -> str:
    """Where we are among the groups of a controller of version 1, or of version 2 with ""; below its root."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return path.lstrip("/")
    return ""
