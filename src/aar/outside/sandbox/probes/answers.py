"""What a sandbox writes against whoever collects and reads it; a script for inside.

Run as `python answers.py ATTACK NAME`; what came of it is judged outside.
"""

from __future__ import annotations

import os
import select
import sys

# Each begins with its name and ends with a stop, so that what became of it can be found.
SEQUENCES = {
    "clear-screen": "\x1b[2J\x1b[3J",
    "move-cursor": "\x1b[1;1H\x1b[A",
    "set-title": "\x1b]0;mine\x07",
    "write-clipboard": "\x1b]52;c;bWluZQ==\x07",
    "hide-link": "\x1b]8;;http://example.org\x1b\\harmless\x1b]8;;\x1b\\",
    "use-upper-controls": "\x9b2J\x90q\x9c",
    "overwrite-line": "honest\rforged\b\b",
    "forge-line": "honest\nok: all probes held",
    "reverse-text": "\u202egnp.exe\u2066",
    "hide-text": "a\u200b\u2060\ufeff\U000e0041b",
    "pile-up-marks": "a" + "\u0301" * 60,
}
FLOOD_BYTES = 1 << 18


def _flood() -> None:
    chunk = b"x" * 8192
    for _ in range(FLOOD_BYTES // len(chunk)):
        for descriptor in (1, 2):
            os.write(descriptor, chunk)


def _tell() -> None:
    """Everything that one end is enough for: that of a program killed by itself. No input is read."""
    _rewrite()
    _leave()
    for name, sequence in SEQUENCES.items():
        os.write(1, f"\0{name}:{sequence}".encode())
    _forge()
    _hold()
    os.kill(os.getpid(), 9)


def _hold() -> None:
    if os.fork() == 0:
        os.setsid()
        watch = select.poll()
        watch.register(2, 0)  # told when there is no reader any more
        watch.poll(10_000)
        os._exit(0)


def _rewrite() -> None:
    os.write(1, b"confession\n")
    try:
        os.ftruncate(1, 0)
        os.lseek(1, 0, os.SEEK_SET)
    except OSError as error:
        os.write(2, str(error).encode())
    os.write(1, b"praise\n")


def _leave() -> None:
    """Under a name that the host can look for wherever it reads."""
    name = sys.argv[2]
    os.symlink("/etc/passwd", f"link-{name}")
    os.mkfifo(f"fifo-{name}")
    with open(f"sparse-{name}", "wb") as file:
        file.truncate(1 << 27)


def _forge() -> None:
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.write(int(name), b'{"exit-code": 0}\n')
            except OSError:
                continue


_ATTACKS = {"flood": _flood, "tell": _tell}

if __name__ == "__main__":
    _ATTACKS[sys.argv[1]]()
