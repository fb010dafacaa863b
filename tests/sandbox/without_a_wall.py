"""Run the attacks in sandboxes that each lack one wall: `python without_a_wall.py`, a program for a test.

Prints {wall: names of the attacks that got through}, and under "none lacks" those of the whole sandbox. What
the study planted is opened to every uid first, and the victim runs under the sandbox's own, so that only the
walls of a sandbox are between them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from aar.outside.sandbox import bubblewrap as bubblewraps
from aar.outside.sandbox import doctor as doctors
from aar.outside.sandbox.argv import bwrap_options, limited, sandbox_python
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.plants import SLOT, as_input, planted, world_inside
from aar.outside.sandbox.probes import PROBES
from aar.outside.sandbox.protocol import memory_file
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.spec import SandboxSpec

Words = list[str]
Change = Callable[[Words], Words]


def leave_out(*left_out: str) -> Change:
    return lambda words: [word for word in words if word not in left_out]


def cut(words: Words, *first: str, length: int) -> Words:
    """Without the options of `length` words that begin so."""
    kept: Words = []
    at = 0
    while at < len(words):
        if tuple(words[at : at + len(first)]) == first:
            at += length
        else:
            kept.append(words[at])
            at += 1
    return kept


def with_filters(count: int) -> Change:
    def change(words: Words) -> Words:
        places = [at for at, word in enumerate(words) if word == "--add-seccomp-fd"]
        for at in reversed(places[: len(places) - count] if count else places):
            del words[at : at + 2]
        return words

    return change


def with_host_processes(words: Words) -> Words:
    at = words.index("--proc")
    words[at : at + 2] = ["--ro-bind", "/proc", "/proc"]
    return [word for word in words if word != "--unshare-pid"]


def with_host_files(words: Words) -> Words:
    """The host's own directories where a careless view would have them."""
    kept = words
    for path in ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/nsswitch.conf"):
        at = kept.index(path)
        del kept[at - 4 : at + 1]  # --perms MODE --file DESCRIPTOR PATH
    for path in ("/tmp", "/dev/shm"):
        at = next(at for at, word in enumerate(kept) if word == "--tmpfs" and kept[at + 1] == path)
        kept[at - 4 : at + 2] = ["--bind", path, path]  # --perms MODE --size BYTES --tmpfs PATH
    if "/usr/bin/prlimit" in kept:  # where we are root it is in a tree, which the host's directory covers
        at = len(kept) - 1 - kept[::-1].index("/usr/bin/prlimit")  # --ro-bind SOURCE PATH
        del kept[at - 2 : at + 1]
    at = kept.index("--chdir")
    extra = [word for path in ("/etc", "/sys", "/var", "/usr/bin") for word in ("--ro-bind", path, path)]
    return [*kept[:at], *extra, *kept[at:]]


def with_host_devices(words: Words) -> Words:
    at = words.index("--dev")
    words[at : at + 2] = ["--dev-bind", "/dev", "/dev"]
    return cut(words, "--remount-ro", "/dev", length=2)


def with_own_host_name(words: Words) -> Words:
    return [word for word in cut(words, "--hostname", length=2) if word != "--unshare-uts"]


def with_capabilities(words: Words) -> Words:
    at = words.index("--cap-drop")
    words[at : at + 2] = ["--cap-add", "ALL"]
    return [word for word in words if word not in ("--disable-userns", "--assert-userns-disabled")]


def with_covered_files(words: Words) -> Words:
    kept = words
    for path in {words[at + 2] for at, word in enumerate(words[:-2]) if word == "--ro-bind"}:
        if path.startswith("/proc/") and path != "/proc/sys":
            kept = cut(kept, "--ro-bind", "/dev/null", path, length=3)
    return kept


CHANGES: dict[str, Change] = {
    "none lacks": lambda words: words,
    "system-call filter": with_filters(0),
    "system-call ceiling": with_filters(1),
    "network namespace": leave_out("--unshare-net"),
    "process namespace": with_host_processes,
    "IPC namespace": leave_out("--unshare-ipc"),
    "host-name namespace": with_own_host_name,
    "mount view": with_host_files,
    "own devices": with_host_devices,
    "no capabilities": with_capabilities,
    "no nested user namespaces": leave_out("--disable-userns", "--assert-userns-disabled"),
    "masked /proc": with_covered_files,
    "read-only mounts": lambda words: cut(words, "--remount-ro", "/", length=2),
    "sized file systems": lambda words: [
        word for at, word in enumerate(words) if word != "--size" and (at == 0 or words[at - 1] != "--size")
    ],
    "closed environment": leave_out("--clearenv"),
    "resource limit": lambda words: words,
    "closed descriptors": lambda words: words,
}


def opened(world: dict[str, Any]) -> None:
    """Let every uid read and write what is planted."""
    for place in {world["planted"], world["gateway"], os.path.dirname(world["gateway"])}:
        for path in [place, *(str(one) for one in Path(place).rglob("*"))]:
            os.chmod(path, 0o777)
    for path in (world["terminal"], world["places"].get("memory", world["terminal"])):
        os.chmod(path, 0o666)


def attacked(bubblewrap: bubblewraps.Bubblewrap, world: dict[str, Any], wall: str, number: int) -> list[str]:
    """Names of the attacks that work where this wall is missing."""

    def options(*given: Any, **named: Any) -> Words:
        return CHANGES[wall](bwrap_options(*given, **named))

    bubblewraps.bwrap_options = options  # type: ignore[assignment]
    bubblewraps.limited = (lambda spec: list(spec.argv)) if wall == "resource limit" else limited
    scripts = doctors._handed_in()
    spec: SandboxSpec = researcher_spec(
        name="lacking",
        argv=(*sandbox_python(), "/brief/probes"),
        files=scripts,
        gateway_dir=world["gateway"],
        uid_slot=SLOT,
    )
    files = [memory_file(content) for content in scripts.values()]
    reader, writer = os.pipe()
    # Not all of it is searched each time, and what a researcher needs is not asked for: it takes long enough.
    roots = [world["planted"]] if wall == "mount view" else ["/brief", "/tmp", "/etc"]
    given = memory_file(as_input({**world_inside(world), "mode": "lacking", "roots": roots}))
    forgotten = os.open(world["places"]["labels"], os.O_RDONLY)
    popen = subprocess.Popen

    def leaking(words: Any, *, pass_fds: Any, env: Any, **named: Any) -> Any:
        if wall == "closed descriptors":
            pass_fds = [*pass_fds, forgotten]
        if wall == "closed environment":
            env = {**env, "CANARY": world["canary"]}
        return popen(words, pass_fds=pass_fds, env=env, **named)

    bubblewraps.subprocess.Popen = leaking  # type: ignore[misc, assignment]
    try:
        started = bubblewrap.start(spec, number, [given, writer, 2], files)
    finally:
        bubblewraps.subprocess.Popen = popen  # type: ignore[misc]
    for descriptor in (writer, given, forgotten, *files):
        os.close(descriptor)
    with os.fdopen(reader, "rb") as stream:
        told = stream.read()
    os.waitpid(started.pid, 0)
    os.close(started.status_fd)
    bubblewrap.release(started)
    probes = json.loads(told)["probes"]
    return sorted(name for name, (fired, _detail) in probes.items() if fired and name in PROBES)


def victim(canary: str, labels: str) -> subprocess.Popen[bytes]:
    """As the doctor's, under the sandbox's own uid, which may not be able to walk to our Python."""
    uid = slot_uid(SLOT)
    with open(labels, "rb") as held:
        return subprocess.Popen(
            ["/bin/sh", "-c", "sleep 60; :", canary],
            stdin=held,
            env={"CANARY": canary, "PATH": "/usr/bin:/bin"},
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
            start_new_session=True,
        )


def each(walls: list[str]) -> Iterator[tuple[str, list[str]]]:
    with planted(None) as world:
        opened(world)
        held = victim(world["canary"], world["places"]["labels"])
        world["victim"] = held.pid
        try:
            # No launcher is here to put it into a control group and let it go on.
            bubblewrap = dataclasses.replace(bubblewraps.Bubblewrap.prepare(), groups=None)
            for number, wall in enumerate(walls):
                yield wall, attacked(bubblewrap, world, wall, number)
        finally:
            os.killpg(held.pid, signal.SIGKILL)
            held.wait()


if __name__ == "__main__":
    print(json.dumps(dict(each(sys.argv[1:] or list(CHANGES)))))
