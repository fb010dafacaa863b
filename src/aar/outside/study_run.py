"""A study from its opening to its close: open it or go on with it, run the researchers, close it.

Everything that must outlive this process is an entry of the record; a study that was cut off goes on from
what the record says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.keys import Signer, format_vkey
from aar.outside.control_plane import ControlPlane, RunParameters, operator_signer
from aar.outside.evaluation.release import interval_method, release_terms
from aar.outside.fleet import Fleet, seed_of
from aar.outside.oversight.terms import terms_as_body
from aar.outside.prices import Prices
from aar.outside.projection import Projection
from aar.outside.sandbox.agent_programs import AgentProgram
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.sandbox.interface import BARE
from aar.outside.staff_client import GatewayGone, GatewayRefused
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import StudyFile, StudyFileError, seconds_of
from aar.outside.study_programs import check_programs, digests_of, kept_programs, over_mcp, researcher_names
from aar.outside.worker_process import PROGRAM as WORKER_PROGRAM
from aar.outside.worker_process import WorkerProcess, WorkerRefused
from aar.verify.interval import decimal4
from aar.verify.reader import NotARecord, RecordReader
from aar.verify.spending import format_dollars

POLL_S = 0.25
STATUS_EVERY_S = 1.0
# How long a monitor that is a model may read when the study's work is over.
LAST_READING_S = 180.0


class StudyStopped(Exception):
    """A human stopped the study; it can go on later. The message says how, where it is not by Ctrl-C."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTerms:
    """What a study needs that has models among its researchers.

    `prices` by model, `brief` the template of what each is told, `instructions` what the monitor is told,
    `environment` all that the worker process is started with: it holds the providers' keys. `worker`: the
    program, as words after Python's own. `agents` are those that models think through, by name.
    """

    prices: Mapping[str, Prices]
    brief: str
    environment: Mapping[str, str]
    worker: tuple[str, ...] = WORKER_PROGRAM
    agents: Mapping[str, AgentProgram] = field(default_factory=dict)
    instructions: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One look at a running study: the gateway's status, and what only the supervisor knows."""

    status: Mapping[str, Any]
    fleet: Mapping[str, str]
    elapsed_s: float
    phase: str


def read_projection(study: StudyDirectory) -> Projection:
    """What the published record says, read from its files; an empty projection when nothing is published."""
    try:
        reader = RecordReader(study.record)
        return Projection.of(reader.entries())
    except NotARecord:
        return Projection()


def parameters_of(study_file: StudyFile, projection: Projection, *, backend: str = "") -> RunParameters:
    """The evaluator's parameters: the record's, once it has any; `backend` is the one that was probed."""
    if not projection.opened:
        return RunParameters(
            problem=study_file.problem,
            seeds=study_file.seeds,
            replicates=study_file.replicates,
            draws=study_file.draws,
            heldout=study_file.heldout if backend != BARE else (),
            witnesses=study_file.witnesses,
            quorum=study_file.quorum,
            anchors=study_file.anchors,
            anchors_needed=study_file.anchors_needed,
            backend=backend or study_file.backend,
        )
    opened = projection.opened
    given = [{"name": one.name, "kind": one.kind, "where": one.where} for one in study_file.anchors]
    if (given, study_file.anchors_needed) != (opened["anchors"], opened["anchors_needed"]):
        raise StudyFileError(
            "the record was opened with other anchors than the study file names: a study keeps those it was "
            f"opened with ({', '.join(one['name'] for one in opened['anchors']) or 'none'}); put back what "
            "was changed"
        )
    return RunParameters(
        problem=opened["problem"],
        seeds=opened["runs"]["seeds"],
        replicates=opened["runs"]["replicates"],
        draws=opened["interval"]["draws"],
        heldout=tuple(one["name"] for one in opened["heldout"]),
        witnesses=study_file.witnesses,
        quorum=study_file.quorum,
        anchors=study_file.anchors,
        anchors_needed=study_file.anchors_needed,
        backend=opened["sandbox"]["backend"],
    )


def _pool_told(problem: Mapping[str, Any]) -> dict[str, int]:
    sizes = ("sealed", "labelled", "unlabelled", "tested", "group")
    return {"items": problem["pool"], **{key: problem[key] for key in sizes}}


def _baselines_told(baselines: Mapping[str, str]) -> dict[str, str]:
    return {key: decimal4(Fraction(value)) for key, value in baselines.items()}


def models_of(study_file: StudyFile, researchers: Sequence[str], terms: ModelTerms | None) -> dict[str, Any]:
    """What `study-opened` says of models: prices, limits, the digest of the brief; nothing without any."""
    team = [(name, one) for name, one in zip(researchers, study_file.team, strict=False) if one.model]
    if not team:
        return {}
    if terms is None:
        raise StudyFileError(f"{team[0][0]} is a model: its price and what it is told are not known here")
    return {
        "brief": hashlib.sha256(terms.brief.encode()).hexdigest(),
        "tokens": study_file.tokens,
        "dollars": format_dollars(study_file.dollars),
        "researchers": [
            {
                "researcher": name,
                "model": one.model,
                "prices": dict(terms.prices[one.model]),
                "tokens": one.tokens,
                "dollars": format_dollars(one.dollars),
                "agent": {"name": one.agent, "sha256": terms.agents[one.agent].sha256} if one.agent else {},
            }
            for name, one in team
        ],
    }


def monitor_of(study_file: StudyFile, terms: ModelTerms | None) -> dict[str, Any]:
    """What `study-opened` says of a monitor that is a model; nothing without one."""
    one = study_file.monitor
    if one is None:
        return {}
    if terms is None:
        raise StudyFileError("the monitor is a model: its price and what it is told are not known here")
    return {
        "model": one.model,
        "prices": dict(terms.prices[one.model]),
        "tokens": one.tokens,
        "dollars": format_dollars(one.dollars),
        "instructions": hashlib.sha256(terms.instructions.encode()).hexdigest(),
        "every_turns": one.every_turns,
        "holds": int(one.hold),
    }


def check_monitor(opened: Mapping[str, Any], study_file: StudyFile, terms: ModelTerms | None) -> None:
    """Raise `StudyFileError` unless a study file has the monitor that was opened with."""
    instructions = "" if terms is None else terms.instructions
    model = "" if study_file.monitor is None else study_file.monitor.model
    prices = {model: opened.get("prices", {})}
    mine = monitor_of(
        study_file, ModelTerms(prices=prices, brief="", environment={}, instructions=instructions)
    )
    for what in sorted({*opened, *mine}):
        if opened.get(what) != mine.get(what):
            raise StudyFileError(
                f"the study was opened with another monitor than this: {what} {opened.get(what)!r:.100}, "
                f"here {mine.get(what)!r:.100}; put back what was changed, or name a new --dir; aar budget "
                "DIR set monitor changes its limits"
            )


def check_limits(opened: Sequence[Mapping[str, Any]], mine: Sequence[Mapping[str, Any]]) -> None:
    """Raise `StudyFileError` unless a study file has the limits that were opened with."""
    if list(opened) != list(mine):
        raise StudyFileError(
            f"the study was opened with other limits than these: {list(opened)!r:.100}, here "
            f"{list(mine)!r:.100}; put back what was changed, or name a new --dir; aar budget DIR set "
            "changes limits"
        )


def check_models(
    opened: Mapping[str, Any], study_file: StudyFile, researchers: Sequence[str], terms: ModelTerms | None
) -> None:
    """Raise `StudyFileError` unless a study file has the models, limits and brief that were opened with.

    Prices are those of the record: a table of prices may have become another since.
    """
    if terms is None and not opened:
        return
    prices = {one["model"]: one["prices"] for one in opened.get("researchers", ())}
    known = ModelTerms(
        prices={one: prices.get(one, {}) for one in study_file.models},
        brief="" if terms is None else terms.brief,
        environment={},
        agents={} if terms is None else terms.agents,
    )
    for one in opened.get("researchers", ()):
        _check_agent(one["agent"], known.agents)
    mine = models_of(study_file, researchers, known)
    for what in ("researchers", "tokens", "dollars", "brief"):
        if opened.get(what) != mine.get(what):
            raise StudyFileError(
                f"the study was opened with other models than these: {what} {opened.get(what)!r:.100}, here "
                f"{mine.get(what)!r:.100}; put back what was changed, or name a new --dir; aar budget "
                "DIR set changes limits"
            )


def _check_agent(opened: Mapping[str, str], agents: Mapping[str, AgentProgram]) -> None:
    """Raise `StudyFileError` where an agent is another version than the one that was opened with."""
    program = agents.get(opened.get("name", ""))
    if program is not None and program.sha256 != opened["sha256"]:
        raise StudyFileError(
            f"{program.path} is not the {opened['name']} that the study was opened with: its SHA-256 is "
            f"{program.sha256[:16]}..., in the record it is {opened['sha256'][:16]}...; put that version "
            "back, or name a new --dir"
        )


def refuse_when_all_stopped(stopped: Mapping[str, Mapping[str, Any]], researchers: Sequence[str]) -> None:
    """Raise `StudyStopped` when none of them may do anything; `stopped`: by name, why each was stopped."""
    if researchers and set(researchers) <= set(stopped):
        reasons = sorted({str(one["reason"]) for one in stopped.values()})
        raise StudyStopped(f"every researcher is stopped ({'; '.join(reasons)[:200]})")


def limits_reached(status: Mapping[str, Any]) -> dict[str, str]:
    """By researcher, the limit that it is at."""
    told = status["use"]["researchers"]
    return {name: one["stop"] for name, one in told.items() if one["stop"]}


class StudyRun:
    """One `aar run`: the control plane, the fleet, and the loop over them."""

    def __init__(
        self,
        study: StudyDirectory,
        study_file: StudyFile,
        *,
        reviewer: Signer,
        doctor: DoctorReport,
        on_moment: Callable[[Moment], None],
        on_warning: Callable[[str], None] = lambda _warning: None,
        comparison: Mapping[str, Any] | None = None,
        researchers_seed: str = "",
        models: ModelTerms | None = None,
    ) -> None:
        """`comparison`: the plan that this run is a part of, and its number there, for its first entry.

        `models`: wanted where a researcher is a model.
        """
        self._terms = models
        self._study = study
        self._file = study_file
        self._reviewer = reviewer
        self._doctor = doctor
        self._on_moment = on_moment
        self._on_warning = on_warning
        self._comparison = dict(comparison or {})
        self._researchers_seed = researchers_seed
        self._before = read_projection(study)
        self._check_backend()
        self._researchers = self._before.researchers or researcher_names(study_file.researchers)
        self._programs = kept_programs(study.programs)
        for name, one in zip(self._researchers, study_file.team, strict=False):
            if one.program and name not in self._programs:
                raise StudyFileError(
                    f"{study.programs / name}.py is missing, and the study file gives {name} a program: "
                    "put it back"
                )
        if self._before.opened:
            check_programs(self._programs, self._before.opened)
        if self._before.opened:
            self._models = dict(self._before.opened["models"])
            check_models(self._models, study_file, self._researchers, models)
            self._monitor = dict(self._before.opened["monitor"])
            check_monitor(self._monitor, study_file, models)
            check_limits(self._before.opened["limits"], study_file.limits_of(self._researchers))
        else:
            self._models = models_of(study_file, self._researchers, models)
            self._monitor = monitor_of(study_file, models)
        self.plane = ControlPlane(
            study,
            researchers=self._researchers,
            parameters=parameters_of(study_file, self._before, backend=doctor.backend),
            thinkers=[one["researcher"] for one in self._models.get("researchers", ())],
            over_mcp=over_mcp(self._researchers, study_file),
            agents={name: one.path for name, one in models.agents.items()} if models else {},
            has_monitor=bool(self._monitor),
        )
        self._fleet: Fleet | None = None
        self._worker: WorkerProcess | None = None
        self._started = time.monotonic()

    def _check_backend(self) -> None:
        """Raise `StudyFileError` unless what was probed is what researchers will run in."""
        probed = self._doctor.backend
        wanted = {self._file.backend, BARE}
        if self._before.opened:
            wanted = {self._before.opened["sandbox"]["backend"]}
        if probed not in wanted:
            named = " or ".join(sorted(wanted - {BARE}) or [BARE])
            raise StudyFileError(
                f"{self._study.path} wants the backend {named}, and what was probed is {probed}: nothing "
                "stands in for a backend; name that one"
            )

    @property
    def is_closed(self) -> bool:
        return bool(self._before.closed)

    def run(self) -> None:
        """Run to the close; raises `StudyStopped` on Ctrl-C, `ServiceEnded` when a service dies."""
        try:
            self.plane.start(opening=not self._before.opened)
            for name, told in self.plane.evaluator_material["problems"].items():
                for warning in told["warnings"]:
                    self._on_warning(f"{name}: {warning}")
            self._open()
            self._fleet = Fleet(
                self.plane.launcher,
                self._researchers,
                {name: self.plane.gateway_directory(name) for name in self._researchers},
                self._study.origin,
                log=self._study.log,
                programs=self._programs,
                seeds={
                    name: one.seed
                    for name, one in zip(self._researchers, self._file.team, strict=False)
                    if one.seed >= 0
                },
                seed=self._researchers_seed,
                elsewhere=[one["researcher"] for one in self._models.get("researchers", ())],
            )
            status = self.plane.control.get("/v1/status")
            refuse_when_all_stopped(status["stopped"], self._researchers)
            self._fleet.start(status["stopped"], limits_reached(status))
            if self._models or self._monitor:
                self._worker = self._worker_process()
                self._worker.start()
            reason = self._watch(self._fleet)
            self._read_what_is_left()
            self._stop_researchers()
            self.plane.tell_use()
            self._close(reason)
        except KeyboardInterrupt as error:
            raise StudyStopped from error
        except GatewayGone:
            self.plane.check_soon()
            raise
        finally:
            # A second Ctrl-C while the worker is given its time leaves no service behind.
            try:
                self._stop_researchers()
                # What was used is charged however the study ends; a gateway that is gone cannot be told.
                with suppress(GatewayGone, GatewayRefused):
                    self.plane.tell_use()
            finally:
                self.plane.stop()

    def _stop_researchers(self) -> None:
        """The worker first: it still has calls and transcripts to tell of."""
        if self._worker is not None:
            self._worker.stop()
        if self._fleet is not None:
            self._fleet.stop()

    def _worker_process(self) -> WorkerProcess:
        """The worker with its configuration; it learns everything else from its sockets."""
        setting, terms = self.plane.worker_setting(), self._terms
        if terms is None:
            raise StudyFileError("a researcher or the monitor is a model: say what it costs and is told")
        directions, researchers = self._file.directions, list[dict[str, Any]]()
        for one in self._models.get("researchers", ()):
            name = one["researcher"]
            place = setting.places[name]
            researchers.append(
                {
                    "name": name,
                    "model": one["model"],
                    "prices": dict(one["prices"]),
                    "limits": {"tokens": one["tokens"], "dollars": one["dollars"]},
                    "gateway": place.gateway,
                    "gateway_dir": place.gateway_dir,
                    "slot": place.slot,
                    "direction": directions[place.slot % len(directions)] if directions else "",
                    "seed": self._seed_of(name, place.slot),
                    "agent": one["agent"].get("name", ""),
                }
            )
        config = {
            "study": self._file.name,
            "origin": self._study.origin,
            "brief": terms.brief,
            "fresh": self._file.fresh,
            "researchers": researchers,
            "monitor": self._monitor and {**self._monitor, "told": terms.instructions},
        }
        return WorkerProcess(
            setting,
            config,
            log=self._study.log / "worker.log",
            environment=terms.environment,
            program=terms.worker,
        )

    def _seed_of(self, name: str, slot: int) -> int:
        given = self._file.team[slot].seed
        return given if given >= 0 else seed_of(name, self._researchers_seed or self._study.origin)

    def _open(self) -> None:
        """Enter `study-opened` and the file's tasks, or what of them is not there yet."""
        control = self.plane.control
        status = control.get("/v1/status")
        if status["state"] == "empty":
            control.append(
                [operator_signer(self._study), self._reviewer], "study-opened", self._opening_body()
            )
            status = control.get("/v1/status")
        known = {task["task"] for task in status["tasks"]}
        if self._reviewer.name not in status["keys"]:
            if len(known) < len(self._file.tasks):
                raise StudyFileError(
                    f"key {self._reviewer.name} is not enrolled in this study: it cannot open its tasks"
                )
            return
        for task in self._file.tasks:
            if task.task in known:
                continue
            control.append([self._reviewer], "task-opened", task.as_body())

    def _opening_body(self) -> dict[str, Any]:
        plane, file = self.plane, self._file
        if plane.log_key is None or plane.witness_key is None:
            raise RuntimeError("the control plane has no keys yet")
        material = plane.evaluator_material
        keys = [
            {"name": "operator", "role": "operator", "vkey": format_vkey(operator_signer(self._study).vkey)},
            {"name": self._reviewer.name, "role": "reviewer", "vkey": format_vkey(self._reviewer.vkey)},
            {"name": "gateway", "role": "gateway", "vkey": plane.gateway_keys["gateway"]},
            {"name": "monitor", "role": "monitor", "vkey": plane.gateway_keys["monitor"]},
            {"name": "evaluator", "role": "evaluator", "vkey": material["vkey"]},
        ]
        keys += [
            {"name": name, "role": "researcher", "vkey": plane.gateway_keys[name]}
            for name in self._researchers
        ]
        problem = material["problems"][file.problem]
        pool = _pool_told(problem)
        is_fresh = pool["items"] == 0
        attestation = format_canonical({key: str(value) for key, value in self._doctor.attestation.items()})
        return {
            "name": file.name,
            "problem": file.problem,
            "problem_digest": problem["digest"],
            "statement": problem["statement"],
            "log": format_vkey(plane.log_key),
            "keys": keys,
            "researchers": self._researchers,
            "witnesses": [format_vkey(plane.witness_key), *(spec.vkey for spec in file.witnesses)],
            "quorum": file.quorum,
            "anchors": [{"name": one.name, "kind": one.kind, "where": one.where} for one in file.anchors],
            "anchors_needed": file.anchors_needed,
            "budget": {
                "submissions": file.submissions,
                "confirmations": file.confirmations,
                "seconds": seconds_of(file.minutes),
            },
            "commitments": material["commitments"],
            "pool": pool,
            "baselines": _baselines_told(material["baselines"][file.problem]),
            "heldout": [
                {
                    "name": name,
                    "digest": material["problems"][name]["digest"],
                    "pool": _pool_told(material["problems"][name]),
                    "baselines": _baselines_told(material["baselines"][name]),
                }
                # Without sandboxes no problem is opened, so none is held out either.
                for name in (file.heldout if self._doctor.backend != BARE else ())
            ],
            "release": release_terms(is_fresh=is_fresh),
            "runs": {"seeds": file.seeds, "replicates": file.replicates},
            "interval": {
                "method": interval_method(is_fresh=is_fresh),
                "draws": file.draws,
                "level": "0.95",
            },
            "allocation": {"policy": file.allocation, "directions": list(file.directions)},
            "oversight": terms_as_body(file.oversight),
            "comparison": self._comparison,
            "programs": digests_of(self._programs),
            "models": self._models,
            "monitor": self._monitor,
            "limits": file.limits_of(self._researchers),
            "sandbox": {
                "backend": self._doctor.backend,
                "verdict": self._doctor.verdict,
                "probes": len(self._doctor.probes),
                "digest": hashlib.sha256(attestation).hexdigest(),
                "identity": self._doctor.attestation.get("identity", "own-uid"),
            },
        }

    def _watch(self, fleet: Fleet) -> str:
        """Until everything is done or the time is over; the reason is one of study-closed's."""
        last_status = 0.0
        while True:
            self.plane.check()
            lost = fleet.watch()
            if self._worker is not None and self._worker.watch():
                self._refuse_without_monitor(self._worker)
                lost += [one["researcher"] for one in self._models["researchers"]]
            for name in lost:
                self.plane.control.post("/v1/gone", {"researcher": name})
            now = time.monotonic()
            if now - last_status >= STATUS_EVERY_S or fleet.is_over:
                last_status = now
                self.plane.tell_use()
                status = self._status()
                limits = limits_reached(status)
                # Before anybody is told, who may take their time over it: until then it uses more.
                fleet.hold(status["stopped"], limits)
                self._tell(status, "running")
                seconds = status["budgets"]["seconds"]
                # First: a researcher that is told of it hands its task back, and that task is not done.
                if seconds["used"] >= seconds["budget"]:
                    return "time-over"
                open_tasks = [task for task in status["tasks"] if task["state"] in ("open", "leased")]
                if not open_tasks and not status["pending"]:
                    return "tasks-done"
                offered = {(task["task"], task["epoch"]) for task in open_tasks if not task["held"]}
                fleet.wake(offered)
                if self._worker is not None:
                    stops = {name: told["stop"] for name, told in status["spending"].items() if name}
                    able = [name for name, stop in stops.items() if not stop]
                    self._worker.wake(offered, able, is_idle=self._is_alone(status))
                    self._worker.let_go_on(stops)
                if fleet.is_over and not self._is_thinking(status) and not status["pending"]:
                    refuse_when_all_stopped(status["stopped"], self._researchers)
                    return "budget" if limits else "stopped"
            time.sleep(POLL_S)

    def _is_thinking(self, status: Mapping[str, Any]) -> bool:
        """Whether a researcher that is a model may still do something."""
        if self._worker is None or not self._worker.is_running or self._is_alone(status):
            return False
        stops = [told["stop"] for name, told in status["spending"].items() if name]
        return any(stop in ("", "paused") for stop in stops)

    def _is_alone(self, status: Mapping[str, Any]) -> bool:
        """Whether this worker, not one before it, reads on as the monitor and no researcher works there."""
        pid = 0 if self._worker is None else self._worker.pid
        return pid > 0 and status["monitor"].get("alone_pid", 0) == pid

    def _refuse_without_monitor(self, worker: WorkerProcess) -> None:
        """Raise `WorkerRefused` where the worker was given up that the monitor is in: nobody reads then."""
        if self._monitor:
            raise WorkerRefused(
                f"the study's monitor is gone, the worker {worker.state}: run the study again when that is "
                "mended"
            )

    def _read_what_is_left(self) -> None:
        """Let the monitor read what it has not read yet, for so long; what is left then is told of."""
        if not self._monitor or self._worker is None:
            return
        if self._fleet is not None:
            # Nobody says more while it reads.
            self._fleet.stop()
        self.plane.control.post("/v1/last-reading", {})
        deadline = time.monotonic() + LAST_READING_S
        while self._worker.is_running and time.monotonic() < deadline:
            self.plane.check()
            if self._worker.watch():
                self._refuse_without_monitor(self._worker)
            self._look("reading")
            time.sleep(POLL_S)
        if self._worker.is_running:
            self._on_warning(f"the monitor did not read all that was left within {LAST_READING_S:.0f} s")

    def _status(self) -> Mapping[str, Any]:
        status: Mapping[str, Any] = self.plane.control.get("/v1/status")
        return status

    def _look(self, phase: str) -> None:
        self._tell(self._status(), phase)

    def _tell(self, status: Mapping[str, Any], phase: str) -> None:
        fleet = {member.name: member.state for member in self._fleet.members} if self._fleet else {}
        if self._worker is not None:
            fleet |= {
                name: told["stop"] or self._worker.state for name, told in status["spending"].items() if name
            }
        self._on_moment(
            Moment(status=status, fleet=fleet, elapsed_s=time.monotonic() - self._started, phase=phase)
        )

    def _close(self, reason: str) -> None:
        """Run what was handed in, open the explored values, reveal the secret under two signatures."""
        control = self.plane.control
        control.post("/v1/closing", {"reason": reason})
        material: Mapping[str, Any] = {}
        while not material:
            self.plane.check()
            self._look("closing")
            material = control.get("/v1/close-material", wait_s=1)["material"]
        body = {"reason": reason, **material}
        control.append([operator_signer(self._study), self._reviewer], "study-closed", body)
        self._look("closed")
