"""One simulated study from its first entry to its last: an event queue on our clock, everything in order."""

from __future__ import annotations

import heapq
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.note import parse_note
from aar.simulation.choosing import Known, Problem, Try, choose
from aar.simulation.compromised import Compromised
from aar.simulation.parameters import IDEAS, MINUTES_LEAST, MINUTES_MORE, VERIFY_MINUTES, Arm, ProblemClass
from aar.simulation.problems import draw_problems
from aar.simulation.recorded import START_MS, Clock, RecordedStudy, random_of
from aar.simulation.unprotected import UnprotectedStudy

MINUTE_MS = 60_000
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyOutcome:
    """What came of one study. PGR in 1/10,000; what a kind of forum does not have is empty or 0.

    `claimed`, `published`, `found` as in `many.Outcomes`. `root` is the record's root hash, `verdict` and
    `codes` the verifier's at the end, `deviations` plans that were amended.
    """

    problem: str
    arm: str
    number: int
    claimed: int
    published: int
    found: int
    tries: tuple[int, ...]
    minutes: int
    entries: int = 0
    findings: int = 0
    deviations: int = 0
    alarms: int = 0
    honest_alarms: int = 0
    verifications: int = 0
    verdict: str = ""
    codes: tuple[str, ...] = ()
    decision: str = ""
    root: str = ""
    attempts: tuple[dict[str, Any], ...] = ()


def problem_of(kind: ProblemClass, seed: int, number: int) -> Problem:
    """Problem `number` of a class, as every arm of the experiment with that seed meets it."""
    return Problem(draw_problems(kind, seed, number, 1), seed, number)


def simulate_study(
    kind: ProblemClass, arm: Arm, *, seed: int, number: int, keep: Path | None = None
) -> StudyOutcome:
    """Run one study; its record is left in `keep`, which must not exist, if that is given."""
    problem = problem_of(kind, seed, number)
    if not arm.is_evident:
        return _Unfolding(problem, arm, UnprotectedStudy(problem, arm), Clock()).run()
    with _directory(keep) as directory:
        clock = Clock()
        study = RecordedStudy(directory, problem, arm, clock)
        try:
            return _Unfolding(problem, arm, study, clock).run()
        finally:
            study.close_files()


@contextmanager
def _directory(keep: Path | None) -> Iterator[Path]:
    """In memory where the system has such a place: the simulated disk needs no syncing."""
    parent = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    try:
        made = Path(tempfile.mkdtemp(prefix="aar-simulate-", dir=parent))
    except OSError:
        made = Path(tempfile.mkdtemp(prefix="aar-simulate-"))
    try:
        yield made
        if keep is not None:
            shutil.copytree(made, keep)
    finally:
        shutil.rmtree(made)


class _Unfolding:
    """The events of one study."""

    def __init__(
        self, problem: Problem, arm: Arm, study: RecordedStudy | UnprotectedStudy, clock: Clock
    ) -> None:
        self._problem, self._arm, self._study, self._clock = problem, arm, study, clock
        self._dice = [random_of(problem, arm, name) for name in study.names]
        self._chosen: list[Try | None] = [None] * arm.researchers
        self._turns = [0] * arm.researchers
        self._parts = [-1] * arm.researchers
        self._liars = {
            number: Compromised(name, number, problem)
            for number, name in enumerate(study.names)
            if arm.role(number) == "lying"
        }
        self._found = -4 * 10_000
        self._tries = [0] * IDEAS
        self._verified_ms = START_MS
        self._verifications = 0

    def run(self) -> StudyOutcome:
        waiting = [(START_MS + self._pause(number), number) for number in range(self._arm.researchers)]
        heapq.heapify(waiting)
        for number, name in enumerate(self._study.names):
            if isinstance(self._study, RecordedStudy):
                self._study.begin(name)
            self._choose(number)
        while waiting:
            self._clock.now_ms, number = heapq.heappop(waiting)
            self._verify_if_due()
            self._act(number)
            self._turns[number] += 1
            if self._turns[number] < self._arm.submissions:
                self._choose(number)
                heapq.heappush(waiting, (self._clock.now_ms + self._pause(number), number))
            elif isinstance(self._study, RecordedStudy):
                self._study.end(self._study.names[number])
        self._clock.now_ms += VERIFY_MINUTES * MINUTE_MS
        self._verify_if_due()
        return self._outcome()

    def _pause(self, number: int) -> int:
        return (MINUTES_LEAST * MINUTE_MS) + self._dice[number].integer(MINUTES_MORE * MINUTE_MS)

    def _choose(self, number: int) -> None:
        """Read the forum and decide; a liar needs no plan."""
        if number in self._liars:
            return
        name = self._study.names[number]
        known = self._study.read(name)
        tried = choose(
            self._problem,
            self._arm,
            known,
            self._dice[number],
            number=number,
            name=name,
            turn=self._turns[number],
        )
        self._chosen[number] = tried
        if isinstance(self._study, RecordedStudy) and self._arm.workflow == "free" and tried.is_new:
            if self._parts[number] not in (-1, tried.part):
                self._study.amend(name, tried.part)
            self._parts[number] = tried.part

    def _act(self, number: int) -> None:
        liar, name = self._liars.get(number), self._study.names[number]
        if liar is not None:
            liar.act(self._study, self._dice[number], self._clock.now_ms)
            return
        tried = self._chosen[number]
        if tried is None:
            raise RuntimeError(f"{name} acts without having chosen")
        self._study.hand_in(name, tried, f"{name}/{self._turns[number]}")
        self._found = max(self._found, self._problem.true_value(tried.method))
        self._tries[tried.idea] += tried.is_new

    def _verify_if_due(self) -> None:
        """Somebody outside verifies now and then; only a study with a liar has anything to find."""
        due = self._clock.now_ms - self._verified_ms >= VERIFY_MINUTES * MINUTE_MS
        if not due or not isinstance(self._study, RecordedStudy) or not self._liars:
            return
        self._verified_ms = self._clock.now_ms
        self._verifications += 1
        report = self._study.verify()
        for liar in self._liars.values():
            if report.verdict == "tampered" and liar.edit is not None:
                first = report.findings[0]
                liar.notice_edit(first.code, first.first_index, self._clock.now_ms)

    def _outcome(self) -> StudyOutcome:
        study = self._study
        known: Known = study.read(study.names[0])
        published = self._problem.true_value(known.leader) if known.leader else self._problem.kind.base
        common: dict[str, Any] = {
            "problem": self._problem.kind.name,
            "arm": self._arm.name,
            "number": self._problem.number,
            "claimed": known.claim,
            "published": published,
            "found": self._found,
            "tries": tuple(self._tries),
            "minutes": (self._clock.now_ms - START_MS) // MINUTE_MS,
            "attempts": tuple(asdict(one) for liar in self._liars.values() for one in liar.attempts),
        }
        if not isinstance(study, RecordedStudy):
            return StudyOutcome(**common)
        study.close()
        decision = study.review_leader()
        report = study.verify()
        projection = study.service.projection
        checkpoint = study.service.checkpoint or b""
        honest = {name for number, name in enumerate(study.names) if number not in self._liars}
        return StudyOutcome(
            **common,
            entries=projection.tree_size,
            findings=len(projection.findings),
            deviations=sum(max(len(task.plan_entries) - 1, 0) for task in projection.tasks.values()),
            alarms=len(projection.alarms),
            honest_alarms=sum(one["who"] in honest for one in projection.alarms),
            verifications=self._verifications,
            verdict=report.verdict,
            codes=tuple(one.code for one in report.findings),
            decision=decision,
            root=parse_checkpoint_text(parse_note(checkpoint).text).root.hex(),
        )
