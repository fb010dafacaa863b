"""The process that stands for a container out here: starts it, tells the launcher, takes it away again.

    python -I -S container_monitor.py STATUS_FD MEMORY_EVENTS BUNDLE NAME RUNTIME...

It is the parent of the container's first process, whoever made that, and ends it when it is told to
(SIGTERM), which the kernel does when the launcher dies. Run as a file, alone: the standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class _Monitor:
    def __init__(self, status_fd: int) -> None:
        self._status_fd = status_fd
        self._pid = 0
        self._is_told_to_end = False

    def end(self, *_signal: object) -> None:
        self._is_told_to_end = True
        if self._pid:
            # Ours to reap and not reaped yet: the number is still its own.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)

    def tell(self, **what: int) -> None:
        with contextlib.suppress(BrokenPipeError):
            told = {name.replace("_", "-"): value for name, value in what.items()}
            os.write(self._status_fd, json.dumps(told).encode() + b"\n")

    def run(self, runtime: list[str], bundle: str, name: str, events: str) -> int:
        """Start it, wait for its end and take it away; the status of the runtime when that could not."""
        pid_file = f"{bundle}/pid"
        try:
            words = ["run", "--detach", "--bundle", bundle, "--pid-file", pid_file, name]
            started = subprocess.run([*runtime, *words], check=False)
            if started.returncode != 0:
                return started.returncode
            self._wait(int(Path(pid_file).read_text()), events)
        finally:
            subprocess.run([*runtime, "delete", "--force", name], stderr=subprocess.DEVNULL, check=False)
        return 0

    def _wait(self, pid: int, events: str) -> None:
        self._pid = pid
        self.tell(child_pid=self._pid)
        if self._is_told_to_end:
            self.end()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        self.tell(exit_code=code if code >= 0 else 128 - code, oom_kills=_oom_kills(events))


def _oom_kills(path: str) -> int:
    """How often the kernel ended something in there for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(path).read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def main(words: list[str]) -> int:
    """`words`: status descriptor, memory events, bundle, name, then the words that start the runtime."""
    libc = ctypes.CDLL(None, use_errno=True)
    monitor = _Monitor(int(words[0]))
    signal.signal(signal.SIGTERM, monitor.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    return monitor.run(words[4:], words[2], words[3], words[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
