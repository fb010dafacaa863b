"""Attacks on the kernel: calls, files and devices that widen what can be reached of it."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import mmap
import os
import pty
import signal
import struct
import termios
from typing import Any

from aar.outside.sandbox.probes.attempt import (
    NEWUSER,
    NEWUTS,
    Found,
    World,
    in_child,
    libc,
    not_empty,
    opened,
    opens,
    outcome,
    probe,
    syscall,
)

_FILTER = "system-call filter"
_CLONE_ARGS_BYTES = 88
_AT_FDCWD, _ADDR_NO_RANDOMIZE = -100, 0x0040000
_LEGACY_TYPING = "a kernel that still lets programs type into terminals"


@probe("kernel", _FILTER, needs="io_uring")
def open_io_uring(_world: World) -> Found:
    """Make a ring, whose requests no filter sees."""
    parameters = ctypes.create_string_buffer(120)
    return opened(syscall("io_uring_setup", 1, parameters))


@probe("kernel", _FILTER, needs="kernel keyrings")
def read_keyring(_world: World) -> Found:
    """Ask for the keyring of the session, which namespaces do not divide."""
    return outcome(syscall("keyctl", 0, -3, 0))  # KEYCTL_GET_KEYRING_ID


@probe("kernel", _FILTER, needs="kernel keyrings")
def add_key(_world: World) -> Found:
    """Put a key into a keyring: kernel memory, and a place for notes."""
    return outcome(syscall("add_key", b"user", b"probe", b"x", 1, -2))


@probe("kernel", _FILTER, needs="userfaultfd")
def open_userfaultfd(_world: World) -> Found:
    """Make a descriptor that stops the kernel in the middle of a copy."""
    return opened(syscall("userfaultfd", 1))  # UFFD_USER_MODE_ONLY


@probe("kernel", _FILTER, needs="System V shared memory")
def share_memory(_world: World) -> Found:
    """Make a shared memory segment, which counts against no process (System V)."""

    identifier = syscall("shmget", 0, 4096, 0o1600)
    found = outcome(identifier)
    if identifier >= 0:
        libc.shmctl(identifier, 0, None)
    return found


@probe("kernel", _FILTER, needs="kernel.perf_event_paranoid below 3, or root")
def count_events(_world: World) -> Found:
    """Open a performance counter."""
    # perf_event_attr: a software event (1), its size, PERF_COUNT_SW_CPU_CLOCK, of us in user mode only.
    attributes = struct.pack("=IIQQQQQ", 1, 112, 0, 0, 0, 0, 0b1100000).ljust(112, b"\0")
    return opened(syscall("perf_event_open", attributes, 0, -1, -1, 0))


@probe("kernel", _FILTER, "no capabilities", needs="kernel.unprivileged_bpf_disabled=0, or root")
def load_bpf(_world: World) -> Found:
    """Make a BPF map, the first step of a BPF program."""
    attributes = struct.pack("=IIII", 2, 4, 8, 1).ljust(128, b"\0")  # an array of one element
    return opened(syscall("bpf", 0, attributes, len(attributes)))


@probe("kernel", _FILTER, needs="fanotify")
def watch_file_system(_world: World) -> Found:
    """Watch files by fanotify, which may see whole file systems."""
    return opened(syscall("fanotify_init", 0x200, 0))  # FAN_REPORT_FID


@probe("kernel", _FILTER, needs="memfd_secret")
def hide_memory(_world: World) -> Found:
    """Make memory that not even the kernel maps."""
    return opened(syscall("memfd_secret", 0))


@probe("kernel", _FILTER, "own uid", needs="Linux 6.5")
def ask_page_cache(_world: World) -> Found:
    """Ask which pages of a shared file are in memory: who ran what."""

    with open(os.__file__, "rb") as shared:
        wanted, answer = struct.pack("=QQ", 0, 4096), ctypes.create_string_buffer(40)
        return outcome(syscall("cachestat", shared.fileno(), wanted, answer, 0))


@probe("kernel", "system-call ceiling", needs="Linux 6.8")
def list_mounts(_world: World) -> Found:
    """List mounts by a call that is newer than most filters."""
    syscall("listmount", None, None, 0, 0)
    refused = ctypes.get_errno() in (errno.ENOSYS, errno.EPERM)
    return not refused, os.strerror(ctypes.get_errno())


@probe("kernel", _FILTER, needs="x86-64 with 32-bit programs")
def use_other_instruction_set(_world: World) -> Found:
    """Make a system call as a 32-bit program, by other numbers."""
    if os.uname().machine != "x86_64":
        return False, "no such thing on this machine"

    def attempt() -> Found:
        # mov eax, 20 (getpid of i386); int 0x80; ret
        code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
        return call() == os.getpid(), "getpid of i386"

    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    return in_child(attempt)


@probe("kernel", _FILTER)
def fix_addresses(_world: World) -> Found:
    """Turn off the randomisation of addresses for what one starts."""
    return in_child(lambda: outcome(libc.personality(_ADDR_NO_RANDOMIZE)))


@probe("kernel", _FILTER, needs="x86-64")
def read_descriptor_table(_world: World) -> Found:
    """Reach the local descriptor table, a source of kernel faults."""
    return outcome(syscall("modify_ldt", 0, ctypes.create_string_buffer(64), 64))


@probe("kernel", _FILTER, "no capabilities", needs="kernel.dmesg_restrict=0, or root")
def read_kernel_log(_world: World) -> Found:
    """Ask the kernel for its log."""
    return outcome(syscall("syslog", 10, None, 0))  # SYSLOG_ACTION_SIZE_BUFFER


@probe("kernel", _FILTER)
def reach_clock(_world: World) -> Found:
    """Reach the kernel's clock by the call that also sets it (here: it only reads)."""
    return outcome(syscall("adjtimex", ctypes.create_string_buffer(208)))


@probe("kernel", "system-call filter", "no capabilities", needs="root")
def administer_kernel(_world: World) -> Found:
    """Load a module, reboot, add swap: with arguments that no kernel takes, to see who may ask."""

    def attempt() -> Found:
        for name, arguments in (
            ("reboot", (0, 0, 0)),
            ("swapon", (None, 0)),
            ("init_module", (None, 0, None)),
        ):
            syscall(name, *arguments)
            if ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS):
                return True, f"{name}: {os.strerror(ctypes.get_errno())}"
        return outcome(-1)

    return in_child(attempt)


@probe("kernel", _FILTER, needs=_LEGACY_TYPING)
def type_into_terminal(_world: World) -> Found:
    """Type into a terminal as if a person had."""
    return in_child(lambda: _typed(termios.TIOCSTI))


@probe("kernel", _FILTER, needs=_LEGACY_TYPING)
def type_with_upper_half(_world: World) -> Found:
    """Type into a terminal by a number whose upper half a filter may compare and the kernel drops."""
    return in_child(lambda: _typed(termios.TIOCSTI | 1 << 32))


@probe("kernel", "masked /proc", needs="readable /proc/kallsyms")
def read_kernel_symbols(_world: World) -> Found:
    """Read the names and addresses of the kernel."""
    return not_empty("/proc/kallsyms")


@probe("kernel", "masked /proc")
def read_kernel_command_line(_world: World) -> Found:
    """Read with what the host was started."""
    return not_empty("/proc/cmdline")


@probe("kernel", "masked /proc", needs="CONFIG_IKCONFIG_PROC")
def read_kernel_configuration(_world: World) -> Found:
    """Read how the kernel was built."""
    return not_empty("/proc/config.gz")


@probe("kernel", "masked /proc", "own uid", needs="root")
def open_files_of_root(_world: World) -> Found:
    """Open what only root may read of the kernel: its memory, its timers, the state of every page."""
    names = ("kcore", "timer_list", "kpageflags", "kpagecount", "vmallocinfo", "slabinfo")
    return opens([f"/proc/{name}" for name in names], os.O_RDONLY)


@probe("privilege", "read-only mounts", "own uid", needs="root")
def write_core_pattern(_world: World) -> Found:
    """Open for writing the file that makes root of the host run a program."""
    with open("/proc/sys/kernel/core_pattern", "wb"):
        return True, "open for writing"


@probe("privilege", "read-only mounts", "own uid", needs="root")
def write_kernel_settings(_world: World) -> Found:
    """Open for writing another of the kernel's settings."""
    names = ("vm/drop_caches", "kernel/modprobe", "kernel/hostname", "kernel/randomize_va_space")
    return opens([f"/proc/sys/{name}" for name in names], os.O_WRONLY)


@probe("kernel", "mount view", needs="/sys")
def see_kernel_objects(_world: World) -> Found:
    """Look at devices, modules and firmware in /sys."""
    return bool(os.listdir("/sys/kernel")), "/sys/kernel"


@probe("kernel", "mount view", "own uid", needs="root, or a delegated control group")
def write_control_groups(_world: World) -> Found:
    """Open the membership of a control group for writing: the way to give limits away."""
    patterns = ("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/*/cgroup.procs", "/sys/fs/cgroup/*/tasks")
    return opens([path for pattern in patterns for path in glob.glob(pattern)], os.O_WRONLY)


@probe("namespaces", "system-call filter", "no nested user namespaces")
def make_user_namespace(_world: World) -> Found:
    """Become root of a user namespace of one's own."""
    return in_child(lambda: outcome(libc.unshare(NEWUSER)))


@probe("namespaces", "system-call filter", "no nested user namespaces")
def clone_namespace(_world: World) -> Found:
    """The same in the call that makes a process."""
    return in_child(lambda: _cloned("clone", NEWUSER | signal.SIGCHLD, None, None, None, None))


@probe("namespaces", "system-call filter", "no nested user namespaces")
def clone3_namespace(_world: World) -> Found:
    """The same in the call whose flags no filter can read."""
    arguments = struct.pack("=QQQQQ", NEWUSER, 0, 0, 0, signal.SIGCHLD).ljust(_CLONE_ARGS_BYTES, b"\0")
    return in_child(lambda: _cloned("clone3", arguments, _CLONE_ARGS_BYTES))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def join_namespace(_world: World) -> Found:
    """Enter a namespace by a file of /proc."""
    return outcome(libc.setns(os.open("/proc/self/ns/uts", os.O_RDONLY), NEWUTS))


@probe("namespaces", "system-call filter", "no capabilities", wants_root=True)
def set_host_name(_world: World) -> Found:
    """Give the machine another name."""
    return outcome(libc.sethostname(b"probe", 5))


def _cloned(name: str, *arguments: Any) -> Found:
    made = syscall(name, *arguments)
    if made == 0:
        os._exit(0)
    found = outcome(made)
    if made > 0:
        os.waitpid(made, 0x4000_0000)
    return found


def _typed(command: int) -> Found:
    """A terminal of our own, made the one that controls us, is enough to see whether typing works."""
    _, theirs = pty.openpty()
    os.setsid()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    # Both ends stay open: a terminal that goes takes its session along.
    return outcome(libc.ioctl(theirs, ctypes.c_ulong(command), b"x"))
