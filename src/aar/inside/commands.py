"""One command in a sandbox, its keeper, and the end of both.

A keeper is a process that starts the command and adopts whatever the command's processes leave behind while
it runs, so that all of its descendants are to be found. It ends with the command.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PR_SET_CHILD_SUBREAPER = 36
_COULD_NOT_RUN, _NOT_FOUND = 126, 127
# What Python ignores or handles, and other programs expect to die of.
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT)


def become_subreaper() -> None:
    """From now on, what loses its parent below this process is a child of this one."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def keep(what: dict[str, Any], streams: tuple[int, int, int], status: int) -> None:
    """In a new process: start the command, adopt what it leaves, tell how it ended; never returns."""
    code = 1
    try:
        become_subreaper()
        pid = os.fork()
        if pid == 0:
            _become(what, streams)
        # Nothing of the server's stays open here: others wait for the ends of its pipes.
        status = os.dup2(status, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        os.write(status, b"%d " % pid)
        while True:
            ended, how = os.wait()
            if ended == pid:
                os.write(status, b"%d" % how)
                break
        code = 0
    finally:
        os._exit(code)


def _become(what: dict[str, Any], streams: tuple[int, int, int]) -> None:
    """In a new process: be the command, in a process group of its own; never returns.

    Not in a session of its own: the kernel may give each of those a share of the processors.
    """
    code = _COULD_NOT_RUN
    try:
        os.setpgid(0, 0)
        os.umask(0o022)
        for descriptor, number in zip(streams, (0, 1, 2), strict=True):
            os.dup2(descriptor, number)
        for name in _RESTORED:
            signal.signal(name, signal.SIG_DFL)
        os.chdir(what["cwd"])
        environment = {**os.environ, "PWD": os.path.abspath(what["cwd"]), **what["env"]}
        os.execvpe(what["argv"][0], what["argv"], environment)
    except OSError as error:
        if isinstance(error, FileNotFoundError):
            code = _NOT_FOUND
        place = what["cwd"] if error.filename == what["cwd"] else what["argv"][0]
        os.write(2, f"{place}: {error.strerror}\n".encode(errors="surrogateescape"))
    finally:
        os._exit(code)


def send_signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def descendants(root: int) -> list[int]:
    """Every live process below `root`, those that are dead and not yet reaped left out."""
    found: list[int] = []
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        for child in _children(pid):
            waiting.append(child)
            if _is_alive(child):
                found.append(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        return found
    return found


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
