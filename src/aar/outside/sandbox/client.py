"""Ask the launcher for sandboxes: one client for each process, any number of threads."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any, Self

from aar.outside.sandbox.interface import DEFAULT_BACKEND
from aar.outside.sandbox.protocol import REQUEST_BYTES, format_spec, memory_file
from aar.outside.sandbox.runtime import package_root
from aar.outside.sandbox.spec import (
    PROFILES,
    Exit,
    MalformedSpec,
    SandboxRefused,
    SandboxSpec,
    SandboxUnavailable,
)

_READY_S = 20.0
_ANSWER_S = 20.0
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class Output:
    """What a sandbox wrote, each stream cut at its cap, and how it ended."""

    stdout: bytes
    stderr: bytes
    truncated: bool
    exit: Exit


class Running:
    """One sandbox. Losing or closing this object kills it.

    `stdout` and `stderr` read from it; `stdin` writes to it, and is None when its input was given at the
    start. A pipe that nobody reads stops the sandbox when it is full, until its wall clock ends it.
    """

    def __init__(
        self, control: socket.socket, stdin: IO[bytes] | None, stdout: IO[bytes], stderr: IO[bytes]
    ) -> None:
        self._control = control
        self._exit: Exit | None = None
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr

    def wait(self, timeout_s: float | None = None) -> Exit:
        """How it ended; `TimeoutError` when it is still there. One thread at a time."""
        while self._exit is None:
            self._hear(timeout_s)
        return self._exit

    def begin(self) -> None:
        """Its processor and wall time count from now on: for one that waits, before it is handed its work.

        Returns once the launcher has seen its walls, or its end: `is_over` tells. Raises `SandboxUnavailable`
        when the launcher does not answer. No other thread may be waiting for it.
        """
        self._tell(b"begin")
        if self._exit is None:
            try:
                self._hear(_ANSWER_S)
            except TimeoutError as error:
                raise SandboxUnavailable(
                    f"the launcher does not answer ({error}): start a new one"
                ) from error

    def _hear(self, timeout_s: float | None) -> None:
        """One word of the launcher: that it has begun, or how it ended."""
        self._control.settimeout(timeout_s)
        try:
            packet = self._control.recv(REQUEST_BYTES)
        except BlockingIOError as error:
            raise TimeoutError("still running") from error
        except ConnectionError:
            packet = b""
        told = json.loads(packet) if packet else {"exit": ["killed", -1, 0.0, 0.0, "the launcher is gone"]}
        if "exit" in told:
            self._exit = Exit(*told["exit"])

    def kill(self) -> None:
        """End it and everything in it; returns at once, `wait` tells when it is done."""
        self._tell(b"kill")

    def is_over(self) -> bool:
        """Whether it has ended; `wait` then tells how at once."""
        return self._exit is not None or bool(select.select([self._control], [], [], 0)[0])

    def _tell(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # over already: `wait` has the answer
            self._control.send(word, socket.MSG_NOSIGNAL)

    def collect(
        self, *, stdout_bytes: int = 1 << 20, stderr_bytes: int = 1 << 16, timeout_s: float | None = None
    ) -> Output:
        """Read both streams to their ends and wait; a stream over its cap ends it, reason "output".

        Raises `TimeoutError` after `timeout_s`; the sandbox then still runs, its own wall clock ends it.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        streams = {
            self.stdout.fileno(): (bytearray(), stdout_bytes),
            self.stderr.fileno(): (bytearray(), stderr_bytes),
        }
        truncated = False
        with selectors.DefaultSelector() as selector:
            for descriptor in streams:
                selector.register(descriptor, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(None if until is None else max(0.0, until - time.monotonic()))
                if not ready and until is not None and time.monotonic() >= until:
                    raise TimeoutError(
                        f"sandbox still writing after {timeout_s} s: kill it, or give it longer"
                    )
                for key, _ in ready:
                    chunk = os.read(key.fd, _CHUNK)
                    kept, cap = streams[key.fd]
                    room = cap - len(kept)
                    kept += chunk[:room]
                    if not chunk:
                        selector.unregister(key.fd)
                    elif len(chunk) > room and not truncated:
                        truncated = True
                        self._tell(b"output")
        ended = self.wait(None if until is None else max(0.001, until - time.monotonic()))
        out, error = (bytes(kept) for kept, _ in streams.values())
        return Output(out, error, truncated, ended)

    def close(self) -> None:
        """Kill it if it still runs, and close the pipes."""
        self._control.close()
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):  # input that the sandbox did not live to read
                    stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LauncherClient:
    """One end of a socket to the launcher. Keeps no state, so threads may share it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def start(
        self, spec: SandboxSpec, *, stdin: bytes | None = None, discard_output: bool = False
    ) -> Running:
        """Start one sandbox. Its input is `stdin`, or with None a pipe, `Running.stdin`.

        With `discard_output` what it writes goes nowhere and both streams read as empty: for one that nobody
        listens to, which would otherwise stop at a full pipe.
        Raises `SandboxRefused` when the launcher will not, `SandboxUnavailable` when it is gone.
        """
        request = json.dumps({"do": "start", "spec": format_spec(spec)}).encode()
        if len(request) > REQUEST_BYTES:
            raise MalformedSpec(
                f"spec of {len(request)} bytes: want at most {REQUEST_BYTES}; use files for content"
            )
        far: list[int] = []  # ends that the launcher takes
        near: list[int] = []
        try:
            if stdin is None:
                near_in = _pipe_end(far, near, writing=True)
            else:
                near_in = None
                far.append(memory_file(stdin))
            near_out, near_error = (
                _nowhere(far, near) if discard_output else _pipe_end(far, near, writing=False)
                for _ in range(2)
            )
            far.extend(memory_file(content) for content in spec.files.values())
            control = self._ask(request, far)
        except BaseException:
            for descriptor in near:
                os.close(descriptor)
            raise
        finally:
            for descriptor in far:
                os.close(descriptor)
        return Running(
            control,
            None if near_in is None else os.fdopen(near_in, "wb"),
            os.fdopen(near_out, "rb"),
            os.fdopen(near_error, "rb"),
        )

    def usage(self) -> dict[str, float]:
        """Processor seconds so far: "sandboxes_cpu_s" (ended and running) and "launcher_cpu_s"."""
        with self._ask(json.dumps({"do": "usage"}).encode(), [], opening=False) as answer:
            answer.settimeout(_ANSWER_S)
            return {name: float(value) for name, value in json.loads(answer.recv(REQUEST_BYTES)).items()}

    def used_by_slot(self) -> dict[int, float]:
        """Processor seconds so far of the researchers' sandboxes in each slot, those that run included.

        For whoever started the launcher: anybody else gets `SandboxRefused`. Raises `SandboxUnavailable` when
        it is gone.
        """
        with self._ask(json.dumps({"do": "used"}).encode(), [], opening=False) as answer:
            answer.settimeout(_ANSWER_S)
            try:
                packet = answer.recv(REQUEST_BYTES)
            except (ConnectionError, TimeoutError) as error:
                raise SandboxUnavailable(
                    f"the launcher does not answer ({error}): start a new one"
                ) from error
        if not packet:
            raise SandboxUnavailable("the launcher is gone: start a new one")
        told: dict[str, Any] = json.loads(packet)
        if "refused" in told:
            raise SandboxRefused(told["refused"])
        return {int(slot): float(cpu_s) for slot, cpu_s in told["used"]}

    def close(self) -> None:
        """Let go of the launcher, which ends with its last client; what was started here keeps running."""
        self._socket.close()

    def _ask(self, request: bytes, descriptors: list[int], *, opening: bool = True) -> socket.socket:
        """Send one request with a fresh socket for its answers; check that it was granted."""
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with far:
                socket.send_fds(self._socket, [request], [far.fileno(), *descriptors], socket.MSG_NOSIGNAL)
            if opening:
                near.settimeout(_ANSWER_S)
                packet = near.recv(REQUEST_BYTES)
                if not packet:
                    raise ConnectionResetError("no answer")
                refused = json.loads(packet).get("refused")
                if refused is not None:
                    raise SandboxRefused(refused)
        except (ConnectionError, TimeoutError) as error:
            near.close()
            raise SandboxUnavailable(f"the launcher does not answer ({error}): start a new one") from error
        except BaseException:
            near.close()
            raise
        return near


class Launcher:
    """The launcher process, as its parent holds it: a socket for each client."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: tuple[socket.socket, ...]) -> None:
        self.process = process
        self.sockets = sockets

    @classmethod
    def spawn(
        cls,
        *allowed: Iterable[str],
        backend: str = DEFAULT_BACKEND,
        seats: Sequence[tuple[int, str]] = (),
        agents: Mapping[str, str] | None = None,
    ) -> Self:
        """Start a launcher with one client for each set of profiles; without any, one that may start all.

        `seats`: all that the last client may start is a sandbox in one of these slots with the gateway
        directory that goes with it. Without any it may choose, as the others do.
        `agents`: host paths of the agents that sandboxes may be given, by name; no client can ask for more.
        The sockets come in the order of `allowed`. Keep one and let another process inherit the next; the
        launcher ends, and every sandbox with it, when all are closed. Raises `SandboxUnavailable`.
        """
        sets = [frozenset(profiles) for profiles in allowed] or [PROFILES]
        for profiles in sets:
            if not profiles or not profiles <= PROFILES:
                raise MalformedSpec(
                    f"profiles {sorted(profiles)}: want some of {', '.join(sorted(PROFILES))}"
                )
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in sets]
        ready_in, ready_out = os.pipe()
        words = [sys.executable, "-P", "-m", "aar.outside.sandbox.launcher", "--ready", str(ready_out)]
        words += ["--backend", backend]
        if agents:
            words += ["--agents", json.dumps(dict(agents))]
        for profiles, (_, far) in zip(sets, pairs, strict=True):
            words += ["--client", f"{far.fileno()}:{','.join(sorted(profiles))}"]
        if seats:
            words += ["--seats", json.dumps([list(seat) for seat in seats])]
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[ready_out, *(far.fileno() for _, far in pairs)],
                env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(package_root().parent)},
                cwd="/",
                # An interrupt at the terminal is for the supervisor, which then closes its sockets.
                start_new_session=True,
            )
        finally:
            os.close(ready_out)
            for _, far in pairs:
                far.close()
        launcher = cls(process, tuple(near for near, _ in pairs))
        try:
            with os.fdopen(ready_in, "rb") as ready:
                told = _read_line(ready, _READY_S)
        except BaseException:
            launcher.close()
            raise
        if "error" in told:
            launcher.close()
            raise SandboxUnavailable(told["error"])
        return launcher

    def close(self, timeout_s: float = 5.0) -> None:
        """Close our sockets and wait for the launcher; one that has other clients is left alone."""
        for sock in self.sockets:
            sock.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _read_line(ready: IO[bytes], timeout_s: float) -> dict[str, Any]:
    with selectors.DefaultSelector() as selector:
        selector.register(ready, selectors.EVENT_READ)
        if not selector.select(timeout_s):
            raise SandboxUnavailable(
                f"the launcher said nothing for {timeout_s} s: is the machine overloaded?"
            )
    line = ready.read()
    if not line:
        raise SandboxUnavailable("the launcher ended before it was ready: its message is on stderr")
    told: dict[str, Any] = json.loads(line)
    return told


def _pipe_end(far: list[int], near: list[int], *, writing: bool) -> int:
    """Make a pipe; keep the end for us to write (or read), hand over the other."""
    reader, writer = os.pipe()
    ours, theirs = (writer, reader) if writing else (reader, writer)
    far.append(theirs)
    near.append(ours)
    return ours


def _nowhere(far: list[int], near: list[int]) -> int:
    """The null device for them, and for us a pipe that is at its end: the null device cannot be polled."""
    far.append(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC))
    reader, writer = os.pipe()
    os.close(writer)
    near.append(reader)
    return reader
