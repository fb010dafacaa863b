"""Attack the production sandbox, and prove that each attack works where nothing stops it."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import marshal
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any, Literal

from aar.outside.sandbox import backend as bubblewraps
from aar.outside.sandbox import bare, container, runtime, seccomp
from aar.outside.sandbox.answers import Answering, Findings, lazily_collected
from aar.outside.sandbox.argv import Handed, Layout, bwrap_options, limited, sandbox_python
from aar.outside.sandbox.bombs import BOMBS, ends_of_bombs
from aar.outside.sandbox.choice import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient, Running
from aar.outside.sandbox.ends import Ending, lazily_ended
from aar.outside.sandbox.groups import Groups
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.interface import BARE, CONTAINER, DEFAULT_BACKEND
from aar.outside.sandbox.plants import PRIVATE, SLOT, as_input, planted, world_inside, world_outside
from aar.outside.sandbox.probes import PROBES
from aar.outside.sandbox.probes.leftovers import TAGS
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.shell import with_shell
from aar.outside.sandbox.spec import Exit, SandboxError, SandboxSpec

Status = Literal["blocked", "leak", "unproven", "absent"]
Verdict = Literal["ok", "leak", "unproven", "cannot-run", "none"]

_SCRIPTS = Path(__file__).parent / "probes"
_LOCKS = "share-file-locks"
_RUN_S = 60.0

LIMITS = {
    "network": "hard: a network namespace with nothing in it",
    "wall": "hard: the launcher's clock, SIGKILL to the whole process namespace",
    "cpu": "hard within 0.25 s: all processes together; RLIMIT_CPU for each",
    "processes": "hard: RLIMIT_NPROC in the sandbox's own user namespace",
    "open files": "hard: RLIMIT_NOFILE for each process",
    "disk": "hard: file systems of fixed size, in memory",
    "files on disk": "soft: counted every 0.25 s",
    "memory": "soft: RLIMIT_DATA for each process, all together looked at every 0.25 s",
}

# Where control groups can be made; each is read back at each start.
IN_GROUPS = {
    "processes": "hard: RLIMIT_NPROC in the sandbox's own user namespace; a control group above it",
    "memory": "hard: a control group of twice the memory and 64 MiB, files in memory and the kernel's own "
    "included; RLIMIT_DATA for each process, all together looked at every 0.25 s",
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One attack: whether it works without the sandbox (it should, or proves nothing) and within it.

    `blocked_by` names the mechanisms that each stop it.
    """

    name: str
    area: str
    fires_without: bool
    fires_within: bool
    blocked_by: tuple[str, ...]
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What the sandboxes of this machine keep in. Only "ok" may open a study.

    "none" is for the backend bare, where there is nothing to probe: it opens one that says so everywhere.

    `limits` says for each resource whether its bound is hard or soft. `attestation` is what a record may
    keep: "backend", "version", "identity" ("own-uid" or "uid-per-sandbox"), "probes", "kernel",
    "soft_limits", "filters_sha256", "arguments_sha256", and "digest", the SHA-256 of all the others. `detail`
    is the one line to type when the verdict is "cannot-run".
    """

    verdict: Verdict
    probes: tuple[ProbeResult, ...]
    backend: str
    limits: dict[str, str]
    attestation: dict[str, str]
    detail: str = ""


def without_sandbox() -> DoctorReport:
    """What is said where no sandbox was asked for: nothing was probed, and nothing holds."""
    return DoctorReport("none", (), BARE, {}, bare.attested())


def doctor(
    study_dir: Path | None = None,
    *,
    bombs: bool = False,
    backend: str = DEFAULT_BACKEND,
    has_shell: bool = False,
) -> DoctorReport:
    """Run every probe through a launcher of its own, with profile researcher; about 1 s.

    With a study directory the canaries lie in it, and its own directories are tried. They are removed again.
    With `bombs` every limit is tried as well, which takes 2 s more and both processors of a small machine.
    `has_shell` attacks, and attests, the view of a researcher that has a shell.
    """
    missing = missing_backend(backend)
    if missing is not None:
        return DoctorReport("cannot-run", (), "none", {}, {}, missing)
    try:
        without, within, ends = _tried(study_dir, backend, bombs=bombs, has_shell=has_shell)
    except (SandboxError, TimeoutError) as error:
        return DoctorReport("cannot-run", (), backend, limits_of(backend), {}, f"{error}")
    results = [*(_judged(name, without[name], within[name]) for name in PROBES)]
    results += _closed_directories(study_dir)
    limits = {**limits_of(backend), "file locks": _lock_limit(without[_LOCKS][0], within[_LOCKS][0])}
    names = [result.name for result in results]
    told = attestation(names, limits, backend, has_shell=has_shell)
    limits |= {f"{name} bomb": _bomb_limit(name, ended) for name, ended in ends.items()}
    verdict = _verdict(results)
    if verdict == "ok" and any(BOMBS[name].reason != ended.reason for name, ended in ends.items()):
        verdict = "leak"
    return DoctorReport(verdict, tuple(results), backend, limits, told)


def limits_of(backend: str) -> dict[str, str]:
    """Which bounds are hard here, and which soft."""
    groups = Groups.find()
    if groups is None:
        return LIMITS
    groups.close()
    inodes = "hard: inodes of each file system; ended far below that, counted every 0.25 s"
    return {**LIMITS, **IN_GROUPS, **({"files on disk": inodes} if backend == CONTAINER else {})}


def _bomb_limit(name: str, ended: Exit) -> str:
    word = "hard" if BOMBS[name].reason == ended.reason else "leak"
    return f"{word}: ended after {ended.wall_s:.1f} s as {ended.reason!r}, want {BOMBS[name].reason!r}"


def _lock_limit(without: bool, within: bool) -> str:
    """A channel between sandboxes, not a way out: said, not refused."""
    if within:
        return (
            "soft: sandboxes that run at once can signal by locks on shared files of the runtime (250 bit/s)"
        )
    return "hard: each sandbox has inodes of its own" if without else "unproven: this host has no such locks"


def _tried(
    study_dir: Path | None, backend: str, *, bombs: bool, has_shell: bool
) -> tuple[Findings, Findings, dict[str, Exit]]:
    """Everything without, and everything within, at the same time."""
    with contextlib.ExitStack() as stack:
        beside = stack.enter_context(ThreadPoolExecutor(1))
        # A launcher is up when all is planted.
        spawned = beside.submit(Launcher.spawn, {"researcher"}, backend=backend)
        stack.callback(_close, spawned)
        world, folder = stack.enter_context(planted(study_dir)), stack.enter_context(_scratch())
        without = beside.submit(_all_without, world, folder)
        within, ends = _all_within(spawned.result(), world, folder, bombs=bombs, has_shell=has_shell)
        return without.result(), within, ends


def _close(spawned: Future[Launcher]) -> None:
    if spawned.exception() is None:
        spawned.result().close()


def _all_without(world: dict[str, Any], folder: Path) -> Findings:
    return _outside(world) | lazily_collected(folder) | _ended_without(lazily_ended(folder))


def _all_within(
    launcher: Launcher, world: dict[str, Any], folder: Path, *, bombs: bool, has_shell: bool
) -> tuple[Findings, dict[str, Exit]]:
    with contextlib.ExitStack() as stack:
        client = LauncherClient(launcher.sockets[0])
        ends = ends_of_bombs(client) if bombs else {}
        inside = stack.enter_context(_start_inside(client, world, has_shell=has_shell))
        answering = Answering(client, world["gateway"], folder.name)
        endings = {end: Ending(client, folder, end) for end in ("kill", "exit", "launcher")}
        for ending in endings.values():
            stack.callback(ending.close)
        left = {end: endings[end].end() for end in ("kill", "exit")}
        found = answering.collect(folder) | _inside(inside)
        left["launcher"] = endings["launcher"].end(launcher.process)
        return found | _ended_within(left), ends


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="aar-"))
    # A sandbox's uid does not walk here: the launcher binds its gateway.
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _ended_without(left: set[str]) -> Findings:
    """Killing what was started is all that a lazy launcher does, in each of the three ways."""
    survivors = ", ".join(sorted(left)) or "nobody"
    found = {f"outlive-{tag}": (tag in left, survivors) for tag in TAGS}
    return found | {f"outlive-the-{end}": (bool(left), survivors) for end in ("kill", "program", "launcher")}


def _ended_within(left: dict[str, set[str]]) -> Findings:
    found = {}
    for tag in TAGS:
        ends = [end for end, names in left.items() if tag in names]
        found[f"outlive-{tag}"] = bool(ends), f"left after: {', '.join(ends) or 'no end'}"
    for end, name in (("kill", "kill"), ("exit", "program"), ("launcher", "launcher")):
        found[f"outlive-the-{name}"] = bool(left[end]), f"left: {', '.join(sorted(left[end])) or 'nobody'}"
    return found


def attestation(
    probes: list[str], limits: Mapping[str, str], backend: str = DEFAULT_BACKEND, *, has_shell: bool = False
) -> dict[str, str]:
    """Which wall was probed: the same words, and so the same digest, on the same machine and version.

    Of `limits` the names of those that are not hard are told: where control groups or overlays are missing.
    """
    machine = platform.machine()
    told = {
        "backend": backend,
        "identity": "own-uid" if slot_uid(SLOT) is None else "uid-per-sandbox",
        "kernel": platform.release(),
        "probes": " ".join(probes),
        "soft_limits": ", ".join(sorted(one for one, text in limits.items() if not text.startswith("hard"))),
        "filters_sha256": _sha256(seccomp.ceiling_filter(machine) + seccomp.main_filter(machine)),
        **(_container_attested(has_shell) if backend == CONTAINER else _bubblewrap_attested(has_shell)),
    }
    return {**told, "digest": _sha256(json.dumps(told, sort_keys=True).encode())}


def _attested_researcher(has_shell: bool) -> tuple[SandboxSpec, Layout]:
    spec = researcher_spec(
        name="attested", argv=sandbox_python(), gateway_dir="/gw", uid_slot=SLOT, has_shell=has_shell
    )
    layout = runtime.layout_for("researcher")
    return spec, with_shell(layout) if has_shell else layout


def _container_attested(has_shell: bool) -> dict[str, str]:
    path = container.find_runtime()
    spec, layout = _attested_researcher(has_shell)
    config = container.oci_config(spec, layout, gateway="/gw", ids=(1, 2), group="attested")
    return {
        "version": container.version(path),
        "arguments_sha256": _sha256(json.dumps(config, sort_keys=True).encode()),
    }


def _bubblewrap_attested(has_shell: bool) -> dict[str, str]:
    path = bubblewraps.find_bubblewrap()
    spec, layout = _attested_researcher(has_shell)
    options = bwrap_options(
        spec,
        layout,
        Handed((), (0, 0)),
        gateway="/gw",
        nested_userns_off="--disable-userns" in bubblewraps.features(path),
    )
    return {
        "version": bubblewraps.version(path),
        "arguments_sha256": _sha256("\0".join([*options, *limited(spec)]).encode()),
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _outside(world: dict[str, Any]) -> Findings:
    """The positive control: a plain process beside us, with a descriptor that somebody forgot."""
    with open(world["places"]["labels"], "rb") as forgotten:
        ran = subprocess.run(
            [sys.executable, "-P", str(_SCRIPTS)],
            input=as_input(world_outside(world)),
            capture_output=True,
            env={"PYTHONPATH": str(runtime.package_root().parent), "CANARY": world["canary"]},
            pass_fds=[forgotten.fileno()],
            timeout=_RUN_S,
            check=False,
        )
    return _parsed(ran.stdout, f"the probes ended with {ran.returncode} outside: {_tail(ran.stderr)}")


def _start_inside(client: LauncherClient, world: dict[str, Any], *, has_shell: bool = False) -> Running:
    """The same attacks from a researcher's sandbox."""
    spec = researcher_spec(
        name="doctor",
        argv=(*sandbox_python(), "/brief/probes"),
        files=_handed_in(),
        gateway_dir=world["gateway"],
        uid_slot=SLOT,
        cpu_s=20,
        wall_s=_RUN_S,
        has_shell=has_shell,
    )
    return client.start(spec, stdin=as_input(world_inside(world, has_shell=has_shell)))


def _handed_in() -> dict[str, bytes]:
    """The attacks, and beside each what Python would make of it first: 50 ms that need not be spent again."""
    files = {}
    for path in sorted(_SCRIPTS.glob("*.py")):
        files[f"/brief/probes/{path.name}"] = path.read_bytes()
        code = marshal.dumps(SourceFileLoader(path.stem, str(path)).get_code(path.stem))
        # Not to be compared with its source (PEP 552): flags 1, and a hash that nobody reads.
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
        name = Path(importlib.util.cache_from_source(path.name)).name
        files[f"/brief/probes/__pycache__/{name}"] = head + code
    return files


def _inside(running: Running) -> Findings:
    output = running.collect(timeout_s=_RUN_S + 5)
    ended = output.exit
    trouble = f"the sandbox ended with {ended.reason} {ended.code} {ended.detail}: {_tail(output.stderr)}"
    found = _parsed(output.stdout, trouble)
    for need, text in json.loads(output.stdout)["own"].items():
        if text:
            raise SandboxError(f"a researcher's {need} does not work in the sandbox: {text}")
    return found


def _parsed(stdout: bytes, trouble: str) -> Findings:
    try:
        told = json.loads(stdout)["probes"]
    except ValueError:
        raise SandboxError(trouble) from None
    return {name: (bool(fired), str(detail)) for name, (fired, detail) in told.items()}


def _tail(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split())[-400:]


def _judged(name: str, without: tuple[bool, str], within: tuple[bool, str]) -> ProbeResult:
    probe = PROBES[name]
    status: Status = "blocked"
    detail = within[1]
    if within[0]:
        status = "leak"
    elif not without[0]:
        status = "absent" if probe.needs else "unproven"
        needs = f" (needs {probe.needs})" if probe.needs else ""
        detail = f"does not work outside either{needs}: {without[1]}"
    return ProbeResult(name, probe.area, without[0], within[0], probe.blocked_by, status, detail)


def _verdict(results: list[ProbeResult]) -> Verdict:
    statuses = {result.status for result in results}
    if "leak" in statuses:
        return "leak"
    return "unproven" if "unproven" in statuses or not results else "ok"


def _closed_directories(study_dir: Path | None) -> list[ProbeResult]:
    """The study's private directories: no probe from a sandbox, but no other account may look either."""
    results = []
    for name in PRIVATE if study_dir is not None else ():
        place = Path(study_dir or ".") / name
        if place.is_dir():
            mode = place.stat().st_mode & 0o777
            is_open = bool(mode & 0o077)
            results.append(
                ProbeResult(
                    f"mode-of-{name}",
                    "files",
                    True,
                    is_open,
                    ("file modes",),
                    "leak" if is_open else "blocked",
                    f"{place} has mode {mode:04o}; want 0700: type `chmod 700 {place}`"
                    if is_open
                    else f"{mode:04o}",
                )
            )
    return results
