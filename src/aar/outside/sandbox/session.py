"""A sandbox in which commands are run and files are moved, one after the other or at once.

Over the sandbox's own pipes speaks `aar.inside.exec_server`; a launcher started the sandbox and ends it.
Whatever comes out is hostile: a frame that does not fit, an answer that does not come or a dead server ends
the whole session. Every call returns within its own time, from any thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import select
import selectors
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import TracebackType
from typing import IO, Any, Self

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.asked import (
    COULD_NOT_RUN,
    MAX_INPUT_BYTES,
    MAX_OUTPUT_BYTES,
    MAX_READ_BYTES,
    Call,
    CallRefused,
    ExecCall,
    ExecReason,
    ExecResult,
    FileRefused,
    FileTooLarge,
    ReadCall,
    SessionEnded,
    Snapshot,
    SnapshotCall,
    SnapshotCaps,
    checked_command,
    checked_input,
    checked_path,
)
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.frames import CHUNK, Frame, FrameReader, MalformedFrame
from aar.outside.sandbox.results import parse_result
from aar.outside.sandbox.spec import Exit, SandboxSpec, SandboxUnavailable

__all__ = [
    "AT_ONCE", "MAX_INPUT_BYTES", "MAX_OUTPUT_BYTES", "MAX_READ_BYTES", "CallRefused", "ExecReason",
    "ExecResult", "FileRefused", "FileTooLarge", "Session", "SessionEnded", "Snapshot", "SnapshotCaps",
]  # fmt: skip

# Commands that run at the same time; one more waits for a place.
AT_ONCE = 32

# Beyond a command's own time: an honest server has ended it and told by then, on a busy machine too.
_GRACE_S = 20.0
_FILES_S = 120.0
_UP_S = 30.0
_PING_S = 10.0
# A pipe that has taken nothing for so long is read by nobody.
_STALLED_S = 20.0
_END_S = 10.0
_STOP_LOOK_S = 0.1
_STDERR_BYTES = 1 << 16
_PIPE_BYTES = 1 << 20
# The first process, the server, and a keeper for each command.
_PROCESSES_OF_OURS = 2 + AT_ONCE
_NO_PLACE = ExecResult(
    returncode=COULD_NOT_RUN,
    stdout=b"",
    stderr=f"the command could not be started: {AT_ONCE} others were running all the time\n".encode(),
    truncated=False,
    reason="wall",
)


class Session:
    """One sandbox; any number of threads may use it. Losing it does not end it: call `close`."""

    def __init__(self, running: Running, name: str) -> None:
        if running.stdin is None:
            raise CallRefused("a session speaks to its sandbox: start it without an input of its own")
        self.name = name
        self._running = running
        self._input = running.stdin.fileno()
        os.set_blocking(self._input, False)
        for pipe in (running.stdin, running.stdout):
            # Fewer turns of two processes for a large file; a user with many pipes keeps small ones.
            with contextlib.suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._sending = threading.Lock()
        self._at_once = threading.BoundedSemaphore(AT_ONCE)
        self._numbers = itertools.count(1)
        self._calls: dict[int, Call] = {}
        self._state = threading.Lock()
        self._closing = threading.Lock()
        self._over = ""
        self._exit: Exit | None = None
        self._stderr = bytearray()
        self._reader = threading.Thread(target=self._read, name=f"session {name}", daemon=True)
        self._reader.start()

    @classmethod
    def open(cls, client: LauncherClient, spec: SandboxSpec) -> Self:
        """Start the sandbox of `spec`, with our server in the place of its program.

        It may hold as many processes more as the server and its keepers are. Raises `SandboxRefused`,
        `SandboxUnavailable`.
        """
        argv = (*sandbox_python(), "-m", "aar.inside.exec_server")
        processes = min(spec.processes + _PROCESSES_OF_OURS, 4096)
        session = cls(client.start(replace(spec, argv=argv, processes=processes)), spec.name)
        if not session._answers(_UP_S):
            ended = session.close()
            said = session._stderr.decode(errors="backslashreplace")[-400:].strip()
            raise SandboxUnavailable(
                f"sandbox {spec.name!r} ended ({ended.reason} {ended.code} {ended.detail}) before its first "
                f"command: {said or 'without a word'}"
            )
        return session

    def exec(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        cwd: str = "/workspace",
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        output_bytes: int = 1 << 20,
        stop: threading.Event | None = None,
    ) -> ExecResult:
        """Run a command to its end; what it leaves in the background runs on, until the sandbox ends.

        `env` comes on top of the sandbox's own variables, never ours. `timeout_s` starts when the command
        does, and before that one may wait as long for a place among `AT_ONCE`; with `stop` set its time is
        up, whatever is left of it. `output_bytes` is for each stream. Raises `CallRefused` for what no
        command may be.
        """
        what = checked_command(argv, cwd, env or {}, timeout_s, output_bytes)
        call = ExecCall(output_bytes)
        header = {"do": "exec", "timeout_s": timeout_s, "output_bytes": output_bytes}
        given = checked_input(stdin)
        if not self._at_once.acquire(timeout=min(timeout_s, threading.TIMEOUT_MAX)):
            return _NO_PLACE
        try:
            self._ask(call, header, what, timeout_s + _GRACE_S, given, stop)
        except SessionEnded:
            return call.result(died=True)
        finally:
            self._at_once.release()
        return call.result(died=False)

    def read_file(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """The content of a regular file; symbolic links lead where they do for a command in the sandbox.

        Raises the `OSError` that a command in there would see, `FileRefused` for what is no file or holds
        more than `max_bytes`, `SessionEnded`.
        """
        call = ReadCall(max_bytes)
        self._ask(call, {"do": "read", "max_bytes": max_bytes}, checked_path(path), _FILES_S)
        call.check(path)
        return bytes(call.data)

    def read_result(self, path: str, *, max_bytes: int = MAX_READ_BYTES) -> Any:
        """The value in a JSON, CSV, .npy or safetensors file, by its ending: see `results`.

        Raises as `read_file` does, and `MalformedResult` for what is none, a pickle above all.
        """
        return parse_result(path, self.read_file(path, max_bytes=max_bytes))

    def write_file(self, path: str, data: bytes) -> None:
        """Make or replace a file, and the directories that it is in; not in one step for those who look.

        Raises as `read_file` does.
        """
        call = Call()
        self._ask(call, {"do": "write"}, checked_path(path), _FILES_S, checked_input(data))
        call.check(path)

    def snapshot(self, folder: str, *, caps: SnapshotCaps | None = None) -> Snapshot:
        """Every regular file below a folder of the sandbox; links are not followed.

        Raises `FileRefused` when there is more than `caps` allow, else as `read_file` does.
        """
        caps = caps or SnapshotCaps()
        call = SnapshotCall(caps)
        header = {
            "do": "snapshot",
            "max_files": caps.max_files,
            "max_bytes": caps.max_bytes,
            "max_depth": caps.max_depth,
            "max_name": caps.max_name,
        }
        self._ask(call, header, checked_path(folder), _FILES_S)
        call.check(folder)
        return call.snapshot()

    def is_alive(self) -> bool:
        """Ask the sandbox a trivial question; one that does not answer in time is ended."""
        return self._answers(_PING_S)

    def close(self) -> Exit:
        """End the sandbox with everything in it; how it ended, the first time and every other."""
        self._lose("closed", kill=not self._over)
        self._reader.join(_END_S)
        with self._closing:
            if self._exit is None:
                try:
                    self._exit = self._running.wait(_END_S)
                except TimeoutError:
                    self._exit = Exit("killed", -1, 0.0, 0.0, f"no word of its end within {_END_S} s")
                with self._sending:
                    self._running.close()
            return self._exit

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # Asking

    def _answers(self, patience_s: float) -> bool:
        try:
            self._ask(Call(), {"do": "ping"}, b"", patience_s)
        except SessionEnded:
            return False
        return True

    def _ask(
        self,
        call: Call,
        header: dict[str, Any],
        body: bytes,
        patience_s: float,
        more: bytes | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Send one call and wait until it is answered. Raises `SessionEnded`."""
        number = next(self._numbers)
        with self._state:
            if self._over:
                raise SessionEnded(f"sandbox {self.name!r}: {self._over}")
            self._calls[number] = call
        until = time.monotonic() + patience_s
        try:
            size = {} if more is None else {"input": len(more)}
            self._send({"id": number, **header, **size}, body, until)
            for at in range(0, len(more or b""), CHUNK):
                if call.answered.is_set():  # refused before all of it was there
                    break
                self._send({"id": number, "do": "more"}, (more or b"")[at : at + CHUNK], until)
            while stop is not None and not call.answered.wait(_STOP_LOOK_S):
                if stop.is_set() or time.monotonic() > until:
                    until = min(until, time.monotonic() + _GRACE_S)
                    self._send({"id": number, "do": "end"}, b"", until)
                    break
            if not call.answered.wait(max(0.0, until - time.monotonic())):
                self._lose(f"no answer to {header['do']!r} in {patience_s:.0f} s")
        finally:
            with self._state:
                self._calls.pop(number, None)
        if call.is_lost:
            raise SessionEnded(f"sandbox {self.name!r}: {self._over}")

    def _send(self, header: dict[str, Any], body: bytes, until: float) -> None:
        """Until then at the longest: one that takes a little now and again keeps nobody waiting either."""
        data = memoryview(json.dumps({**header, "size": len(body)}).encode() + b"\n" + body)
        if not self._sending.acquire(timeout=max(0.0, until - time.monotonic())):
            self._lose("took its input too slowly")
            return
        try:
            if self._over:
                return
            poll = select.poll()
            poll.register(self._input, select.POLLOUT)
            while data:
                patience_s = min(_STALLED_S, until - time.monotonic())
                if patience_s <= 0:
                    self._lose("took its input too slowly")
                    return
                if not poll.poll(patience_s * 1000):
                    self._lose(f"took no input for {patience_s:.0f} s")
                    return
                try:
                    data = data[os.write(self._input, data) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._lose("its server is gone")
                    return
        finally:
            self._sending.release()

    # Listening

    def _read(self) -> None:
        """In a thread of its own, until the sandbox is gone or says what no honest one does."""
        why = ""
        try:
            self._listen(self._running.stdout, self._running.stderr)
        except MalformedFrame as error:
            why = f"it said what no server says: {error}"
        except OSError as error:  # closed under us, when its end was not to be waited for
            why = f"its pipes cannot be read: {error}"
        finally:
            # At the end of its output it is over by itself, and the launcher knows of what.
            self._lose(why or "its server is gone", kill=bool(why))

    def _listen(self, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        frames = FrameReader()
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            selector.register(stderr, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    chunk = os.read(key.fd, CHUNK)
                    if key.fileobj is stderr:
                        self._stderr += chunk[: _STDERR_BYTES - len(self._stderr)]
                        # Ours writes nothing there: who fills it may wait at a full pipe.
                        if not chunk or len(self._stderr) >= _STDERR_BYTES:
                            selector.unregister(stderr)
                        continue
                    if not chunk:
                        return
                    for frame in frames.feed(chunk):
                        self._deliver(frame)

    def _deliver(self, frame: Frame) -> None:
        with self._state:
            call = self._calls.get(frame.call)
        if call is None or call.answered.is_set():
            raise MalformedFrame(f"{frame.say!r} for call {frame.call}, which is not open")
        call.take(frame)

    def _lose(self, why: str, *, kill: bool = True) -> None:
        """End the sandbox, and whatever waits for it."""
        with self._state:
            self._over = self._over or why
            calls = list(self._calls.values())
        if kill:
            self._running.kill()
        for call in calls:
            call.lose()
