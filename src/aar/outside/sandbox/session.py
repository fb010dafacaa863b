"""A sandbox in which commands are run and files are moved, one after the other or at once.

Over the sandbox's own pipes speaks `aar.inside.exec_server`; a launcher started the sandbox and ends it.
Whatever comes out is hostile: a frame that does not fit, an answer that does not come or a dead server ends
the whole session. Every call returns within its own time, from any thread.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import os
import select
import selectors
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import IO, Any, Literal, Self

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.frames import CHUNK, Frame, FrameReader, MalformedFrame
from aar.outside.sandbox.results import parse_result
from aar.outside.sandbox.spec import Exit, SandboxError, SandboxSpec, SandboxUnavailable

ExecReason = Literal["exited", "wall", "output", "sandbox-died"]

# Commands that run at the same time; one more waits for a place.
AT_ONCE = 32
MAX_INPUT_BYTES = 64 << 20
MAX_READ_BYTES = 100 << 20
MAX_OUTPUT_BYTES = 64 << 20

_MAX_WORDS_BYTES = 4 << 20
_MAX_PATH_BYTES = 4096
_MAX_TIMEOUT_S = 1_000_000.0
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
# An honest server gathers small pieces for 2 ms, so that two streams are 1000 frames a second.
_FRAMES, _FRAMES_PER_S = 2000, 4000.0
SMALL_BYTES = 4096
# The first process, the server, and a keeper for each command.
_PROCESSES_OF_OURS = 2 + AT_ONCE
_COULD_NOT_RUN = 126
_ERRNOS = frozenset(
    {
        errno.EPERM, errno.ENOENT, errno.EIO, errno.ENXIO, errno.EACCES, errno.EEXIST, errno.ENOTDIR,
        errno.EISDIR, errno.EINVAL, errno.ENFILE, errno.EMFILE, errno.EFBIG, errno.ENOSPC, errno.EROFS,
        errno.ENAMETOOLONG, errno.ELOOP, errno.ENOMEM, errno.ETXTBSY, errno.EDQUOT,
    }
)  # fmt: skip


class SessionEnded(SandboxError):
    """The session's sandbox is gone, or is being ended for what it did; `Session.close` says how it ended."""


class FileRefused(SandboxError):
    """A path in the sandbox leads to what is no file, or to more than was asked for."""


class FileTooLarge(FileRefused):
    """There is more than was asked for."""


class CallRefused(SandboxError, ValueError):
    """A command, path or input that no session takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecResult:
    """What a command wrote, each stream cut at the cap, and how it ended; all of it a claim of the sandbox.

    `returncode` is 0 to 255: 128 + signal number when a signal ended it, 127 when there is no such program or
    directory, 126 when it could not be started, and -1 for "sandbox-died". `reason` is "wall" when its time
    was up and "output" when it went on writing far past the cap; it was killed then, and all of its
    descendants. `truncated` says that there was more output than is here.
    """

    returncode: int
    stdout: bytes
    stderr: bytes
    truncated: bool
    reason: ExecReason


_NO_PLACE = ExecResult(
    returncode=_COULD_NOT_RUN,
    stdout=b"",
    stderr=f"the command could not be started: {AT_ONCE} others were running all the time\n".encode(),
    truncated=False,
    reason="wall",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotCaps:
    """How much a snapshot may hold; `max_name` is for a whole path below the folder, in bytes."""

    max_files: int = 5000
    max_bytes: int = 50 << 20
    max_depth: int = 32
    max_name: int = 1024


class Snapshot(dict[str, bytes]):
    """Contents by path below the folder; `skipped` has what was left out, and why, in one word.

    "symlink", "not-a-file" (a pipe, device or socket), "depth", "unreadable", and "name" for one that is too
    long, not UTF-8 or holds what nobody can see. Names there are escaped.
    """

    def __init__(self) -> None:
        super().__init__()
        self.skipped: dict[str, str] = {}


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
        self._calls: dict[int, _Call] = {}
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
        what = _checked_command(argv, cwd, env or {}, timeout_s, output_bytes)
        call = _Exec(output_bytes)
        header = {"do": "exec", "timeout_s": timeout_s, "output_bytes": output_bytes}
        given = _checked_input(stdin)
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
        call = _Read(max_bytes)
        self._ask(call, {"do": "read", "max_bytes": max_bytes}, _checked_path(path), _FILES_S)
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
        call = _Call()
        self._ask(call, {"do": "write"}, _checked_path(path), _FILES_S, _checked_input(data))
        call.check(path)

    def snapshot(self, folder: str, *, caps: SnapshotCaps | None = None) -> Snapshot:
        """Every regular file below a folder of the sandbox; links are not followed.

        Raises `FileRefused` when there is more than `caps` allow, else as `read_file` does.
        """
        caps = caps or SnapshotCaps()
        call = _TakeSnapshot(caps)
        header = {
            "do": "snapshot",
            "max_files": caps.max_files,
            "max_bytes": caps.max_bytes,
            "max_depth": caps.max_depth,
            "max_name": caps.max_name,
        }
        self._ask(call, header, _checked_path(folder), _FILES_S)
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
            self._ask(_Call(), {"do": "ping"}, b"", patience_s)
        except SessionEnded:
            return False
        return True

    def _ask(
        self,
        call: _Call,
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
            self._send({"id": number, **header, **size}, body)
            for at in range(0, len(more or b""), CHUNK):
                if call.answered.is_set():  # refused before all of it was there
                    break
                self._send({"id": number, "do": "more"}, (more or b"")[at : at + CHUNK])
            while stop is not None and not call.answered.wait(_STOP_LOOK_S):
                if stop.is_set() or time.monotonic() > until:
                    self._send({"id": number, "do": "end"}, b"")
                    until = min(until, time.monotonic() + _GRACE_S)
                    break
            if not call.answered.wait(max(0.0, until - time.monotonic())):
                self._lose(f"no answer to {header['do']!r} in {patience_s:.0f} s")
        finally:
            with self._state:
                self._calls.pop(number, None)
        if call.is_lost:
            raise SessionEnded(f"sandbox {self.name!r}: {self._over}")

    def _send(self, header: dict[str, Any], body: bytes) -> None:
        data = memoryview(json.dumps({**header, "size": len(body)}).encode() + b"\n" + body)
        with self._sending:
            if self._over:
                return
            poll = select.poll()
            poll.register(self._input, select.POLLOUT)
            while data:
                if not poll.poll(_STALLED_S * 1000):
                    self._lose(f"took no input for {_STALLED_S:.0f} s")
                    return
                try:
                    data = data[os.write(self._input, data) :]
                except BlockingIOError:
                    continue
                except OSError:
                    self._lose("its server is gone")
                    return

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


class _Call:
    """One question, and what came of it so far. "done" or "failed" answers it.

    `many` is how many frames there may be at once; beyond, so many a second: reading them costs us.
    """

    def __init__(self, many: int = 0) -> None:
        self._many = _FRAMES + many
        self._since_s = time.monotonic()
        self._frames = 0
        self.answered = threading.Event()
        self.is_lost = False
        self.failed: dict[str, Any] = {}
        self.done: dict[str, Any] = {}

    def take(self, frame: Frame) -> None:
        """Raise `MalformedFrame` for what is no answer to this."""
        self._frames += 1
        if self._frames > self._many + _FRAMES_PER_S * (time.monotonic() - self._since_s):
            raise MalformedFrame(f"{self._frames} frames: an honest server gathers what it has to say")
        if frame.say == "failed":
            self.failed = frame.fields
        elif frame.say == "done" and self.is_whole(frame.fields):
            self.done = frame.fields
        else:
            self.add(frame)
            return
        self.answered.set()

    def is_whole(self, fields: dict[str, Any]) -> bool:
        """Whether "done" with these fields ends this call."""
        return not fields

    def add(self, frame: Frame) -> None:
        """Take a part of the answer; a call without parts has none."""
        raise MalformedFrame(f"{frame.say!r} is no answer here")

    def lose(self) -> None:
        if not self.answered.is_set():
            self.is_lost = True
            self.answered.set()

    def check(self, path: str) -> None:
        """Raise what kept the server from doing it."""
        if not self.failed:
            return
        why, number = self.failed["why"], self.failed["errno"]
        if why == "os":
            number = number if number in _ERRNOS else errno.EIO
            raise OSError(number, os.strerror(number), path)
        if why == "not-a-file":
            raise FileRefused(f"{path}: want a regular file, not a pipe, device or socket")
        raise FileTooLarge(f"{path}: holds more than was asked for ({why}); ask for less, or allow more")


class _Exec(_Call):
    def __init__(self, cap: int) -> None:
        super().__init__(2 * cap // SMALL_BYTES)
        self._cap = cap
        self._streams = {"out": bytearray(), "err": bytearray()}

    def is_whole(self, fields: dict[str, Any]) -> bool:
        return bool(fields)

    def add(self, frame: Frame) -> None:
        kept = self._streams.get(frame.say)
        if kept is None or len(kept) + len(frame.body) > self._cap:
            raise MalformedFrame(f"{frame.say!r} beyond what a command may write")
        kept += frame.body

    def result(self, *, died: bool) -> ExecResult:
        out, err = (bytes(kept) for kept in self._streams.values())
        if died:
            return ExecResult(returncode=-1, stdout=out, stderr=err, truncated=False, reason="sandbox-died")
        if self.failed:
            text = f"the command could not be started: {os.strerror(self.failed['errno'] or errno.EIO)}\n"
            return ExecResult(
                returncode=_COULD_NOT_RUN, stdout=b"", stderr=text.encode(), truncated=False, reason="exited"
            )
        code, truncated, reason = (self.done[name] for name in ("code", "truncated", "reason"))
        return ExecResult(returncode=code, stdout=out, stderr=err, truncated=truncated, reason=reason)


class _Read(_Call):
    def __init__(self, cap: int) -> None:
        super().__init__(cap // SMALL_BYTES)
        self._cap = cap
        self.data = bytearray()

    def add(self, frame: Frame) -> None:
        if frame.say != "data" or len(self.data) + len(frame.body) > self._cap:
            raise MalformedFrame(f"{frame.say!r} beyond the {self._cap} bytes that were asked for")
        self.data += frame.body


@dataclass(slots=True)
class _Taken:
    files: dict[str, bytearray] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    size: int = 0


class _TakeSnapshot(_Call):
    def __init__(self, caps: SnapshotCaps) -> None:
        # A file has its name and at least one part; what is left out has its name.
        super().__init__(3 * caps.max_files + caps.max_bytes // SMALL_BYTES)
        self._caps = caps
        self._taken = _Taken()
        self._last = ""

    def add(self, frame: Frame) -> None:
        taken = self._taken
        if frame.say == "file" and len(taken.files) < self._caps.max_files:
            self._last = _checked_name(frame.body, self._caps)
            if self._last in taken.files:
                raise MalformedFrame("a file twice")
            taken.files[self._last] = bytearray()
        elif frame.say == "data" and taken.files and taken.size + len(frame.body) <= self._caps.max_bytes:
            taken.files[self._last] += frame.body
            taken.size += len(frame.body)
        elif frame.say == "skipped" and len(taken.skipped) < self._caps.max_files:
            name = frame.body.decode(errors="backslashreplace")
            shown = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in name)
            # One of two that look the same once they are cut is enough.
            taken.skipped[shown[-self._caps.max_name :]] = frame.fields["why"]
        else:
            raise MalformedFrame(f"{frame.say!r} beyond what a snapshot may hold")

    def snapshot(self) -> Snapshot:
        snapshot = Snapshot()
        snapshot.update((name, bytes(data)) for name, data in self._taken.files.items())
        snapshot.skipped = self._taken.skipped
        return snapshot


def _checked_name(body: bytes, caps: SnapshotCaps) -> str:
    """A path below the folder, and nothing else: it may come to be one of ours."""
    try:
        name = body.decode()
    except UnicodeDecodeError:
        raise MalformedFrame("a name that is not UTF-8") from None
    parts = name.split("/")
    is_plain = all(part not in ("", ".", "..") for part in parts) and name.isprintable()
    if not is_plain or len(body) > caps.max_name or len(parts) > caps.max_depth + 1:
        raise MalformedFrame(f"a file by the name of {name[:80]!r}")
    return name


def _checked_command(
    argv: Sequence[str], cwd: str, env: Mapping[str, str], timeout_s: float, output_bytes: int
) -> bytes:
    """What the server is told of a command. Raises `CallRefused`."""
    if isinstance(argv, str) or not argv or not argv[0]:
        raise CallRefused(f"argv {argv!r}: want a program and its arguments")
    words = [*argv, cwd, *env, *env.values()]
    if any("\0" in word for word in words):
        raise CallRefused("a NUL in argv, cwd or env: no program can be given one")
    if any(not name or "=" in name for name in env):
        raise CallRefused(f"environment variables {sorted(env)}: want names without =")
    if not 0 < timeout_s <= _MAX_TIMEOUT_S:
        raise CallRefused(f"timeout_s {timeout_s}: want seconds above 0 and at most {_MAX_TIMEOUT_S:.0f}")
    if not 0 <= output_bytes <= MAX_OUTPUT_BYTES:
        raise CallRefused(f"output_bytes {output_bytes}: want 0 to {MAX_OUTPUT_BYTES}")
    what = json.dumps({"argv": list(argv), "cwd": cwd, "env": dict(env)}).encode()
    if len(what) > _MAX_WORDS_BYTES:
        raise CallRefused(f"a command of {len(what)} bytes: want at most {_MAX_WORDS_BYTES}; use stdin")
    return what


def _checked_path(path: str) -> bytes:
    encoded = os.fsencode(path)
    if not encoded or b"\0" in encoded or len(encoded) > _MAX_PATH_BYTES:
        raise CallRefused(f"path {path[:80]!r}: want 1 to {_MAX_PATH_BYTES} bytes and no NUL")
    return encoded


def _checked_input(data: bytes) -> bytes:
    if len(data) > MAX_INPUT_BYTES:
        raise CallRefused(f"{len(data)} bytes: want at most {MAX_INPUT_BYTES}; write them in parts")
    return data
