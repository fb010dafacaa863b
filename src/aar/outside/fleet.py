"""The fleet: one sandboxed process per researcher, started, watched and started again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.spec import SandboxSpec

MAX_STARTS = 4
POLL_S = 0.001
RESEARCHER_CPU_S = 86_400
RESEARCHER_WALL_S = 1_000_000.0
MEMORY_MIB = 1024
PROCESSES = 64


@dataclass(slots=True)
class Member:
    """One researcher's process: how often it was started and how it ended last."""

    name: str
    slot: int
    running: Running | None = None
    starts: int = 0
    state: str = "new"


class Fleet:
    """All researchers of a study; a researcher that dies is started again and rebuilds from the record."""

    def __init__(
        self, launcher: LauncherClient, researchers: Sequence[str], sockets: Mapping[str, Path], origin: str
    ) -> None:
        self._launcher = launcher
        self._sockets = sockets
        self._origin = origin
        self.members = [Member(name, slot) for slot, name in enumerate(researchers)]

    def start(self) -> None:
        for member in self.members:
            self._start(member)

    def watch(self) -> None:
        """Notice who ended; start again who did not end by itself."""
        for member in self.members:
            if member.running is None:
                continue
            try:
                ended = member.running.wait(POLL_S)
            except TimeoutError:
                continue
            member.running.close()
            member.running = None
            if ended.reason == "exited" and ended.code == 0:
                member.state = "finished"
            elif member.starts < MAX_STARTS:
                self._start(member)
            else:
                member.state = f"failed ({ended.reason} {ended.code})"

    @property
    def is_over(self) -> bool:
        return all(member.running is None for member in self.members)

    def stop(self) -> None:
        for member in self.members:
            if member.running is not None:
                member.running.close()
                member.running = None
                member.state = "stopped"

    def _start(self, member: Member) -> None:
        member.starts += 1
        member.state = "running"
        # A researcher's own choices may be random; nothing that is scored hangs on this seed.
        seed = int.from_bytes(hashlib.sha256(f"{self._origin}/{member.name}".encode()).digest()[:4], "big")
        member.running = self._launcher.start(
            SandboxSpec(
                name=member.name,
                profile="researcher",
                argv=(*sandbox_python(), "-m", "aar.inside.researcher", "--seed", str(seed)),
                files={},
                gateway_dir=str(self._sockets[member.name]),
                env={},
                uid_slot=member.slot,
                memory_mib=MEMORY_MIB,
                processes=PROCESSES,
                cpu_s=RESEARCHER_CPU_S,
                wall_s=RESEARCHER_WALL_S,
            ),
            stdin=b"",
            discard_output=True,
        )
