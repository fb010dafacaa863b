"""What a review did not check: it stands first, and some of it holds the verdict up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aar.formats.canonical import Value, format_canonical
from aar.outside.oversight.answers import answer_to
from aar.outside.oversight.facts import Facts
from aar.outside.oversight.limits import Judged
from aar.outside.oversight.refusals import untried_stores
from aar.outside.oversight.signals import cited


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchecked:
    """One thing that nobody looked at. `holds`: there is no go while that is so."""

    says: str
    cites: tuple[str, ...]
    holds: bool = False

    def as_json(self) -> dict[str, Any]:
        return {"says": self.says, "cites": list(self.cites), "holds": self.holds}


def unchecked_of(facts: Facts, judged: Sequence[Judged]) -> list[Unchecked]:
    """Everything that was not checked; what holds the verdict up stands before the rest."""
    found = [
        *_of_the_record(facts),
        *_of_the_anchors(facts),
        *_of_the_configuration(facts),
        *_of_the_monitors(facts, judged),
        *_of_people_and_walls(facts),
    ]
    return sorted(found, key=lambda one: not one.holds)


def _of_the_record(facts: Facts) -> Iterator[Unchecked]:
    record = facts.record
    if record is None:
        yield Unchecked(
            says="There is no record yet: that this study's record holds and is written through shows only "
            "when it runs; review its directory then",
            cites=("key study.name",),
        )
        return
    if not record.holds:
        yield Unchecked(
            says="Nothing that stands in the record was read: it does not hold",
            cites=("probe verify",),
            holds=True,
        )
        return
    if record.tamper.is_noticed is None:
        yield Unchecked(
            says=f"No changed byte was tried on a copy: {record.tamper.detail}", cites=("probe tamper",)
        )
    for warning in record.report.warnings:
        yield Unchecked(says=f"The verifier warns: {warning}", cites=("probe verify",))
    if facts.unread:
        yield Unchecked(
            says=f"This user may not look into {', '.join(facts.unread)}: whose private keys lie there is "
            "not known",
            cites=("probe keys",),
            holds=True,
        )
    if wall_digest(facts) != facts.projection.opened["sandbox"]["digest"]:
        yield Unchecked(
            says="The wall that the study was opened behind: it was another than the one probed now, by "
            "kernel, version or arguments",
            cites=("entry 0", "probe doctor"),
        )
    held = [one for one in facts.projection.holds.holds.values() if one.is_in_force and not one.is_refused]
    if held:
        yield Unchecked(
            says=f"Submissions that the monitor holds and no reviewer has looked at: {len(held)}",
            cites=cited([one.entry for one in held]),
            holds=True,
        )
    alarms = facts.projection.alarms
    if alarms:
        answers = [answer_to(one["index"], record.leaves, facts.projection) for one in alarms]
        silent = sum(not one.is_given for one in answers)
        yield Unchecked(
            says=f"Alarms that stand in the record: {len(alarms)}, {silent} without a reviewer's answer",
            cites=cited([one["index"] for one in alarms]),
        )


def wall_digest(facts: Facts) -> str:
    """What an opening would say now of the wall that was probed."""
    told: dict[str, Value] = {key: str(value) for key, value in facts.doctor.attestation.items()}
    return hashlib.sha256(format_canonical(told)).hexdigest()


def _of_the_anchors(facts: Facts) -> Iterator[Unchecked]:
    untried = {one.name for one in untried_stores(facts)}
    for anchor in facts.anchors:
        cites = (f"probe anchor:{anchor.name}",)
        if anchor.outcome == "not-run":
            yield Unchecked(
                says=f"Anchor {anchor.name} was not tried: {anchor.detail}",
                cites=cites,
                holds=anchor.name in untried or anchor.kind == "s3",
            )
        elif facts.record is not None and facts.record.holds and anchor.entries is None:
            yield Unchecked(
                says=f"What anchor {anchor.name} holds was not compared with the record",
                cites=cites,
                holds=anchor.kind == "s3",
            )
        elif facts.record is not None and facts.record.holds:
            size = facts.record.report.tree_size
            if (anchor.entries or 0) < size:
                yield Unchecked(
                    says=f"Entries {anchor.entries} to {size - 1} were not seen in anchor {anchor.name}",
                    cites=cites,
                    holds=anchor.kind == "s3",
                )


def _of_the_configuration(facts: Facts) -> Iterator[Unchecked]:
    if facts.study_file is None:
        yield Unchecked(
            says="There is no study file beside the record: how its anchors and witnesses are reached is not "
            "known",
            cites=("key study",),
            holds=True,
        )
        return
    for key in facts.differences:
        yield Unchecked(
            says=f"The study file says otherwise than the record of {key}: the record was gone by",
            cites=(f"key {key}", "entry 0"),
            holds=True,
        )
    problem = facts.projection.opened.get("problem") or facts.study_file.problem
    if facts.is_readable and problem not in facts.problems:
        yield Unchecked(
            says=f"What problem {problem} is for: it is none of those that are known here",
            cites=("key study.problem",) if facts.record is None else ("entry 0",),
            holds=True,
        )
    if facts.record is not None and facts.record.holds:
        names = {name for one in facts.terms.downstream for name in one.researchers}
        strangers = sorted(names - set(facts.projection.researchers))
        if strangers:
            yield Unchecked(
                says=f"Who {', '.join(strangers)} may be: downstream systems name them, the record does not",
                cites=("key oversight.downstream", "entry 0"),
                holds=True,
            )
    said = "the record holds them since the opening" if facts.terms_cites else "the operator's word"
    yield Unchecked(
        says=f"Ways out that the terms do not name, and credentials that they do not speak of: {said}, and "
        "nobody looked for more",
        cites=("key oversight.downstream", *facts.terms_cites),
    )


def _of_the_monitors(facts: Facts, judged: Sequence[Judged]) -> Iterator[Unchecked]:
    for one in judged:
        if one.calls_for_review and (one.state != "not estimable" or facts.record is not None):
            yield Unchecked(
                says=f"A limit asks for a review that nothing here shows: {one.says()}",
                cites=(one.key, *one.signal.cites),
                holds=True,
            )
    paused = facts.projection.paused
    leaves = facts.record.leaves if facts.record is not None else ()
    if paused >= 0 and not answer_to(paused, leaves, facts.projection).is_given:
        reason = facts.projection.pauses[paused]["reason"]
        yield Unchecked(
            says=f"What paused the queue, which no reviewer has lifted: {reason}",
            cites=(f"entry {paused}",),
            holds=True,
        )
    if facts.terms_cites:
        says = "Whether the limits are strict enough: the record holds them since the opening, not why"
    else:
        says = "Whether the limits are those that were agreed on: no entry commits to them yet"
    yield Unchecked(says=says, cites=("key oversight.limit", *facts.terms_cites))


def _of_people_and_walls(facts: Facts) -> Iterator[Unchecked]:
    for reviewer in facts.reviewers:
        yield Unchecked(
            says=f"Who holds key {reviewer.name}, that it is a person of that name who can say no to the "
            "operator, and that what was signed was read",
            cites=(reviewer.cite,),
        )
    elsewhere = [
        f"probe anchor:{one.name}" for one in facts.anchors if one.outcome == "held" and not one.is_here
    ]
    elsewhere += [f"probe witness:{one.name}" for one in facts.witnesses if one.is_independent]
    if elsewhere:
        yield Unchecked(
            says="Who runs the machines elsewhere that anchors and witnesses answered from",
            cites=tuple(elsewhere),
        )
    dependent = [one.name for one in facts.witnesses if not one.is_independent]
    if dependent and len(dependent) == len(facts.witnesses):
        yield Unchecked(
            says="What a witness apart from the operator saw: each runs on this machine or has its key here",
            cites=tuple(f"probe witness:{name}" for name in dependent),
        )
    absent = [probe.name for probe in facts.doctor.probes if probe.status == "absent"]
    if absent:
        yield Unchecked(
            says=f"Attacks that do not work on this machine without a sandbox either: {len(absent)}",
            cites=tuple(f"probe {name}" for name in absent),
        )
    yield Unchecked(
        says="What no probe tries: weaknesses of the kernel that all sandboxes share, and side channels of "
        "the hardware",
        cites=("probe doctor",),
    )
    yield Unchecked(
        says="What the work is for beyond its words: they were searched for a few phrases, and a purpose can "
        "be put in others",
        cites=("key oversight.purpose",),
    )
