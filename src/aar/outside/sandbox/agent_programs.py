"""The command-line agents that a sandbox may be given: one file each, the user's own, read-only.

What such a program speaks to, and with whose model, is decided outside (`aar.llm`); here it is a file that is
there or not. It is never looked for on a network.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from aar.formats.kinds import AGENTS
from aar.outside.sandbox.argv import PYTHON, Bind, Layout
from aar.outside.sandbox.shell import is_plain_program
from aar.outside.sandbox.spec import AGENT_FOLDER, SandboxUnavailable

# By what name each is found on the path.
COMMANDS = dict(zip(AGENTS, ("claude", "codex"), strict=True))
# What a script's first line may name: there is nothing else in a sandbox that could read one.
_INTERPRETERS = ("/bin/sh", "/bin/bash", "/usr/bin/sh", "/usr/bin/bash", PYTHON)


@dataclass(frozen=True, slots=True)
class AgentProgram:
    """Which file an agent is, and its digest (SHA-256, hex)."""

    path: str
    sha256: str


def find_agent(name: str, given: str = "") -> AgentProgram:
    """The program of an agent, `given` by a path or found on the path of whoever asks.

    Raises `SandboxUnavailable` with what to do for one that is not there, or would not run in a sandbox.
    """
    found = given or shutil.which(COMMANDS[name])
    if not found:
        raise SandboxUnavailable(
            f"no agent {name}: there is no {COMMANDS[name]} on your PATH; install it, or name the program "
            "with --agent-binary PATH"
        )
    path = os.path.realpath(found)
    if not is_plain_program(path):
        raise SandboxUnavailable(
            f"agent {name}: {found} is no program that everybody may run: name another with --agent-binary "
            "PATH"
        )
    try:
        with open(path, "rb") as program:
            first = program.readline(256)
            if not first.startswith(b"\x7fELF"):
                _check_script(name, found, first)
            program.seek(0)
            digest = hashlib.file_digest(program, "sha256").hexdigest()
    except OSError as error:
        raise SandboxUnavailable(
            f"agent {name}: {found} cannot be read ({error.strerror}): its digest is part of the record; let "
            "it be read, or name another with --agent-binary PATH"
        ) from error
    return AgentProgram(path, digest)


def _check_script(name: str, found: str, first: bytes) -> None:
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    if not words or words[0] not in _INTERPRETERS:
        wants = f"wants {' '.join(words)[:80]!r}" if words else "is neither ELF nor a script"
        raise SandboxUnavailable(
            f"agent {name}: {found} {wants}, which no sandbox has: name a program that stands alone (the "
            "vendor's native build) with --agent-binary PATH"
        )


def with_agents(layout: Layout, agents: Mapping[str, str], names: Iterable[str]) -> Layout:
    """The same view with these agents in it; `agents` are the host paths by name."""
    binds = tuple(Bind(agents[name], str(Path(AGENT_FOLDER, name))) for name in names)
    return replace(layout, binds=(*layout.binds, *binds))
