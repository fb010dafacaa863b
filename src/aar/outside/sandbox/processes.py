"""What /proc says of a process and its descendants."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Use:
    """Processor seconds (user and system, reaped children included) and what is in use now.

    `threads` counts those of all processes, `most_files` the open files of the process that has most;
    `sessions` has one process of each session.
    """

    cpu_s: float
    memory_bytes: int
    threads: int = 0
    most_files: int = 0
    sessions: Mapping[int, int] = field(default_factory=dict)


def tree_use(root: int) -> Use:
    """The use of `root` and of everything below it.

    Memory is anonymous and shared pages; a page that two processes share counts twice. Where the kernel lists
    no children (CONFIG_PROC_CHILDREN), `root` alone.
    """
    ticks, memory_bytes, threads, most_files, waiting = 0, 0, 0, 0, [root]
    sessions: dict[int, int] = {}
    while waiting:
        pid = waiting.pop()
        fields = _stat(pid)
        if fields is None:
            continue
        ticks += sum(int(field) for field in fields[11:15])
        memory_bytes += _memory_bytes(pid)
        threads += int(fields[17])
        sessions[int(fields[3])] = pid
        most_files = max(most_files, _open_files(pid))
        waiting += children_of(pid)
    return Use(ticks / _TICKS_PER_S, memory_bytes, threads, most_files, sessions)


def parent_of(pid: int) -> int | None:
    """The parent's number, or None when the process is gone."""
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def children_of(pid: int) -> list[int]:
    """Numbers of the children, those not yet reaped included; empty when the process is gone."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, Path(f"/proc/{pid}/task/{thread}/children").read_text().split())
    except OSError:
        return found
    return found


def _stat(pid: int) -> list[str] | None:
    """/proc/PID/stat from the state on: the name before it may hold anything, spaces and brackets too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None


def _open_files(pid: int) -> int:
    """Open files of a process: from Linux 6.2 on the size of the directory that lists them."""
    try:
        return os.stat(f"/proc/{pid}/fd").st_size or len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def _memory_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    kib = [line.split()[1] for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    return 1024 * sum(map(int, kib))
