"""Attacks on the other researchers: their files, their doors, and every channel between two sandboxes."""

from __future__ import annotations

import ctypes
import fcntl
import os

from aar.outside.sandbox.probes.attempt import (
    CHANNELS,
    Found,
    World,
    connects,
    holds,
    libc,
    outcome,
    probe,
    reads,
    syscall,
)

_IPC_NOWAIT, _MSG_COPY = 0o4000, 0o40000
_IN_OPEN = 0x20


@probe("other researchers", "mount view")
def read_other_workspace(world: World) -> Found:
    """Open another researcher's notes."""
    return reads(world, "workspace")


@probe("other researchers", "mount view")
def write_other_workspace(world: World) -> Found:
    """Change another researcher's notes."""
    with open(world["places"]["workspace"], "r+b"):
        return True, world["places"]["workspace"]


@probe("other researchers", "mount view")
def connect_other_gateway(world: World) -> Found:
    """Speak to the gateway through another researcher's socket."""
    return connects(1, world["places"]["socket"])


@probe("other researchers", "read-only mounts", "own uid")
def replace_gateway_socket(world: World) -> Found:
    """Put a socket of one's own beside the gateway's, for somebody to find."""
    path = os.path.join(world["own_gateway"], f"gw-{os.getpid()}.sock")
    with open(path, "xb"):
        pass
    os.unlink(path)
    return True, path


@probe("other researchers", "IPC namespace", "system-call filter")
def read_shared_segment(world: World) -> Found:
    """Attach a shared memory segment that another researcher made (System V)."""
    segment = syscall("shmget", world["ipc_key"], 0, 0)
    if segment < 0:
        return outcome(segment)
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(segment, None, 0o10000)
    if address in (None, ctypes.c_void_p(-1).value):
        return outcome(-1)
    return ctypes.string_at(address, 64).startswith(world["canary"].encode()[:16]), "attached"


@probe("other researchers", "IPC namespace")
def read_message_queue(world: World) -> Found:
    """Find a message queue that another researcher made (System V)."""
    return outcome(libc.msgget(world["ipc_key"], 0))


@probe("other researchers", "IPC namespace")
def read_semaphore(world: World) -> Found:
    """Find a semaphore that another researcher made (System V)."""
    return outcome(libc.semget(world["ipc_key"], 1, 0))


@probe("other researchers", "IPC namespace", needs="POSIX message queues")
def read_posix_queue(world: World) -> Found:
    """Open a POSIX message queue that another researcher made."""
    return outcome(libc.mq_open(world["queue"].encode(), os.O_RDONLY | os.O_NONBLOCK))


@probe("other researchers", "mount view", needs="/dev/shm")
def read_posix_memory(world: World) -> Found:
    """Open shared memory that another researcher left in /dev/shm."""
    path = world["places"].get("memory", "/dev/shm/none")
    return holds(path, world["canary"].encode(), must_open=True), path


@probe("other researchers", "per-sandbox overlay of the runtime", among=CHANNELS)
def share_file_locks(_world: World) -> Found:
    """Hear another sandbox by its locks on a file of the runtime."""
    with open(os.__file__, "rb") as shared:
        try:
            fcntl.flock(shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True, "locked by another"
    return False, "an inode of our own"
