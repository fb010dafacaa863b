"""The launcher's own mount namespace, in which sandbox uids reach what lies below closed directories."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from aar.outside.sandbox.spec import SandboxUnavailable

_CLONE_NEWNS = 0x0002_0000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19
_MNT_DETACH = 2

# Nothing that a launcher or a sandbox needs lives there, and it exists everywhere.
_PLACE = "/sys"

_libc = ctypes.CDLL(None, use_errno=True)


def enter_own_mounts() -> None:
    """Leave the host's mount namespace and put an empty stage at /sys; needs root.

    Python may live below a home directory of mode 0700 (pyenv, uv), and a study directory may be closed too:
    a sandbox's uid cannot walk there. What is bound on the stage it can reach; nobody else sees the stage.
    """
    _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
    _mount(None, "/", None, _MS_REC | _MS_SLAVE)
    _mount("aar-stage", _PLACE, "tmpfs", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC, "mode=0711,size=4m")


def stage(sources: Iterable[str]) -> dict[str, str]:
    """Bind each source on the stage; where it is now."""
    places = {}
    for source in dict.fromkeys(sources):
        place = f"{_PLACE}/{len(os.listdir(_PLACE))}"
        if os.path.isdir(source):
            os.mkdir(place, 0o755)
        else:
            os.close(os.open(place, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        _mount(source, place, None, _MS_BIND)
        places[source] = place
    return places


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


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    outcome = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(outcome, f"mount({source}, {target})")


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        reason = os.strerror(ctypes.get_errno())
        raise SandboxUnavailable(f"{what}: {reason}; run as an ordinary user, or with CAP_SYS_ADMIN")
