"""The runs of an A/B one after the other, each a real study; what is finished is verified and not run again.

The plan that binds is the one in entry 0 of the first run's record. A run whose record does not verify, that
carries another plan, or that was not run as the plan says, ends the comparison: no number is told of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aar.formats.entry import Leaf
from aar.formats.errors import FormatError
from aar.formats.keys import Signer
from aar.outside.comparison.analysis import analyse, is_decided
from aar.outside.comparison.assignment import Run, assign, is_look_after, origin_of, researchers_seed
from aar.outside.comparison.directory import ComparisonDirectory
from aar.outside.comparison.outcome import Outcome, outcome_of
from aar.outside.comparison.plan import Plan, PlanError, differences, format_plan, parse_plan
from aar.outside.comparison.report import Ended
from aar.outside.comparison.run_check import RunUnjudged, RunUnusable, check_run, plan_entered
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_directory import StudyDirectory, service_uids
from aar.outside.study_file import StudyFile
from aar.outside.study_run import StudyRun, read_projection
from aar.verify.reader import NotARecord, RecordReader
from aar.verify.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A run that begins (`outcome` is None) or is over; `seconds` it took, 0 where it was finished before."""

    run: Run
    outcome: Outcome | None
    seconds: float


Verify = Callable[[StudyDirectory], Report]


def plan_kept(directory: ComparisonDirectory, verify: Verify) -> Plan | None:
    """The plan of a comparison that was begun: of the first run's verified record, else of the file.

    `None` where there is neither. Raises `RunUnusable` for a record that does not hold, `PlanError` for a
    file that says otherwise than the record.
    """
    written = directory.written_plan()
    study = directory.study(1)
    if not _is_entered(study):
        return written
    kept = parse_plan(plan_entered(_verified(study, verify), 1))
    if written is None:
        raise PlanError(f"{directory.plan_file} is gone; put it back: it is {format_plan(kept)}")
    if written != kept:
        raise PlanError(
            f"{directory.plan_file} says otherwise than entry 0 of run 001, which has the plan that binds: "
            + "; ".join(differences(kept, written))
            + "; put back what was changed"
        )
    return kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What running takes from outside: a reviewer's key, an attack on the sandbox, a verifier, listeners."""

    reviewer: Signer
    examine: Callable[[StudyDirectory], DoctorReport]
    verify: Verify
    on_step: Callable[[Step], None]
    on_warning: Callable[[str], None]


def run_all(directory: ComparisonDirectory, plan: Plan, means: Means) -> Ended:
    """Go through the runs in the plan's order, to its end or to the look that ends it.

    The sandbox is attacked once, before the first run that is to be done. Raises `RunUnusable`, and what
    `StudyRun.run` raises.
    """
    runs = _Runs(directory, plan, means)
    outcomes: dict[int, Outcome] = {}
    looks = 0
    for run in assign(plan):
        outcomes[run.number] = runs.finish(run)
        if is_look_after(plan, run):
            looks += 1
            if run.repeat < plan.repeats and is_decided(plan, analyse(plan, outcomes)):
                break
    return Ended(
        plan=plan,
        analysis=analyse(plan, outcomes),
        outcomes=outcomes,
        looks=looks,
        is_stopped_early=len(outcomes) < plan.runs,
    )


class _Runs:
    """The runs of one comparison, as far as this process has come with them."""

    def __init__(self, directory: ComparisonDirectory, plan: Plan, means: Means) -> None:
        self._directory = directory
        self._plan = plan
        self._means = means
        self._files = directory.study_files(plan)
        self._doctor: DoctorReport | None = None
        self._witnesses: object = None
        directory.prepare_witness(service_uids().witness)

    def finish(self, run: Run) -> Outcome:
        """Do the run, or the rest of it, or nothing; verify it, and say what it came to."""
        study = self._directory.study(run.number)
        study_file = self._files[run.problem, run.arm]
        began = time.monotonic()
        is_finished = _is_entered(study) and _is_closed(study)
        if not is_finished:
            self._means.on_step(Step(run=run, outcome=None, seconds=0.0))
            self._do(run, study, study_file)
        leaves = _verified(study, self._means.verify)
        check_run(leaves, self._plan, run, study_file)
        self._check_witness(run, leaves)
        outcome = outcome_of(leaves)
        seconds = 0.0 if is_finished else time.monotonic() - began
        self._means.on_step(Step(run=run, outcome=outcome, seconds=seconds))
        return outcome

    def _do(self, run: Run, study: StudyDirectory, study_file: StudyFile) -> None:
        origin = origin_of(self._plan, run)
        if not study.is_study:
            self._check_new(run, origin)
        study.create(study_file.text, service_uids(), origin=origin, witness=self._directory.witness)
        if study.study_file.read_text("utf-8", "replace") != study_file.text:
            raise RunUnusable(f"{study.study_file} is not the study file of the plan; put it back")
        study.lock()
        try:
            self._doctor = self._doctor or self._means.examine(study)
            StudyRun(
                study,
                study_file,
                reviewer=self._means.reviewer,
                doctor=self._doctor,
                on_moment=lambda _moment: None,
                on_warning=self._means.on_warning,
                comparison={"plan": format_plan(self._plan), "run": run.number},
                researchers_seed=researchers_seed(self._plan, run),
            ).run()
        finally:
            study.unlock()

    def _check_new(self, run: Run, origin: str) -> None:
        """`RunUnusable` where a run that is to begin was there before: it is not made a second time."""
        told = f"run {run.number:03} is gone"
        if self._directory.was_witnessed(origin):
            raise RunUnusable(f"{told}, and the witness has cosigned a record of it: put it back")
        numbers = range(run.number + 1, self._plan.runs + 1)
        later = [one for one in numbers if self._directory.study(one).is_study]
        if later:
            raise RunUnusable(f"{told}, and run {later[0]:03}, which came after it, is there: put it back")

    def _check_witness(self, run: Run, leaves: list[Leaf]) -> None:
        opened: Any = leaves[0].signed.entry.body
        self._witnesses = self._witnesses or opened["witnesses"]
        if opened["witnesses"] != self._witnesses:
            raise RunUnusable(
                f"run {run.number:03} was cosigned by another witness than the first one: all runs of a "
                "comparison have the one that remembers them"
            )


def _is_entered(study: StudyDirectory) -> bool:
    """Whether a run has a first entry, or what should be one."""
    try:
        return study.is_study and bool(read_projection(study).opened)
    except FormatError:
        return True


def _is_closed(study: StudyDirectory) -> bool:
    """Whether a run is over, or is not to be gone on with: what does not parse, does not verify."""
    try:
        return bool(read_projection(study).closed)
    except FormatError:
        return True


def _verified(study: StudyDirectory, verify: Verify) -> list[Leaf]:
    """The entries of a record that verifies now; `RunUnusable` says what does not hold first."""
    name = f"run {study.path.name}"
    try:
        report = verify(study)
        if report.verdict == "ok":
            return list(RecordReader(study.record).entries())
    except NotARecord as error:
        raise RunUnjudged(f"{name}: {error}") from error
    if report.verdict == "cannot-judge":
        raise RunUnjudged(f"{name} cannot be verified: {report.reason}")
    first = report.findings[0]
    raise RunUnusable(
        f"{name} does not verify: {first.code} {first.resource}: want {first.expected}, got {first.got}; "
        f"see ./aar verify {study.path}"
    )
