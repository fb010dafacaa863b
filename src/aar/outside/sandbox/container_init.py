"""The first process of a container: takes the filters of all sandboxes on, starts the program, reaps.

    python3 -I -S /.aar/init.py PROGRAM...

Mounted as a file and run alone in there: the standard library only. It puts files into /workspace, which is
mounted empty, and loads each compiled filter that lies beside it, the very bytes that bubblewrap loads. As
process 1 it ends when the program does, with its status (128 + signal number), and all that is left with it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

HERE = "/.aar"
FILTERS = ("ceiling.bpf", "main.bpf")
_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _MODE_FILTER = 4, 22, 2
_INSTRUCTION_BYTES = 8


class _Program(ctypes.Structure):
    """`struct sock_fprog` of linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


_libc = ctypes.CDLL(None, use_errno=True)


def _load(code: bytes) -> None:
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION_BYTES, ctypes.cast(held, ctypes.c_void_p))
    if _libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


def _fill_workspace() -> None:
    source = Path(HERE, "workspace")
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        target = Path("/workspace", path.relative_to(source))
        if path.is_dir():
            target.mkdir(0o755)
        else:
            target.write_bytes(path.read_bytes())
            target.chmod(0o644)


def main(words: list[str]) -> int:
    """Start `words` behind the filters and reap whatever ends, until they do."""
    _fill_workspace()
    # Not readable by the program, which has our uid.
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for name in FILTERS:
        _load(Path(HERE, name).read_bytes())
    program = os.fork()
    if program == 0:
        try:
            os.execv(words[0], words)
        finally:
            os._exit(127)
    # What the program holds open is its own: nobody waits for a stream that we forgot.
    for descriptor in range(3):
        os.close(descriptor)
    while True:
        pid, status = os.wait()
        if pid == program:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


if __name__ == "__main__":
    # No interrupt is for us: we end with the program.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os._exit(main(sys.argv[1:]))
