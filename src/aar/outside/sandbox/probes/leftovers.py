"""Processes that want to outlive their sandbox, each with a door by which it is seen; a script for inside.

Run as `python leftovers.py SOCKET END`, each of them connects to the socket, says its name, and stays for as
long as the other end does. END is "exit" for a program that then ends by itself; another waits to be killed.
"""

from __future__ import annotations

# The small halves of signal and socket: this starts four times in every doctor, and once more in each.
import _signal  # type: ignore[import-not-found]  # what signal is made of has no stubs
import _socket
import _thread
import ctypes
import os
import select
import sys
import time

TAGS = ("as-daemon", "ignoring-signals", "stopped", "by-running-on", "by-hopping", "by-thread")
_LIFE_S = 60


def stay(door: _socket.socket, tag: str) -> None:
    """Say who this is, then be there until the other end is not."""
    door.sendall(f"{tag}\n".encode())
    door.recv(1)
    os._exit(0)


def _as_daemon(door: _socket.socket) -> None:
    os.setsid()
    if os.fork():
        os._exit(0)
    for descriptor in (0, 1, 2):
        os.close(descriptor)
    ctypes.CDLL(None).prctl(1, 0, 0, 0, 0)  # no signal when the parent dies
    stay(door, "as-daemon")


def _ignoring_signals(door: _socket.socket) -> None:
    _signal.pthread_sigmask(_signal.SIG_BLOCK, range(1, _signal.NSIG))
    stay(door, "ignoring-signals")


def _stopped(door: _socket.socket) -> None:
    door.sendall(b"stopped\n")
    os.kill(os.getpid(), _signal.SIGSTOP)


def _by_running_on(door: _socket.socket) -> None:
    os.setsid()
    os.set_inheritable(door.fileno(), True)
    says = "d.sendall(b'by-running-on\\n'); d.recv(1)"
    code = f"import _socket; d = _socket.socket(1, 1, 0, {door.fileno()}); {says}"
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code], dict(os.environ))


def _by_hopping(door: _socket.socket) -> None:
    door.sendall(b"by-hopping\n")
    until = time.monotonic() + _LIFE_S
    while time.monotonic() < until:
        if select.select([door], [], [], 0.005)[0]:
            os._exit(0)
        if os.fork():
            os._exit(0)


def _by_thread(door: _socket.socket) -> None:
    # The first thread leaves; what is left of the process is a thread that nobody waits for.
    _thread.start_new_thread(stay, (door, "by-thread"))
    ctypes.CDLL(None).pthread_exit(None)


_WAYS = {
    "as-daemon": _as_daemon,
    "ignoring-signals": _ignoring_signals,
    "stopped": _stopped,
    "by-running-on": _by_running_on,
    "by-hopping": _by_hopping,
    "by-thread": _by_thread,
}


def _door(path: str) -> _socket.socket:
    door = _socket.socket(_socket.AF_UNIX)
    door.connect(path)
    return door


def main(path: str, end: str) -> None:
    """Start them all, say so, and end or be ended."""
    for tag in TAGS:
        if os.fork() == 0:
            _signal.alarm(0 if tag in ("ignoring-signals", "stopped") else _LIFE_S)
            _WAYS[tag](_door(path))
            os._exit(0)
    own = _door(path)
    own.sendall(b"main\n")
    # Until the other end has heard of all of them, and says so.
    own.recv(1)
    if end != "exit":
        time.sleep(_LIFE_S)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
