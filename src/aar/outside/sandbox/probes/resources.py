"""Attacks on limits: taking more than one was given, or raising what was given."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import threading

from aar.outside.sandbox.probes.attempt import Found, World, in_child, libc, probe

_MIB = 1 << 20
_RLIMIT = "resource limit"
_AT_MOST_MIB = 1024


@probe("resources", _RLIMIT)
def exceed_processes(world: World) -> Found:
    """Start more threads and processes than were granted."""

    def attempt() -> Found:
        threading.stack_size(_MIB // 16)
        gate = threading.Event()
        wanted = world["processes"] + 8
        for number in range(wanted):
            try:
                threading.Thread(target=gate.wait, daemon=True).start()
            except RuntimeError:
                return False, f"stopped at {number}"
        return True, f"{wanted} threads"

    return in_child(attempt)


@probe("resources", _RLIMIT)
def exceed_memory(world: World) -> Found:
    """Take more memory than was granted, in one process."""
    return in_child(lambda: _mapped(world["memory_mib"] + 64, mmap.PROT_READ | mmap.PROT_WRITE))


@probe("resources", _RLIMIT)
def exceed_address_space(world: World) -> Found:
    """Take addresses without end."""
    return in_child(lambda: _mapped(world["memory_mib"] + 16_384, mmap.PROT_READ))


@probe("resources", _RLIMIT)
def exceed_open_files(_world: World) -> Found:
    """Open more files than were granted."""

    def attempt() -> Found:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for _ in range(600):
            os.open("/dev/null", os.O_RDONLY)
        return True, "600 files"

    return in_child(attempt)


@probe("resources", _RLIMIT)
def exceed_file_size(world: World) -> Found:
    """Make one file of a tebibyte, which whoever collects it would read."""

    def attempt() -> Found:
        path = os.path.join(world["scratch"], f"sparse-{os.getpid()}")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.ftruncate(descriptor, 1 << 40)
            return True, "1 TiB"
        finally:
            os.unlink(path)

    return in_child(attempt)


@probe("resources", "sized file systems")
def find_room_without_end(world: World) -> Found:
    """Find a place to write that is larger than the memory granted."""
    for folder in world["rooms"]:
        told = os.statvfs(folder)
        if told.f_blocks * told.f_frsize > _AT_MOST_MIB * _MIB:
            return True, folder
    return False, f"{len(world['rooms'])} places measured"


@probe("resources", _RLIMIT)
def raise_limits(_world: World) -> Found:
    """Have, or give oneself, a limit on processes or processor time that is no limit."""

    def attempt() -> Found:
        for kind, enough in ((resource.RLIMIT_NPROC, 512), (resource.RLIMIT_CPU, 1_000_000)):
            hard = resource.getrlimit(kind)[1]
            if hard == resource.RLIM_INFINITY or hard >= enough:
                continue
            try:
                resource.setrlimit(kind, (enough, enough))
            except ValueError as error:  # what Python makes of the kernel's refusal
                return False, f"{error}"
        return True, "as good as none"

    return in_child(attempt)


@probe("resources", _RLIMIT)
def lock_memory(_world: World) -> Found:
    """Keep memory from being swapped out."""

    def attempt() -> Found:
        kept = mmap.mmap(-1, _MIB)
        address = ctypes.addressof(ctypes.c_char.from_buffer(kept))
        locked = libc.mlock(ctypes.c_void_p(address), _MIB)
        return locked == 0, os.strerror(ctypes.get_errno())

    return in_child(attempt)


@probe("resources", _RLIMIT, needs="POSIX message queues")
def fill_message_queues(_world: World) -> Found:
    """Make message queues, whose memory counts against nobody."""

    def attempt() -> Found:
        made = []
        try:
            for number in range(3):
                name = f"/probe-{os.getpid()}-{number}".encode()
                # mq_attr: 10 messages of 8192 bytes
                if libc.mq_open(name, os.O_CREAT | os.O_RDWR, 0o600, (ctypes.c_long * 8)(0, 10, 8192)) < 0:
                    return False, os.strerror(ctypes.get_errno())
                made.append(name)
            return True, "3 queues"
        finally:
            for name in made:
                libc.mq_unlink(name)

    return in_child(attempt)


@probe("resources", "no capabilities", "user namespace", needs="root")
def raise_priority(_world: World) -> Found:
    """Run before everybody else."""

    def attempt() -> Found:
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - 1)
        return True, "one higher"

    return in_child(attempt)


@probe("resources", "no capabilities", "user namespace", needs="root and CAP_SYS_NICE")
def run_in_real_time(_world: World) -> Found:
    """Keep a processor to oneself."""

    def attempt() -> Found:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return True, "real time"

    return in_child(attempt)


def _mapped(mib: int, access: int) -> Found:
    # Nothing is touched: what counts is whether it is granted.
    mmap.mmap(-1, mib * _MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=access).close()
    return True, f"{mib} MiB"
