"""What one sandbox may hold and use, and how it ended."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

Profile = Literal["researcher", "official-run", "bench", "probe"]
Reason = Literal[
    "exited", "wall", "cpu", "memory", "processes", "files", "disk", "output", "killed", "launch-failed"
]

PROFILES: frozenset[str] = frozenset(get_args(Profile))
MAY_HAVE_A_SHELL = frozenset({"researcher", "probe"})

# Files may be handed in only below these directories. None of them exists in the runtime, and all are on
# file systems that are fresh for each sandbox: a destination below something that an earlier sandbox could
# write to would follow its symbolic links while bubblewrap still sees the host (GHSA-pxhw-h44j-8pfx).
MAY_HOLD_FILES = ("/submission/", "/instance/", "/brief/", "/workspace/")
# A data set with its labels: no other profile is handed one, whoever asks.
MAY_HOLD_FILES_OF_THE_BENCH = "/data/"
# Directories of its own that a sandbox with `waits` fills from what it is handed at last.
FILLED_LATER = ("/submission", "/instance")

# Where a sandbox finds the agent that it was given.
AGENT_FOLDER = "/opt/agent"
NO_AGENT = "agent {!r:.80}: not one of those that this launcher was started with"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_DEST = re.compile(r"(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}){2,8}")
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
_MAX_FILES = 64
_MAX_ARGV_BYTES = 65_536
# Fits below the 65536 ids that containers are given, accounts left out.
_MAX_SLOT = 59_999


class SandboxError(Exception):
    """Base of what can go wrong around a sandbox; what happens inside one is an `Exit`, never an error."""


class SandboxUnavailable(SandboxError):
    """This machine cannot run sandboxes now: no bubblewrap, no namespaces, or no launcher."""


class SandboxRefused(SandboxError):
    """The launcher will not start this sandbox; the message says why."""


class MalformedSpec(SandboxError, ValueError):
    """A `SandboxSpec` asks for something that no sandbox may have."""


def check_destinations(destinations: Iterable[str], may_hold: tuple[str, ...]) -> None:
    """Raise `MalformedSpec` unless each is a plain absolute path below one of `may_hold`."""
    for dest in destinations:
        if not _DEST.fullmatch(dest) or not dest.startswith(may_hold):
            raise MalformedSpec(
                f"file destination {dest!r}: want a plain absolute path below one of "
                f"{' '.join(may_hold)}, each part starting with a letter, a digit or _"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """One sandbox: what runs, what it sees, what it may use.

    `files` maps an absolute destination (see `MAY_HOLD_FILES`) to its content; below /workspace they belong
    to the sandbox, elsewhere they are read-only. `gateway_dir` is a host directory that holds sockets and
    nothing else; it appears read-only as /run/gw. `uid_slot` picks the host uid where the launcher is root:
    sandboxes that run at the same time want different slots. With `has_shell` its view holds a shell and the
    usual programs of a command line, and /var/tmp (researchers and probes only). `cpu_s` is for all processes
    together, `processes` counts threads too, `memory_mib` bounds the sandbox where a memory cgroup is at hand
    and each process elsewhere. `agent` names one of the programs that its launcher was started with, which it
    then finds below `AGENT_FOLDER`; it wants a shell. One that `waits` is started before there is anything
    for it to do: `cpu_s` and `wall_s` count from `Running.begin` on, and it finds `FILLED_LATER` empty and
    its own.
    """

    name: str
    profile: Profile
    argv: tuple[str, ...]
    files: Mapping[str, bytes] = field(default_factory=dict)
    gateway_dir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    uid_slot: int = 0
    memory_mib: int = 512
    processes: int = 64
    cpu_s: int = 60
    wall_s: float = 60.0
    waits: bool = False
    has_shell: bool = False
    agent: str = ""

    def __post_init__(self) -> None:
        """Raise `MalformedSpec` for what no sandbox may have."""
        if not _NAME.fullmatch(self.name):
            raise MalformedSpec(f"sandbox name {self.name!r}: want 1 to 64 of A-Z a-z 0-9 _ . -")
        if self.profile not in PROFILES:
            raise MalformedSpec(f"profile {self.profile!r}: want one of {', '.join(sorted(PROFILES))}")
        if not self.argv or any("\0" in word for word in self.argv):
            raise MalformedSpec("argv: want at least one word and no NUL; give the program and its arguments")
        if sum(len(word.encode()) + 1 for word in self.argv) > _MAX_ARGV_BYTES:
            raise MalformedSpec(f"argv is over {_MAX_ARGV_BYTES} bytes; hand content in through files")
        if len(self.files) > _MAX_FILES:
            raise MalformedSpec(f"{len(self.files)} files: want at most {_MAX_FILES}")
        of_the_bench = (MAY_HOLD_FILES_OF_THE_BENCH,) if self.profile == "bench" else ()
        filled_later = tuple(f"{folder}/" for folder in FILLED_LATER) if self.waits else ()
        check_destinations(
            self.files, tuple(place for place in MAY_HOLD_FILES if place not in filled_later) + of_the_bench
        )
        for name, value in self.env.items():
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise MalformedSpec(f"environment variable {name!r}: want A-Z 0-9 _ and a value without NUL")
        for name, low, high in (
            ("uid_slot", 0, _MAX_SLOT),
            ("memory_mib", 16, 1 << 20),
            ("processes", 1, 4096),
            ("cpu_s", 1, 1_000_000),
        ):
            number = getattr(self, name)
            if not low <= number <= high:
                raise MalformedSpec(f"{name} {number}: want {low} to {high}")
        if self.has_shell and self.profile not in MAY_HAVE_A_SHELL:
            raise MalformedSpec(
                f"a shell for profile {self.profile!r}: want one of {', '.join(sorted(MAY_HAVE_A_SHELL))}"
            )
        if self.agent and not (self.has_shell and _NAME.fullmatch(self.agent)):
            raise MalformedSpec(f"agent {self.agent!r:.80}: want a name, and a shell beside it")
        if not 0 < self.wall_s <= 1_000_000:
            raise MalformedSpec(f"wall_s {self.wall_s}: want seconds above 0 and at most 1000000")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a sandbox ended.

    `code` is the program's exit status, 128 + signal number when a signal ended it, and -1 when there is none
    (killed from outside, or never started). It is a claim of the sandbox; `reason` is the launcher's word.
    `cpu_s` is user plus system time of everything that ran in it; processes that died with the sandbox count
    as last seen, up to 0.25 s before. `wall_s` runs from launch to the last reaped process. Both are seconds,
    and count from `Running.begin` on where the sandbox was told to begin.
    "processes" and "files" (open at once) are for one that worked for a second at that limit, "disk" for one
    that did so with a file system full, or made too many files; "output" for one that wrote past the cap of
    whoever read it. `detail` says more.
    """

    reason: Reason
    code: int
    cpu_s: float
    wall_s: float
    detail: str = ""
