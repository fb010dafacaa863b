"""The one process that starts and ends sandboxes: `python -m aar.outside.sandbox.launcher`."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aar.outside.sandbox import processes
from aar.outside.sandbox.argv import WARM_UP_CPU_S
from aar.outside.sandbox.choice import prepared
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.interface import BACKENDS, DEFAULT_BACKEND, Backend, Started
from aar.outside.sandbox.pressure import Pressure
from aar.outside.sandbox.protocol import REQUEST_BYTES, REQUEST_DESCRIPTORS, parse_spec
from aar.outside.sandbox.seccomp import UnsupportedArchitecture
from aar.outside.sandbox.spec import (
    Exit,
    Reason,
    SandboxError,
    SandboxRefused,
    SandboxSpec,
    SandboxUnavailable,
)
from aar.outside.sandbox.walls import Walls

MAX_SANDBOXES = 128
MAX_IN_A_SEAT = 2

_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.25
# How bubblewrap passes on that its program died of RLIMIT_CPU.
_OUT_OF_CPU = 128 + signal.SIGXCPU
_REAP_S = 2.0


@dataclass(slots=True)
class _Run:
    """One sandbox that is alive, or being reaped."""

    spec: SandboxSpec
    control: socket.socket
    child: Started  # the process outside the namespaces
    child_fd: int
    started_s: float
    uid: int | None  # out here; None where it is ours
    # When its time began to count, and what it had used by then; None while it waits.
    began_s: float | None
    warm_up_cpu_s: float = 0.0
    init: int | None = None  # process 1 of the sandbox, by its number out here
    init_fd: int | None = None
    status: bytes = b""
    child_gone: bool = False
    init_gone: bool = False
    stopped: Reason | None = None
    stopped_s: float = 0.0
    detail: str = ""
    exit_code: int | None = None
    cpu_s: float = 0.0
    seen_cpu_s: float = 0.0
    pressure: Pressure = field(default_factory=Pressure)
    walls: Walls = field(default_factory=Walls)

    def root(self) -> int:
        """The process below which all others are."""
        return self.init if self.child_gone and self.init is not None else self.child.pid

    def ends_s(self) -> float:
        """When its wall time is over."""
        return math.inf if self.began_s is None else self.began_s + self.spec.wall_s

    def most_cpu_s(self) -> float:
        """How much processor time it may have used by now."""
        return WARM_UP_CPU_S if self.began_s is None else self.warm_up_cpu_s + self.spec.cpu_s


@dataclass(slots=True)
class _Launcher:
    """Everything in one thread: bubblewrap dies with the thread that started it."""

    backend: Backend
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)
    clients: dict[socket.socket, frozenset[str]] = field(default_factory=dict)
    # Of a client that may not choose: the slots, each with its gateway directory, of its sandboxes.
    seats: dict[socket.socket, frozenset[tuple[int, str | None]]] = field(default_factory=dict)
    runs: list[_Run] = field(default_factory=list)
    started: int = 0
    finished_cpu_s: float = 0.0
    # The client that is told what each researcher's sandboxes used: whoever started us, never a seat's.
    owner: socket.socket | None = None
    # By slot: of researchers' sandboxes that have ended.
    researchers_cpu_s: dict[int, float] = field(default_factory=dict)
    next_look_s: float = 0.0

    def add_client(self, sock: socket.socket, profiles: frozenset[str]) -> None:
        self.clients[sock] = profiles
        self._watch(sock, lambda: self._serve(sock))

    def run(self) -> None:
        """Serve until every client has closed its socket and every sandbox is reaped."""
        while self.clients or self.runs:
            for key, _ in self.selector.select(self._timeout_s()):
                # An earlier callback of this round may have ended what this event was for.
                if self.selector.get_map().get(key.fd) is key:
                    key.data()
            self._look()

    def _watch(self, source: Any, callback: Callable[[], None]) -> None:
        self.selector.register(source, selectors.EVENT_READ, callback)

    def _forget(self, source: Any) -> None:
        with contextlib.suppress(KeyError):
            self.selector.unregister(source)

    def _timeout_s(self) -> float | None:
        if not self.runs:
            return None
        now = time.monotonic()
        ends = [run.ends_s() for run in self.runs if run.stopped is None]
        return max(0.0, min([*ends, max(self.next_look_s, now + 0.01)]) - now)

    # Requests

    def _serve(self, client: socket.socket) -> None:
        try:
            message, fds, flags, _ = socket.recv_fds(
                client, REQUEST_BYTES, REQUEST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            message, fds, flags = b"", [], 0
        if not fds:
            # Every request carries the socket for its answer: a packet without one is the end of the stream.
            self._forget(client)
            profiles = self.clients.pop(client)
            self.seats.pop(client, None)
            client.close()
            if not self.clients:
                for run in list(self.runs):
                    self._stop(run, "killed", f"last client ({', '.join(sorted(profiles))}) gone")
            return
        control = socket.socket(fileno=fds[0])
        handed = fds[1:]
        try:
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                raise SandboxRefused("start request too large: fewer files, shorter argv and env")
            request = json.loads(message)
            if request["do"] == "usage":
                _answer(control, self._usage())
                control.close()
            elif request["do"] == "used":
                self._check_owner(client)
                _answer(control, {"used": [list(one) for one in self._used().items()]})
                control.close()
            elif request["do"] == "start":
                spec = parse_spec(request["spec"])
                self._check_seat(client, spec)
                self._start(spec, control, handed, self.clients[client])
            else:
                raise SandboxRefused(f"request {request['do']!r}: want start, usage or used")
        except (SandboxError, OSError, ValueError, KeyError, TypeError) as error:
            _answer(control, {"refused": f"{error}" or type(error).__name__})
            control.close()
        finally:
            for descriptor in handed:
                os.close(descriptor)

    def _check_seat(self, client: socket.socket, spec: SandboxSpec) -> None:
        """Raise `SandboxRefused` where a client asks for the place of a researcher that is not its own."""
        seats = self.seats.get(client)
        if seats is None:
            return
        seat = spec.uid_slot, spec.gateway_dir
        if seat not in seats:
            raise SandboxRefused(
                f"slot {spec.uid_slot} with gateway directory {spec.gateway_dir}: not a researcher of this "
                "client's"
            )
        # One, and one that is about to end: whoever took the client over could leave nobody else a place.
        if sum((run.spec.uid_slot, run.spec.gateway_dir) == seat for run in self.runs) >= MAX_IN_A_SEAT:
            raise SandboxRefused(f"slot {spec.uid_slot} has {MAX_IN_A_SEAT} sandboxes: wait for one to end")

    def _check_owner(self, client: socket.socket) -> None:
        """Raise `SandboxRefused` unless that is the client that started us."""
        if client is not self.owner:
            raise SandboxRefused(
                "what each slot used is told to whoever started the launcher, and nobody else"
            )

    def _used(self) -> dict[int, float]:
        """Processor seconds of the sandboxes of each researcher's slot so far, those that run included."""
        used = dict(self.researchers_cpu_s)
        for run in self.runs:
            if run.spec.profile == "researcher":
                self._count_cpu(run)
                used[run.spec.uid_slot] = used.get(run.spec.uid_slot, 0.0) + run.seen_cpu_s
        return used

    def _usage(self) -> dict[str, float]:
        alive = sum(processes.tree_cpu_s(run.root()) for run in self.runs)
        return {"sandboxes_cpu_s": self.finished_cpu_s + alive, "launcher_cpu_s": time.process_time()}

    def _start(
        self, spec: SandboxSpec, control: socket.socket, handed: list[int], allowed: frozenset[str]
    ) -> None:
        if spec.profile not in allowed:
            raise SandboxRefused(
                f"profile {spec.profile!r} is not for this client: it may start {', '.join(sorted(allowed))}"
            )
        if len(handed) != 3 + len(spec.files):
            raise SandboxRefused(
                f"{len(handed)} descriptors for {len(spec.files)} files: want three more than files"
            )
        if len(self.runs) >= MAX_SANDBOXES:
            raise SandboxRefused(f"{len(self.runs)} sandboxes are running: wait for one to end")
        self.started += 1
        started_s = time.monotonic()
        started = self.backend.start(spec, self.started, handed[:3], handed[3:])
        run = _Run(
            spec=spec,
            control=control,
            child=started,
            child_fd=os.pidfd_open(started.pid),
            started_s=started_s,
            uid=slot_uid(spec.uid_slot),
            began_s=None if spec.waits else started_s,
        )
        self.runs.append(run)
        self._watch(run.child_fd, lambda: self._child_ended(run))
        self._watch(started.status_fd, lambda: self._read_status(run))
        self._watch(control, lambda: self._obey(run))
        _answer(control, {"started": spec.name})

    # What becomes of a sandbox

    def _obey(self, run: _Run) -> None:
        """Its client tells it to begin, wants it gone, or is gone itself."""
        try:
            message = run.control.recv(64)
        except ConnectionError:
            message = b""
        if message == b"begin":
            self._begin(run)
            return
        self._forget(run.control)
        if message == b"output":
            self._stop(run, "output", "more than its reader takes")
        else:
            self._stop(run, "killed", "by its client" if message else "its client is gone")

    def _begin(self, run: _Run) -> None:
        """From now on the time counts of one that waited; of any other it does already."""
        # It is looked at before anything that we do not trust comes to it: its client waits for our word.
        if not self._is_walled(run, self._measure(run), time.monotonic(), at_once=True):
            return
        if run.began_s is None:
            run.began_s, run.warm_up_cpu_s = time.monotonic(), run.seen_cpu_s
        _answer(run.control, {"begun": run.spec.name})

    def _read_status(self, run: _Run) -> None:
        """bubblewrap's own account: the number of process 1, later the exit code."""
        while True:
            try:
                chunk = os.read(run.child.status_fd, 4096)
            except BlockingIOError:
                break
            if not chunk:
                self._forget(run.child.status_fd)
                break
            run.status += chunk
        *lines, run.status = run.status.split(b"\n")
        for line in lines:
            told = json.loads(line)
            run.exit_code = told.get("exit-code", run.exit_code)
            if told.get("oom-kills") and run.stopped is None:
                run.stopped, run.detail = "memory", f"the kernel ended {told['oom-kills']} of it"
            if run.init is None and "child-pid" in told:
                self._adopt(run, told["child-pid"])

    def _adopt(self, run: _Run, pid: int) -> None:
        """Hold process 1 of the sandbox by a descriptor, which cannot come to mean another process."""
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if processes.parent_of(pid) not in (run.child.pid, os.getpid()):
            os.close(descriptor)
            return
        run.init, run.init_fd = pid, descriptor
        self._watch(descriptor, lambda: self._init_ended(run))
        self.backend.named(run.child)
        if run.stopped is not None:
            _kill(descriptor)

    def _stop(self, run: _Run, reason: Reason, detail: str = "") -> None:
        if run.stopped is None:
            self._count_cpu(run)
            run.stopped, run.detail, run.stopped_s = reason, detail, time.monotonic()
        if run.init_fd is not None:
            _kill(run.init_fd)
        if not run.child_gone:
            _kill(run.child_fd, signal.SIGTERM if run.child.is_told_to_end else signal.SIGKILL)

    def _child_ended(self, run: _Run) -> None:
        self._read_status(run)
        known = self.backend.ended(run.child)
        _, status, usage = os.wait4(run.child.pid, 0)
        run.child_gone = True
        run.cpu_s += usage.ru_utime + usage.ru_stime
        run.stopped_s = run.stopped_s or time.monotonic()
        self._forget(run.child_fd)
        if known is not None and run.stopped is None:
            run.stopped, run.detail = known
        code = os.waitstatus_to_exitcode(status)
        if run.child.is_program:
            run.exit_code = code if code >= 0 else 128 - code
        if run.exit_code is None and run.stopped is None:
            run.stopped, run.detail = (
                "launch-failed",
                f"the backend ended with {code}; its reason is on stderr",
            )
        # A process that outlives the command dies here, whatever it did to hide: the namespace goes.
        if run.init_fd is not None and not run.init_gone:
            _kill(run.init_fd)
        else:
            self._finish(run)

    def _init_ended(self, run: _Run) -> None:
        """Process 1 is gone, and every process of the sandbox with it; ours or bubblewrap's to reap."""
        if run.init is None or run.init_fd is None:
            return
        # While bubblewrap lives it is the parent: it will reap, or leave it to us when it goes.
        if not run.child_gone:
            self._forget(run.init_fd)
            run.init_gone = True
            return
        self._finish(run)

    def _finish(self, run: _Run) -> None:
        if run.init is not None:
            with contextlib.suppress(ChildProcessError):
                _, _, usage = os.wait4(run.init, os.WNOHANG)
                run.cpu_s += usage.ru_utime + usage.ru_stime
        self.runs.remove(run)
        # What a plain program left may be a live one's: it ends with the last of them.
        if run.init is None and not (run.child.is_program and self.runs):
            self._sweep()
        for descriptor in (run.child_fd, run.child.status_fd, run.init_fd):
            if descriptor is not None:
                self._forget(descriptor)
                os.close(descriptor)
        # The kernel forgets the time of what dies with its namespace, or has a parent that ignores its
        # end: what we saw last stands, or what the control group counted.
        run.cpu_s = max(run.cpu_s, run.seen_cpu_s, self.backend.cpu_s(run.child))
        self.backend.release(run.child)
        self.finished_cpu_s += run.cpu_s
        if run.spec.profile == "researcher":
            slot = run.spec.uid_slot
            self.researchers_cpu_s[slot] = self.researchers_cpu_s.get(slot, 0.0) + run.cpu_s
        if run.stopped is None and run.exit_code == _OUT_OF_CPU:
            # The kernel's own limit was quicker than our look: it is the same limit.
            run.stopped = "cpu"
        ended = Exit(
            reason=run.stopped or "exited",
            code=-1 if run.exit_code is None or run.stopped is not None else run.exit_code,
            cpu_s=round(run.cpu_s - run.warm_up_cpu_s, 6),
            wall_s=round(0.0 if run.began_s is None else time.monotonic() - run.began_s, 6),
            detail=run.detail,
        )
        self._forget(run.control)
        _answer(run.control, {"exit": [ended.reason, ended.code, ended.cpu_s, ended.wall_s, ended.detail]})
        run.control.close()

    def _measure(self, run: _Run) -> processes.Use:
        use = processes.tree_use(run.root(), run.init)
        run.seen_cpu_s = max(run.seen_cpu_s, use.cpu_s, self.backend.cpu_s(run.child))
        return use

    def _is_walled(self, run: _Run, use: processes.Use, now: float, *, at_once: bool = False) -> bool:
        """Whether its walls are up as far as can be seen; one whose are not is ended."""
        if run.child.is_program:
            return True  # it has none, and whoever started it knows
        missing = run.walls.look(use, run.init, run.uid, now - run.started_s, at_once=at_once)
        if missing is not None:
            self._stop(run, "killed", f"a wall is missing: {missing}")
        return missing is None

    def _count_cpu(self, run: _Run) -> None:
        tree_cpu_s, all_cpu_s = processes.tree_cpu_s(run.root()), self.backend.cpu_s(run.child)
        run.seen_cpu_s = max(run.seen_cpu_s, tree_cpu_s, all_cpu_s)

    def _sweep(self) -> None:
        """End what bubblewrap left to us before it could name it: killed early, it leaves a waiting child."""
        ours = {run.child.pid for run in self.runs} | {run.init for run in self.runs}
        for pid in processes.children_of(os.getpid()):
            # One below a live bubblewrap is no child of ours, and else it is named by now.
            if pid not in ours:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)

    def _look(self) -> None:
        """Deadlines at once; processor time and memory every quarter of a second, over whole sandboxes."""
        now = time.monotonic()
        for run in self.runs:
            if run.stopped is None and now >= run.ends_s():
                self._stop(run, "wall")
        if now < self.next_look_s:
            return
        began_s = time.thread_time()
        for run in list(self.runs):
            use = self._measure(run)
            run.pressure.share_fairly(use)
            if run.seen_cpu_s > run.most_cpu_s():
                self._stop(run, "cpu")
            elif use.memory_bytes > run.spec.memory_mib << 20:
                self._stop(run, "memory", f"{use.memory_bytes >> 20} MiB in use")
            elif run.stopped is None and not self._is_walled(run, use, now):
                continue
            elif run.stopped is None:
                bomb = run.pressure.look(run.spec, use, run.init, run.seen_cpu_s, now)
                if bomb is not None:
                    self._stop(run, *bomb)
            if run.child_gone and run.stopped_s and now > run.stopped_s + _REAP_S:
                run.detail = f"{run.detail} processes still there {_REAP_S} s after the kill".strip()
                self._finish(run)
        # A crowd takes long to look at: four fifths of our time stay for whoever asks for something.
        self.next_look_s = now + max(_LOOK_S, 5 * (time.thread_time() - began_s))


def _answer(control: socket.socket, fields: dict[str, Any]) -> None:
    # A client that is gone needs no answer; one packet always fits an empty buffer.
    with contextlib.suppress(OSError):
        control.send(json.dumps(fields).encode(), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


def _kill(pidfd: int, how: signal.Signals = signal.SIGKILL) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, how)


def main(argv: Sequence[str] | None = None) -> int:
    """Serve the clients whose sockets were inherited; report on `--ready` whether that is possible."""
    parser = argparse.ArgumentParser(prog="aar.outside.sandbox.launcher")
    parser.add_argument("--ready", type=int, required=True, help="descriptor for one line of JSON")
    parser.add_argument("--backend", choices=BACKENDS, default=DEFAULT_BACKEND)
    parser.add_argument(
        "--client", action="append", required=True, metavar="FD:PROFILE,PROFILE", help="the first one owns it"
    )
    parser.add_argument("--seats", type=json.loads, metavar="[[SLOT,DIR]...]", help="of the last client")
    chosen = parser.parse_args(argv)
    # An interrupt at the terminal is for whoever started us. One that is killed closes every control socket,
    # and bubblewrap dies with its parent.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError), os.fdopen(chosen.ready, "w") as ready:
        try:
            launcher = _Launcher(prepared(chosen.backend))
        except (SandboxUnavailable, UnsupportedArchitecture) as error:
            json.dump({"error": f"{error}"}, ready)
            return 1
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            json.dump({"error": f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(ctypes.get_errno())}"}, ready)
            return 1
        for word in chosen.client:
            number, _, profiles = word.partition(":")
            client = socket.socket(fileno=int(number))
            launcher.add_client(client, frozenset(profiles.split(",")))
            launcher.owner = launcher.owner or client
        if chosen.seats:
            launcher.seats[client] = frozenset((slot, folder) for slot, folder in chosen.seats)
        json.dump({"ready": True}, ready)
    # Where the kernel divides time by session, a sandbox may take many shares by making many: ours comes
    # first, if that is ours to say.
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-10")
    launcher.run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
