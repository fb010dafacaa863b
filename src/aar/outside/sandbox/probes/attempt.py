"""What a probe is, how it tries, and what counts as a refusal; standard library only, because it runs inside.

A probe is handed the world, one JSON object: where things lie outside, what to search, which mode ("without"
the sandbox or "within"). It fires when its attack works.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Found = tuple[bool, str]
World = dict[str, Any]

# What a wall answers with. Anything else is a mistake in a probe, and ends the script.
REFUSALS = (OSError, ImportError)

NEWNS, NEWUTS, NEWUSER, NEWNET = 0x0002_0000, 0x0400_0000, 0x1000_0000, 0x4000_0000
_LOOK_INSIDE_BYTES = 65_536
_CALLS = {
    "x86_64": {
        "clone": 56, "shmget": 29, "mknodat": 259, "personality": 135, "syslog": 103, "modify_ldt": 154,
        "adjtimex": 159, "add_key": 248, "keyctl": 250, "move_pages": 279, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "process_vm_readv": 310,
        "kcmp": 312, "init_module": 175, "reboot": 169, "swapon": 167, "bpf": 321, "userfaultfd": 323,
        "sched_setaffinity": 203,
    },
    "aarch64": {
        "clone": 220, "shmget": 194, "mknodat": 33, "personality": 92, "syslog": 116, "adjtimex": 171,
        "add_key": 217, "keyctl": 219, "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "process_vm_readv": 270, "kcmp": 272,
        "init_module": 105, "reboot": 142, "swapon": 224, "bpf": 280, "userfaultfd": 282,
        "sched_setaffinity": 122,
    },
}  # fmt: skip
# From 424 on the tables agree.
_CALLS_EVERYWHERE = {
    "io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "clone3": 435, "pidfd_getfd": 438,
    "memfd_secret": 447, "cachestat": 451, "listmount": 458,
}  # fmt: skip

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Probe:
    """One attack: its area, the mechanisms that each stop it, and where it may fail outside, too.

    `needs` is what a kernel may lack, an administrator may forbid, or only root can do: without it the attack
    need not work outside, and there is then nothing here that a sandbox must stop. One that `wants_root` runs
    as root of namespaces of its own, where it can make them.
    """

    name: str
    area: str
    blocked_by: tuple[str, ...]
    says: str
    needs: str = ""
    attack: Callable[[World], Found] | None = None
    wants_root: bool = False


PROBES: dict[str, Probe] = {}
# Channels between sandboxes, not ways out: reported as limits, and never refused.
CHANNELS: dict[str, Probe] = {}


def probe(
    area: str,
    *blocked_by: str,
    needs: str = "",
    wants_root: bool = False,
    among: dict[str, Probe] = PROBES,
) -> Callable[[Callable[[World], Found]], Callable[[World], Found]]:
    """Register an attack under its own name; its docstring says what it does."""

    def register(attack: Callable[[World], Found]) -> Callable[[World], Found]:
        name = attack.__name__.replace("_", "-")
        says = " ".join((attack.__doc__ or "").partition("\n\n")[0].split())
        among[name] = Probe(name, area, blocked_by, says.rstrip("."), needs, attack, wants_root)
        return attack

    return register


def attempted(attack: Callable[[], Found]) -> Found:
    """What it found; an exception that is a refusal becomes the detail."""
    try:
        return attack()
    except REFUSALS as error:
        return False, f"{type(error).__name__}: {error}"


def syscall(name: str, *arguments: Any) -> int:
    """Make a system call by number; `OSError`, which counts as a refusal, where this machine has none."""
    number = (_CALLS.get(os.uname().machine, {}) | _CALLS_EVERYWHERE).get(name)
    if number is None:
        raise OSError(f"no {name} on {os.uname().machine}")
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(libc.syscall(ctypes.c_long(number), *words))


def outcome(returned: int) -> Found:
    """A call's answer: it worked unless it is negative."""
    if returned >= 0:
        return True, f"returned {returned}"
    return False, os.strerror(ctypes.get_errno())


def opened(descriptor: int) -> Found:
    """The answer of a call that makes a descriptor, which is closed again."""
    found = outcome(descriptor)
    if descriptor >= 0:
        os.close(descriptor)
    return found


def in_child(attack: Callable[[], Found]) -> Found:
    """In a process of its own, which what it changes dies with."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writer, json.dumps(attempted(attack)).encode())
        finally:
            os.kill(os.getpid(), signal.SIGKILL)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        answer = told.read()
    os.waitpid(pid, 0)
    if not answer:
        return False, "killed in the attempt"
    fired, detail = json.loads(answer)
    return bool(fired), str(detail)


def all_tried(world: World, probes: dict[str, Probe]) -> dict[str, Found]:
    """Try every attack; those that want to be root together, in a child that makes itself namespaces.

    Where it may not make any, what it is must do. A child that dies in between has found nothing.
    """
    found: dict[str, Found] = {}

    def as_root() -> Found:
        libc.unshare(NEWUSER | NEWNS | NEWUTS | NEWNET)
        tried = {name: _tried(one, world) for name, one in probes.items() if one.wants_root}
        return True, json.dumps(tried)

    survived, told = in_child(as_root)
    together = json.loads(told) if survived else {}
    for name, one in probes.items():
        if one.attack is not None:
            found[name] = tuple(together.get(name, (False, told))) if one.wants_root else _tried(one, world)
    return found


def _tried(one: Probe, world: World) -> Found:
    return attempted(lambda: one.attack(world) if one.attack is not None else (False, "judged outside"))


def reads(world: World, name: str) -> Found:
    """Whether the canary can be read where it was planted."""
    path = world["places"][name]
    return holds(path, world["canary"].encode(), must_open=True), path


def holds(path: str, canary: bytes, *, must_open: bool = False) -> bool:
    """Whether the file begins with something that has the canary in it; one that cannot be opened has not."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError:
        if must_open:
            raise
        return False
    try:
        return canary in os.read(descriptor, _LOOK_INSIDE_BYTES)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def connects(family: int, address: Any) -> Found:
    """Whether somebody listens at that address, as seen from here."""
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(0.3)
        sock.connect(address)
        return True, "connected"


def opens(paths: list[str], flags: int) -> Found:
    """Whether one of these can be opened so; nothing is read or written.

    Where the null device lies over a file it is not that file which was opened.
    """
    seen = "none of them is there"
    for path in paths:
        try:
            opened = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
            is_covered = os.fstat(opened).st_rdev == os.makedev(1, 3)
            os.close(opened)
            if is_covered:
                seen = f"{path}: covered by the null device"
                continue
        except FileNotFoundError:
            continue
        except OSError as error:
            seen = f"{path}: {error.strerror}"
            continue
        return True, path
    return False, seen


def not_empty(path: str) -> Found:
    """Whether there is something to read."""
    with open(path, "rb") as file:
        return bool(file.read(64)), path
