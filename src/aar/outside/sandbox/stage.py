"""The launcher's own mount namespace, where sandbox uids reach what they need, each by a view of its own."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from aar.outside.sandbox.spec import SandboxUnavailable

_CLONE_NEWNS = 0x0002_0000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_MNT_DETACH = 2

# Nothing that a launcher or a sandbox needs lives there, and it exists everywhere.
_PLACE = "/sys"
_EMPTY = f"{_PLACE}/empty"

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """Host directories where a sandbox's uid can walk to them, seen by this process and its children only.

    Python may live below a home directory of mode 0700 (pyenv, uv), and a study directory may be closed too.
    `places` says where each directory is, `has_views` whether this kernel can overlay it for each sandbox.
    """

    places: Mapping[str, str]
    has_views: bool

    @classmethod
    def enter(cls, directories: Iterable[str]) -> Self:
        """Leave the host's mount namespace and bind `directories` on a stage; needs root.

        Raises `SandboxUnavailable` where that is not permitted.
        """
        _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
        _mount(None, "/", None, _MS_REC | _MS_SLAVE)
        _mount("aar-stage", _PLACE, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=0711,size=4m")
        os.mkdir(_EMPTY, 0o755)
        places = {}
        for number, directory in enumerate(dict.fromkeys(directories)):
            places[directory] = f"{_PLACE}/{number}"
            os.mkdir(places[directory], 0o755)
            _mount(directory, places[directory], None, _MS_BIND)
        try:
            _lay(next(iter(places.values()), _EMPTY), f"{_PLACE}/tried")
        except SandboxUnavailable:
            return cls(places, has_views=False)
        unbind(f"{_PLACE}/tried")
        return cls(places, has_views=True)

    def view(self, directories: Iterable[str], number: int) -> dict[str, str]:
        """Where sandbox `number` finds the directories: as inodes of its own where the kernel can.

        On shared inodes two sandboxes talk by locks, 250 bit/s, and learn of each other by inotify. Take the
        view back with `unbind`.
        """
        if not self.has_views:
            return dict(self.places)
        own: dict[str, str] = {}
        try:
            for directory in dict.fromkeys(directories):
                place = f"{_PLACE}/{number}-{len(own)}"
                _lay(self.places[directory], place)
                own[directory] = place
        except SandboxUnavailable:
            for place in own.values():
                unbind(place)
            raise
        return own


def bind_directory(descriptor: int, name: str) -> str:
    """Bind an open directory on the stage under a name that is not in use; its path there."""
    place = f"{_PLACE}/{name}"
    os.mkdir(place, 0o755)
    _mount(f"/proc/self/fd/{descriptor}", place, None, _MS_BIND)
    return place


def unbind(place: str) -> None:
    """Take a directory off the stage; sandboxes that hold it keep it."""
    _check(_libc.umount2(place.encode(), _MNT_DETACH), f"umount2({place})")
    os.rmdir(place)


def _lay(lower: str, place: str) -> None:
    """Mount a read-only overlay of `lower` alone; the kernel wants two layers."""
    os.mkdir(place, 0o755)
    try:
        _mount("aar-view", place, "overlay", _MS_RDONLY, f"lowerdir={lower}:{_EMPTY}")
    except SandboxUnavailable:
        os.rmdir(place)
        raise


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    outcome = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(outcome, f"mount({source}, {target})")


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxUnavailable(f"{what}: {reason}; run as an ordinary user, or with CAP_SYS_ADMIN")
