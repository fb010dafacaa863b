"""The control plane: every process outside the sandboxes, started in order and ended in order.

`run` keeps it up for a whole study; `task` and `review` for the length of one command. Each service ends
by itself when this process does: it holds the far end of their lifelines and nobody else does.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aar.formats.keys import Signer, VerifierKey, format_vkey, parse_vkey
from aar.formats.policy import Policy, format_policy
from aar.lab.problems import JSONL
from aar.outside.keyring import load_or_create_key, write_durably
from aar.outside.record.anchors.directory import prepare
from aar.outside.record.anchors.s3 import CREDENTIALS
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.interface import BARE, DEFAULT_BACKEND
from aar.outside.sandbox.runtime import package_root
from aar.outside.sandbox.spec import SandboxError, SandboxUnavailable
from aar.outside.service import EXIT_DISK_FULL, EXIT_REFUSED
from aar.outside.staff_client import GatewayGone, StaffClient
from aar.outside.study_directory import NotAStudy, StudyDirectory, Uids, service_uids
from aar.outside.study_file import LOCAL_WITNESS, AnchorSpec, WitnessSpec
from aar.outside.worker_process import AT_WORKER, WORKER, WorkerPlace, WorkerSetting

START_TIMEOUT_S = 60.0
# Texts are made features first: a minute of processor time for 30,000 rows of 150 words.
OWN_DATA_TIMEOUT_S = 900.0
STOP_TIMEOUT_S = 2.0
LAST_WORDS_S = 2.0
WORKERS = "workers"
MCP = "mcp"
# Streamable HTTP, and lines of JSON for a client on standard input and output.
MCP_SOCKETS = ("mcp.sock", "mcp-stdio.sock")
# The uids of the processes that speak MCP for each researcher, by slot.
FIRST_MCP_SLOT = 51_000
# What a service needs of the caller's environment; a key in it stays where it is.
MAY_ENTER_SERVICE = ("PATH", "LANG", "LC_ALL", "TMPDIR", "TZ")


class ServiceEnded(Exception):
    """A service process ended by itself; the message says which and how."""

    def __init__(self, name: str, code: int, last_words: str) -> None:
        how = f"signal {-code}" if code < 0 else f"exit {code}"
        self.is_disk_full = code == EXIT_DISK_FULL
        self.is_refusal = code == EXIT_REFUSED
        if self.is_disk_full:
            last_words = last_words if "disk is full" in last_words else "the disk is full"
        super().__init__(f"the {name} ended ({how})" + (f": {last_words}" if last_words else ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParameters:
    """What the evaluator must know of a study before its record says so."""

    problem: str
    seeds: int
    replicates: int
    draws: int
    heldout: tuple[str, ...] = ()
    witnesses: tuple[WitnessSpec, ...] = ()
    quorum: int = 1
    anchors: tuple[AnchorSpec, ...] = ()
    anchors_needed: int = 0
    backend: str = DEFAULT_BACKEND


class ControlPlane:
    """The services of one study, up between `start` and `stop`."""

    def __init__(
        self,
        study: StudyDirectory,
        *,
        researchers: Sequence[str],
        parameters: RunParameters,
        thinkers: Collection[str] = (),
        over_mcp: Collection[str] = (),
        agents: Mapping[str, str] | None = None,
        has_monitor: bool = False,
    ) -> None:
        """`thinkers`: those of the researchers that are models, which the worker process is started for.
        `over_mcp`: those that get their tools as MCP, too. `agents`: host paths of the agents that sandboxes
        may be given, by name. `has_monitor`: whether a model in the worker reads.
        """
        self._agents = dict(agents or {})
        self._over_mcp = [one for one in researchers if one in over_mcp]
        self._thinkers = [one for one in researchers if one in thinkers]
        self._has_worker = bool(self._thinkers) or has_monitor
        self._worker_launcher: socket.socket | None = None
        self._study = study
        self._researchers = tuple(researchers)
        self._parameters = parameters
        self._uids: Uids = service_uids()
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._lifelines: dict[str, int] = {}
        self._runtime: Path | None = None
        self._launcher: Launcher | None = None
        self._usage: dict[str, float] = {}
        # One life of the launcher, which counts what sandboxes use anew in each.
        self._life = os.urandom(8).hex()
        self._services_cpu_s = 0.0
        self.log_key: VerifierKey | None = None
        self.witness_key: VerifierKey | None = None
        self.evaluator_material: dict[str, Any] = {}
        self.gateway_keys: dict[str, str] = {}
        self._launcher_client: LauncherClient | None = None
        self._control: StaffClient | None = None

    @property
    def control(self) -> StaffClient:
        if self._control is None:
            raise GatewayGone("the control plane is not up")
        return self._control

    @property
    def launcher(self) -> LauncherClient:
        if self._launcher_client is None:
            raise GatewayGone("the launcher is not up")
        return self._launcher_client

    def gateway_directory(self, researcher: str) -> Path:
        """The host directory that holds this researcher's socket."""
        if self._runtime is None:
            raise GatewayGone("the control plane is not up")
        return self._runtime / researcher

    def worker_setting(self) -> WorkerSetting:
        """What the worker process is told of this control plane, which is up."""
        if self._runtime is None or not self._has_worker:
            raise GatewayGone("the control plane is not up, or has no worker")
        places = {
            name: WorkerPlace(
                gateway=str(self._runtime / WORKERS / name / "gw.sock"),
                gateway_dir=str(self._runtime / name),
                slot=self._researchers.index(name),
            )
            for name in self._thinkers
        }
        return WorkerSetting(
            worker_socket=str(self._runtime / "worker.sock"),
            places=places,
            launcher=self._worker_launcher,
            directory=self._study.worker,
            uid=self._uids.worker,
        )

    def start(self, *, opening: bool, with_evaluator: bool = True) -> None:
        """Start launcher, witness, gateway and evaluator; raises `ServiceEnded` with its last words."""
        study = self._study
        _sweep_runtime_directories()
        runtime = Path(tempfile.mkdtemp(prefix=f"aar-{os.getpid()}-", dir=_runtime_root()))
        runtime.chmod(0o711)
        self._runtime = runtime
        log_signer = load_or_create_key(study.gateway / "log.key", study.origin, os.urandom)
        if self._uids.gateway:
            os.chown(study.gateway / "log.key", self._uids.gateway, self._uids.gateway)
        self.log_key = log_signer.vkey
        # The evaluator may start official runs and nothing else may; nobody can start one under its name.
        # Without sandboxes there are no official runs, and no labels: nobody may start what would want one.
        evaluators = [] if self._parameters.backend == BARE else [{"official-run", "bench"}]
        workers = [{"researcher"}] if self._thinkers else []
        self._launcher = Launcher.spawn(
            {"researcher"},
            *evaluators,
            *workers,
            backend=self._parameters.backend,
            # The worker parses what strangers wrote: its sandboxes are those of its own researchers.
            seats=[(self._researchers.index(name), str(runtime / name)) for name in self._thinkers],
            agents=self._agents,
        )
        clients = self._launcher.sockets
        for_evaluator = clients[1 : 1 + len(evaluators)]
        self._worker_launcher = clients[-1] if workers else None
        self._launcher_client = LauncherClient(clients[0])
        witness_listener = _listen(runtime / "witness.sock", self._uids.gateway)
        self._spawn(
            "witness",
            "aar.witness",
            [
                *("--state", str(study.witness), "--listen-fd", str(witness_listener.fileno())),
                *("--log-vkey", format_vkey(self.log_key), "--uid", str(self._uids.witness)),
            ],
            [witness_listener],
        )
        self.witness_key = self._wait_for_witness_key()
        self._write_policy(self.log_key, self.witness_key)
        listeners = {
            "control": self._listen_control(),
            "evaluator": _listen(runtime / "evaluator.sock", self._uids.evaluator),
        }
        for number, researcher in enumerate(self._researchers):
            folder = runtime / researcher
            folder.mkdir(mode=0o711)
            folder.chmod(0o711)
            listeners[researcher] = _listen(folder / "gw.sock", slot_uid(number) or 0)
        if self._has_worker:
            listeners |= self._listen_for_worker(runtime)
        mcp_ready = self._start_mcp(runtime) if self._over_mcp else None
        arguments = ["--directory", str(study.path), "--origin", study.origin]
        arguments += [
            "--witness",
            format_vkey(self.witness_key),
            "--witness-socket",
            str(runtime / "witness.sock"),
            *("--quorum", str(self._parameters.quorum)),
        ]
        for spec in self._parameters.witnesses:
            arguments += ["--other-witness", spec.vkey, spec.url]
        for anchor in self._parameters.anchors:
            self._prepare_anchor(anchor)
            arguments += ["--anchor", json.dumps(asdict(anchor))]
        arguments += ["--anchors-needed", str(self._parameters.anchors_needed)]
        for name, listener in listeners.items():
            arguments += ["--listen", f"{name}={listener.fileno()}"]
        ready = self._spawn(
            "gateway",
            "aar.outside.gateway",
            [*arguments, "--uid", str(self._uids.gateway)],
            list(listeners.values()),
            ready=True,
        )
        evaluator_ready = None
        if with_evaluator:
            parameters = self._parameters
            evaluator_ready = self._spawn(
                "evaluator",
                "aar.outside.evaluation",
                ["--directory", str(study.path), "--gateway-socket", str(runtime / "evaluator.sock")]
                + [word for one in for_evaluator for word in ("--launcher-fd", str(one.fileno()))]
                + ["--problem", parameters.problem]
                + ["--seeds", str(parameters.seeds), "--replicates", str(parameters.replicates)]
                + ["--draws", str(parameters.draws), "--uid", str(self._uids.evaluator)]
                + [word for name in parameters.heldout for word in ("--heldout", name)]
                + (["--opening"] if opening else []),
                for_evaluator,
                ready=True,
            )
        else:
            for one in for_evaluator:
                one.close()
        text = self._wait_ready("gateway", ready)
        self.gateway_keys = dict(line.split(" ", 1) for line in text.splitlines())
        self._control = StaffClient(_control_path(study))
        if evaluator_ready is not None:
            has_data = JSONL in (self._parameters.problem, *self._parameters.heldout)
            timeout_s = OWN_DATA_TIMEOUT_S if has_data else START_TIMEOUT_S
            self.evaluator_material = json.loads(self._wait_ready("evaluator", evaluator_ready, timeout_s))
        if mcp_ready is not None:
            self._wait_ready(MCP, mcp_ready)

    def _start_mcp(self, runtime: Path) -> int | None:
        """The server of the tools over MCP; by name, for nothing out here knows that layer."""
        served, listeners = [], []
        for name in self._over_mcp:
            number = self._researchers.index(name)
            sandbox_uid, uid = slot_uid(number), slot_uid(FIRST_MCP_SLOT + number)
            gateway = runtime / name / "gw.sock"
            if sandbox_uid is not None and uid is not None:
                # It asks the gateway as this researcher, and no other researcher's process may.
                os.chown(gateway, sandbox_uid, uid)
                gateway.chmod(0o660)
            http, lines = (_listen(runtime / name / one, sandbox_uid or 0) for one in MCP_SOCKETS)
            listeners += [http, lines]
            place = {"name": name, "gateway": str(gateway), "uid": uid or 0}
            served.append(json.dumps({**place, "http_fd": http.fileno(), "lines_fd": lines.fileno()}))
        arguments = [word for one in served for word in ("--serve", one)]
        return self._spawn(MCP, "aar.llm.mcp_server", arguments, listeners, ready=True)

    def _listen_for_worker(self, runtime: Path) -> dict[str, socket.socket]:
        """The worker's own socket, one more for each researcher that thinks there, and its directory."""
        study, uid = self._study, self._uids.worker
        if not study.worker.exists():
            study.worker.mkdir(mode=0o700)
        if uid:
            # Each time: a kill between the two would have left it to root.
            os.chown(study.worker, uid, uid)
        listeners = {WORKER: _listen(runtime / "worker.sock", uid)}
        # A worker that only reads, for the monitor, has no second socket of a researcher and no sandbox.
        for name in self._thinkers:
            folder = runtime / WORKERS / name
            folder.mkdir(parents=True)
            for one in (folder.parent, folder):
                one.chmod(0o711)
            listeners[name + AT_WORKER] = _listen(folder / "gw.sock", uid)
        return listeners

    def _write_policy(self, log: VerifierKey, local: VerifierKey) -> None:
        """The study's policy, once; a study file that says otherwise later is refused."""
        others = tuple((spec.name, parse_vkey(spec.vkey)) for spec in self._parameters.witnesses)
        policy = Policy.with_witnesses(log, ((LOCAL_WITNESS, local), *others), self._parameters.quorum)
        data = format_policy(policy).encode()
        path = self._study.policy
        if not path.exists():
            write_durably(path, data, mode=0o644)
        elif path.read_bytes() != data:
            raise NotAStudy(
                f"{path} names other witnesses or another quorum than {self._study.study_file} and the "
                "witness's own key: a study keeps the witnesses it was opened with; put back what was changed"
            )

    def _prepare_anchor(self, anchor: AnchorSpec) -> None:
        """Make the directory of an anchor ready for the gateway's uid, while we may."""
        if anchor.kind == "s3":
            return
        path = Path(anchor.path)
        try:
            if anchor.kind == "directory":
                prepare(path, self._uids.gateway)
            elif not path.is_dir():
                path.mkdir(parents=True)
                path.chmod(0o755)
            if anchor.kind == "mirror" and self._uids.gateway:
                os.chown(path, self._uids.gateway, self._uids.gateway)
        except OSError as error:
            raise NotAStudy(
                f"anchor {anchor.name}: {anchor.path} cannot be made ready: {error.strerror}; mount it, or "
                "name another"
            ) from error

    def check(self) -> None:
        """Raise `ServiceEnded` if a service is gone."""
        for name, process in self._all():
            code = process.poll()
            if code is not None:
                raise self._ended(name, code)

    def _ended(self, name: str, code: int) -> ServiceEnded:
        """Who ends in order (exit 0) follows the gateway, which may need a moment more: its end says why."""
        gateway = self._services.get("gateway")
        if code == 0 and name != "gateway" and gateway is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                name, code = "gateway", gateway.wait(LAST_WORDS_S)
        return ServiceEnded(name, code, self._last_words(name))

    def check_soon(self) -> None:
        """As `check`, for a while: who does not answer has ended, or is about to, and its exit says why."""
        deadline = time.monotonic() + LAST_WORDS_S
        while time.monotonic() < deadline:
            self.check()
            time.sleep(0.02)

    def pids(self) -> dict[str, int]:
        """Process ids of the services, for tests that kill them."""
        return {name: process.pid for name, process in self._all()}

    def stop(self) -> None:
        """End the services in order, the recorder of the others last; safe to call twice."""
        if self._control is not None:
            # On a connection of its own: an interrupt may have cut the usual one off in the middle of a call.
            with contextlib.suppress(GatewayGone):
                StaffClient(_control_path(self._study)).post("/v1/stop", {})
        for name in (MCP, "gateway", "evaluator", "witness"):
            self._end(name)
        if self._launcher is not None:
            if self._launcher_client is not None:
                with contextlib.suppress(OSError, SandboxError):
                    self._usage = self._launcher_client.usage()
            self._launcher_client = None
            self._launcher.close()
            self._launcher = None
        if self._runtime is not None:
            shutil.rmtree(self._runtime, ignore_errors=True)
            self._runtime = None
        (self._study.path / "control.sock").unlink(missing_ok=True)

    def tell_use(self) -> None:
        """Tell the gateway what the sandboxes of each researcher used so far, as the launcher measured it.

        Raises `GatewayGone` and `GatewayRefused`, and `SandboxRefused` of a launcher that does not tell: no
        limit on sandboxes would hold. That it is gone is for `check` to say.
        """
        used_ms: dict[str, int] = {}
        with contextlib.suppress(SandboxUnavailable, OSError):
            used = self.launcher.used_by_slot()
            used_ms = {self._researchers[slot]: int(1000 * cpu_s) for slot, cpu_s in used.items()}
        self.control.post("/v1/used", {"life": self._life, "used_ms": used_ms})

    @property
    def sandboxes_cpu_s(self) -> float:
        """CPU seconds of all sandboxes, known once `stop` has run."""
        return float(self._usage.get("sandboxes_cpu_s", 0.0))

    @property
    def services_cpu_s(self) -> float:
        """CPU seconds of the services and the launcher, known once `stop` has run."""
        return self._services_cpu_s + float(self._usage.get("launcher_cpu_s", 0.0))

    def _all(self) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
        yield from self._services.items()
        if self._launcher is not None:
            yield "launcher", self._launcher.process

    def _spawn(
        self,
        name: str,
        module: str,
        arguments: list[str],
        sockets: Sequence[socket.socket],
        *,
        ready: bool = False,
    ) -> int | None:
        lifeline, far_end = os.pipe()
        ready_fd, ready_far_end = os.pipe() if ready else (None, None)
        passed = [one.fileno() for one in sockets] + [lifeline]
        if ready_far_end is not None:
            passed.append(ready_far_end)
            arguments = [*arguments, "--ready-fd", str(ready_far_end)]
        may_enter: tuple[str, ...] = MAY_ENTER_SERVICE
        if name == "gateway" and any(one.kind == "s3" for one in self._parameters.anchors):
            may_enter += CREDENTIALS
        environment = {key: os.environ[key] for key in may_enter if key in os.environ}
        with (self._study.log / f"{name}.log").open("ab") as log:
            self._services[name] = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments, "--lifeline-fd", str(lifeline)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=environment | {"PYTHONPATH": str(package_root().parent), "OMP_NUM_THREADS": "1"},
                pass_fds=passed,
                start_new_session=True,
            )
        os.close(lifeline)
        if ready_far_end is not None:
            os.close(ready_far_end)
        self._lifelines[name] = far_end
        for one in sockets:
            one.close()
        return ready_fd

    def _wait_ready(self, name: str, ready_fd: int | None, timeout_s: float = START_TIMEOUT_S) -> str:
        """Read what a service says when it is ready: its whole ready pipe."""
        if ready_fd is None:
            raise ValueError(f"{name} has no ready pipe")
        chunks = []
        deadline = time.monotonic() + timeout_s
        with selectors.DefaultSelector() as selector, os.fdopen(ready_fd, "rb", buffering=0) as pipe:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(max(deadline - time.monotonic(), 0)):
                    raise ServiceEnded(name, 0, f"it was not ready within {timeout_s:.0f} s")
                chunk = pipe.read(65_536)
                if not chunk:
                    break
                chunks.append(chunk)
        if not chunks:
            code = self._services[name].wait(5)
            raise ServiceEnded(name, code, self._last_words(name))
        return b"".join(chunks).decode()

    def _wait_for_witness_key(self) -> VerifierKey:
        path = self._study.witness / "witness.vkey"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not path.exists():
            code = self._services["witness"].poll()
            if code is not None:
                raise ServiceEnded("witness", code, self._last_words("witness"))
            if time.monotonic() > deadline:
                raise ServiceEnded("witness", 0, "it wrote no witness.vkey")
            time.sleep(0.01)
        return parse_vkey(path.read_text("ascii").strip())

    def _last_words(self, name: str) -> str:
        path = self._study.log / f"{name}.log"
        lines = path.read_text("utf-8", "replace").strip().splitlines() if path.exists() else []
        return lines[-1][:300] if lines else ""

    def _listen_control(self) -> socket.socket:
        path = self._study.path / "control.sock"
        path.unlink(missing_ok=True)
        return _listen(Path(_control_path(self._study)), 0)

    def _end(self, name: str) -> None:
        process = self._services.pop(name, None)
        lifeline = self._lifelines.pop(name, None)
        if lifeline is not None:
            os.close(lifeline)
        if process is not None:
            before_s = cpu_s(resource.RUSAGE_CHILDREN)
            _wait_or_kill(process)
            self._services_cpu_s += cpu_s(resource.RUSAGE_CHILDREN) - before_s


def cpu_s(who: int) -> float:
    """User and system seconds of this process, or of the children it waited for."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


_directory_fds: dict[Path, int] = {}


def _control_path(study: StudyDirectory) -> str:
    """A short path to the control socket: a Unix socket's address has only 108 bytes."""
    if study.path not in _directory_fds:
        _directory_fds[study.path] = os.open(study.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{_directory_fds[study.path]}/control.sock"


def attach(study: StudyDirectory) -> StaffClient | None:
    """A client of the control plane that another process keeps up for this study, if there is one."""
    client = StaffClient(_control_path(study))
    try:
        client.get("/v1/status")
    except GatewayGone:
        return None
    return client


def _listen(path: Path, uid: int) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    os.chmod(path, 0o600)
    if uid:
        os.chown(path, uid, uid)
    listener.listen(64)
    return listener


def _runtime_root() -> str:
    """A short path that the sandboxes' uids may pass through."""
    if os.getuid() == 0 and os.access("/run", os.W_OK):
        return "/run"
    return os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()


def _sweep_runtime_directories() -> None:
    """Remove what processes that are no more left behind."""
    for path in Path(_runtime_root()).glob("aar-*-*"):
        pid = path.name.split("-")[1]
        if (
            pid.isdigit()
            and path.is_dir()
            and path.stat().st_uid == os.getuid()
            and not Path(f"/proc/{pid}").exists()
        ):
            shutil.rmtree(path, ignore_errors=True)


def _wait_or_kill(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def operator_signer(study: StudyDirectory) -> Signer:
    """The operator's key of this study."""
    return load_or_create_key(study.operator / "operator.key", "operator", os.urandom)
