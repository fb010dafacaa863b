"""Hard refusals: what no deployment may have, whatever else is well. Each is one guard over the facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aar.outside.oversight.facts import AnchorFacts, Facts
from aar.outside.oversight.walls import BACKENDS, layers_of, missing_probes

# A lock that is over sooner than a person gets round to looking keeps nothing.
MIN_RETAIN_DAYS = 30
MIN_LAYERS = 2
MS_PER_DAY = 86_400_000
# In what people wrote of their purpose. Who means it and says it otherwise is not found by words.
_CAPABILITIES = re.compile(
    r"capabilit\w* (?:gain|advance|research|uplift)"
    r"|(?:advance|increase|improve|extend)\w* (?:\w+ ){0,3}capabilit"
    r"|scaling law|frontier model|next.generation model"
    r"|pre-?train(?:ing)? (?:a |the )?(?:larger|next|frontier|new)"
    r"|self.improv|recursive improvement|state.of.the.art (?:score|performance|on)"
    r"|(?:faster|cheaper|more efficient) (?:pre-?)?training of (?:large|frontier|language)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not, what shows it, and what to do next."""

    code: str
    says: str
    cites: tuple[str, ...]
    next: str

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "says": self.says, "cites": list(self.cites), "next": self.next}


Reason = tuple[str, Sequence[str]]
Guard = Callable[[Facts], Iterator[Reason]]


def refusals_of(facts: Facts) -> list[Refusal]:
    """Every guard that fires, each once, with all its reasons."""
    found = []
    for code, (guard, advice) in GUARDS.items():
        reasons = list(guard(facts))
        if reasons:
            cites = dict.fromkeys(cite for _says, cites in reasons for cite in cites)
            says = "; ".join(says for says, _cites in reasons)
            found.append(Refusal(code=code, says=says, cites=tuple(cites), next=advice))
    return found


def no_tamper_evident_record(facts: Facts) -> Iterator[Reason]:
    """A record that holds, cosigned by somebody who writes nothing in it, out of the sandbox's reach."""
    record = facts.record
    if record is not None and not record.holds:
        first = record.report.findings[0] if record.report.findings else None
        what = f"{first.code} at {first.resource}" if first else record.report.reason
        yield f"the record does not verify: {record.report.verdict}, {what}", ["probe verify"]
    authors = [one.name for one in facts.witnesses if one.is_author]
    if facts.is_readable and facts.quorum - len(authors) < 1:
        of_authors = f", {', '.join(authors)} having an author's key" if authors else ""
        yield (
            f"a checkpoint needs {facts.quorum} witnesses{of_authors}: nobody but the log vouches for it",
            ["key study.quorum"] if record is None else ["entry 0"],
        )
    if record is not None and record.tamper.is_noticed is False:
        yield f"a changed byte went unnoticed: {record.tamper.detail}", ["probe tamper"]
    for probe in facts.doctor.probes:
        if probe.area == "record" and probe.status == "leak":
            yield f"the record is within the sandbox's reach: {probe.detail}", [f"probe {probe.name}"]


def output_without_human(facts: Facts) -> Iterator[Reason]:
    """Nothing goes to training or publication but by the key of a named human."""
    for one in facts.terms.downstream:
        if one.gate != "reviewer":
            yield (
                f"{one.name} ({one.kind}) takes output that no human let through",
                [f"key oversight.downstream.{one.name}.gate"],
            )
    for reviewer in facts.reviewers:
        if reviewer.trouble:
            yield f"{reviewer.name}: {reviewer.trouble}", [reviewer.cite]


def shared_credentials(facts: Facts) -> Iterator[Reason]:
    """One researcher's credentials open one downstream system at most."""
    reached: dict[str, list[str]] = {}
    for one in facts.terms.downstream:
        for researcher in one.researchers:
            reached.setdefault(researcher, []).append(one.name)
    for researcher, systems in sorted(reached.items()):
        if len(systems) > 1:
            yield (
                f"credentials of {researcher} reach {', '.join(systems)}",
                [f"key oversight.downstream.{name}.researchers" for name in systems],
            )


def single_layer_isolation(facts: Facts) -> Iterator[Reason]:
    """Two walls that do not fall together, each seen to hold; and the walls that the record speaks of."""
    if is_proven(facts):
        layers = layers_of(facts.doctor)
        if len(layers) < MIN_LAYERS:
            found = ", ".join(layers) or "none"
            says = f"layers of isolation that were seen to hold: {found}; want {MIN_LAYERS}"
            yield says, [f"probe {name}" for name in layers.values()] or ["probe doctor"]
    opened, probed = facts.projection.opened, facts.doctor.backend
    # Where no wall was probed that is a reason of its own; any of those that could have been would do.
    walls = (probed,) if probed in BACKENDS else BACKENDS
    if opened and opened["sandbox"]["backend"] not in walls:
        says = f"its researchers ran on backend {opened['sandbox']['backend']}, want {' or '.join(walls)}"
        yield says, ["entry 0", "probe doctor"]


def editable_storage(facts: Facts) -> Iterator[Reason]:
    """Whoever edits the record cannot edit what was written through: not even its operator."""
    if not facts.is_readable:
        return
    weak = {one.name: reason for one in facts.anchors if (reason := editable(one, facts.now_ms))}
    # What is not needed may be left out by who publishes: so many may be missing. An anchor that nobody tried
    # may be well: it is no refusal, and holds the verdict up as something that was not checked.
    certain = len(weak) - len(untried_stores(facts))
    if len(facts.anchors) >= facts.anchors_needed > certain:
        return
    source = ["key study.anchors"] if facts.record is None else ["entry 0"]
    if not facts.anchors:
        yield "nothing is written through: who holds the disk edits the record and signs it anew", source
        return
    if len(weak) < len(facts.anchors):
        yield (
            f"{facts.anchors_needed} of {len(facts.anchors)} anchors are needed, {len(weak)} can be edited",
            source,
        )
    for name, reason in weak.items():
        yield f"{name}: {reason}", [f"probe anchor:{name}"]


def untried_stores(facts: Facts) -> list[AnchorFacts]:
    """Anchors that were not tried, and of which nothing else is known against them."""
    return [
        one
        for one in facts.anchors
        if one.outcome == "not-run" and not editable(replace(one, outcome="held"), facts.now_ms)
    ]


def editable(anchor: AnchorFacts, now_ms: int) -> str:
    """Who can change what an anchor holds; empty where that was seen to be nobody."""
    if anchor.kind != "s3":
        return f"{anchor.kind} at {anchor.where}: {anchor.detail}"
    if anchor.outcome != "held":
        return f"no lock was seen to hold: {anchor.detail}"
    if anchor.is_here:
        return f"the store at {anchor.where} runs on this machine: who is root here owns its disk"
    if anchor.retain_days < MIN_RETAIN_DAYS:
        return f"its locks end after {anchor.retain_days} days, want {MIN_RETAIN_DAYS} or more"
    if anchor.lock_ends_ms is None:
        return ""
    days = (anchor.lock_ends_ms - now_ms) // MS_PER_DAY
    if days < MIN_RETAIN_DAYS:
        left = "is over, or there is none" if days < 0 else f"ends in {days} days, want {MIN_RETAIN_DAYS}"
        return f"the lock of this record's oldest entry {left}"
    return ""


def capabilities_purpose(facts: Facts) -> Iterator[Reason]:
    """A purpose that advances capabilities is not for this review to let through: people above it decide."""
    if facts.terms.purpose == "capabilities":
        yield "its stated purpose is capabilities", ["key oversight.purpose"]
    for text, cite in purposes_of(facts):
        found = _CAPABILITIES.search(text)
        if found:
            yield f"its words name one: {found.group()!r:.60}", [cite]


def purposes_of(facts: Facts) -> Iterator[tuple[str, str]]:
    """What people wrote of what a study is for, and where; researchers' words are not among it."""
    projection = facts.projection
    if projection.opened:
        yield str(projection.opened["statement"]), "entry 0"
    for task in projection.tasks.values():
        steps = " ".join(str(step["what"]) for step in task.steps)
        yield f"{task.title} {task.direction} {steps}", f"entry {task.index}"
    for spec in facts.study_file.tasks if facts.study_file is not None else ():
        steps = " ".join(step.what for step in spec.steps)
        yield f"{spec.title} {spec.direction} {steps}", f"key task.{spec.task}"


def unproven_sandbox(facts: Facts) -> Iterator[Reason]:
    """Every probe was made here and now, worked where nothing stops it, and did not work within."""
    report = facts.doctor
    bad = [probe.name for probe in report.probes if probe.status == "unproven"]
    if bad or report.verdict in ("cannot-run", "unproven"):
        what = report.detail or ", ".join(bad) or "no probe was made"
        cites = [f"probe {name}" for name in bad] or ["probe doctor"]
        yield f"the sandbox is not proven ({report.verdict}): {what}", cites
    for probe in report.probes:
        if probe.status == "leak":
            yield f"{probe.name} got through: {probe.detail}", [f"probe {probe.name}"]
    if report.verdict != "cannot-run":
        missing = missing_probes(report)
        if missing:
            yield f"{len(missing)} probes were not made", [f"probe {name}" for name in missing]
    if report.verdict == "ok" and report.backend not in BACKENDS:
        yield (
            f"the probes were made on backend {report.backend}, want {' or '.join(BACKENDS)}",
            ["probe doctor"],
        )


def is_proven(facts: Facts) -> bool:
    """Whether the sandbox's probes say anything at all."""
    return not list(unproven_sandbox(facts))


def no_reviewer(facts: Facts) -> Iterator[Reason]:
    """Somebody must be there who can say no."""
    if facts.is_readable and not facts.reviewers:
        cite = "key reviewer" if facts.record is None else "entry 0"
        yield "no key of a reviewer is there", [cite]


GUARDS: Mapping[str, tuple[Guard, str]] = {
    "no-tamper-evident-record": (
        no_tamper_evident_record,
        "./aar verify says what does not hold; a quorum of 1 or more wants a witness that is no author",
    ),
    "output-without-human": (
        output_without_human,
        'put gate = "reviewer" before every way out, and the reviewer\'s key where only that person is',
    ),
    "shared-credentials": (
        shared_credentials,
        "give each downstream system credentials of its own, and each researcher those of one at most",
    ),
    "single-layer-isolation": (
        single_layer_isolation,
        "./aar doctor shows which probes held; want namespaces and the system-call filter",
    ),
    "editable-storage": (
        editable_storage,
        "name an anchor of kind s3 with Object Lock on another's machine, and need it (docs/anchors.md)",
    ),
    "capabilities-purpose": (
        capabilities_purpose,
        "escalate: this is for those who answer for the whole, and no setting of this study makes it go",
    ),
    "unproven-sandbox": (unproven_sandbox, "./aar doctor says what is missing"),
    "no-reviewer": (no_reviewer, "name a reviewer's key with --key FILE"),
}
