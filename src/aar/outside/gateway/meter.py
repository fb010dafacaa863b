"""The meter: what each researcher's own sandboxes used, on disk before it counts.

The launcher measures, the control plane tells of it every second, and the record sums it up in
`budget-charged` entries. What stands here beyond those is not charged yet. Readings are of one life of the
launcher, and only grow: told again, or late, they count once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aar.outside.keyring import write_durably

METER = "sandboxes.json"
# By researcher and task, "" for none: processor milliseconds.
Use = dict[tuple[str, str], int]


class MeterUnusable(Exception):
    """The meter's file cannot be gone on with; the message is one line."""


class Meter:
    """Processor milliseconds by researcher and task, in a file replaced as a whole. One thread at a time."""

    def __init__(self, path: Path | None = None) -> None:
        """Without a path nothing outlives it."""
        self._path = path
        self._life = ""
        self._seen: dict[str, int] = {}
        self._used: Use = {}
        if path is not None and path.exists():
            self._read(path)

    def take(self, life: str, used_ms: Mapping[str, int], task_of: Callable[[str], str]) -> bool:
        """Take in readings of that life of the launcher, by researcher; whether there was anything new.

        What is new is of the task that the researcher works on now. Raises `OSError` of a disk.
        """
        seen = self._seen if life == self._life else {}
        new = {name: ms - seen.get(name, 0) for name, ms in used_ms.items() if ms > seen.get(name, 0)}
        if not new:
            return False
        used = dict(self._used)
        for name, more_ms in new.items():
            key = name, task_of(name)
            used[key] = used.get(key, 0) + more_ms
        seen = {**seen, **{name: used_ms[name] for name in new}}
        if self._path is not None:
            write_durably(self._path, _format(life, seen, used), mode=0o600)
        self._life, self._seen, self._used = life, seen, used
        return True

    def start_from(self, charged: Mapping[tuple[str, str], int]) -> None:
        """Count on from what the record was charged for, where the file that had it is gone.

        Else as much again would be used before anything more was charged.
        """
        self._used |= {key: ms for key, ms in charged.items() if ms > self._used.get(key, 0)}

    def uncharged(self, charged: Mapping[tuple[str, str], int]) -> Use:
        """What no entry has yet, where the record was charged for that much."""
        rest = {key: ms - charged.get(key, 0) for key, ms in self._used.items()}
        return {key: ms for key, ms in rest.items() if ms > 0}

    def _read(self, path: Path) -> None:
        try:
            told: Any = json.loads(path.read_bytes())
            self._life, self._seen = (
                str(told["life"]),
                {str(name): int(ms) for name, ms in told["seen"].items()},
            )
            self._used = {(str(name), str(task)): int(ms) for name, task, ms in told["used"]}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise MeterUnusable(
                f"{path} does not say any more what sandboxes used ({error}): put back the file that was "
                "there, or remove it, and what no entry has yet is forgotten"
            ) from error


def _format(life: str, seen: Mapping[str, int], used: Use) -> bytes:
    rows = [[name, task, ms] for (name, task), ms in sorted(used.items())]
    return json.dumps({"life": life, "seen": seen, "used": rows}).encode() + b"\n"
