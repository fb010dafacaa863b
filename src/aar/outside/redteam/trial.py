"""One study with a compromised researcher in it, or without: run it, have it reviewed, read what came of it.

All of it is what `aar run` and `aar review` do, in one process. Cut off, it goes on from what the record
says.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from aar.formats.entry import Leaf
from aar.formats.keys import Signer
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.control_plane import ControlPlane
from aar.outside.keyring import write_durably
from aar.outside.projection import Finding, Projection
from aar.outside.redteam.study_outcome import Outcome, best_result, read_outcome
from aar.outside.review import decision_body, evidence, reproduce
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_directory import StudyDirectory, service_uids
from aar.outside.study_file import StudyFile, parse_study
from aar.outside.study_programs import keep_programs, read_programs
from aar.outside.study_run import Moment, StudyRun, parameters_of, read_projection
from aar.verify.reader import RecordReader
from aar.verify.study import verify_study

REFUSALS = "refusals.json"
NOTE = "decided by rule: published exactly when the checklist holds"
Refusals = Mapping[str, Mapping[str, Mapping[str, int]]]


@dataclass(frozen=True, slots=True)
class Trial:
    """A study to be run: where, and by which study file. `attacker` is a researcher's name, or empty."""

    directory: Path
    text: str
    attacker: str

    def run(
        self,
        *,
        reviewer: Signer,
        doctor: DoctorReport,
        on_moment: Callable[[Moment], None],
        is_reviewed: bool = True,
    ) -> Outcome:
        """To the end; raises `StudyStopped` on Ctrl-C, `ServiceEnded` when a service dies."""
        study = StudyDirectory(self.directory)
        written = parse_study(self.text, source=str(self.directory), problems=STUDY_PROBLEMS).as_written()
        study.create(written.text, service_uids())
        study.lock()
        try:
            # Once it is there the study's own copy counts: a study keeps what it was opened with.
            keep_programs(study.programs, read_programs(written))
            self._run_to_close(study, written, reviewer, doctor, on_moment)
            if is_reviewed:
                self._review(study, written, reviewer)
        finally:
            study.unlock()
        return self.outcome()

    def outcome(self) -> Outcome:
        """What came of it, as our verifier and the record say."""
        study = StudyDirectory(self.directory)
        return read_outcome(
            _leaves(study),
            attacker=self.attacker,
            refusals=_kept(study.operator / REFUSALS),
            verdict=verify_study(study.path).verdict,
            account=own_account(study.log, self.attacker),
        )

    def _run_to_close(
        self,
        study: StudyDirectory,
        study_file: StudyFile,
        reviewer: Signer,
        doctor: DoctorReport,
        on_moment: Callable[[Moment], None],
    ) -> None:
        path = study.operator / REFUSALS
        # Refusals are no entries, and a gateway counts its own: what one counted is kept for the next.
        before = _kept(path)
        written = before

        def look(moment: Moment) -> None:
            nonlocal written
            told = added(before, moment.status["refusals"])
            if told != written:
                written = told
                write_durably(path, json.dumps(told).encode(), mode=0o600)
            on_moment(moment)

        run = StudyRun(study, study_file, reviewer=reviewer, doctor=doctor, on_moment=look)
        if not run.is_closed:
            run.run()

    def _review(self, study: StudyDirectory, study_file: StudyFile, reviewer: Signer) -> None:
        """A reviewer's part: the attacker's best result and the best honest one, after a clean re-run."""
        waiting = self._undecided(_projection(study))
        if not waiting:
            return
        projection = _projection(study)
        plane = ControlPlane(
            study, researchers=projection.researchers, parameters=parameters_of(study_file, projection)
        )
        try:
            plane.start(opening=False)
            for finding in waiting:
                _decide(study, plane, finding, reviewer)
        finally:
            plane.stop()

    def _undecided(self, projection: Projection) -> list[Finding]:
        honest = [
            found
            for name in projection.researchers
            if name != self.attacker and (found := best_result(projection, name)) is not None
        ]
        best = max(honest, key=lambda one: float(one.body["numbers"]["pgr"]), default=None)
        mine = best_result(projection, self.attacker) if self.attacker else None
        return [one for one in (mine, best) if one is not None and not one.decision]


def added(before: Refusals, counted: Refusals) -> dict[str, dict[str, dict[str, int]]]:
    """Refusals by researcher and code of two gateways, one after the other: all counts, the first place."""
    total: dict[str, dict[str, dict[str, int]]] = {}
    for name, by_code in (*before.items(), *counted.items()):
        mine = total.setdefault(name, {})
        for code, told in by_code.items():
            known = mine.get(code)
            mine[code] = (
                dict(told)
                if known is None
                else {"count": known["count"] + told["count"], "at": min(known["at"], told["at"])}
            )
    return total


def own_account(log: Path, attacker: str) -> dict[str, dict[str, int]]:
    """What an attacker says that it tried and what came of it, counted: a claim, from its standard error."""
    found: dict[str, Counter[str]] = {}
    for path in sorted(log.glob(f"{attacker}.*.stderr")) if attacker else ():
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                told = json.loads(line)
                attempt, outcome = str(told["attempt"]), str(told["outcome"])
            except (ValueError, KeyError, TypeError):
                continue
            found.setdefault(attempt[:80], Counter())[outcome[:80]] += 1
    return {attempt: dict(counts.most_common(8)) for attempt, counts in found.items()}


def is_closed(directory: Path) -> bool:
    """Whether a study in that directory ran to its close."""
    return bool(read_projection(StudyDirectory(directory)).closed)


def _kept(path: Path) -> Refusals:
    told: Refusals = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return told


def _decide(study: StudyDirectory, plane: ControlPlane, finding: Finding, reviewer: Signer) -> None:
    """Publish where the checklist holds, retract where it does not: nothing is overruled."""
    reproduce(plane.control, lambda: _projection(study), finding, on_wait=lambda: time.sleep(0.25))
    projection = _projection(study)
    found = evidence(
        projection, projection.findings[finding.index], record_verdict=verify_study(study.path).verdict
    )
    decision = "retract" if found.failed else "publish"
    body = decision_body(
        decision,
        found,
        note=f"{NOTE}; it fails on {', '.join(found.failed)}" if found.failed else NOTE,
        override="",
        checklist=found.checklist if decision == "publish" else (),
    )
    plane.control.append([reviewer], "decision", body, refs=(finding.index,))


def _leaves(study: StudyDirectory) -> list[Leaf]:
    return list(RecordReader(study.record).entries())


def _projection(study: StudyDirectory) -> Projection:
    return Projection.of(_leaves(study))
