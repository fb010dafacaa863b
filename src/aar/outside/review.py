"""The review gate: a checklist computed for a named human, and a decision over exact bytes.

The checklist is computed here from the record and from a clean re-run, never from what a finding says of
itself. The human may overrule it, in words; then the entry says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aar.outside.admission import Refused
from aar.outside.projection import Finding, Projection
from aar.outside.staff_client import StaffClient
from aar.verify.decisions import bears_out, claimed_by
from aar.verify.holds import Hold

REPRODUCE_TIMEOUT_S = 600.0
# Alarms that the checklist quotes; the count of all of them is there too.
MOST_TOLD = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the checklist."""

    item: str
    outcome: str
    detail: str

    def as_body(self) -> dict[str, Any]:
        return {"item": self.item, "outcome": self.outcome, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a reviewer decides on: claimed, reproduced and sealed values side by side, and the checklist."""

    finding: Finding
    claimed: str
    reproduced: Mapping[str, str]
    sealed: Mapping[str, str]
    checklist: tuple[Check, ...]

    @property
    def failed(self) -> list[str]:
        return [check.item for check in self.checklist if check.outcome == "fail"]


def find(projection: Projection, number: int) -> Finding:
    """The finding at that index; `Refused` names the ones there are."""
    finding = projection.findings.get(number)
    if finding is None:
        known = ", ".join(map(str, list(projection.findings)[:20])) or "none"
        raise Refused("no-finding", f"entry {number} is not a finding; findings are at {known}")
    return finding


def evidence(projection: Projection, finding: Finding, *, record_verdict: str) -> Evidence:
    """The checklist of design.md section 5, step 7, over what the record holds now."""
    checks = [
        Check(
            item="record-verified",
            outcome="pass" if record_verdict == "ok" else "fail",
            detail=f"verify says {record_verdict}",
        )
    ]
    claimed = str(finding.body["numbers"].get("pgr", ""))
    basis = projection.basis_of(finding)
    if claimed:
        checks.append(
            Check(
                item="numbers-match-receipts",
                outcome="fail" if basis.receipt < 0 else "pass",
                detail="no cited receipt released these numbers"
                if basis.receipt < 0
                else f"receipt {basis.receipt}",
            )
        )
        checks.append(_reproduced(claimed, basis.reproduced))
        checks.append(_sealed(claimed, basis.sealed))
    else:
        for item in ("numbers-match-receipts", "reproduced", "sealed"):
            checks.append(Check(item=item, outcome="not-applicable", detail="the finding claims no score"))
    checks.append(
        Check(
            item="parents-stand",
            outcome="fail" if basis.lost else "pass",
            detail=f"retracted: {', '.join(map(str, basis.lost))}"
            if basis.lost
            else "no ancestor is retracted",
        )
    )
    checks.append(_held(projection, basis.held))
    checks.append(_alarms(projection, finding, basis.alarms))
    return Evidence(
        finding=finding,
        claimed=claimed,
        reproduced=basis.reproduced,
        sealed=basis.sealed,
        checklist=tuple(checks),
    )


def _reproduced(claimed: str, numbers: Mapping[str, str]) -> Check:
    if not numbers:
        return Check(
            item="reproduced", outcome="fail", detail="no clean re-run has given a score; publish starts one"
        )
    holds = bears_out(claimed, numbers)
    span = f"{numbers['pgr']} [{numbers['low']}, {numbers['high']}] with fresh seeds"
    return Check(
        item="reproduced",
        outcome="pass" if holds else "fail",
        detail=f"claimed {claimed} {'is within reach of' if holds else 'is above'} {span}",
    )


def _sealed(claimed: str, numbers: Mapping[str, str]) -> Check:
    if not numbers:
        return Check(item="sealed", outcome="fail", detail="the sealed value is not open")
    holds = bears_out(claimed, numbers)
    gap = Fraction(claimed) - Fraction(numbers["pgr"])
    return Check(
        item="sealed",
        outcome="pass" if holds else "fail",
        detail=f"sealed {numbers['pgr']} [{numbers['low']}, {numbers['high']}], gap to it {float(gap):+.2f}",
    )


def _held(projection: Projection, held: Sequence[int]) -> Check:
    """What the monitor holds of what the finding rests on: no words publish over that."""
    told = [f"#{one.submission}: {one.reason:.300}" for one in holds_at(projection, held)]
    return Check(
        item="not-held",
        outcome="fail" if told else "pass",
        detail=f"held for review: submission {'; '.join(told)}" if told else "nothing it rests on is held",
    )


def holds_at(projection: Projection, held: Sequence[int]) -> list[Hold]:
    """The holds of these entries."""
    return [one for one in projection.holds.holds.values() if one.entry in held]


def _alarms(projection: Projection, finding: Finding, about: Sequence[int]) -> Check:
    """Every alarm about what the finding rests on, in its words; its author's others by their names."""
    told = {one["index"]: one for one in projection.alarms}
    others = [
        f"#{index} {one['code']}"
        for index, one in told.items()
        if one["who"] == finding.author and index not in about
    ]
    lines = [f"#{index} {told[index]['code']}: {told[index]['what']:.300}" for index in about[:MOST_TOLD]]
    detail = "; ".join(lines) or "none about what it rests on"
    if about[MOST_TOLD:]:
        detail += f"; and {len(about) - MOST_TOLD} more"
    if others:
        detail += f"; {len(others)} about other work of {finding.author}: {', '.join(others[:MOST_TOLD])}"
    return Check(item="alarms", outcome="fail" if about else "pass", detail=detail)


def reproduce(
    control: StaffClient,
    read: Callable[[], Projection],
    finding: Finding,
    *,
    on_wait: Callable[[], None],
) -> Projection:
    """Have the finding's method run again from its snapshot with fresh seeds, and its values opened."""
    submission = control.post("/v1/reproduce", {"finding": finding.index})["submission"]
    deadline = time.monotonic() + REPRODUCE_TIMEOUT_S
    while True:
        projection = read()
        receipts = projection.submissions[submission].receipts
        if "reproduce" in receipts and all(_is_open(projection, one) for one in receipts.values()):
            return projection
        if time.monotonic() > deadline:
            raise Refused("reproduce", f"no clean re-run within {REPRODUCE_TIMEOUT_S:.0f} s")
        on_wait()


def run_heldout(
    control: StaffClient,
    read: Callable[[], Projection],
    finding: Finding,
    *,
    on_wait: Callable[[], None],
) -> dict[str, Mapping[str, str]]:
    """Have a result's method run on the problems held out, and opened; what is public of each by problem."""
    problems = control.post("/v1/heldout", {"finding": finding.index})["problems"]
    deadline = time.monotonic() + REPRODUCE_TIMEOUT_S
    while True:
        projection = read()
        claimed = {
            projection.receipts[one]["digest"] for one in claimed_by(finding.body, projection.receipts)
        }
        run = {
            body["problem"]: receipt
            for receipt, body in projection.receipts.items()
            if body["tier"] == "heldout" and body["digest"] in claimed
        }
        if set(run) >= set(problems) and all(_is_open(projection, one) for one in run.values()):
            return {name: projection.revealed.get((run[name], "public"), {}) for name in problems}
        if time.monotonic() > deadline:
            raise Refused("heldout", f"no held-out run within {REPRODUCE_TIMEOUT_S:.0f} s")
        on_wait()


def _is_open(projection: Projection, receipt: int) -> bool:
    if not projection.receipts[receipt]["commitments"]:
        return True
    return all((receipt, half) in projection.revealed for half in ("public", "sealed"))


def decision_body(
    decision: str, evidence_of: Evidence, *, note: str, override: str, checklist: Sequence[Check]
) -> dict[str, Any]:
    """The body of a decision over the exact bytes of its finding."""
    return {
        "decision": decision,
        "finding": evidence_of.finding.index,
        "finding_digest": evidence_of.finding.digest,
        "checklist": [check.as_body() for check in checklist],
        "claimed": evidence_of.claimed,
        "reproduced": evidence_of.reproduced.get("pgr", ""),
        "sealed": evidence_of.sealed.get("pgr", ""),
        "override": override,
        "note": note,
    }
