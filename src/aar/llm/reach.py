"""What the worker's uid has to reach, where it lies below directories that only root may enter.

Inspect is loaded piece by piece as it is needed, long after the rights are dropped. Python may live below a
home directory of mode 0700 (pyenv, uv), and the checkout or the study too: in a mount namespace of its own
the worker finds these at their own paths, and nothing else of the closed directories.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CLONE_NEWNS = 0x0002_0000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_SLAVE = 4096, 16384, 1 << 19

_libc = ctypes.CDLL(None, use_errno=True)


class OutOfReach(Exception):
    """The worker's uid cannot reach what it needs; the message says what to do."""


def closed_parent(directory: Path, uid: int) -> Path | None:
    """The first directory on the way to this one that an ordinary user `uid` may not walk through, if any."""
    for parent in [*reversed(directory.parents), directory]:
        found = parent.stat()
        wanted = stat.S_IXUSR if found.st_uid == uid else stat.S_IXOTH
        if not found.st_mode & wanted:
            return parent
    return None


def bring_within_reach(directories: Iterable[Path], uid: int) -> None:
    """Make these directories reachable for `uid` in this process; needs root, and is called once.

    Raises `OutOfReach` where that is not permitted.
    """
    wanted = sorted({one.resolve() for one in directories})
    outermost = [one for one in wanted if not any(other in one.parents for other in wanted)]
    closed = {one: closed_parent(one, uid) for one in outermost}
    hidden = sorted({top for top in closed.values() if top is not None})
    if not hidden:
        return
    try:
        _check(_libc.unshare(_CLONE_NEWNS), "unshare(CLONE_NEWNS)")
        _mount(None, "/", None, _MS_REC | _MS_SLAVE)
        for top in hidden:
            if top in outermost:
                raise OutOfReach(
                    f"{top} may be entered by root alone: the worker, uid {uid}, needs what is in it"
                )
            held = {one: os.open(one, os.O_PATH | os.O_CLOEXEC) for one in outermost if closed[one] == top}
            flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
            _mount("aar-worker", str(top), "tmpfs", flags, "mode=0755,size=1m")
            for place, descriptor in held.items():
                _make(place, top)
                _mount(f"/proc/self/fd/{descriptor}", str(place), None, _MS_BIND | _MS_REC)
                os.close(descriptor)
    except OSError as error:
        raise OutOfReach(
            f"{hidden[0]} may be entered by root alone, and the worker needs what is below it ({error}): put "
            "Python and the checkout where every user may read them, or run as an ordinary user"
        ) from error


def _make(place: Path, top: Path) -> None:
    """Directories from below `top` to `place`, each open to everybody."""
    for one in [*reversed(place.parents), place]:
        if top in one.parents and not one.exists():
            one.mkdir()
            one.chmod(0o755)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    words = [None if word is None else word.encode() for word in (source, target, kind, data)]
    outcome = _libc.mount(words[0], words[1], words[2], ctypes.c_ulong(flags), words[3])
    _check(outcome, f"mount({source}, {target})")


def _check(outcome: int, what: str) -> None:
    if outcome != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
