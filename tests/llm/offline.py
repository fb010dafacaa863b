"""A network of its own, with nothing in it but loopback: who asks for anything else gets no answer."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import TypeVar

_CLONE_NEWNET = 0x4000_0000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

Answer = TypeVar("Answer")


def is_permitted() -> bool:
    """Whether this process may make such a network."""
    return os.geteuid() == 0 and in_own_network(lambda: True, probing=True)


def in_own_network(work: Callable[[], Answer], *, probing: bool = False) -> Answer:
    """Do some work in a thread with a network of its own; what it starts is in that network too."""
    answers: list[Answer] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            # Of this thread alone: the others keep their network.
            if libc.unshare(_CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
            _bring_up("lo")
            answers.append(work())
        # For the caller's thread.
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed and probing:
        return False  # type: ignore[return-value]
    if failed:
        raise failed[0]
    return answers[0]


def _bring_up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = interface.encode()
        (flags,) = struct.unpack_from("h", fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("16sh", name, 0)), 16)
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh", name, flags | _IFF_UP))
