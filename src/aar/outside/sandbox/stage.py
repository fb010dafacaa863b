"""The launcher's own mount namespace, where sandbox uids reach what they need, each by a view of its own."""

from __future__ import annotations

import ctypes
import errno
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

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Stage:
    """Host directories where a sandbox's uid can walk to them, seen by this process and its children only.

    Python may live below a home directory of mode 0700 (pyenv, uv), and a study directory may be closed too.
    `places` says where each directory is, `has_views` whether this kernel can overlay it for each sandbox,
    `place` where all of it is.
    """

    places: Mapping[str, str]
    has_views: bool
    place: str = _PLACE

    @classmethod
    def enter(cls, directories: Iterable[str], *, place: str = _PLACE, size: str = "4m") -> Self:
        """Leave the host's mount namespace and bind `directories` on a stage at `place`; needs root.

        Raises `SandboxUnavailable` where that is not permitted.
        """
        _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
        _mount(None, "/", None, _MS_REC | _MS_SLAVE)
        if place == _PLACE:
            # What is mounted there is not ours to need, and bubblewrap reads the whole list of mounts again
            # for each that it makes. In a container it may be locked.
            _libc.umount2(place.encode(), _MNT_DETACH)
        _mount("aar-stage", place, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, f"mode=0711,size={size}")
        empty = f"{place}/empty"
        os.mkdir(empty, 0o755)
        places = {}
        for number, directory in enumerate(dict.fromkeys(directories)):
            places[directory] = f"{place}/{number}"
            os.mkdir(places[directory], 0o755)
            _mount(directory, places[directory], None, _MS_BIND)
        try:
            _lay(next(iter(places.values()), empty), empty, f"{place}/tried")
        except SandboxUnavailable:
            return cls(places, has_views=False, place=place)
        unbind(f"{place}/tried")
        return cls(places, has_views=True, place=place)

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
                place = f"{self.place}/{number}-{len(own)}"
                _lay(self.places[directory], f"{self.place}/empty", place)
                own[directory] = place
        except SandboxUnavailable:
            for place in own.values():
                unbind(place)
            raise
        return own

    def bind_directory(self, descriptor: int, name: str) -> str:
        """Bind an open directory on the stage under a name that is not in use; its path there."""
        place = f"{self.place}/{name}"
        os.mkdir(place, 0o755)
        _mount(f"/proc/self/fd/{descriptor}", place, None, _MS_BIND)
        return place


def mount_tree(stage: Stage, name: str) -> str:
    """A new directory on the stage, with a file system of its own for what is mounted below it; its path."""
    root = f"{stage.place}/{name}"
    os.mkdir(root, 0o755)
    try:
        _mount("aar-tree", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=1m")
    except SandboxUnavailable:
        os.rmdir(root)
        raise
    return root


def bind(source: str, place: str) -> None:
    """Show `source` at `place` too, without what is mounted below it."""
    _mount(source, place, None, _MS_BIND)


def overlay(stage: Stage, lower: str, place: str) -> None:
    """Show `lower` at `place`, read-only and as inodes of its own."""
    # The kernel wants two layers.
    _mount("aar-view", place, "overlay", _MS_RDONLY, f"lowerdir={lower}:{stage.place}/empty")


def detach(place: str) -> None:
    """Take a mount off the stage, or do nothing when it is off already; sandboxes that hold it keep it.

    The directory stays: with it would go what is mounted there in any namespace.
    """
    if _libc.umount2(place.encode(), _MNT_DETACH) != 0 and ctypes.get_errno() != errno.EINVAL:
        _check(-1, f"umount2({place})")


def unbind(place: str) -> None:
    """Take a directory off the stage, once its sandbox has its own root, or none."""
    detach(place)
    os.rmdir(place)


def _lay(lower: str, empty: str, place: str) -> None:
    """Mount a read-only overlay of `lower` alone; the kernel wants two layers."""
    os.mkdir(place, 0o755)
    try:
        _mount("aar-view", place, "overlay", _MS_RDONLY, f"lowerdir={lower}:{empty}")
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
