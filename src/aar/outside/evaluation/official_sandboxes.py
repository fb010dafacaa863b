"""Sandboxes for official runs: each is handed one submission and then destroyed; some wait ready-made.

Interpreter and numerical libraries are in memory before the submission is there. All runs go this way,
whether a sandbox waited for them or was started for them: a method sees the same but for the age of its
process, and its time begins with its files. One that waits holds nothing: no secret, no seed, no file of any
submission.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aar.lab.handed_files import format_files
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.spec import FILLED_LATER, SandboxError, SandboxSpec, check_destinations

WALL_S = 120.0
CPU_S = 90
MEMORY_MIB = 2048
PROCESSES = 64
FIRST_UID_SLOT = 100
READY = b"ready\n"

_PIPE_BYTES = 1 << 20
_READY_S = 60.0
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class _Held:
    running: Running
    slot: int


class OfficialSandboxes:
    """Threads may share it. `ahead` is how many may wait: each holds 20 MiB, and took 0.3 s of processor."""

    def __init__(self, launcher: LauncherClient, *, ahead: int = 0) -> None:
        self._launcher = launcher
        self._ahead = ahead
        self._lock = threading.Lock()
        self._waiting: list[_Held] = []
        self._busy_slots: set[int] = set()
        # Of sandboxes that we heard no end of: something of them may be left.
        self._lost_slots: set[int] = set()

    def fill(self) -> None:
        """Start what should wait and does not, unless a run is on; returns at once.

        A launcher that starts none is no error here: whoever needs a sandbox is told.
        """
        with self._lock:
            if len(self._busy_slots) > len(self._waiting):
                return
            over = [held for held in self._waiting if held.running.is_over()]
            self._waiting = [held for held in self._waiting if held not in over]
            with contextlib.suppress(SandboxError, OSError):
                while len(self._waiting) < self._ahead:
                    self._waiting.append(self._start())
        for held in over:
            self._end(held)

    @contextlib.contextmanager
    def handed(self, files: Mapping[str, bytes]) -> Iterator[Running]:
        """A sandbox that has just been handed `files`, by their paths, and nothing before; it ends with this.

        Its output is that of the run alone. Raises `MalformedSpec` for paths that no submission has, and what
        `LauncherClient.start` raises.
        """
        check_destinations(files, tuple(f"{folder}/" for folder in FILLED_LATER))
        held = self._ready()
        try:
            running = held.running
            running.begin()
            assert running.stdin is not None
            # One that is over does not read: `collect` tells why.
            with contextlib.suppress(BrokenPipeError):
                running.stdin.write(format_files(files))
                running.stdin.close()
            yield running
        finally:
            self._end(held)

    def close(self) -> None:
        """End those that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for held in waiting:
            self._end(held)

    def _ready(self) -> _Held:
        """One that has said that it is ready; if it was started for this and is not, its end tells why."""
        while True:
            with self._lock:
                held, is_new = (self._waiting.pop(0), False) if self._waiting else (self._start(), True)
            if _is_ready(held.running) or is_new:
                return held
            self._end(held)

    def _start(self) -> _Held:
        taken = self._busy_slots | self._lost_slots
        slot = next(slot for slot in range(FIRST_UID_SLOT, 1 << 16) if slot not in taken)
        running = self._launcher.start(
            SandboxSpec(
                name=f"official-{slot}",
                profile="official-run",
                argv=(*sandbox_python(), "-m", "aar.inside.official_run"),
                uid_slot=slot,
                memory_mib=MEMORY_MIB,
                processes=PROCESSES,
                cpu_s=CPU_S,
                wall_s=WALL_S,
                waits=True,
            )
        )
        # Room for most instances at once: each further piece would be two more turns of the processors.
        if running.stdin is not None:
            with contextlib.suppress(OSError):
                fcntl.fcntl(running.stdin, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._busy_slots.add(slot)
        return _Held(running, slot)

    def _end(self, held: _Held) -> None:
        """End it and, once nothing of it is left, give its uid back."""
        held.running.kill()
        lost = set()
        try:
            held.running.wait(_END_S)
        except TimeoutError:
            lost = {held.slot}
        held.running.close()
        with self._lock:
            self._busy_slots.discard(held.slot)
            self._lost_slots |= lost


def _is_ready(running: Running) -> bool:
    """Read that it is; False when it ends instead, or takes too long."""
    said, until = b"", time.monotonic() + _READY_S
    while len(said) < len(READY):
        if not select.select([running.stdout], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        chunk = os.read(running.stdout.fileno(), len(READY) - len(said))
        if not chunk:
            return False
        said += chunk
    return said == READY
