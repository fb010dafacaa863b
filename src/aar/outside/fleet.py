"""The fleet: one sandboxed process per researcher, started, watched and started again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.researcher import researcher_spec

MAX_STARTS = 4
POLL_S = 0.001
# The state of one that a human stopped.
HELD = "stopped by a human"
# The state of one at a limit of its budget begins with it.
AT_A_LIMIT = "at its limit: "
# What `aar.inside.researcher` ends with when the record contradicted itself, its witnesses or its own words.
EXIT_MISBEHAVED = 5
# Where a program of the user's lies in its sandbox.
PROGRAM = "/brief/researcher.py"
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
        programs: Mapping[str, bytes] | None = None,
        seeds: Mapping[str, int] | None = None,
        seed: str = "",
        elsewhere: Collection[str] = (),
    ) -> None:
        """`log`: a private directory for what researchers say at their end that did not end well.

        `programs`: by name, those that are not the scripted researcher; what such a one wrote on standard
        error is always kept. `seed`: what their own random choices come from with their names, by default
        the study's origin; `seeds`: by name, where it is a number instead. `elsewhere`: those that another
        process runs; they keep their slots.
        """
        self._launcher = launcher
        self._log = log
        self._sockets = sockets
        self._programs = programs or {}
        self._seeds = seeds or {}
        self._seed = seed or origin
        self.members = [Member(name, slot) for slot, name in enumerate(researchers) if name not in elsewhere]
        self._held: set[str] = set()
        self._offered: set[tuple[str, int]] = set()

    def start(self, stopped: Collection[str] = (), limits: Mapping[str, str] | None = None) -> None:
        """Start all but those that are stopped or, by name, at a limit."""
        states = _held_states(stopped, limits or {})
        self._held = set(states)
        for member in self.members:
            if member.name in self._held:
                member.state = states[member.name]
            else:
                self._start(member)

    def hold(self, stopped: Collection[str], limits: Mapping[str, str] | None = None) -> None:
        """End those that are stopped or, by name, at a limit; start none of them until it is so no longer."""
        states = _held_states(stopped, limits or {})
        self._held = set(states)
        for member in self.members:
            is_held = member.state == HELD or member.state.startswith(AT_A_LIMIT)
            is_well = member.running is not None or member.state in ("new", "finished")
            if member.name in self._held and (is_well or is_held):
                self._end(member, states[member.name])
            elif member.name not in self._held and is_held:
                self._start(member, is_again=True)

    def watch(self) -> list[str]:
        """Notice who ended; start again who did not end by itself. The names of those given up just now."""
        lost = []
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
                if member.name in self._programs:
                    self._keep_last_words(member)
                continue
            said = self._keep_last_words(member)
            if is_exit and ended.code == EXIT_MISBEHAVED:
                # It will work for this record no more, and shows why. A claim, and one that can be checked.
                member.state = f"stopped: says the record misbehaved, evidence in {said}"
                lost.append(member.name)
            elif member.starts < MAX_STARTS:
                self._start(member)
            else:
                member.state = f"failed ({ended.reason} {ended.code})"
                lost.append(member.name)
        return lost

    def wake(self, offered: Collection[tuple[str, int]]) -> None:
        """Start those again who found nothing to do, when a task is on offer: its name and how often it was
        leased. What one of them left lying is not offered to it twice.
        """
        new = set(offered) - self._offered
        self._offered |= new
        if not new:
            return
        for member in self.members:
            if member.state == "finished":
                self._start(member, is_again=True)

    @property
    def is_over(self) -> bool:
        return all(member.running is None for member in self.members)

    def stop(self) -> None:
        for member in self.members:
            if member.running is not None:
                self._end(member, "stopped")

    def _end(self, member: Member, state: str) -> None:
        """End its process, if it has one."""
        member.state = state
        if member.running is not None:
            member.listen()
            member.running.close()
            member.running = None
            if member.name in self._programs:
                self._keep_last_words(member)

    def _keep_last_words(self, member: Member) -> Path:
        path = self._log / f"{member.name}.{member.starts}.stderr"
        # A program's account of itself goes on where an earlier life of it ended.
        with path.open("ab" if member.name in self._programs else "wb") as file:
            file.write(member.last_words)
        return path

    def _start(self, member: Member, *, is_again: bool = False) -> None:
        """`is_again`: it ended in order before, which is not counted as a try."""
        member.starts += not is_again
        member.state = "running"
        member.last_words.clear()
        # A researcher's own choices may be random; nothing that is scored hangs on this seed.
        seed = self._seeds.get(member.name, seed_of(member.name, self._seed))
        program = self._programs.get(member.name)
        what = ("-m", "aar.inside.researcher") if program is None else (PROGRAM,)
        member.running = self._launcher.start(
            researcher_spec(
                name=member.name,
                argv=(*sandbox_python(), *what, "--seed", str(seed)),
                files={} if program is None else {PROGRAM: program},
                gateway_dir=str(self._sockets[member.name]),
                uid_slot=member.slot,
            ),
            stdin=b"",
        )
        for stream in (member.running.stdout, member.running.stderr):
            os.set_blocking(stream.fileno(), False)


def _held_states(stopped: Collection[str], limits: Mapping[str, str]) -> dict[str, str]:
    return {name: f"{AT_A_LIMIT}{limit}" for name, limit in limits.items()} | dict.fromkeys(stopped, HELD)


def seed_of(name: str, seed: str) -> int:
    """What a researcher's own random choices come from, where nobody gave it a number."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big")


def _read(stream: IO[bytes]) -> bytes:
    """What a pipe holds now, at most; nothing when it is empty or at its end."""
    with suppress(BlockingIOError):
        return os.read(stream.fileno(), LAST_WORDS_BYTES)
    return b""
