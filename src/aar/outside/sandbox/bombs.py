"""Programs that take all there is of something, and how each of them must end."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.plants import SLOT
from aar.outside.sandbox.spec import Exit, Reason, SandboxSpec

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Bomb:
    """It goes on for as long as it is let; `limits` are those that differ from the others'."""

    reason: Reason
    code: str
    limits: Mapping[str, Any] = field(default_factory=dict)


# What a fork shares with its parent counts for both: a larger Python's would be over the memory first.
FORKING: dict[str, float] = {"memory_mib": 1024}

BOMBS: dict[str, Bomb] = {
    "fork": Bomb(
        "processes",
        """
import os
while True:
    try: os.fork()
    except BlockingIOError: pass
""",
        FORKING,
    ),
    "fork in sessions of their own": Bomb(
        "processes",
        """
import os
while True:
    try:
        if os.fork() == 0: os.setsid()
    except OSError: pass
""",
        FORKING,
    ),
    "memory": Bomb(
        "memory",
        """
import os
for _ in range(4): os.fork()
kept = []
while True:
    try: kept.append(b'x' * (1 << 20))
    except MemoryError: pass
""",
    ),
    "disk": Bomb(
        "disk",
        """
number = 0
while True:
    number += 1
    try: open(f'/tmp/{number}', 'wb').write(b'x' * (1 << 20))
    except OSError: pass
""",
    ),
    "files on disk": Bomb(
        "disk",
        """
import os
number = 0
while True:
    number += 1
    os.close(os.open(f'/tmp/{number}', os.O_CREAT))
""",
    ),
    "open files": Bomb(
        "files",
        """
import os
while True:
    try: os.open('/dev/null', os.O_RDONLY)
    except OSError: pass
""",
    ),
    "output": Bomb("output", "import os\nwhile True: os.write(1, b'x' * 65536)"),
    "errors": Bomb("output", "import os\nwhile True: os.write(2, b'x' * 65536)"),
    "processor": Bomb("cpu", "import os\nos.fork(); os.fork()\nwhile True: pass", {"cpu_s": 1}),
    "time": Bomb("wall", "import time\nwhile True: time.sleep(1)", {"wall_s": 1.0}),
}

# One for each limit: the others take longer, and are for tests.
IN_THE_DOCTOR = ("output", "fork", "memory", "disk", "files on disk", "open files", "time")


def bomb_spec(name: str, profile: str, uid_slot: int) -> SandboxSpec:
    """A small sandbox with this bomb in it."""
    bomb = BOMBS[name]
    limits = {"memory_mib": 128, "processes": 24, "cpu_s": 60, "wall_s": 60.0, **bomb.limits}
    argv = (*sandbox_python(), "-c", bomb.code)
    return SandboxSpec(name="bomb", profile=profile, argv=argv, uid_slot=uid_slot, **limits)  # type: ignore[arg-type]


def ends_of_bombs(client: LauncherClient) -> dict[str, Exit]:
    """Light one for each limit, all at once, in researchers' sandboxes of a small size; how each ended."""
    with contextlib.ExitStack() as stack:
        lit = {
            name: stack.enter_context(client.start(bomb_spec(name, "researcher", SLOT), stdin=b""))
            for name in IN_THE_DOCTOR
        }
        return {name: running.collect(timeout_s=_PATIENCE_S).exit for name, running in lit.items()}
