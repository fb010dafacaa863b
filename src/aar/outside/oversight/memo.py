"""The memo of a deployment review: from facts alone to what was not checked, and go, hold or no-go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aar.outside.gateway.record_service import HEARTBEAT_S
from aar.outside.oversight.answers import answers_of
from aar.outside.oversight.facts import AnchorFacts, Facts
from aar.outside.oversight.limits import DEFAULT_LIMITS, Judged, interval_text, judge_limits
from aar.outside.oversight.refusals import Refusal, editable, is_proven, refusals_of
from aar.outside.oversight.signals import Signal, cited, signals_of
from aar.outside.oversight.unchecked import Unchecked, unchecked_of
from aar.outside.oversight.walls import directions_of, layers_of, missing_probes

Verdict = Literal["go", "hold", "no-go"]
DOCTOR = "probe doctor"
# What is computed for a reviewer before a decision (aar.outside.review).
CHECKLIST = (
    "record-verified",
    "numbers-match-receipts",
    "reproduced",
    "sealed",
    "parents-stand",
    "not-held",
    "alarms",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A statement and what it rests on: entries, probes, keys of the configuration."""

    says: str
    cites: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"says": self.says, "cites": list(self.cites)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Memo:
    """The whole review. Sections hold what `--json` prints; `said` are their sentences, by section."""

    subject: str
    verdict: Verdict
    refusals: tuple[Refusal, ...]
    not_checked: tuple[Unchecked, ...]
    said: dict[str, list[Sentence]]
    sections: dict[str, dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The eight keys that programs go by."""
        told = {
            name: {**section, "sentences": [one.as_json() for one in self.said[name]]}
            for name, section in self.sections.items()
        }
        return {
            "verdict": self.verdict,
            "refusals": [one.as_json() for one in self.refusals],
            "not_checked": [one.as_json() for one in self.not_checked],
            **told,
        }


def memo_of(facts: Facts) -> Memo:
    """From facts to a memo; pure: the same facts give the same memo."""
    leaves = facts.record.leaves if facts.record is not None else ()
    signals = signals_of(leaves, facts.terms.human) if leaves else ()
    answers = answers_of(leaves, facts.projection)
    judged = judge_limits(signals, facts.terms.limits, answers) if leaves else []
    refusals = tuple(refusals_of(facts))
    not_checked = tuple(unchecked_of(facts, judged))
    holds = any(one.holds for one in not_checked)
    parts = {
        "isolation": _isolation(facts),
        "log_integrity": _log_integrity(facts),
        "allocation": _allocation(facts, refusals, is_held=holds),
        "review_gate": _review_gate(facts),
        "monitors": _monitors(facts, signals, judged),
    }
    return Memo(
        subject=facts.subject,
        verdict="no-go" if refusals else "hold" if holds else "go",
        refusals=refusals,
        not_checked=not_checked,
        said={name: said for name, (_section, said) in parts.items()},
        sections={name: section for name, (section, _said) in parts.items()},
    )


Part = tuple[dict[str, Any], list[Sentence]]


def _isolation(facts: Facts) -> Part:
    report = facts.doctor
    directions = directions_of(report)
    layers = layers_of(report)
    said = []
    for one in directions:
        rest = [
            *(f"{name} got through" for name in one.leaked),
            *(f"{name} proves nothing" for name in one.unproven),
        ]
        told = f"Isolation of {one.name}: {len(one.held)} of {one.tried} attacks that were tried were stopped"
        names = (*one.held, *one.leaked, *one.unproven)
        cites = tuple(f"probe {name}" for name in names) or (DOCTOR,)
        said.append(Sentence(says="; ".join([told, *rest]), cites=cites))
    for layer, probe in layers.items():
        says = f"The layer of {layer} held: an attack that it alone stops worked outside and not within"
        said.append(Sentence(says=says, cites=(f"probe {probe}",)))
    if report.attestation:
        says = f"Attested, and not shown by a probe: sandboxes run with {report.attestation['identity']}"
        said.append(Sentence(says=says, cites=(DOCTOR,)))
    for name, text in report.limits.items():
        if not text.startswith("hard"):
            said.append(Sentence(says=f"The limit of {name} is {text}", cites=(DOCTOR,)))
    section = {
        "score": {one.name: one.as_json()["score"] for one in directions},
        "directions": {one.name: one.as_json() for one in directions},
        "layers": layers,
        "backend": report.backend,
        "verdict": report.verdict,
        "missing": missing_probes(report),
        "attestation": dict(report.attestation),
    }
    return section, said


def _log_integrity(facts: Facts) -> Part:
    """Six yes-or-no questions; the score is how many were answered yes of those that could be."""
    record = facts.record
    write_once = [one for one in facts.anchors if not editable(one, facts.now_ms)]
    size = record.report.tree_size if record is not None else 0
    answers: dict[str, bool | None] = {
        "the record verifies": None if record is None else record.holds,
        "a checkpoint needs a witness": facts.quorum > 0 if facts.is_readable else None,
        "a witness is apart from the operator": (
            any(one.is_independent for one in facts.witnesses) if facts.is_readable else None
        ),
        "an anchor is out of everybody's reach": bool(write_once) if facts.is_readable else None,
        "that anchor holds every entry": (
            any((one.entries or 0) >= size for one in write_once)
            if record is not None and record.holds
            else None
        ),
        "a changed byte is noticed": record.tamper.is_noticed if record is not None else None,
    }
    answered = [one for one in answers.values() if one is not None]
    section = {
        "score": round(sum(answered) / len(answered), 4) if answered else 0.0,
        "answers": answers,
        "storage": [_anchor_as_json(one, facts.now_ms) for one in facts.anchors],
        "witnesses": [{"name": one.name, "independent": one.is_independent} for one in facts.witnesses],
        "verification": {
            "heartbeat_s": HEARTBEAT_S,
            "tree_size": size,
            "anchored_up_to": record.report.anchored_up_to if record is not None else 0,
            "seen_before": record.seen_before if record is not None else 0,
        },
        "response": record.tamper.detail if record is not None else "",
    }
    return section, [*_storage(facts), *_verification(facts)]


def _anchor_as_json(anchor: AnchorFacts, now_ms: int) -> dict[str, Any]:
    return {
        "name": anchor.name,
        "kind": anchor.kind,
        "where": anchor.where,
        "probe": anchor.outcome,
        "detail": anchor.detail,
        "entries": anchor.entries,
        "editable": editable(anchor, now_ms),
    }


def _storage(facts: Facts) -> list[Sentence]:
    said = []
    for one in facts.anchors:
        weak = editable(one, facts.now_ms)
        held = "" if one.entries is None else f", and was seen to hold {one.entries} entries"
        says = (
            f"Anchor {one.name} can be edited: {weak}"
            if weak
            else f"Anchor {one.name} held: {one.detail}{held}"
        )
        said.append(Sentence(says=says, cites=(f"probe anchor:{one.name}",)))
    for witness in facts.witnesses:
        apart = (
            "apart from the operator as far as can be seen"
            if witness.is_independent
            else "the operator's own"
        )
        says = f"Witness {witness.name} at {witness.where} is {apart}"
        said.append(Sentence(says=says, cites=(f"probe witness:{witness.name}",)))
    return said


def _verification(facts: Facts) -> list[Sentence]:
    record = facts.record
    interval = f"at each publication, and every {HEARTBEAT_S:.0f} s while nothing is written"
    says = f"Witnesses needed: {facts.quorum}; each compares what is published with what it saw, {interval}"
    cites = ("key study.quorum" if record is None else "entry 0", "key heartbeat_s (built in)")
    compared = Sentence(says=says, cites=cites)
    if record is None:
        return [compared]
    report = record.report
    says = f"{report.tree_size} entries verify: {report.verdict}"
    said = [Sentence(says=says, cites=("probe verify",))]
    if record.holds:
        said.append(compared)
        before = f"at {record.seen_before} entries" if record.seen_before else "never before"
        says = f"This user had verified it {before}"
        said.append(Sentence(says=says, cites=("probe verify",)))
    if record.tamper.is_noticed:
        says = f"The response to tampering was tried: {record.tamper.detail}"
        said.append(Sentence(says=says, cites=("probe tamper",)))
    return said


def _allocation(facts: Facts, refusals: Sequence[Refusal], *, is_held: bool) -> Part:
    """Who works on what, under which workflow, and whether that may stay so."""
    queue = _queue(facts)
    workflows = [workflow for _name, workflow, _budget, _cite in queue]
    free = workflows.count("free")
    full = all(one.as_json()["score"] == 1.0 for one in directions_of(facts.doctor)) and is_proven(facts)
    if refusals:
        decision, why = "no task", "a hard refusal stands"
    elif is_held:
        decision, why = "fixed tasks only", "something that holds the verdict up was not checked"
    elif not full:
        decision, why = "fixed tasks only", "not every attack that was tried was shown to be stopped"
    else:
        decision, why = (
            "as queued",
            "every attack was stopped, and what is free stays within budget and record",
        )
    shown = tuple(dict.fromkeys(cite for *_rest, cite in queue)) or ("key task",)
    probes = tuple(f"probe {name}" for one in directions_of(facts.doctor) for name in one.unproven)
    of_refusals = tuple(dict.fromkeys(cite for one in refusals for cite in one.cites))
    said = [
        Sentence(
            says=f"{len(queue)} tasks are queued, {free} free and {len(queue) - free} under a human's steps",
            cites=shown,
        ),
        *(
            Sentence(says=f"Task {name} is {workflow}, with {budget} official runs", cites=(cite,))
            for name, workflow, budget, cite in queue
        ),
        *_leases(facts),
        Sentence(says=f"Decision: {decision}, since {why}", cites=of_refusals or probes or (DOCTOR, *shown)),
        *_pipeline(facts),
    ]
    section = {
        "decision": decision,
        "rationale": why,
        "tasks": [
            {"task": name, "workflow": workflow, "submissions": budget}
            for name, workflow, budget, _cite in queue
        ],
    }
    return section, said


def _queue(facts: Facts) -> list[tuple[str, str, int, str]]:
    tasks = facts.projection.tasks.values()
    if tasks or facts.record is not None:
        return [(one.name, one.workflow, one.submissions, f"entry {one.index}") for one in tasks]
    specs = facts.study_file.tasks if facts.study_file is not None else ()
    return [(one.task, one.workflow, one.submissions, f"key task.{one.task}") for one in specs]


def _leases(facts: Facts) -> list[Sentence]:
    """Who got what, and what it gave itself to do there: what freedom costs an auditor."""
    leaves = facts.record.leaves if facts.record is not None else ()
    said = []
    for leaf in leaves:
        body: Any = leaf.signed.entry.body
        if leaf.signed.entry.kind == "task-leased":
            says = f"{body['researcher']} got task {body['task']}"
            said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
    plans = [
        one
        for task in facts.projection.tasks.values()
        if task.workflow == "free"
        for one in task.plan_entries
    ]
    if plans:
        published = [one for one in facts.projection.findings.values() if one.decision == "publish"]
        effort = f"{len(leaves)} entries in all, {len(published)} published findings"
        says = f"To audit the free tasks there are {len(plans)} plans to read; {effort}"
        said.append(Sentence(says=says, cites=cited(plans)))
    return said


def _pipeline(facts: Facts) -> list[Sentence]:
    """What goes in and what comes out."""
    projection, file = facts.projection, facts.study_file
    if projection.opened:
        opened = projection.opened
        state = f"closed ({projection.closed['reason']})" if projection.closed else "not closed"
        return [
            Sentence(
                says=f"Pipeline: {len(opened['researchers'])} researchers on problem {opened['problem']}; "
                f"they hand in methods, an evaluator runs them, a reviewer decides; {state} after "
                f"{len(projection.submissions)} submissions and {len(projection.findings)} findings",
                cites=("entry 0", *cited(list(projection.findings))),
            )
        ]
    if file is None or facts.record is not None:
        return []
    return [
        Sentence(
            says=f"Pipeline: {file.researchers} researchers on problem {file.problem} for {file.minutes:g} "
            "minutes and a budget; they hand in methods, an evaluator runs them, a reviewer decides",
            cites=("key study.researchers", "key study.problem", "key study.minutes"),
        )
    ]


def _review_gate(facts: Facts) -> Part:
    decisions = [
        leaf for leaf in (facts.record.leaves if facts.record else ()) if leaf.signed.entry.kind == "decision"
    ]
    bodies: list[Any] = [leaf.signed.entry.body for leaf in decisions]
    overridden = [leaf.index for leaf, body in zip(decisions, bodies) if body["override"].strip()]
    undecided = [one.index for one in facts.projection.findings.values() if not one.decision]
    said = [
        Sentence(
            says=f"{one.name} may publish, retract and refine, each by a signature over the finding's bytes",
            cites=(one.cite,),
        )
        for one in facts.reviewers
    ]
    says = f"Computed for a decision, and overruled in words only, not-held by none: {', '.join(CHECKLIST)}"
    said.append(Sentence(says=says, cites=("key checklist (built in)",)))
    for leaf, body in zip(decisions, bodies):
        failed = [one["item"] for one in body["checklist"] if one["outcome"] == "fail"]
        checked = f"{len(body['checklist'])} items, failed: {', '.join(failed) or 'none'}"
        says = (
            f"{leaf.signed.entry.author} decided {body['decision']} on finding {body['finding']} ({checked})"
        )
        said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
    for index in overridden:
        says = "A decision overrules its checklist, in words of its own"
        said.append(Sentence(says=says, cites=(f"entry {index}",)))
    for one in facts.terms.downstream:
        says = f"{one.name} ({one.kind}) takes output: gate {one.gate}"
        said.append(Sentence(says=says, cites=(f"key oversight.downstream.{one.name}",)))
    section = {
        "reviewers": [one.name for one in facts.reviewers],
        "checklist": list(CHECKLIST),
        "decisions": len(decisions),
        "overridden": overridden,
        "undecided": undecided,
        "downstream": [
            {"name": one.name, "kind": one.kind, "gate": one.gate} for one in facts.terms.downstream
        ],
    }
    return section, said


def _monitors(facts: Facts, signals: Sequence[Signal], judged: Sequence[Judged]) -> Part:
    said = [
        Sentence(
            says=f"{one.name}: {interval_text(one) if one.value is not None else one.reason}", cites=one.cites
        )
        for one in signals
    ]
    said += [
        Sentence(
            says=f"Limit: {one.says()}",
            cites=(one.key, *facts.terms_cites, *one.answer.cites, *one.signal.cites),
        )
        for one in judged
    ]
    said += _pauses(facts)
    if not signals:
        place = "oversight.limit" if facts.terms.limits else "oversight.limit (default)"
        for number, limit in enumerate(facts.terms.limits or DEFAULT_LIMITS, 1):
            says = (
                f"Limit, once there is a record: {limit.signal} {limit.side} {limit.value:g}: {limit.action}"
            )
            said.append(Sentence(says=says, cites=(f"key {place} {number}",)))
    section: dict[str, Any] = {
        "signals": [one.as_json() for one in signals],
        "limits": [one.as_json() for one in judged],
        "alarms": len(facts.projection.alarms),
        "pauses": list(facts.projection.pauses),
        "paused": facts.projection.paused >= 0,
        "monitor": facts.projection.holds.monitor.get("model", ""),
        "held": [one.submission for one in facts.projection.holds.holds.values() if one.is_in_force],
    }
    return section, said


def _pauses(facts: Facts) -> list[Sentence]:
    """Each time that the queue stood still, a researcher was stopped or a method held, and who ended it."""
    said = []
    for leaf in facts.record.leaves if facts.record is not None else ():
        entry = leaf.signed.entry
        body: Any = entry.body
        if entry.kind == "queue-paused":
            what = f"stopped {body['researcher']}" if body["researcher"] else "paused the queue"
            says = f"{entry.author} {what}: {body['reason']}"
            said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
        elif entry.kind == "queue-resumed":
            says = f"{entry.author} lifted the pause of entry {body['pause']}: {body['reason']}"
            said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
        elif entry.kind == "submission-held":
            says = f"{entry.author} held submission {body['submission']} for review: {body['reason']}"
            said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
        elif entry.kind == "submission-released":
            what = "let submission {} go" if body["released"] else "kept submission {} held"
            says = f"{entry.author} {what.format(body['submission'])}: {body['reason']}"
            said.append(Sentence(says=says, cites=(f"entry {leaf.index}",)))
    return said
