"""What every service process does first: enter its directory, drop its rights, watch its lifeline.

A service starts as whoever runs the study. As root it then becomes a uid of its own. All its imports are
done by then and its paths are relative to the directory it stands in, because the study and even the
interpreter may lie below a directory that only root may enter.
"""

from __future__ import annotations

import codecs
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

CODECS = ("ascii", "utf-8", "latin-1", "idna")
EXIT_LIFELINE = 0
EXIT_HALTED = 27
EXIT_DISK_FULL = 28
EXIT_REFUSED = 29

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_libc = ctypes.CDLL(None, use_errno=True)


def enter(directory: Path, *, uid: int, lifeline_fd: int) -> None:
    """Stand in `directory`, become `uid` (0 keeps the caller's), and end when the lifeline does."""
    # Python loads codecs when they are first used, which may be too late once the rights are dropped.
    for codec in CODECS:
        codecs.lookup(codec)
    os.chdir(directory)
    os.umask(0o077)
    # Ctrl-C is for the supervisor, which ends its services in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if uid and os.getuid() == 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    # Nobody but root may read this process's memory or environment; no program that it starts gains rights.
    for name, option, value in (
        ("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0),
        ("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1),
    ):
        if _libc.prctl(option, value, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), f"prctl({name})")
    threading.Thread(target=_watch, args=(lifeline_fd,), name="lifeline", daemon=True).start()


def _watch(lifeline_fd: int) -> None:
    """The far end is held by the supervisor and by nobody else: its end of file is the supervisor's end."""
    while os.read(lifeline_fd, 1):
        pass
    os._exit(EXIT_LIFELINE)


def halt(code: int, message: str) -> None:
    """End this process at once, saying why in one line: nothing after a failed write may be trusted."""
    try:
        sys.stderr.write(message.rstrip("\n") + "\n")
        sys.stderr.flush()
    finally:
        # The log lies on the same disk: where that is full the exit status alone has to say it.
        os._exit(code)
