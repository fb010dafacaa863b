"""Attacks on processes of the host, and on one's own by means that reach further."""

from __future__ import annotations

import ctypes
import os
import resource

from aar.outside.sandbox.probes.attempt import Found, World, holds, in_child, libc, outcome, probe, syscall

_TRACEME, _ATTACH, _DETACH = 0, 16, 17


@probe("keys", "closed environment")
def read_environments(world: World) -> Found:
    """Look for a secret in our environment, or in that of any process in sight."""
    canary = world["canary"].encode()
    for pid in ["self", *filter(str.isdigit, os.listdir("/proc"))]:
        if holds(f"/proc/{pid}/environ", canary):
            return True, f"/proc/{pid}/environ"
    return False, "not in any environment"


@probe("host processes", "process namespace")
def see_host_process(world: World) -> Found:
    """Find a process of the host by its command line."""
    canary = world["canary"].encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if holds(f"/proc/{pid}/cmdline", canary):
            return True, f"/proc/{pid}/cmdline"
    return False, "not among the processes seen"


@probe("host processes", "system-call filter", needs="a kernel that lets processes be traced")
def trace_process(world: World) -> Found:
    """Attach to a process of the host, and to a child of one's own."""
    if libc.ptrace(_ATTACH, world["victim"], None, None) == 0:
        os.waitpid(world["victim"], 0x4000_0000)
        libc.ptrace(_DETACH, world["victim"], None, None)
        return True, "attached"
    return in_child(lambda: outcome(libc.ptrace(_TRACEME, 0, None, None)))


@probe("host processes", "process namespace")
def signal_host_process(world: World) -> Found:
    """Send a signal to a process of the host."""
    os.kill(world["victim"], 0)
    return True, f"process {world['victim']}"


@probe("host processes", "process namespace")
def hold_host_process(world: World) -> Found:
    """Open a descriptor of a process of the host, through which it can be signalled and waited for."""
    os.close(os.pidfd_open(world["victim"]))
    return True, f"process {world['victim']}"


@probe("host processes", "system-call filter")
def read_process_memory(_world: World) -> Found:
    """Copy memory by the call that reads other processes (here: one's own)."""
    kept = ctypes.create_string_buffer(b"memory")
    room = ctypes.create_string_buffer(6)
    pairs = [(ctypes.c_void_p * 2)(ctypes.addressof(one), 6) for one in (room, kept)]
    return outcome(syscall("process_vm_readv", os.getpid(), pairs[0], 1, pairs[1], 1, 0))


@probe(
    "host processes", "process namespace", "user namespace", needs="a kernel that lets processes be traced"
)
def open_process_memory(world: World) -> Found:
    """Open the memory of a process of the host for writing."""
    os.close(os.open(f"/proc/{world['victim']}/mem", os.O_RDWR))
    return True, f"process {world['victim']}"


@probe("host processes", "system-call filter")
def take_descriptor(_world: World) -> Found:
    """Take a descriptor out of another process (here: one's own)."""
    holder = os.pidfd_open(os.getpid())
    try:
        taken = syscall("pidfd_getfd", holder, 0, 0)
        found = outcome(taken)
        if taken >= 0:
            os.close(taken)
        return found
    finally:
        os.close(holder)


@probe("host processes", "process namespace")
def slow_host_process(world: World) -> Found:
    """Give a process of the host a lower priority."""
    now = os.getpriority(os.PRIO_PROCESS, world["victim"])
    os.setpriority(os.PRIO_PROCESS, world["victim"], min(now + 1, 19))
    return True, f"process {world['victim']}"


@probe("host processes", "process namespace")
def pin_host_process(world: World) -> Found:
    """Choose the processors of a process of the host."""
    os.sched_setaffinity(world["victim"], os.sched_getaffinity(world["victim"]))
    return True, f"process {world['victim']}"


@probe("host processes", "process namespace")
def limit_host_process(world: World) -> Found:
    """Read, and so be able to change, the limits of a process of the host."""
    resource.prlimit(world["victim"], resource.RLIMIT_NOFILE)
    return True, f"process {world['victim']}"


@probe("host processes", "system-call filter", needs="CONFIG_KCMP")
def compare_processes(_world: World) -> Found:
    """Ask whether two processes share something, which orders kernel addresses."""
    return outcome(syscall("kcmp", os.getpid(), os.getpid(), 0, 0, 0))


@probe("host processes", "system-call filter", needs="CONFIG_NUMA or CONFIG_MIGRATION")
def move_pages(_world: World) -> Found:
    """Ask for, and so be able to move, the pages of a process."""
    return outcome(syscall("move_pages", 0, 0, None, None, None, 0))
