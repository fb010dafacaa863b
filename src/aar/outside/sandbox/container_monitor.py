"""The process that stands for a container out here: starts it, tells the launcher, takes it away again.

    python -I -S container_monitor.py JSON

The JSON: "status_fd", "runtime" (the words that start it), "bundle", "name", "limits" (what the kernel must
say of the container's control group, by file) and "oom" (the file that counts what it ended in there). It is
the parent of the container's first process, whoever made that, and ends it when it is told to (SIGTERM),
which the kernel does when the launcher dies. Run as a file, alone: the standard library only.
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
from typing import Any

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


class _Monitor:
    def __init__(self, given: dict[str, Any]) -> None:
        self._given = given
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
            os.write(self._given["status_fd"], json.dumps(told).encode() + b"\n")

    def run(self) -> int:
        """Start it, wait for its end and take it away; not 0 when that could not be, and why on stderr."""
        runtime, bundle, name = (self._given[word] for word in ("runtime", "bundle", "name"))
        pid_file = f"{bundle}/pid"
        try:
            words = ["run", "--detach", "--bundle", bundle, "--pid-file", pid_file, name]
            started = subprocess.run([*runtime, *words], check=False)
            if started.returncode != 0:
                return started.returncode
            self._pid = int(Path(pid_file).read_text())
            untrue = _untrue(self._given["limits"])
            if untrue:
                self.end()
                sys.stderr.write(f"limits that do not hold: {untrue}\n")
                return 1
            self.tell(child_pid=self._pid)
            self._wait()
        finally:
            subprocess.run([*runtime, "delete", "--force", name], stderr=subprocess.DEVNULL, check=False)
        return 0

    def _wait(self) -> None:
        if self._is_told_to_end:
            self.end()
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        code = os.waitstatus_to_exitcode(status)
        self.tell(exit_code=code if code >= 0 else 128 - code, oom_kills=_oom_kills(self._given["oom"]))


def _untrue(limits: dict[str, int]) -> str:
    """What the kernel says of limits that it was told, where it is something else; "" when it is not."""
    found = []
    for path, wanted in limits.items():
        try:
            told = Path(path).read_text().strip()
        except OSError as error:
            told = str(error.strerror)
        if told != str(wanted):
            found.append(f"{path}: {told}, want {wanted}")
    return "; ".join(found)


def _oom_kills(path: str) -> int:
    """How often the kernel ended something in there for want of memory; 0 where it does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(path).read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def main(words: list[str]) -> int:
    """Be the parent of one container from its start to its end."""
    libc = ctypes.CDLL(None, use_errno=True)
    monitor = _Monitor(json.loads(words[0]))
    signal.signal(signal.SIGTERM, monitor.end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    parent = os.getppid()
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        return 1
    return monitor.run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
