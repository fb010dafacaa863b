"""The system-call filters, run on an interpreter of our own and compared with libseccomp's tables."""

from __future__ import annotations

import ctypes
import ctypes.util
import struct

import pytest

from aar.outside.sandbox import seccomp

AUDIT = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
NUMBERS = {
    "x86_64": {"clone": 56, "clone3": 435, "ioctl": 16, "personality": 135, "socket": 41, "fchmod": 91},
    "aarch64": {"clone": 220, "clone3": 435, "ioctl": 29, "personality": 92, "socket": 198, "fchmod": 52},
}
LIBSECCOMP_TOKEN = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF_0000, 0x8000_0000, 0x0005_0001, 0x0005_0026
HIGH = 1 << 40

both = pytest.mark.parametrize("machine", seccomp.ARCHITECTURES)


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Run classic BPF over struct seccomp_data, as the kernel does."""
    padded = [*arguments, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    words = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    loaded, at = 0, 0
    while True:
        code, if_true, if_false, operand = words[at]
        at += 1
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, operand)
        elif code == 0x06:
            return int(operand)
        else:
            holds = {0x15: loaded == operand, 0x35: loaded >= operand, 0x45: bool(loaded & operand)}[code]
            at += if_true if holds else if_false


def main(machine: str, number: int, *arguments: int) -> int:
    return verdict(seccomp.main_filter(machine), AUDIT[machine], number, *arguments)


@both
def test_an_ordinary_call_is_allowed(machine: str) -> None:
    assert main(machine, 0) == ALLOW
    assert main(machine, 434) == ALLOW  # pidfd_open, which Python uses


@both
def test_every_denied_call_is_refused_whatever_its_arguments(machine: str) -> None:
    for name, number in seccomp.denied_calls(machine).items():
        assert main(machine, number, HIGH, 1, 2) == EPERM, name


@both
def test_a_foreign_instruction_set_is_killed(machine: str) -> None:
    i386 = 0x4000_0003
    assert verdict(seccomp.main_filter(machine), i386, 0) == KILL


def test_the_x32_numbers_are_killed() -> None:
    assert main("x86_64", 0x4000_0000 + 39) == KILL
    # The kernel takes the strictest of both filters, so the ceiling must not weaken that: it allows.
    assert verdict(seccomp.ceiling_filter("x86_64"), AUDIT["x86_64"], 0x4000_0000 + 39) == ALLOW


@both
def test_clone_makes_processes_and_threads_but_no_namespaces(machine: str) -> None:
    thread = 0x003D_0F00
    assert main(machine, NUMBERS[machine]["clone"], 17) == ALLOW
    assert main(machine, NUMBERS[machine]["clone"], thread) == ALLOW
    for bit in (0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000):
        assert main(machine, NUMBERS[machine]["clone"], 17 | bit) == EPERM
        assert main(machine, NUMBERS[machine]["clone"], HIGH | 17 | bit) == EPERM


@both
def test_clone3_is_absent_so_that_libraries_fall_back(machine: str) -> None:
    assert main(machine, NUMBERS[machine]["clone3"]) == ENOSYS


@both
def test_sockets_are_unix_inet_and_route_only(machine: str) -> None:
    call = NUMBERS[machine]["socket"]
    for family in (1, 2, 10):
        assert main(machine, call, family, 1, 0) == ALLOW
        assert main(machine, call, HIGH | family, 1, 0) == ALLOW
    assert main(machine, call, 16, 3, 0) == ALLOW  # netlink route, for the names of interfaces
    assert main(machine, call, 16, 3, 9) == EPERM  # netlink audit
    for family in (0, 3, 17, 38, 40, 44):  # packet, alg, vsock, xdp among them
        assert main(machine, call, family, 1, 0) == EPERM
        assert main(machine, call, HIGH | family, 1, 0) == EPERM


@both
def test_typing_into_a_terminal_is_refused_with_the_upper_half_set_too(machine: str) -> None:
    for command in (0x5412, 0x541C):
        assert main(machine, NUMBERS[machine]["ioctl"], 0, command) == EPERM
        assert main(machine, NUMBERS[machine]["ioctl"], 0, HIGH | command) == EPERM
    assert main(machine, NUMBERS[machine]["ioctl"], 0, 0x5401) == ALLOW


@both
def test_set_id_bits_are_refused_and_other_modes_allowed(machine: str) -> None:
    assert main(machine, NUMBERS[machine]["fchmod"], 3, 0o755) == ALLOW
    assert main(machine, NUMBERS[machine]["fchmod"], 3, 0o4755) == EPERM
    assert main(machine, 452, 3, 0, 0o2755) == EPERM


@both
def test_personality_may_be_asked_but_not_made_predictable(machine: str) -> None:
    call = NUMBERS[machine]["personality"]
    assert main(machine, call, 0xFFFF_FFFF) == ALLOW
    assert main(machine, call, 0) == ALLOW
    assert main(machine, call, 0x0040000) == EPERM
    assert main(machine, call, 0x0400000) == EPERM


@both
def test_calls_newer_than_our_review_are_absent(machine: str) -> None:
    ceiling = seccomp.ceiling_filter(machine)
    assert verdict(ceiling, AUDIT[machine], seccomp.FIRST_UNREVIEWED - 1) == ALLOW
    assert verdict(ceiling, AUDIT[machine], 457) == ENOSYS
    for number in (seccomp.FIRST_UNREVIEWED, 1000):
        assert verdict(ceiling, AUDIT[machine], number) == ENOSYS


def test_a_machine_without_a_table_is_refused() -> None:
    with pytest.raises(seccomp.UnsupportedArchitecture, match="riscv64"):
        seccomp.main_filter("riscv64")


@both
def test_our_numbers_are_those_of_libseccomp(machine: str) -> None:
    path = ctypes.util.find_library("seccomp")
    if path is None:
        pytest.skip("libseccomp is not installed: it is needed only to compare")
    resolve = ctypes.CDLL(path).seccomp_syscall_resolve_name_arch
    known = {}
    for name, number in {**seccomp.denied_calls(machine), **NUMBERS[machine]}.items():
        theirs = resolve(LIBSECCOMP_TOKEN[machine], name.encode())
        if theirs >= 0:  # an older library does not know the newest names
            known[name] = (number, theirs)
    assert len(known) > 50
    assert {name: pair for name, pair in known.items() if pair[0] != pair[1]} == {}
