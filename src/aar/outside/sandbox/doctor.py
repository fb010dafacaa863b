"""Attack the production sandbox, and prove that each attack works where nothing stops it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aar.outside.sandbox import backend, runtime, seccomp
from aar.outside.sandbox.argv import Handed, bwrap_options, limited, sandbox_python
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.spec import SandboxError, SandboxSpec

_Findings = dict[str, tuple[bool, str]]
Status = Literal["blocked", "leak", "unproven", "absent"]
Verdict = Literal["ok", "leak", "unproven", "cannot-run"]

_AREAS = {
    "read-labels": "labels",
    "search-labels": "labels",
    "search-digits": "labels",
    "import-labels": "labels",
    "read-test-inputs": "test inputs",
    "read-key": "keys",
    "read-environments": "keys",
    "read-record": "record",
    "write-record": "record",
    "see-study-directory": "files",
    "read-other-workspace": "other researchers",
    "connect-other-gateway": "other researchers",
    "connect-abstract-socket": "network",
    "connect-tcp": "network",
    "send-udp": "network",
    "see-host-process": "host processes",
    "trace-process": "host processes",
    "signal-host-process": "host processes",
    "make-user-namespace": "namespaces",
    "mount-file-system": "namespaces",
    "join-namespace": "namespaces",
    "write-outside-workspace": "files",
    "write-core-pattern": "privilege",
    "set-id-bits": "privilege",
    "change-user": "privilege",
    "open-vsock": "kernel",
    "open-io-uring": "kernel",
    "read-keyring": "kernel",
    "open-userfaultfd": "kernel",
    "share-memory": "kernel",
    "import-outside": "our code",
}

# What a kernel may lack, an administrator may forbid, or only root can do: such an attack need not work
# outside, and when it does not there is nothing here that the sandbox must stop.
_MAY_FAIL_OUTSIDE = frozenset(
    {
        "import-labels", "write-core-pattern", "change-user", "trace-process", "open-vsock", "open-io-uring",
        "read-keyring", "open-userfaultfd", "share-memory",
    }
)  # fmt: skip
_WRITABLE_INSIDE = (
    "/", "/etc", "/usr", "/usr/lib", "/opt", "/opt/aar/aar", "/opt/py/lib", "/opt/site", "/dev", "/run",
    "/run/gw", "/brief", "/proc", "/proc/sys/kernel", "/var", "/root", "/home",
)  # fmt: skip
_PRIVATE = ("gateway", "evaluator", "operator")
_PLANTS = {
    "labels": "evaluator/labels.csv",
    "digits": "evaluator/digits.csv.gz",
    "test-inputs": "evaluator/test-inputs.npy",
    "key": "gateway/researcher-1.key",
    "record": "record/checkpoint",
    "workspace": "researcher-2/workspace/notes.txt",
}
_SCRIPT = Path(__file__).with_name("probes.py")
_LOCKS = "share-file-locks"
_SLOT = 9_999
_RUN_S = 20.0


LIMITS = {
    "network": "hard: a network namespace with nothing in it",
    "wall": "hard: the launcher's clock, SIGKILL to the whole process namespace",
    "cpu": "hard within 0.25 s: all processes together; RLIMIT_CPU for each",
    "processes": "hard: RLIMIT_NPROC in the sandbox's own user namespace",
    "disk": "hard: file systems of fixed size, in memory",
    "memory": "soft: RLIMIT_DATA for each process, all together looked at every 0.25 s",
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """One attack: whether it works without the sandbox (it should, or proves nothing) and within it."""

    name: str
    area: str
    fires_without: bool
    fires_within: bool
    status: Status
    detail: str


@dataclass(frozen=True, slots=True)
class DoctorReport:
    """What the sandboxes of this machine keep in. Only "ok" may open a study.

    `limits` says for each resource whether its bound is hard or soft. `attestation` is what a record may
    keep: "backend", "version", "identity" ("own-uid" or "uid-per-sandbox"), "probes", "kernel",
    "filters_sha256", "arguments_sha256", and "digest", the SHA-256 of all the others. `detail` is the one
    line to type when the verdict is "cannot-run".
    """

    verdict: Verdict
    probes: tuple[ProbeResult, ...]
    backend: str
    limits: dict[str, str]
    attestation: dict[str, str]
    detail: str = ""


def doctor(study_dir: Path | None = None) -> DoctorReport:
    """Run every probe through a launcher of its own, with profile researcher; 1 to 3 s.

    With a study directory the canaries lie in it, and its own directories are tried. They are removed again.
    """
    missing = backend.missing_backend()
    if missing is not None:
        return DoctorReport("cannot-run", (), "none", {}, {}, missing)
    try:
        with Launcher.spawn({"researcher"}) as launcher:
            without, within = _tried(LauncherClient(launcher.sockets[0]), study_dir)
    except (SandboxError, TimeoutError) as error:
        return DoctorReport("cannot-run", (), "bubblewrap", LIMITS, {}, f"{error}")
    results = [*_all_judged(without, within), *_closed_directories(study_dir)]
    limits = {**LIMITS, "file locks": _lock_limit(without[_LOCKS][0], within[_LOCKS][0])}
    names = [result.name for result in results]
    return DoctorReport(_verdict(results), tuple(results), "bubblewrap", limits, attestation(names))


def run_probes(client: LauncherClient, study_dir: Path | None = None) -> list[ProbeResult]:
    """Try every probe outside, then in a researcher's sandbox of this client's launcher.

    Raises `SandboxError` when the sandbox does not start, or lacks what a researcher needs.
    """
    return _all_judged(*_tried(client, study_dir))


def _all_judged(without: _Findings, within: _Findings) -> list[ProbeResult]:
    return [_judged(name, without[name], within[name]) for name in _AREAS]


def _lock_limit(without: bool, within: bool) -> str:
    """A channel between sandboxes, not a way out: said, not refused."""
    if within:
        return (
            "soft: sandboxes that run at once can signal by locks on shared files of the runtime (250 bit/s)"
        )
    return "hard: each sandbox has inodes of its own" if without else "unproven: this host has no such locks"


def _tried(client: LauncherClient, study_dir: Path | None) -> tuple[_Findings, _Findings]:
    with _planted(study_dir) as world:
        return _outside(world), _inside(client, world)


def attestation(probes: list[str]) -> dict[str, str]:
    """Which wall was probed: the same words, and so the same digest, on the same machine and version."""
    path = backend.find_bubblewrap()
    spec = SandboxSpec(name="attested", profile="researcher", argv=tuple(sandbox_python()), gateway_dir="/gw")
    options = bwrap_options(
        spec,
        runtime.layout_for("researcher"),
        Handed((), (0, 0)),
        gateway="/gw",
        nested_userns_off="--disable-userns" in backend.features(path),
    )
    machine = platform.machine()
    told = {
        "backend": "bubblewrap",
        "version": backend.version(path),
        "identity": "own-uid" if slot_uid(_SLOT) is None else "uid-per-sandbox",
        "kernel": platform.release(),
        "probes": " ".join(probes),
        "filters_sha256": _sha256(seccomp.ceiling_filter(machine) + seccomp.main_filter(machine)),
        "arguments_sha256": _sha256("\0".join([*options, *limited(spec)]).encode()),
    }
    return {**told, "digest": _sha256(json.dumps(told, sort_keys=True).encode())}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def _planted(study_dir: Path | None) -> Iterator[dict[str, Any]]:
    """Everything worth stealing, with a canary in it; the world that the probes are told."""
    canary = f"aar-canary-{secrets.token_hex(16)}"
    with contextlib.ExitStack() as stack:
        base = Path(tempfile.mkdtemp(prefix="doctor-", dir=study_dir))
        stack.callback(shutil.rmtree, base)
        # Apart from a study's own path, which may be too long for a socket address.
        sockets = Path(tempfile.mkdtemp(prefix="aar-"))
        stack.callback(shutil.rmtree, sockets)
        places = {}
        for name, path in _PLANTS.items():
            place = base / path
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.write_text(f"{canary}\n")
            places[name] = str(place)
        for name in ("own", "other"):
            _listen_unix(stack, sockets / name)
        places["socket"] = str(sockets / "other" / "gw.sock")
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{canary}")
        abstract.listen()
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        victim = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)", canary],
            env={"CANARY": canary},
            stdin=subprocess.DEVNULL,
            # An interrupt at the terminal is for whoever started us.
            start_new_session=True,
        )
        stack.callback(victim.wait)
        stack.callback(victim.kill)
        held = stack.enter_context(open(os.path.realpath(os.__file__), "rb"))
        # Another study's doctor may hold it already: then there is somebody to hear, too.
        with contextlib.suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        scratch = base / "scratch"
        scratch.mkdir()
        study = base if study_dir is None else study_dir.resolve()
        yield {
            "canary": canary,
            "places": places,
            "study": [str(study), *(str(study / name) for name in ("record", *_PRIVATE))],
            "gateway": str(sockets / "own"),
            "abstract": canary,
            "tcp_port": tcp.getsockname()[1],
            "udp_port": udp.getsockname()[1],
            "victim": victim.pid,
            "planted": str(base),
            "scratch": str(scratch),
        }


def _listen_unix(stack: contextlib.ExitStack, folder: Path) -> None:
    """A gateway as its sandbox wants it: 0711 around a socket that belongs to the sandbox's uid."""
    folder.mkdir()
    folder.chmod(0o711)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(folder / "gw.sock"))
    uid = slot_uid(_SLOT)
    if uid is not None:
        os.chown(folder / "gw.sock", uid, uid)
    (folder / "gw.sock").chmod(0o600)
    listener.listen()


def _outside(world: dict[str, Any]) -> _Findings:
    """The positive control: a plain process beside us."""
    planted = world["planted"]
    ran = subprocess.run(
        [sys.executable, "-P", str(_SCRIPT)],
        input=json.dumps({**world, "mode": "without", "roots": [planted], "writable": [planted]}).encode(),
        capture_output=True,
        env={"PYTHONPATH": str(runtime.package_root().parent), "CANARY": world["canary"]},
        timeout=_RUN_S,
        check=False,
    )
    return _parsed(ran.stdout, f"the probes ended with {ran.returncode} outside: {_tail(ran.stderr)}")


def _inside(client: LauncherClient, world: dict[str, Any]) -> _Findings:
    asked = {
        **world,
        "mode": "within",
        "roots": ["/"],
        "writable": [*_WRITABLE_INSIDE, world["planted"]],
        "scratch": "/workspace",
    }
    spec = SandboxSpec(
        name="doctor",
        profile="researcher",
        argv=(*sandbox_python(), "/brief/probes.py"),
        files={"/brief/probes.py": _SCRIPT.read_bytes()},
        gateway_dir=world["gateway"],
        uid_slot=_SLOT,
        cpu_s=20,
        wall_s=_RUN_S,
    )
    with client.start(spec, stdin=json.dumps(asked).encode()) as running:
        output = running.collect(timeout_s=_RUN_S + 5)
    ended = output.exit
    trouble = f"the sandbox ended with {ended.reason} {ended.code} {ended.detail}: {_tail(output.stderr)}"
    found = _parsed(output.stdout, trouble)
    for need, text in json.loads(output.stdout)["own"].items():
        if text:
            raise SandboxError(f"a researcher's {need} does not work in the sandbox: {text}")
    return found


def _parsed(stdout: bytes, trouble: str) -> _Findings:
    try:
        told = json.loads(stdout)["probes"]
    except ValueError:
        raise SandboxError(trouble) from None
    return {name: (bool(fired), str(detail)) for name, (fired, detail) in told.items()}


def _tail(text: bytes) -> str:
    return " ".join(text.decode(errors="replace").split())[-400:]


def _judged(name: str, without: tuple[bool, str], within: tuple[bool, str]) -> ProbeResult:
    status: Status = "blocked"
    detail = within[1]
    if within[0]:
        status = "leak"
    elif not without[0]:
        status = "absent" if name in _MAY_FAIL_OUTSIDE else "unproven"
        detail = f"does not work outside either: {without[1]}"
    return ProbeResult(name, _AREAS[name], without[0], within[0], status, detail)


def _verdict(results: list[ProbeResult]) -> Verdict:
    statuses = {result.status for result in results}
    if "leak" in statuses:
        return "leak"
    return "unproven" if "unproven" in statuses or not results else "ok"


def _closed_directories(study_dir: Path | None) -> list[ProbeResult]:
    """The study's private directories: no probe from a sandbox, but no other account may look either."""
    results = []
    for name in _PRIVATE if study_dir is not None else ():
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
                    "leak" if is_open else "blocked",
                    f"{place} has mode {mode:04o}; want 0700: type `chmod 700 {place}`"
                    if is_open
                    else f"{mode:04o}",
                )
            )
    return results
