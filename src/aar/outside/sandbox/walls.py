"""A sandbox's walls as they are seen from outside, where nothing in it has a say.

All of them are looked at once it is up, and those of every process four times a second from then on.
"""

from __future__ import annotations

import errno
import os
import re
from dataclasses import dataclass
from pathlib import Path

from aar.outside.sandbox.pressure import WRITABLE
from aar.outside.sandbox.processes import Use
from aar.outside.sandbox.spec import FILLED_LATER

# A sandbox is up in 20 ms; on a machine that is far too busy it may take as long.
UP_S = 20.0
_WITHOUT = "capabilities, privileges to gain, or no system-call filter"
_NAMESPACES = ("user", "pid", "net", "ipc", "uts", "cgroup", "mnt")
# In /dev, which a container's own root owns, and nobody is.
_MAY_BE_WRITTEN = frozenset(
    ["/proc", "/dev", "/dev/pts", "/dev/ptmx", "/dev/mqueue", *FILLED_LATER, *(f"/{one}" for one in WRITABLE)]
)
# Devices by themselves, wherever they are mounted: what hides a file of /proc is one.
_DEVICES = frozenset(f"/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))
_OVER = (errno.ENOENT, errno.ESRCH, errno.EINVAL)
_FIELD = re.compile(r"^(\w+):\s*(.*)$", re.MULTILINE)


@dataclass(slots=True)
class Walls:
    """What was seen of one sandbox's, look by look."""

    are_up: bool = False
    is_doubted: bool = False
    suspects: frozenset[int] = frozenset()

    def look(
        self, use: Use, init: int | None, uid: int | None, age_s: float, *, at_once: bool = False
    ) -> str | None:
        """What is missing of them, if anything; `init` is its first process, `uid` the one it has out here.

        `age_s`, in seconds, is since its start. One look is not enough, unless it has to be `at_once`: a
        process that is on its way in, or out, has not all of its walls.
        """
        if self.are_up:
            still = use.unwalled & self.suspects
            self.suspects = use.unwalled
            return f"process {min(still)} has {_WITHOUT}" if still else None
        if init is None or init in use.unwalled:
            return f"{_WITHOUT} after {age_s:.0f} s" if at_once or age_s > UP_S else None
        missing = missing_wall(init, uid)
        if missing is None:
            self.are_up = True
        elif self.is_doubted or at_once:
            return missing
        self.is_doubted = True
        return None


def missing_wall(pid: int, uid: int | None) -> str | None:
    """The first wall that this process of a sandbox has not; None when all are there, or it is over."""
    try:
        told = dict(_FIELD.findall(Path(f"/proc/{pid}/status").read_text(errors="replace")))
        own = dict(_FIELD.findall(Path("/proc/self/status").read_text()))
        shared = [kind for kind in _NAMESPACES if _namespace(pid, kind) == _namespace(os.getpid(), kind)]
        mounts = Path(f"/proc/{pid}/mountinfo").read_text(errors="replace").splitlines()
    except OSError as error:
        # What has no namespaces any more is on its way out.
        return None if error.errno in _OVER else f"it cannot be looked at: {error}"
    if told["State"].startswith(("Z", "X")):
        return None
    if uid is not None and set(told["Uid"].split()) | set(told["Gid"].split()) != {str(uid)}:
        return f"uid {told['Uid'].split()}, want {uid}"
    if shared or len(told["NSpid"].split()) != len(own["NSpid"].split()) + 1:
        return f"the host's own namespace: {', '.join(shared) or 'pid'}"
    # Named so from Linux 5.9 on.
    if int(told.get("Seccomp_filters", "2")) < 2:
        return "one system-call filter, want two"
    beyond = sorted(_writable(mounts) - _MAY_BE_WRITTEN)
    return f"writable: {', '.join(beyond)}" if beyond else None


def _namespace(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def _writable(mounts: list[str]) -> set[str]:
    """Where what is mounted may be written to, devices left out; from lines of proc_pid_mountinfo(5)."""
    fields = [line.split(" ") for line in mounts]
    return {one[4] for one in fields if "ro" not in one[5].split(",") and one[3] not in _DEVICES}
