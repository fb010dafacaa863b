"""Limits that a sandbox may lean on without dying of them: when leaning is called a bomb, and ends it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from aar.outside.sandbox.argv import OPEN_FILES
from aar.outside.sandbox.processes import Use
from aar.outside.sandbox.spec import FILLED_LATER, Reason, SandboxSpec

# The file systems that it can write to, seen from outside through its first process. The root that holds
# them is read-only: none can be replaced by a link.
WRITABLE = ("workspace", "tmp", "dev/shm", "var/tmp")
# A file without a byte holds 1 KiB of the kernel, which no size of a file system counts.
MOST_FILES_ON_DISK = 50_000
# Each session may be a share of the processors of its own; a program needs few.
MOST_SESSIONS = 4
_LAST = "19"
# A full second. What rests at its limit is left alone: a program may use all that it was given.
LOOKS = 4
BUSY_CPU = 0.1


@dataclass(slots=True)
class Pressure:
    """What was seen of one sandbox, look by look."""

    looks: dict[Reason, int] = field(default_factory=dict)
    since_cpu_s: float = 0.0
    since_s: float = 0.0
    slowed: set[int] = field(default_factory=set)

    def share_fairly(self, use: Use) -> None:
        """Put the sessions of one that has many of them behind everybody else's.

        Without the right to (CAP_SYS_ADMIN) the kernel takes ten a second; the next look goes on.
        """
        for session, pid in use.sessions.items() if len(use.sessions) > MOST_SESSIONS else ():
            # bubblewrap itself is in the launcher's.
            if session in self.slowed or session == os.getsid(0):
                continue
            try:
                Path(f"/proc/{pid}/autogroup").write_text(_LAST)
            except OSError:  # over, refused, or a kernel that divides otherwise
                return
            self.slowed.add(session)

    def look(
        self, spec: SandboxSpec, use: Use, init: int | None, cpu_s: float, now_s: float
    ) -> tuple[Reason, str] | None:
        """Why it must end now, if it must; `init` is its first process, by its number out here.

        `cpu_s` is what it used so far, `now_s` a monotonic clock.
        """
        full, files = _disk(init, spec)
        if files > MOST_FILES_ON_DISK:
            return "disk", f"{files} files, at most {MOST_FILES_ON_DISK}"
        leaning: dict[Reason, str] = {}
        # bubblewrap itself is counted here, and is no process of the sandbox.
        if use.threads > spec.processes:
            leaning["processes"] = f"all {spec.processes} in use"
        if use.most_files >= OPEN_FILES:
            leaning["files"] = f"{use.most_files} open in one process"
        if full:
            leaning["disk"] = f"/{full} is full"
        if not leaning or not self.looks:
            self.since_cpu_s, self.since_s = cpu_s, now_s
        is_busy = cpu_s - self.since_cpu_s > BUSY_CPU * (now_s - self.since_s)
        self.looks = {reason: self.looks.get(reason, 0) + 1 for reason in leaning}
        for reason, looks in self.looks.items():
            if looks >= LOOKS and is_busy:
                return reason, leaning[reason]
        return None


def _disk(init: int | None, spec: SandboxSpec) -> tuple[str, int]:
    """Which file system is full, "" for none, and how many files there are in all."""
    full, files = "", 0
    root = f"/proc/{init}/root"
    try:
        # Until it is set up it still has our root, where the host's files would be counted.
        if init is None or os.path.samestat(os.stat(root), os.stat("/")):
            return "", 0
    except OSError:
        return "", 0
    for place in (*WRITABLE, *(folder[1:] for folder in FILLED_LATER if spec.waits)):
        try:
            told = os.statvfs(os.path.join(root, place))
        except OSError:  # over, or between two roots
            continue
        files += told.f_files - told.f_ffree
        if told.f_bavail == 0 and told.f_blocks:
            full = place
    return full, files
