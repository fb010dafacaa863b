"""Programs that take all there is of something, and how each of them must end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Bomb:
    """It goes on for as long as it is let; `limits` are those that differ from the others'."""

    reason: str
    code: str
    limits: dict[str, Any] = field(default_factory=dict)


BOMBS = {
    "fork": Bomb(
        "processes",
        """
import os
while True:
    try: os.fork()
    except BlockingIOError: pass
""",
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
    "processor": Bomb("cpu", "import os\nos.fork(); os.fork()\nwhile True: pass", {"cpu_s": 2}),
    "time": Bomb("wall", "import time\nwhile True: time.sleep(1)", {"wall_s": 1.5}),
}
