"""The fleet: one sandboxed process per researcher, started, watched and started again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.researcher import researcher_spec

MAX_STARTS = 4
POLL_S = 0.001
# What `aar.inside.researcher` ends with when the record contradicted itself, its witnesses or its own words.
EXIT_MISBEHAVED = 5
# Of what a researcher writes on standard error, the end is kept: evidence against the record is one line.
LAST_WORDS_BYTES = 1 << 18


@dataclass(slots=True)
class Member:
    """One researcher's process: how often it was started and how it ended last."""

    name: str
    slot: int
    running: Running | None = None
    starts: int = 0
    state: str = "new"
    last_words: bytearray = field(default_factory=bytearray)

    def listen(self) -> None:
        """Take what it wrote since the last time: a pipe that nobody reads would stop it."""
        if self.running is not None:
            _read(self.running.stdout)
            self.last_words += _read(self.running.stderr)
            del self.last_words[:-LAST_WORDS_BYTES]


class Fleet:
    """All researchers of a study; a researcher that dies is started again and rebuilds from the record."""

    def __init__(
        self,
        launcher: LauncherClient,
        researchers: Sequence[str],
        sockets: Mapping[str, Path],
        origin: str,
        *,
        log: Path,
    ) -> None:
        """`log`: a private directory for what researchers say at their end that did not end well."""
        self._launcher = launcher
        self._log = log
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
            member.listen()
            try:
                ended = member.running.wait(POLL_S)
            except TimeoutError:
                continue
            member.listen()
            member.running.close()
            member.running = None
            is_exit = ended.reason == "exited"
            if is_exit and ended.code == 0:
                member.state = "finished"
                continue
            said = self._keep_last_words(member)
            if is_exit and ended.code == EXIT_MISBEHAVED:
                # It will work for this record no more, and shows why. A claim, and one that can be checked.
                member.state = f"stopped: says the record misbehaved, evidence in {said}"
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

    def _keep_last_words(self, member: Member) -> Path:
        path = self._log / f"{member.name}.{member.starts}.stderr"
        path.write_bytes(member.last_words)
        return path

    def _start(self, member: Member) -> None:
        member.starts += 1
        member.state = "running"
        member.last_words.clear()
        # A researcher's own choices may be random; nothing that is scored hangs on this seed.
        seed = int.from_bytes(hashlib.sha256(f"{self._origin}/{member.name}".encode()).digest()[:4], "big")
        member.running = self._launcher.start(
            researcher_spec(
                name=member.name,
                argv=(*sandbox_python(), "-m", "aar.inside.researcher", "--seed", str(seed)),
                gateway_dir=str(self._sockets[member.name]),
                uid_slot=member.slot,
            ),
            stdin=b"",
        )
        for stream in (member.running.stdout, member.running.stderr):
            os.set_blocking(stream.fileno(), False)


def _read(stream: IO[bytes]) -> bytes:
    """What a pipe holds now, at most; nothing when it is empty or at its end."""
    with suppress(BlockingIOError):
        return os.read(stream.fileno(), LAST_WORDS_BYTES)
    return b""
