"""Runs commands and moves files in a sandbox for whoever holds the other end of its pipes.

Frames go both ways: a line of JSON that ends with "size", then so many bytes. One process and one thread
serve all calls at once. Each command has a keeper, a process of ours that adopts whatever it leaves behind
while it runs, so that its end by the clock is the end of all its descendants. When a command ends by itself,
processes that it left in the background live on, at the longest until the sandbox ends.

Nothing that this server says is evidence: its commands have its uid, and may stop it, kill it or write in its
place. The standard library alone, so that it starts fast.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import selectors
import signal
import time

from aar.inside.commands import become_subreaper, descendants, keep, send_signal
from aar.inside.sandbox_files import CHUNK, FileRefused, file_frames, opened, snapshot_frames

# `typing` and `dataclasses` cost more time and memory than all else here, and each keeper holds it again.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aar.inside.sandbox_files import Frames

HEADER_BYTES = 1024
# Output past its cap is thrown away, and a command that goes on like that is ended.
FLOOD_BYTES = 64 << 20
MAX_LEFT_STREAMS = 64
# Output in small pieces is gathered for so long: a frame for each byte would cost its reader more than us.
GATHER_S = 0.002
SMALL_BYTES = 4096

_PR_SET_DUMPABLE = 4
_QUEUE_BYTES = 1 << 20
_KILL_S = 2.0


class _Stream:
    """One output of a command: `room` is what is left of its cap, in bytes."""

    __slots__ = ("descriptor", "dropped", "room", "say")

    def __init__(self, descriptor: int, say: str, room: int) -> None:
        self.descriptor, self.say, self.room = descriptor, say, room
        self.dropped = 0


class _Command:
    """A command that runs; `keeper` adopts its descendants, and tells by `status` how it ended."""

    __slots__ = ("call", "ends_s", "is_cut", "keeper", "reason", "status", "streams", "told")

    def __init__(self, call: int, keeper: int, status: int, streams: list[_Stream], ends_s: float) -> None:
        self.call, self.keeper, self.status, self.streams = call, keeper, status, streams
        self.ends_s = ends_s
        self.reason = "exited"
        self.is_cut = False
        self.told = b""


class _Input:
    """A call whose bytes are still on their way: the file they go to, and what comes after the last."""

    __slots__ = ("failed", "file", "left", "then")

    def __init__(self, file: int, left: int, then: Callable[[], None]) -> None:
        self.file, self.left, self.then = file, left, then
        self.failed: OSError | None = None


class _Server:
    def __init__(self) -> None:
        self.selector: selectors.BaseSelector = selectors.DefaultSelector()
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.inputs: dict[int, _Input] = {}
        self.commands: dict[int, _Command] = {}
        self.readings: dict[int, Frames] = {}
        self.left: list[_Stream] = []  # of commands that are over: read, and thrown away
        self.gathers_until_s = 0.0

    def serve(self) -> None:
        """Until the other end closes its pipe."""
        os.set_blocking(0, False)
        os.set_blocking(1, False)
        self.selector.register(0, selectors.EVENT_READ, self._hear)
        is_writing = False
        while True:
            wants = bool(self.outgoing)
            if wants and not is_writing:
                self.selector.register(1, selectors.EVENT_WRITE, self._flush)
            elif is_writing and not wants:
                self.selector.unregister(1)
            is_writing = wants
            if len(self.outgoing) >= _QUEUE_BYTES:
                # Who does not listen is told nothing new. That ends by itself: the other end always reads.
                select.select([], [1], [], self._timeout_s())
                self._flush()
            else:
                time.sleep(max(0.0, self.gathers_until_s - time.monotonic()))
                for key, _ in self.selector.select(self._timeout_s()):
                    # An earlier callback of this round may have ended what this event was for.
                    if self.selector.get_map().get(key.fd) is key:
                        key.data()
            self._read_on()
            self._end_late_ones()

    def _timeout_s(self) -> float | None:
        if self.readings and len(self.outgoing) < _QUEUE_BYTES:
            return 0.0
        if not self.commands:
            return None
        return max(0.0, min(command.ends_s for command in self.commands.values()) - time.monotonic())

    # What comes in

    def _hear(self) -> None:
        try:
            chunk = os.read(0, 4 * CHUNK)
        except BlockingIOError:
            return
        if not chunk:
            raise SystemExit(0)
        self.incoming += chunk
        while (frame := self._next_frame()) is not None:
            self._obey(*frame)

    def _next_frame(self) -> tuple[dict[str, Any], bytes] | None:
        end = self.incoming.find(b"\n", 0, HEADER_BYTES)
        if end < 0:
            if len(self.incoming) >= HEADER_BYTES:
                raise SystemExit(2)
            return None
        header = json.loads(self.incoming[:end])
        after = end + 1 + header["size"]
        if len(self.incoming) < after:
            return None
        body = bytes(self.incoming[end + 1 : after])
        del self.incoming[:after]
        return header, body

    def _obey(self, header: dict[str, Any], body: bytes) -> None:
        call = header["id"]
        try:
            match header["do"]:
                case "ping":
                    self._say({"id": call, "say": "done"})
                case "more":
                    self._take(call, body)
                case "end":
                    if call in self.commands and self.commands[call].reason == "exited":
                        self._end(self.commands[call], "wall")
                case "exec":
                    self._begin_exec(call, header, json.loads(body))
                case "write":
                    self._begin_write(call, header, os.fsdecode(body))
                case "read":
                    self.readings[call] = file_frames(os.fsdecode(body), header["max_bytes"])
                case "snapshot":
                    self.readings[call] = snapshot_frames(os.fsdecode(body), header)
        except (OSError, FileRefused) as error:
            self._fail(call, error)

    def _begin_exec(self, call: int, header: dict[str, Any], what: dict[str, Any]) -> None:
        # A file, not a pipe: a command that reads nothing keeps nobody waiting.
        file = os.memfd_create("input", os.MFD_CLOEXEC)

        def start() -> None:
            os.lseek(file, 0, os.SEEK_SET)
            self._start(call, header, what, file)

        self._await(call, file, header["input"], start)

    def _begin_write(self, call: int, header: dict[str, Any], path: str) -> None:
        if parent := os.path.dirname(path):
            os.makedirs(parent, exist_ok=True)
        file = opened(path, os.O_WRONLY | os.O_CREAT)
        os.ftruncate(file, 0)
        self._await(call, file, header["input"], lambda: self._say({"id": call, "say": "done"}))

    def _await(self, call: int, file: int, size: int, then: Callable[[], None]) -> None:
        self.inputs[call] = _Input(file, size, then)
        self._take(call, b"")

    def _take(self, call: int, body: bytes) -> None:
        """Store a part of a call's input; after the last one, do what the call is for."""
        given = self.inputs.get(call)
        if given is None:  # refused already
            return
        given.left -= len(body)
        while body and given.failed is None:
            try:
                body = body[os.write(given.file, body) :]
            except OSError as error:
                given.failed = error
        if given.left > 0:
            return
        del self.inputs[call]
        try:
            if given.failed is not None:
                raise given.failed
            given.then()
        finally:
            os.close(given.file)

    # Commands

    def _start(self, call: int, header: dict[str, Any], what: dict[str, Any], stdin: int) -> None:
        out, out_end = os.pipe2(os.O_CLOEXEC)
        err, err_end = os.pipe2(os.O_CLOEXEC)
        status, status_end = os.pipe2(os.O_CLOEXEC)
        try:
            keeper = os.fork()
        except OSError:
            for descriptor in (out, out_end, err, err_end, status, status_end):
                os.close(descriptor)
            raise
        if keeper == 0:
            keep(what, (stdin, out_end, err_end), status_end)
        for descriptor in (out_end, err_end, status_end):
            os.close(descriptor)
        cap = header["output_bytes"]
        streams = [_Stream(out, "out", cap), _Stream(err, "err", cap)]
        command = _Command(call, keeper, status, streams, time.monotonic() + header["timeout_s"])
        self.commands[call] = command
        for stream in streams:
            os.set_blocking(stream.descriptor, False)
            self._watch(stream.descriptor, self._passing_on(command, stream))
        os.set_blocking(status, False)
        self._watch(status, lambda: self._look_at(command))

    def _watch(self, descriptor: int, what: Callable[[], None]) -> None:
        self.selector.register(descriptor, selectors.EVENT_READ, what)

    def _passing_on(self, command: _Command, stream: _Stream) -> Callable[[], None]:
        def pass_on() -> None:
            self._pass_on(command, stream)

        return pass_on

    def _pass_on(self, command: _Command, stream: _Stream) -> bool:
        """Hand on what a command wrote, up to its cap; whether there may be more."""
        try:
            chunk = os.read(stream.descriptor, CHUNK)
        except BlockingIOError:
            return False
        if not chunk:
            self._close_stream(command, stream)
            return False
        kept = chunk[: stream.room]
        stream.room -= len(kept)
        stream.dropped += len(chunk) - len(kept)
        command.is_cut = command.is_cut or bool(stream.dropped)
        if kept:
            self._say({"id": command.call, "say": stream.say}, kept)
        if len(chunk) < SMALL_BYTES:
            self.gathers_until_s = time.monotonic() + GATHER_S
        if stream.dropped > FLOOD_BYTES and command.reason == "exited":
            self._end(command, "output")
        return True

    def _close_stream(self, command: _Command, stream: _Stream) -> None:
        self.selector.unregister(stream.descriptor)
        os.close(stream.descriptor)
        command.streams.remove(stream)

    def _look_at(self, command: _Command) -> None:
        """The keeper tells the command's process, then how that ended, and closes."""
        try:
            chunk = os.read(command.status, 64)
        except BlockingIOError:
            return
        command.told += chunk
        if not chunk:
            self._finish(command)

    def _finish(self, command: _Command) -> None:
        self.selector.unregister(command.status)
        os.close(command.status)
        del self.commands[command.call]
        for stream in list(command.streams):
            while self._pass_on(command, stream):
                if stream.dropped > FLOOD_BYTES:
                    break
        words = command.told.split()
        if len(words) == 2:
            code = os.waitstatus_to_exitcode(int(words[1]))
            code = 128 - code if code < 0 else code
        else:
            # Its keeper is gone first: the command has killed it, and runs on as one in the background.
            code = 128 + signal.SIGKILL
        self._say(
            {
                "id": command.call,
                "say": "done",
                "code": code,
                "truncated": command.is_cut,
                "reason": command.reason,
            }
        )
        # What runs on in the background may write, and must not die of it: it is read and forgotten.
        for stream in command.streams:
            self.selector.modify(stream.descriptor, selectors.EVENT_READ, self._forgetting(stream))
            self.left.append(stream)
        while len(self.left) > MAX_LEFT_STREAMS:
            self._close_left(self.left[0])

    def _forgetting(self, stream: _Stream) -> Callable[[], None]:
        def forget() -> None:
            try:
                gone = not os.read(stream.descriptor, CHUNK)
            except BlockingIOError:
                return
            if gone:
                self._close_left(stream)

        return forget

    def _close_left(self, stream: _Stream) -> None:
        self.left.remove(stream)
        self.selector.unregister(stream.descriptor)
        os.close(stream.descriptor)

    def _end_late_ones(self) -> None:
        now = time.monotonic()
        for command in list(self.commands.values()):
            if now >= command.ends_s:
                if command.reason == "exited":
                    self._end(command, "wall")
                command.ends_s = now + _KILL_S

    def _end(self, command: _Command, reason: str) -> None:
        """Kill a command and all its descendants; the end of its status pipe says when it is over."""
        command.reason = reason
        until = time.monotonic() + _KILL_S
        # A keeper that is stopped still adopts, and does not leave before all are dead.
        send_signal(command.keeper, signal.SIGSTOP)
        while (alive := descendants(command.keeper)) and time.monotonic() < until:
            for pid in alive:
                send_signal(pid, signal.SIGKILL)
            time.sleep(0.001)
        # Where the kernel lists no children (CONFIG_PROC_CHILDREN), its process group at least.
        for pid in map(int, command.told.split()[:1]):
            send_signal(-pid, signal.SIGKILL)
            send_signal(pid, signal.SIGKILL)
        send_signal(command.keeper, signal.SIGCONT)

    # What goes out

    def _read_on(self) -> None:
        for call, frames in list(self.readings.items()):
            if len(self.outgoing) >= _QUEUE_BYTES:
                return
            try:
                header, body = next(frames)
                self._say({"id": call, **header}, body)
            except StopIteration:
                del self.readings[call]
                self._say({"id": call, "say": "done"})
            except (OSError, FileRefused) as error:
                del self.readings[call]
                self._fail(call, error)

    def _fail(self, call: int, error: OSError | FileRefused) -> None:
        self.inputs.pop(call, None)
        if isinstance(error, OSError):
            self._say({"id": call, "say": "failed", "errno": error.errno or errno.EIO, "why": "os"})
        else:
            self._say({"id": call, "say": "failed", "errno": 0, "why": str(error)})

    def _say(self, header: dict[str, Any], body: bytes = b"") -> None:
        self.outgoing += json.dumps({**header, "size": len(body)}).encode() + b"\n" + body

    def _flush(self) -> None:
        with contextlib.suppress(BlockingIOError):
            del self.outgoing[: os.write(1, self.outgoing[: 4 * CHUNK])]


def main() -> None:
    """Serve on standard input and output until the other end is gone."""
    # Its streams are not to be had through /proc by the commands that it starts; for honest ones that is
    # enough, and the others have the first process of the sandbox.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Keepers that are done need nobody to wait for them, and what comes to us from them neither.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    become_subreaper()
    _Server().serve()


if __name__ == "__main__":
    main()
