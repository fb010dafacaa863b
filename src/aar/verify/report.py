"""What the verifier says: a verdict, and for each thing that is wrong a code, a place, expected and got."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aar.formats.bookmark import Bookmark

Verdict = Literal["ok", "tampered", "cannot-judge"]

# A broken study can be wrong in a million places: the report names the first ones and counts the rest.
MAX_FINDINGS = 100


# The names of the files that show a finding to a third party.
HERE = "here.checkpoint"
SEEN = "seen.checkpoint"
PREFIX = "prefix.proof"
HELD = "held.tlog-proof"
ANCHORED = "anchored.leaf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that does not hold. `first_index` is an entry, or -1 where no entry is meant.

    `evidence` are files, by name, which show it to somebody who has neither the copy nor trust in us.
    """

    code: str
    resource: str
    expected: str
    got: str
    first_index: int = -1
    evidence: Mapping[str, bytes] = field(default_factory=dict, compare=False)

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "first_index": self.first_index if self.first_index >= 0 else None,
            "resource": self.resource,
            "expected": self.expected,
            "got": self.got,
            "evidence": sorted(self.evidence),
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """The outcome of one verification."""

    verdict: Verdict = "ok"
    origin: str = ""
    tree_size: int = 0
    verified_from: int = 0
    anchored_up_to: int = 0
    anchors: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more_findings: int = 0
    leaderboard: list[dict[str, Any]] = field(default_factory=list)
    receipts: int = 0
    opened: int = 0
    warnings: list[str] = field(default_factory=list)
    reason: str = ""
    # Where to go on the next time; there is one when everything held.
    bookmark: Bookmark | None = None

    @property
    def count(self) -> int:
        """How many things are wrong, those included that the report does not name."""
        return len(self.findings) + self.more_findings

    def add(self, finding: Finding) -> None:
        """Take in something that is wrong under the record: the verdict is tampered from here on."""
        self.verdict = "tampered"
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(finding)
        else:
            self.more_findings += 1

    def join(self, other: Report) -> None:
        """Take in what another report found, and what it warns of."""
        self.warnings += other.warnings
        for finding in other.findings:
            self.add(finding)
        self.more_findings += other.more_findings

    def as_json(self) -> dict[str, Any]:
        return {
            "verdict": self.verdict,
            "origin": self.origin,
            "tree_size": self.tree_size,
            "verified_from": self.verified_from,
            "anchored_up_to": self.anchored_up_to,
            "unanchored": self.tree_size - self.anchored_up_to,
            "anchors": self.anchors,
            "findings": [one.as_json() for one in self.findings],
            "more_findings": self.more_findings,
            "leaderboard": self.leaderboard,
            "receipts": self.receipts,
            "opened": self.opened,
            "warnings": self.warnings,
            "reason": self.reason,
        }


def cannot_judge(reason: str) -> Report:
    """Nothing was shown either way: there is no study here, or no key to judge it by."""
    return Report(verdict="cannot-judge", reason=reason)


def format_report(report: Report) -> str:
    """The report for a person: what was checked, the first things wrong, the verdict last."""
    if report.verdict == "cannot-judge":
        return f"cannot judge: {_plain(report.reason)}"
    new = f", {report.tree_size - report.verified_from} of them new" if report.verified_from else ""
    lines = [
        f"log       {_plain(report.origin)}",
        f"entries   {report.tree_size}{new}, witnessed up to {report.anchored_up_to}",
        *(
            f"anchor    {_plain(one['name'])} ({one['kind']}): checkpoint {one['checkpoint']}, "
            f"entries up to {one['entries']}"
            for one in report.anchors
        ),
    ]
    if not report.verified_from:
        lines.append(f"receipts  {report.receipts}, opened values re-derived {report.opened}")
        lines.append(f"ranked    {len(report.leaderboard)} methods, from receipts alone")
    lines += [f"note      {_plain(one)}" for one in report.warnings]
    for one in report.findings[:20]:
        place = f"entry {one.first_index} in " if one.first_index >= 0 else ""
        lines.append(f"{one.code}: {place}{_plain(one.resource)}")
        lines.append(f"          expected {_plain(one.expected)}")
        lines.append(f"          got      {_plain(one.got)}")
    rest = len(report.findings) - 20 + report.more_findings
    if rest > 0:
        lines.append(f"          and {rest} more")
    lines.append("OK: everything holds" if report.verdict == "ok" else "TAMPERED: the record does not hold")
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Text from a record, safe on a terminal."""
    return "".join(character if character.isprintable() else "?" for character in text)
