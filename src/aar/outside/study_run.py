"""A study from its opening to its close: open it or go on with it, run the researchers, close it.

Everything that must outlive this process is an entry of the record; a study that was cut off goes on from
what the record says.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aar.formats.canonical import format_canonical
from aar.formats.keys import Signer, format_vkey
from aar.outside.control_plane import ControlPlane, RunParameters, operator_signer
from aar.outside.evaluation.release import interval_method, release_terms
from aar.outside.fleet import Fleet
from aar.outside.oversight.terms import terms_as_body
from aar.outside.projection import Projection
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.sandbox.interface import BARE
from aar.outside.staff_client import GatewayGone
from aar.outside.study_directory import StudyDirectory
from aar.outside.study_file import StudyFile, StudyFileError
from aar.outside.study_programs import check_programs, digests_of, kept_programs, researcher_names
from aar.verify.interval import decimal4
from aar.verify.reader import NotARecord, RecordReader

POLL_S = 0.25
STATUS_EVERY_S = 1.0


class StudyStopped(Exception):
    """A human stopped the study; it can go on later."""


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
    ) -> None:
        """`comparison`: the plan that this run is a part of, and its number there, for its first entry."""
        self._study = study
        self._file = study_file
        self._reviewer = reviewer
        self._doctor = doctor
        self._on_moment = on_moment
        self._on_warning = on_warning
        self._comparison = dict(comparison or {})
        self._researchers_seed = researchers_seed
        self._before = read_projection(study)
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
        self.plane = ControlPlane(
            study,
            researchers=self._researchers,
            parameters=parameters_of(study_file, self._before, backend=doctor.backend),
        )
        self._fleet: Fleet | None = None
        self._started = time.monotonic()

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
            )
            self._fleet.start()
            reason = self._watch(self._fleet)
            self._fleet.stop()
            self._close(reason)
        except KeyboardInterrupt as error:
            raise StudyStopped from error
        except GatewayGone:
            self.plane.check_soon()
            raise
        finally:
            if self._fleet is not None:
                self._fleet.stop()
            self.plane.stop()

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
                "seconds": max(int(file.minutes * 60), 1),
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
            for name in fleet.watch():
                self.plane.control.post("/v1/gone", {"researcher": name})
            now = time.monotonic()
            if now - last_status >= STATUS_EVERY_S or fleet.is_over:
                last_status = now
                status = self._look("running")
                open_tasks = [task for task in status["tasks"] if task["state"] in ("open", "leased")]
                if not open_tasks and not status["pending"]:
                    return "tasks-done"
                fleet.wake({(task["task"], task["epoch"]) for task in open_tasks if not task["held"]})
                seconds = status["budgets"]["seconds"]
                if seconds["used"] >= seconds["budget"]:
                    return "time-over"
                if fleet.is_over and not status["pending"]:
                    return "stopped"
            time.sleep(POLL_S)

    def _look(self, phase: str) -> Mapping[str, Any]:
        status = self.plane.control.get("/v1/status")
        fleet = {member.name: member.state for member in self._fleet.members} if self._fleet else {}
        self._on_moment(
            Moment(status=status, fleet=fleet, elapsed_s=time.monotonic() - self._started, phase=phase)
        )
        return status

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
