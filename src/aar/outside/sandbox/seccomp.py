"""The system-call filters of every sandbox, assembled to classic BPF without a library."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

# linux/bpf_common.h, linux/seccomp.h, linux/audit.h
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
_EPERM, _ENOSYS = 1, 38
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_X32_BIT = 0x4000_0000

_CLONE_NEW = 0x7E02_0000  # user, pid, net, ipc, uts, cgroup; mount (0x20000) is in there too
_PERSONALITY_QUERY, _PERSONALITY_FORBIDDEN = 0xFFFF_FFFF, 0x0044_0000  # no ASLR, readable is executable
_SET_ID_BITS = 0o6000
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX
_FAMILIES = (1, 2, 10)  # unix, inet, inet6: the network namespace holds nothing but a loopback
_NETLINK, _NETLINK_ROUTE = 16, 0

# Numbers from here on have not been reviewed (Linux 6.18 ends below); they read as "not implemented".
FIRST_UNREVIEWED = 470

# Calls with one number on every architecture (from 424 on the tables agree).
_DENIED_EVERYWHERE = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_getfd": 438,
    "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443, "memfd_secret": 447,
    "process_mrelease": 448, "set_mempolicy_home_node": 450, "cachestat": 451,
}  # fmt: skip
_ABSENT_EVERYWHERE = {"clone3": 435}  # glibc then falls back to clone, whose flags a filter can read
_UNNAMED_BY_MOST_LIBRARIES = (457, 458, 467)  # statmount, listmount, open_tree_attr


class UnsupportedArchitecture(ValueError):
    """No filter is known for this machine; a sandbox without one is not offered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """The system-call numbers of one architecture."""

    audit: int
    denied: dict[str, int]
    clone: int
    ioctl: int
    personality: int
    socket: int
    modes: tuple[tuple[int, int], ...]  # (call, index of its mode argument)
    foreign_bit: int | None = None


_TABLES = {
    "x86_64": _Table(
        audit=0xC000_003E,
        denied={
            "shmget": 29, "shmat": 30, "shmctl": 31, "shmdt": 67, "ptrace": 101, "syslog": 103,
            "uselib": 134, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156,
            "adjtimex": 159, "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165,
            "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169, "sethostname": 170,
            "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174, "init_module": 175,
            "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179,
            "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237,
            "set_mempolicy": 238, "get_mempolicy": 239, "kexec_load": 246, "add_key": 248,
            "request_key": 249, "keyctl": 250, "migrate_pages": 256, "unshare": 272, "move_pages": 279,
            "perf_event_open": 298, "fanotify_init": 300, "fanotify_mark": 301, "name_to_handle_at": 303,
            "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
            "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320,
            "bpf": 321, "userfaultfd": 323,
        },
        clone=56, ioctl=16, personality=135, socket=41,
        modes=((90, 1), (91, 1), (268, 2), (452, 2)),  # chmod, fchmod, fchmodat, fchmodat2
        foreign_bit=_X32_BIT,
    ),
    "aarch64": _Table(
        audit=0xC000_00B7,
        denied={
            "lookup_dcookie": 18, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42,
            "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "unshare": 97, "kexec_load": 104,
            "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117,
            "reboot": 142, "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171,
            "shmget": 194, "shmctl": 195, "shmat": 196, "shmdt": 197, "add_key": 217, "request_key": 218,
            "keyctl": 219, "swapon": 224, "swapoff": 225, "mbind": 235, "get_mempolicy": 236,
            "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241,
            "fanotify_init": 262, "fanotify_mark": 263, "name_to_handle_at": 264,
            "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
            "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "bpf": 280, "userfaultfd": 282,
            "kexec_file_load": 294,
        },
        clone=220, ioctl=29, personality=92, socket=198,
        modes=((52, 1), (53, 2), (452, 2)),  # fchmod, fchmodat, fchmodat2
    ),
}  # fmt: skip

ARCHITECTURES = tuple(_TABLES)


@dataclass(frozen=True, slots=True)
class _Instruction:
    """One classic BPF instruction; jumps count the instructions to skip (linux/filter.h)."""

    code: int
    operand: int
    if_true: int = 0
    if_false: int = 0

    def packed(self) -> bytes:
        return struct.pack("=HBBI", self.code, self.if_true, self.if_false, self.operand)


def denied_calls(machine: str) -> dict[str, int]:
    """Name and number of each call that `main_filter` refuses whatever its arguments."""
    return _table(machine).denied | _DENIED_EVERYWHERE


def main_filter(machine: str) -> bytes:
    """Allow by default; refuse what could reach past the sandbox, and kill on a foreign instruction set.

    `machine` is `platform.machine()`. Arguments are compared in their low 32 bits, which is what the kernel
    looks at: a filter that compares all 64 is walked past with the upper half set (CVE-2019-10063).
    """
    table = _table(machine)
    words = [
        _Instruction(_LOAD, _ARCHITECTURE_OFFSET),
        _Instruction(_JUMP_EQUAL, table.audit, 1, 0),
        _Instruction(_RETURN, _KILL),
        _Instruction(_LOAD, _NUMBER_OFFSET),
    ]
    if table.foreign_bit is not None:
        words += [_Instruction(_JUMP_AT_LEAST, table.foreign_bit, 0, 1), _Instruction(_RETURN, _KILL)]
    for number in sorted(denied_calls(machine).values()):
        words += _when(number, [_refuse(_EPERM)])
    for number in _ABSENT_EVERYWHERE.values():
        words += _when(number, [_refuse(_ENOSYS)])
    words += _when(table.clone, _refuse_bits(0, _CLONE_NEW))
    for number, argument in table.modes:
        words += _when(number, _refuse_bits(argument, _SET_ID_BITS))
    words += _when(
        table.personality,
        [
            _argument(0),
            _Instruction(_JUMP_EQUAL, _PERSONALITY_QUERY, 2, 0),
            _Instruction(_JUMP_ANY_BIT, _PERSONALITY_FORBIDDEN, 0, 1),
            _refuse(_EPERM),
            _Instruction(_RETURN, _ALLOW),
        ],
    )
    words += _when(
        table.ioctl,
        [
            _argument(1),
            *(_Instruction(_JUMP_EQUAL, command, len(_TERMINAL_INPUT) - place, 0)
              for place, command in enumerate(_TERMINAL_INPUT)),
            _Instruction(_RETURN, _ALLOW),
            _refuse(_EPERM),
        ],
    )  # fmt: skip
    words += _when(
        table.socket,
        [
            _argument(0),
            *(_Instruction(_JUMP_EQUAL, family, len(_FAMILIES) - place + 3, 0)
              for place, family in enumerate(_FAMILIES)),
            _Instruction(_JUMP_EQUAL, _NETLINK, 0, 2),
            _argument(2),
            _Instruction(_JUMP_EQUAL, _NETLINK_ROUTE, 1, 0),
            _refuse(_EPERM),
            _Instruction(_RETURN, _ALLOW),
        ],
    )  # fmt: skip
    return _assembled([*words, _Instruction(_RETURN, _ALLOW)])


def ceiling_filter(machine: str) -> bytes:
    """ "Not implemented" for every call newer than our review: a list of denials is open to each new one."""
    table = _table(machine)
    words = [_Instruction(_LOAD, _NUMBER_OFFSET)]
    if table.foreign_bit is not None:
        # Left to the main filter, which kills.
        words += [_Instruction(_JUMP_AT_LEAST, table.foreign_bit, 0, 1), _Instruction(_RETURN, _ALLOW)]
    for number in _UNNAMED_BY_MOST_LIBRARIES:
        words += _when(number, [_refuse(_ENOSYS)])
    words += [_Instruction(_JUMP_AT_LEAST, FIRST_UNREVIEWED, 0, 1), _refuse(_ENOSYS)]
    return _assembled([*words, _Instruction(_RETURN, _ALLOW)])


def _table(machine: str) -> _Table:
    try:
        return _TABLES[machine]
    except KeyError:
        raise UnsupportedArchitecture(
            f"no system-call filter for {machine!r}: want one of {', '.join(_TABLES)}; run on such a machine"
        ) from None


def _argument(index: int) -> _Instruction:
    """Load the low half of an argument; every architecture here is little-endian."""
    return _Instruction(_LOAD, _ARGUMENTS_OFFSET + 8 * index)


def _refuse(errno: int) -> _Instruction:
    return _Instruction(_RETURN, _ERRNO | errno)


def _refuse_bits(argument: int, bits: int) -> list[_Instruction]:
    return [
        _argument(argument),
        _Instruction(_JUMP_ANY_BIT, bits, 0, 1),
        _refuse(_EPERM),
        _Instruction(_RETURN, _ALLOW),
    ]


def _when(number: int, block: Sequence[_Instruction]) -> list[_Instruction]:
    """`block` for this call; it must return on every path, because it may have replaced the loaded number."""
    return [_Instruction(_JUMP_EQUAL, number, 0, len(block)), *block]


def _assembled(words: Sequence[_Instruction]) -> bytes:
    return b"".join(word.packed() for word in words)
