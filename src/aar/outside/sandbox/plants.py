"""Everything worth stealing, planted with a canary in it, and the world that the probes are told."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import pty
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aar.outside.sandbox.researcher import MEMORY_MIB, PROCESSES, listen_as_gateway

PRIVATE = ("gateway", "evaluator", "operator")
SLOT = 9_999
_PLANTS = {
    "labels": "evaluator/labels.csv",
    "digits": "evaluator/digits.csv.gz",
    "test-inputs": "evaluator/test-inputs.npy",
    "key": "gateway/researcher-1.key",
    "record": "record/checkpoint",
    "workspace": "researcher-2/workspace/notes.txt",
    "home": "home/.ssh/id_ed25519",
}
_WRITABLE_INSIDE = (
    "/", "/etc", "/usr", "/usr/bin", "/usr/lib", "/opt", "/opt/aar/aar", "/opt/py/lib", "/opt/site", "/dev",
    "/run", "/run/gw", "/brief", "/proc", "/proc/sys/kernel", "/var", "/root", "/home",
)  # fmt: skip
# Open to all: what stops a sandbox must be its own wall.
_IPC_CREATE, _IPC_REMOVE = 0o3666, 0
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def planted(study_dir: Path | None) -> Iterator[dict[str, Any]]:
    """Plant, in the study where there is one; the world as all probes are told it. It is removed again."""
    canary = f"aar-canary-{secrets.token_hex(16)}"
    with contextlib.ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="doctor-", dir=study_dir))
        stack.callback(shutil.rmtree, base)
        # Apart from a study's own path, which may be too long for a socket address.
        sockets = Path(tempfile.mkdtemp(prefix="aar-"))
        stack.callback(shutil.rmtree, sockets)
        places = {name: _write(base / path, canary) for name, path in _PLANTS.items()}
        places["temporary"] = _write(sockets / "notes", canary)
        if os.access("/dev/shm", os.W_OK):
            places["memory"] = _write(Path("/dev/shm") / canary, canary)
            stack.callback(os.unlink, places["memory"])
        for name in ("own", "other"):
            stack.enter_context(listen_as_gateway(sockets / name, SLOT))
        places["socket"] = str(sockets / "other" / "gw.sock")
        places["service"] = str(sockets / "service.sock")
        for address in (f"\0{canary}", places["service"]):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        _hold_lock(stack)
        scratch = base / "scratch"
        scratch.mkdir()
        study = base if study_dir is None else study_dir.resolve()
        shared = _share(stack, canary)
        left = {
            **shared["left"],
            "files": [places["memory"]] if "memory" in places else [],
            "folders": [str(base), str(sockets)],
        }
        yield {
            "canary": canary,
            "places": places,
            "study": [str(study), *(str(study / name) for name in ("record", *PRIVATE))],
            "gateway": str(sockets / "own"),
            "abstract": canary,
            "tcp_port": tcp.getsockname()[1],
            "tcp6_port": _listen_tcp6(stack),
            "udp_port": udp.getsockname()[1],
            "planted": str(base),
            "scratch": str(scratch),
            "terminal": _open_terminal(stack),
            "host_name": os.uname().nodename,
            "processes": PROCESSES,
            "memory_mib": MEMORY_MIB,
            "ipc_key": shared["ipc_key"],
            "queue": shared["queue"],
            # Last started and first ended: what it would remove we remove ourselves.
            "victim": _start_victim(stack, canary, places["labels"], left),
        }


def world_outside(world: dict[str, Any]) -> dict[str, Any]:
    """What the positive control is told: where a sandbox without walls would have put it."""
    base = world["planted"]
    # A program that runs as its owner, and that nobody can mistake for one that is needed.
    program = Path(base, "set-id")
    program.touch()
    program.chmod(0o4700)
    return {
        **world,
        "mode": "without",
        "roots": [base],
        "writable": [base],
        "runtime": [world["places"]["home"]],
        # Not the one that a sandbox is given at the same moment: it is to hold sockets and nothing else.
        "own_gateway": os.path.dirname(world["places"]["socket"]),
        "masks": [],
        "remount": world["scratch"],
        "programs": [base],
        "rooms": ["/"],
    }


def world_inside(world: dict[str, Any], *, has_shell: bool = False) -> dict[str, Any]:
    """What is told in there: everything about outside, and where to look."""
    return {
        **world,
        "mode": "within",
        "roots": ["/"],
        "writable": [*_WRITABLE_INSIDE, world["planted"]],
        "runtime": [os.__file__, "/opt/py/lib/os.py", "/opt/aar/aar/__init__.py", "/usr/bin/prlimit",
                    "/brief/probes/attempt.py", "/etc/passwd"],
        "own_gateway": "/run/gw",
        "masks": ["/opt/aar/aar/lab/problems", "/opt/aar/aar/lab/data", "/proc", "/workspace"],
        "remount": "/",
        "programs": ["/usr/bin", "/bin", "/opt/py/bin", "/usr/sbin", "/usr/local/bin"],
        "rooms": ["/workspace", "/tmp", "/dev/shm", *(["/var/tmp"] if has_shell else [])],
        "scratch": "/workspace",
    }  # fmt: skip


def _write(place: Path, canary: str) -> str:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.write_text(f"{canary}\n")
    return str(place)


# What a doctor that was killed left: memory and queues of the kernel outlive whoever made them.
_CARETAKER = """
import os, sys
os.read(int(sys.argv[2]), 1)
import ctypes, json, shutil
left, libc = json.loads(sys.argv[3]), ctypes.CDLL(None)
for segment in left["segments"]: libc.shmctl(segment, 0, None)
for messages in left["messages"]: libc.msgctl(messages, 0, None)
for semaphores in left["semaphores"]: libc.semctl(semaphores, 0, 0)
for queue in left["queues"]: libc.mq_unlink(queue.encode())
for path in left["files"]:
    if os.path.exists(path): os.unlink(path)
for path in left["folders"]: shutil.rmtree(path, ignore_errors=True)
"""


def _start_victim(stack: contextlib.ExitStack, canary: str, labels: str, left: dict[str, Any]) -> int:
    """A process of the host with the canary on its command line and in its environment, and a labels file.

    It waits at the read end of a pipe of ours. When we end without ending it, it removes what is `left` and
    ends, too.
    """
    lifeline, held_by_us = os.pipe()
    stack.callback(os.close, held_by_us)
    with open(labels, "rb") as held:
        victim = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _CARETAKER, canary, str(lifeline), json.dumps(left)],
            env={"CANARY": canary},
            stdin=held,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[lifeline],
            # An interrupt at the terminal is for whoever started us.
            start_new_session=True,
        )
    os.close(lifeline)
    stack.callback(victim.wait)
    stack.callback(victim.kill)
    return victim.pid


def _hold_lock(stack: contextlib.ExitStack) -> None:
    held = os.open(os.path.realpath(os.__file__), os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, held)
    # Shared: another study's doctor may hold it too, and let go of it before our probe listens.
    with contextlib.suppress(OSError):
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _listen_tcp6(stack: contextlib.ExitStack) -> int:
    """A port of the IPv6 loopback, or 9 (discard) where there is none."""
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        return 9
    port: int = stack.enter_context(listener).getsockname()[1]
    return port


def _open_terminal(stack: contextlib.ExitStack) -> str:
    ours, theirs = pty.openpty()
    stack.callback(os.close, ours)
    stack.callback(os.close, theirs)
    return os.ttyname(theirs)


def _share(stack: contextlib.ExitStack, canary: str) -> dict[str, Any]:
    """What another researcher might leave in shared memory and queues; what this kernel lacks is left out."""
    left: dict[str, list[Any]] = {"segments": [], "messages": [], "semaphores": [], "queues": []}
    key = int(canary[-7:], 16) + 1
    queue = f"/{canary}"
    segment = _libc.shmget(key, 4096, _IPC_CREATE)
    if segment >= 0:
        left["segments"].append(segment)
        stack.callback(_libc.shmctl, segment, _IPC_REMOVE, None)
        _libc.shmat.restype = ctypes.c_void_p
        address = _libc.shmat(segment, None, 0)
        ctypes.memmove(address, canary.encode(), len(canary))
        _libc.shmdt(ctypes.c_void_p(address))
    messages = _libc.msgget(key, _IPC_CREATE)
    if messages >= 0:
        left["messages"].append(messages)
        stack.callback(_libc.msgctl, messages, _IPC_REMOVE, None)
    semaphores = _libc.semget(key, 1, _IPC_CREATE)
    if semaphores >= 0:
        left["semaphores"].append(semaphores)
        stack.callback(_libc.semctl, semaphores, 0, _IPC_REMOVE)
    # Room for one short message: a user has room for ten of the usual size.
    shape = (ctypes.c_long * 8)(0, 1, 64)
    opened = _libc.mq_open(queue.encode(), os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, shape)
    if opened >= 0:
        left["queues"].append(queue)
        os.fchmod(opened, 0o666)
        stack.callback(_libc.mq_unlink, queue.encode())
        stack.callback(os.close, opened)
    return {"ipc_key": key, "queue": queue, "left": left}


def as_input(world: dict[str, Any]) -> bytes:
    """The world as a script reads it."""
    return json.dumps(world).encode()
