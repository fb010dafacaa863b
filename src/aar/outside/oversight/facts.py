"""What a deployment review goes by: the verified record, the configuration, and what live probes answered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from aar.formats.entry import Leaf
from aar.outside.oversight.terms import Terms, terms_in
from aar.outside.projection import Projection
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_file import StudyFile
from aar.verify.report import Report

# "held": the promise was tried and kept; "refused": it was broken, or there is none; "not-run": nobody tried.
Outcome = Literal["held", "refused", "not-run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorFacts:
    """One anchor, as it answered. `is_here`: it is on the machine that is reviewed.

    `entries`: how many of the record's it was seen to hold, byte by byte; `None` when that was not compared.
    `lock_ends_ms`: when the lock of the record's oldest entry is over, as the store says, 0 where it says
    nothing; `None` for a record that is not there yet.
    """

    name: str
    kind: str
    where: str
    outcome: Outcome
    detail: str
    is_here: bool
    retain_days: int = 0
    entries: int | None = None
    lock_ends_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessFacts:
    """One witness: whether its private key was found on this machine, and whether its key is an author's."""

    name: str
    where: str
    is_key_here: bool
    is_here: bool
    is_author: bool = False

    @property
    def is_independent(self) -> bool:
        """As far as can be seen from here: another machine, another key."""
        return not (self.is_key_here or self.is_here or self.is_author)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerFacts:
    """A key that decides; `trouble` is why its holder need not be one named human, `cite` its source."""

    name: str
    cite: str
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TamperProbe:
    """A byte of a copy was changed and the verifier asked; `is_noticed` is `None` when that was not tried."""

    is_noticed: bool | None
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFacts:
    """The record after verification; its entries are there only if it held. `seen_before`: a pin's size."""

    report: Report
    leaves: Sequence[Leaf] = ()
    projection: Projection = field(default_factory=Projection, compare=False)
    tamper: TamperProbe
    seen_before: int = 0

    @property
    def holds(self) -> bool:
        return self.report.verdict == "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All of it. Without a record it is a study before its opening; without a file, a record alone.

    `differences`: where study file and record disagree. `unread`: folders of the study that this user may not
    look into.
    """

    subject: str
    now_ms: int
    doctor: DoctorReport
    study_file: StudyFile | None
    record: RecordFacts | None
    anchors: Sequence[AnchorFacts] = ()
    anchors_needed: int = 0
    witnesses: Sequence[WitnessFacts] = ()
    quorum: int = 0
    reviewers: Sequence[ReviewerFacts] = ()
    problems: Sequence[str] = ()
    differences: Sequence[str] = ()
    unread: Sequence[str] = ()

    @property
    def terms(self) -> Terms:
        """What the record's first entry says of oversight; before there is one, what the study file says."""
        if self.projection.opened:
            return terms_in(self.projection.opened["oversight"])
        return self.study_file.oversight if self.study_file is not None else Terms()

    @property
    def terms_cites(self) -> tuple[str, ...]:
        """Where the terms stand."""
        return ("entry 0",) if self.projection.opened else ()

    @property
    def projection(self) -> Projection:
        """The record's state; empty where there is none that holds."""
        return self.record.projection if self.record is not None else Projection()

    @property
    def is_readable(self) -> bool:
        """Whether anything may be concluded from entries, or from there being none yet."""
        return self.record is None or self.record.holds
