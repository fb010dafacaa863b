"""The leaderboard: methods ranked from score receipts and opened values, a pure fold over the record.

No number a researcher wrote ever gets here. A receipt whose ladder did not move ranks nothing: all that was
told is "not better".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aar.formats.entry import Leaf
from aar.verify.decisions import ancestors, states

CONFIRMED = ("pgr", "low", "high", "difference", "difference_low", "difference_high")
# What score-revealed states of an opened half, where it states nothing.
NO_NUMBERS: Mapping[str, str] = dict.fromkeys(CONFIRMED, "")


@dataclass(slots=True)
class Row:
    """One method of one researcher. Values are decimal texts, as the record has them."""

    rank: int
    method: str
    researcher: str
    digest: str
    explored_pgr: str | None = None
    heldout_pgr: str | None = None
    low: str = ""
    high: str = ""
    confirmed: Mapping[str, str] = field(default_factory=dict)
    heldout_problems: dict[str, Mapping[str, str]] = field(default_factory=dict)
    seeds: int = 0
    receipts: list[int] = field(default_factory=list)
    decision: str = ""
    builds_on_retracted: bool = False

    def as_json(self) -> dict[str, Any]:
        """The row as `leaderboard --json` prints it: values are numbers there."""
        return {
            "rank": self.rank,
            "method": self.method,
            "researcher": self.researcher,
            "explored_pgr": _number(self.explored_pgr),
            "heldout_pgr": _number(self.heldout_pgr),
            "low": _number(self.low),
            "high": _number(self.high),
            "confirmed": _numbers(self.confirmed, CONFIRMED),
            "heldout_problems": {
                name: _numbers(told, CONFIRMED[:3]) for name, told in sorted(self.heldout_problems.items())
            },
            "seeds": self.seeds,
            "receipts": list(self.receipts),
            "decision": self.decision,
            "builds_on_retracted": self.builds_on_retracted,
        }


def has_interval(receipt: Mapping[str, Any], half: str) -> bool:
    """Whether opening this half states an interval: all do but explored values that moved nothing."""
    is_explored = receipt["tier"] == "explore" and half == "public"
    return not is_explored or bool(receipt["released"]["improved"])


def has_difference(receipt: Mapping[str, Any]) -> bool:
    """Whether opening a half of this receipt states the paired difference to the plain student."""
    return receipt["tier"] in ("confirm", "heldout")


def _number(text: str | None) -> float | None:
    return float(text) if text else None


def _numbers(told: Mapping[str, str], names: Iterable[str]) -> dict[str, float | None]:
    return {name: _number(told[name]) for name in names if name in told}


def leaderboard(leaves: Iterable[Leaf]) -> list[Row]:
    """Rank the methods; those with a held-out value first, by it; retracted ones last.

    A value whose exact bytes were redacted cannot be derived again: it is not shown.
    """
    leaves = list(leaves)
    redacted = {leaf.signed.entry.body["sha256"] for leaf in leaves if leaf.signed.entry.kind == "redaction"}
    names: dict[int, str] = {}
    rows: dict[tuple[str, str], Row] = {}
    explored: dict[int, Any] = {}
    confirmed: dict[int, Any] = {}
    heldout: dict[int, Any] = {}
    findings: dict[int, Any] = {}
    decisions: dict[int, str] = {}
    for leaf in leaves:
        entry = leaf.signed.entry
        body: Any = entry.body
        if entry.kind == "submission":
            names[leaf.index] = body["name"]
        elif entry.kind == "score-receipt" and body["tier"] == "explore" and body["outcome"] == "scored":
            explored[leaf.index] = body
            row = rows.setdefault(
                _key(body), Row(0, names.get(body["submission"], ""), body["researcher"], body["digest"])
            )
            row.receipts.append(leaf.index)
            row.seeds = len(body["seeds"])
            if body["released"]["improved"]:
                row.explored_pgr = body["released"]["pgr"]
                if row.heldout_pgr is None:
                    row.low, row.high = body["released"]["low"], body["released"]["high"]
        elif entry.kind == "score-receipt" and body["outcome"] == "scored" and _key(body) in rows:
            if body["tier"] == "confirm":
                confirmed[leaf.index] = body
                rows[_key(body)].confirmed = body["released"]
            elif body["tier"] == "heldout":
                heldout[leaf.index] = body
        elif entry.kind == "score-revealed" and body["blob"]["sha256"] not in redacted:
            receipt = explored.get(body["receipt"])
            if receipt and body["half"] == "sealed":
                row = rows[_key(receipt)]
                row.heldout_pgr, row.low, row.high = body["pgr"], body["low"], body["high"]
            receipt = heldout.get(body["receipt"])
            if receipt and body["half"] == "public":
                # Of a method, whoever handed it in.
                for row in rows.values():
                    if row.digest == receipt["digest"]:
                        row.heldout_problems[receipt["problem"]] = body
        elif entry.kind == "finding":
            findings[leaf.index] = body
        elif entry.kind == "decision" and body["finding"] in findings:
            decisions[body["finding"]] = body["decision"]
            for row in _rows_of(findings[body["finding"]], rows, explored | confirmed):
                row.decision = body["decision"]
    _flag(rows, findings, explored | confirmed, decisions)
    ranked = [row for row in rows.values() if row.explored_pgr is not None or row.heldout_pgr is not None]
    ranked.sort(key=_place)
    for number, row in enumerate(ranked, 1):
        row.rank = number
    return ranked


def _rows_of(finding: Any, rows: Mapping[tuple[str, str], Row], receipts: Mapping[int, Any]) -> list[Row]:
    """The methods whose value a finding states."""
    return [
        rows[_key(receipts[one])]
        for one in finding["receipts"]
        if one in receipts and states(finding, receipts[one])
    ]


def _flag(
    rows: Mapping[tuple[str, str], Row],
    findings: Mapping[int, Any],
    receipts: Mapping[int, Any],
    decisions: Mapping[int, str],
) -> None:
    """Mark the methods of findings that build on a retracted one, whether or not they state a value."""
    retracted = {index for index, decision in decisions.items() if decision == "retract"}
    for finding in findings.values() if retracted else ():
        if ancestors(finding, findings) & retracted:
            for one in finding["receipts"]:
                if one in receipts:
                    rows[_key(receipts[one])].builds_on_retracted = True


def _key(receipt: Any) -> tuple[str, str]:
    return receipt["digest"], receipt["researcher"]


def _place(row: Row) -> tuple[bool, bool, Fraction, Fraction, int]:
    heldout = Fraction(row.heldout_pgr) if row.heldout_pgr else Fraction(0)
    explored = Fraction(row.explored_pgr) if row.explored_pgr else Fraction(-10_000)
    return (row.decision == "retract", row.heldout_pgr is None, -heldout, -explored, row.receipts[0])
