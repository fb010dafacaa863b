"""The worker's line to the gateway: what was used is told after each call, and whether to go on is asked.

The gateway keeps the account and decides; nothing here is trusted with a limit. A call that the gateway did
not acknowledge is told again under the same id until it does: the id is charged once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.outside.staff_client import GatewayGone, StaffClient

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
# The gateway restarts within seconds or the study ends: longer than this there is nobody to tell.
GIVE_UP_S = 120.0
PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one model call; those read from and written to a cache are not among `input`."""

    input: int
    output: int
    cache_read: int = 0
    cache_write: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What the gateway says of a researcher's limits: why it must stop ("" to go on), and what is left."""

    stop: str
    left: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_paused(self) -> bool:
        return self.stop == PAUSED


class WorkerDesk:
    """Calls on `worker.sock`; any number of threads."""

    def __init__(self, socket_path: str, *, give_up_s: float = GIVE_UP_S) -> None:
        self._client = StaffClient(socket_path)
        self._give_up_s = give_up_s
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Do not wait for the gateway any more."""
        self._stopping.set()

    def used(self, researcher: str, *, call: str, model: str, usage: Usage) -> Standing:
        """Charge one call, once, however often its id is told; raises `GatewayGone` when nobody answers."""
        payload = {
            "researcher": researcher,
            "call": call,
            "model": model,
            "input": usage.input,
            "output": usage.output,
            "cache_read": usage.cache_read,
            "cache_write": usage.cache_write,
        }
        return _standing(self._insist("/v1/usage", payload))

    def standing(self, researcher: str) -> Standing:
        """Whether to go on, asked before a turn; raises `GatewayGone` when nobody answers."""
        return _standing(self._insist(f"/v1/limits?researcher={researcher}", None))

    def transcript(self, *, researcher: str, task: str, file: str, sha256: str, size_bytes: int) -> None:
        """Have the digest of a finished transcript entered in the record."""
        payload = {
            "researcher": researcher,
            "task": task,
            "file": file,
            "sha256": sha256,
            "bytes": size_bytes,
        }
        self._insist("/v1/transcript", payload)

    def unread(self, since: int, *, is_alone: bool, is_done: bool = False) -> dict[str, Any]:
        """What researchers said and handed in from an index on; whether it is the last that there is to read.

        `is_done`: the monitor says that it has read all of it.

        Raises `GatewayGone`, as all of these do, when nobody answers.
        """
        flags = f"alone_pid={os.getpid() if is_alone else 0}&is_done={int(is_done)}"
        return self._insist(f"/v1/unread?since={since}&{flags}", None)

    def files(self, submission: int) -> dict[str, str]:
        """The files of a submission, for the monitor."""
        told: dict[str, str] = self._insist(f"/v1/files?submission={submission}", None)["files"]
        return told

    def reading(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Have a reading entered, with its alarms; told again it is entered once. Raises `GatewayRefused`."""
        return self._insist("/v1/reading", payload)

    def _insist(self, verb: str, payload: Mapping[str, Any] | None) -> dict[str, Any]:
        began, pause_s = time.monotonic(), FIRST_PAUSE_S
        while True:
            try:
                return self._client.get(verb) if payload is None else self._client.post(verb, payload)
            except GatewayGone:
                if time.monotonic() - began > self._give_up_s or self._stopping.is_set():
                    raise
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def _standing(told: Mapping[str, Any]) -> Standing:
    return Standing(str(told.get("stop", "")), told.get("left", {}))
