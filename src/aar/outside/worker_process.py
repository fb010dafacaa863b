"""The worker process: where researchers that are language models think, outside of every sandbox.

It alone gets the providers' keys, from the environment that the study is started with; it gets no label, no
key of the log and no way to an entry but its sockets. It starts as whoever runs the study, and becomes a uid
of its own (`uid` of its configuration) when its imports are done, as every service does
(`aar.outside.service.enter`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aar.outside.sandbox.runtime import package_root

WORKER = "worker"
# What follows a researcher's name where its second socket is meant, that of the worker.
AT_WORKER = "@worker"
# Words after Python's own; by name, for nothing out here knows that layer.
PROGRAM = ("-m", "aar.llm.worker")
MAX_STARTS = 4
# What it ends with when starting it again is no use: its configuration, or what a provider says of a model.
FOR_A_HUMAN = (2, 7)
# What ends a researcher in the worker, until a reviewer changes it; a pause is only waited for.
FOR_GOOD = ("stopped", "tokens", "dollars", "minutes", "sandbox-seconds", "submissions")
# A worker that lived so long was well: what ended it then is not held against the next one.
WELL_S = 300.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlace:
    """Where one researcher of the worker's is reached, and where its sandbox finds its socket."""

    gateway: str
    gateway_dir: str
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSetting:
    """What the control plane prepared for the worker: sockets, directory, uid (0: the caller's).

    `launcher` is `None` where the worker starts no sandbox: only the monitor is in it.
    """

    worker_socket: str
    places: Mapping[str, WorkerPlace]
    launcher: socket.socket | None
    directory: Path
    uid: int


class WorkerRefused(Exception):
    """The worker cannot do what the study wants, and a human has to look; the message is one line."""


class WorkerProcess:
    """The worker, started again when it dies; it goes on from what the record and its directory say."""

    def __init__(
        self,
        setting: WorkerSetting,
        config: Mapping[str, Any],
        *,
        log: Path,
        environment: Mapping[str, str],
        program: Sequence[str] = PROGRAM,
    ) -> None:
        """`log`: the file for what it writes on standard error. `environment`: all that it is started with,
        but for what every Python of ours gets. `program`: words after Python's own.
        """
        self._setting = setting
        self._config = {
            **config,
            "worker_socket": setting.worker_socket,
            "directory": str(setting.directory),
            "uid": setting.uid,
        }
        self._log = log
        self._environment = dict(environment)
        self._program = tuple(program)
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._starts = 0
        self._started_s = 0.0
        self._offered: set[tuple[str, int, str]] = set()
        self._ended: set[str] = set()
        self.state = "new"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        """Its process; 0 when it does not run."""
        return 0 if self._process is None else self._process.pid

    def wake(
        self, offered: Collection[tuple[str, int]], able: Collection[str], *, is_idle: bool = False
    ) -> None:
        """Start it again when it found nothing to do, for what is new; `is_idle`: it runs, and works on none.

        That is a task on offer, by its name and how often it was leased, to a researcher that may go on. What
        it was started for and left lying is not new.
        """
        new = {(*task, name) for task in offered for name in able} - self._offered
        if new and (self.state == "finished" or (is_idle and self.is_running)):
            self._offered |= new
            self.stop()
            # It ended in order before, which is not counted as a try.
            self._starts -= 1
            self.start()

    def let_go_on(self, stops: Mapping[str, str]) -> None:
        """Start it anew when one of its researchers that had to end may go on: it has left that one.

        `stops`: by researcher, what stops it now. The others' work is kept, and goes on where it was.
        """
        able = {name for name, stop in stops.items() if stop == ""}
        if able & self._ended and self.is_running:
            self.stop()
            self._starts -= 1
            self.start()
        self._ended = {name for name, stop in stops.items() if stop in FOR_GOOD}

    def start(self) -> None:
        """Start it. Its configuration is one JSON object on standard input."""
        lifeline, self._lifeline = os.pipe()
        launcher = self._setting.launcher
        launchers = [] if launcher is None else [launcher.fileno()]
        config = {**self._config, "launcher_fd": (launchers or [-1])[0], "lifeline_fd": lifeline}
        self._starts += 1
        self._started_s = time.monotonic()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", *self._program],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=self._environment
                | {
                    "PYTHONPATH": str(package_root().parent),
                    "OMP_NUM_THREADS": "1",
                    "HOME": str(self._setting.directory),
                },
                pass_fds=[lifeline, *launchers],
                start_new_session=True,
            )
        os.close(lifeline)
        self.state = "running"
        stdin = self._process.stdin
        # One that died before it had read all of it is noticed by `watch`.
        with suppress(BrokenPipeError):
            if stdin is not None:
                with stdin:
                    stdin.write(json.dumps(config).encode())

    def watch(self) -> bool:
        """Start it again when it died. True when it has just been given up: its researchers are lost.

        Raises `WorkerRefused` when it says that starting it again is no use.
        """
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return False
        self._let_go()
        if time.monotonic() - self._started_s > WELL_S:
            self._starts = 0
        if code in FOR_A_HUMAN:
            raise WorkerRefused(self._last_words())
        if code == 0:
            self.state = "finished"
        elif self._starts < MAX_STARTS:
            self.start()
        else:
            how = f"signal {-code}" if code < 0 else f"exit {code}"
            self.state = f"failed ({how}): {self._last_words()}"
            return True
        return False

    def stop(self) -> None:
        """End it in order: it is asked to, and killed when it takes longer than `STOP_TIMEOUT_S`."""
        process = self._process
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except (subprocess.TimeoutExpired, KeyboardInterrupt) as error:
            process.kill()
            process.wait()
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            self._let_go()
        self.state = "stopped"

    def _let_go(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1
        self._process = None

    def _last_words(self) -> str:
        lines = self._log.read_text("utf-8", "replace").strip().splitlines() if self._log.exists() else []
        return lines[-1][:300] if lines else "it said nothing"
