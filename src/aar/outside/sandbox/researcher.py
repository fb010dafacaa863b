"""A researcher's sandbox: the one that the fleet starts, the doctor attacks and `aar sandbox exec` opens."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.spec import SandboxSpec

CPU_S = 86_400
WALL_S = 1_000_000.0
MEMORY_MIB = 1024
PROCESSES = 64
# With an agent beside what it runs: the program and its proxy are 350 MiB before anything is computed.
WITH_AGENT_MIB = 2048


def researcher_spec(
    *,
    name: str,
    argv: Sequence[str],
    gateway_dir: str,
    uid_slot: int,
    files: Mapping[str, bytes] | None = None,
    cpu_s: int = CPU_S,
    wall_s: float = WALL_S,
    has_shell: bool = False,
    agent: str = "",
) -> SandboxSpec:
    """What every researcher gets: the same view, memory and processes; only what runs is its own.

    One whose program is a model's, outside, works by commands: `has_shell` gives it those. `agent` names the
    command-line agent that thinks in there, which takes more memory. `cpu_s` and `wall_s`, both in seconds,
    may be made less for one that is to end soon.
    """
    return SandboxSpec(
        name=name,
        profile="researcher",
        argv=tuple(argv),
        files=files or {},
        gateway_dir=gateway_dir,
        uid_slot=uid_slot,
        memory_mib=WITH_AGENT_MIB if agent else MEMORY_MIB,
        processes=PROCESSES,
        cpu_s=cpu_s,
        wall_s=wall_s,
        has_shell=has_shell or bool(agent),
        agent=agent,
    )


def listen_as_gateway(folder: Path, uid_slot: int) -> socket.socket:
    """A listening gateway socket as a sandbox in that slot wants it, in a new directory of mode 0711.

    The path of `folder` and of the socket in it must fit a socket address (107 bytes).
    """
    folder.mkdir()
    folder.chmod(0o711)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(folder / "gw.sock"))
        uid = slot_uid(uid_slot)
        if uid is not None:
            os.chown(folder / "gw.sock", uid, uid)
        (folder / "gw.sock").chmod(0o600)
        listener.listen()
    except BaseException:
        listener.close()
        raise
    return listener
