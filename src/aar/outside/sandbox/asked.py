"""What a session may be asked, and what came of it: commands, files, snapshots, each with its caps.

Whatever answers is hostile. A frame that does not fit the question is `MalformedFrame`, and so are too many.
"""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aar.outside.sandbox.frames import Frame, MalformedFrame
from aar.outside.sandbox.spec import SandboxError

ExecReason = Literal["exited", "wall", "output", "sandbox-died"]

MAX_INPUT_BYTES = 64 << 20
MAX_READ_BYTES = 100 << 20
MAX_OUTPUT_BYTES = 64 << 20
COULD_NOT_RUN = 126

_MAX_WORDS_BYTES = 4 << 20
_MAX_PATH_BYTES = 4096
_MAX_TIMEOUT_S = 1_000_000.0
# An honest server gathers small pieces for 2 ms, so that two streams are 1000 frames a second.
_FRAMES, _FRAMES_PER_S = 2000, 4000.0
_SMALL_BYTES = 4096
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


class Call:
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


class ExecCall(Call):
    def __init__(self, cap: int) -> None:
        super().__init__(2 * cap // _SMALL_BYTES)
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
                returncode=COULD_NOT_RUN, stdout=b"", stderr=text.encode(), truncated=False, reason="exited"
            )
        code, truncated, reason = (self.done[name] for name in ("code", "truncated", "reason"))
        return ExecResult(returncode=code, stdout=out, stderr=err, truncated=truncated, reason=reason)


class ReadCall(Call):
    def __init__(self, cap: int) -> None:
        super().__init__(cap // _SMALL_BYTES)
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
    skips: int = 0
    size: int = 0


class SnapshotCall(Call):
    def __init__(self, caps: SnapshotCaps) -> None:
        # A file has its name and at least one part; what is left out has its name.
        super().__init__(3 * caps.max_files + caps.max_bytes // _SMALL_BYTES)
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
        elif frame.say == "skipped" and taken.skips < self._caps.max_files:
            taken.skips += 1
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


def checked_command(
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


def checked_path(path: str) -> bytes:
    encoded = os.fsencode(path)
    if not encoded or b"\0" in encoded or len(encoded) > _MAX_PATH_BYTES:
        raise CallRefused(f"path {path[:80]!r}: want 1 to {_MAX_PATH_BYTES} bytes and no NUL")
    return encoded


def checked_input(data: bytes) -> bytes:
    if len(data) > MAX_INPUT_BYTES:
        raise CallRefused(f"{len(data)} bytes: want at most {MAX_INPUT_BYTES}; write them in parts")
    return data
