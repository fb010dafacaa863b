"""What /proc says of a process and its descendants."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_IN_MEMORY = re.compile(rb"^(?:Rss(?:Anon|Shmem)|VmSwap):\s*(\d+)", re.MULTILINE)
# No capability and none to be had, no new privileges, a filter.
_WALLED = re.compile(
    rb"^CapInh:\s*0+\nCapPrm:\s*0+\nCapEff:\s*0+\nCapBnd:\s*0+\nCapAmb:\s*0+\nNoNewPrivs:\s*1\nSeccomp:\s*2\n",
    re.MULTILINE,
)
_OVER = (b"Z", b"X")


@dataclass(frozen=True, slots=True)
class Use:
    """Processor seconds (user and system, reaped children included) and what is in use now.

    `threads` counts those of all processes, `most_files` the open files of the process that has most;
    `sessions` has one process of each session. `unwalled` are those inside that hold a capability, might gain
    one, or have no system-call filter.
    """

    cpu_s: float
    memory_bytes: int
    threads: int = 0
    most_files: int = 0
    sessions: Mapping[int, int] = field(default_factory=dict)
    unwalled: frozenset[int] = frozenset()


def tree_use(root: int, first_inside: int | None = None) -> Use:
    """The use of `root` and of everything below it; `first_inside` and what is below that is inside.

    Memory is anonymous and shared pages, and what of them lies in swap; a page that two processes share
    counts twice. Where the kernel lists no children (CONFIG_PROC_CHILDREN), `root` alone.
    """
    ticks, memory_bytes, threads, most_files = 0, 0, 0, 0
    sessions: dict[int, int] = {}
    unwalled: set[int] = set()
    waiting = [(root, False)]
    while waiting:
        pid, is_inside = waiting.pop()
        is_inside = is_inside or pid == first_inside
        fields = _stat(pid)
        if fields is None:
            continue
        ticks += sum(map(int, fields[11:15]))
        status = _status(pid)
        memory_bytes += 1024 * sum(map(int, _IN_MEMORY.findall(status)))
        if is_inside and status and fields[0] not in _OVER and not _WALLED.search(status):
            unwalled.add(pid)
        threads += int(fields[17])
        sessions[int(fields[3])] = pid
        most_files = max(most_files, _open_files(pid))
        waiting += [(child, is_inside) for child in _children(pid, int(fields[17]))]
    return Use(ticks / _TICKS_PER_S, memory_bytes, threads, most_files, sessions, frozenset(unwalled))


def tree_cpu_s(root: int) -> float:
    """Processor seconds of `root` and of everything below it, as in `tree_use`: a tenth of the work."""
    ticks, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        fields = _stat(pid)
        if fields is not None:
            ticks += sum(map(int, fields[11:15]))
            waiting += _children(pid, int(fields[17]))
    return ticks / _TICKS_PER_S


def parent_of(pid: int) -> int | None:
    """The parent's number, or None when the process is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def children_of(pid: int) -> list[int]:
    """Numbers of the children, those not yet reaped included; empty when the process is gone."""
    fields = _stat(pid)
    return [] if fields is None else _children(pid, int(fields[17]))


def _children(pid: int, threads: int) -> list[int]:
    found: list[int] = []
    try:
        # Nearly all have one thread: a list need not be asked for.
        for thread in os.listdir(f"/proc/{pid}/task") if threads > 1 else (pid,):
            found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except OSError:
        return found
    return found


def _read(path: str) -> bytes:
    """All of a file of /proc: a crowd of hundreds is read four times a second, and open() takes its time."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        told = chunk = os.read(descriptor, 65536)
        while chunk:
            chunk = os.read(descriptor, 65536)
            told += chunk
        return told
    finally:
        os.close(descriptor)


def _stat(pid: int) -> list[bytes] | None:
    """/proc/PID/stat from the state on: the name before it may hold anything, spaces and brackets too."""
    try:
        return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split() or None
    except OSError:
        return None


def _open_files(pid: int) -> int:
    """Open files of a process: from Linux 6.2 on the size of the directory that lists them."""
    try:
        return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _status(pid: int) -> bytes:
    try:
        return _read(f"/proc/{pid}/status")
    except OSError:
        return b""
