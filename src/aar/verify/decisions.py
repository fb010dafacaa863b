"""Decisions: the values and the checklist a reviewer signs, against what the record holds at that moment.

One set of rules for whoever admits a decision and whoever verifies it later.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

Body = Mapping[str, Any]
NOTHING: Body = {}
# The tiers whose receipts tell a researcher something that a finding may state.
CITABLE = ("explore", "confirm")


@dataclass(frozen=True, slots=True)
class Basis:
    """What a decision on a finding rests on. `receipt` is the one whose value the finding states, or -1.

    `reproduced` is the opened public half of its method's clean re-run, `sealed` its own opened sealed half;
    both empty while closed. `lost` are its retracted ancestors, `alarms` those about anything it rests on,
    `held` the holds in force on a method that it rests on.
    """

    finding: Body
    receipt: int
    reproduced: Body
    sealed: Body
    lost: tuple[int, ...]
    alarms: tuple[int, ...]
    held: tuple[int, ...] = ()


def claimed_by(finding: Body, receipts: Mapping[int, Body]) -> list[int]:
    """The receipts whose value a `result` states as its method's."""
    cited = finding["receipts"] if finding["type"] == "result" else ()
    return [one for one in cited if one in receipts and states(finding, receipts[one])]


def states(finding: Body, receipt: Body) -> bool:
    """Whether a finding's numbers are the value of its own that this receipt released.

    A receipt whose ladder did not move repeats an earlier method's rung: it is no evidence for its own. A
    confirmed value is always its method's own.
    """
    released = receipt["released"]
    return (
        bool(released)
        and bool(released.get("improved", 1))
        and finding["numbers"] == {key: released[key] for key in ("pgr", "low", "high")}
    )


def basis_of(
    index: int,
    finding: Body,
    *,
    findings: Mapping[int, Body],
    retracted: Collection[int],
    receipts: Mapping[int, Body],
    reproductions: Mapping[int, int],
    revealed: Mapping[tuple[int, str], Body],
    alarms: Mapping[int, Body],
    held: Callable[[Collection[int]], tuple[int, ...]] = lambda _grounds: (),
) -> Basis:
    """Gather it for the finding at `index`; `reproductions` leads from a submission to its clean re-run,
    `held` from entries to the holds in force on any of them.
    """
    lost = tuple(sorted(ancestors(finding, findings).intersection(retracted)))
    grounds = grounds_of(index, finding, findings=findings, receipts=receipts)
    about = tuple(one for one, alarm in alarms.items() if not grounds.isdisjoint(alarm["evidence"]))
    receipt = next(
        (one for one in finding["receipts"] if one in receipts and states(finding, receipts[one])), -1
    )
    held_now = held(grounds)
    if receipt < 0:
        return Basis(finding, receipt, NOTHING, NOTHING, lost, about, held_now)
    again = reproductions.get(receipts[receipt]["submission"], -1)
    return Basis(
        finding,
        receipt,
        revealed.get((again, "public"), NOTHING),
        revealed.get((receipt, "sealed"), NOTHING),
        lost,
        about,
        held_now,
    )


def grounds_of(
    index: int, finding: Body, *, findings: Mapping[int, Body], receipts: Mapping[int, Body]
) -> set[int]:
    """The entries that a finding rests on: an alarm whose evidence names one of them is about it too.

    Itself and its ancestors, and of the methods whose receipts they cite every receipt and submission: what
    is run once per method may stand under another submission of the same program.
    """
    found = {index} | ancestors(finding, findings)
    bodies = [finding, *(findings[one] for one in found if one in findings)]
    cited = {one for body in bodies for one in body["receipts"] if one in receipts}
    methods = {receipts[one]["digest"] for one in cited}
    for receipt, body in receipts.items():
        if body["digest"] in methods:
            found |= {receipt, body["submission"]}
    return found


def ancestors(finding: Body, findings: Mapping[int, Body]) -> set[int]:
    """The findings that a finding builds on, directly or not."""
    found: set[int] = set()
    todo = list(finding["parents"])
    while todo:
        index = todo.pop()
        if index in findings and index not in found:
            found.add(index)
            todo += findings[index]["parents"]
    return found


def bears_out(claimed: str, opened: Body) -> bool:
    """Whether a claimed value is within reach of an opened one: at most the upper end of its interval."""
    return bool(opened) and Fraction(claimed) <= Fraction(opened["high"])


def faults(body: Body, basis: Basis) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing in a decision's body that its basis contradicts."""
    claimed = basis.finding["numbers"].get("pgr", "")
    for name, value in (
        ("claimed", claimed),
        ("reproduced", basis.reproduced.get("pgr", "")),
        ("sealed", basis.sealed.get("pgr", "")),
    ):
        if body[name] not in ("", value):
            yield f"{name} {value or 'left blank'}", body[name]
    if body["decision"] == "publish" and basis.held:
        # No words publish over it: it is looked at and let go, or it stays.
        yield (
            "no hold on what the finding rests on: it is published when that is lifted",
            f"held in entry {', '.join(map(str, basis.held))}",
        )
    if body["decision"] != "publish" or body["override"].strip():
        return
    failed = [one["item"] for one in body["checklist"] if one["outcome"] == "fail"]
    if failed or not body["checklist"]:
        yield "a checklist that holds, or the reviewer's reason in words", ", ".join(failed) or "no checklist"
        return
    if claimed:
        for name, opened in (("reproduced", basis.reproduced), ("sealed", basis.sealed)):
            if not body[name] or not bears_out(claimed, opened):
                got = f"{opened['pgr']}, at most {opened['high']}" if opened and body[name] else "none"
                yield f"a {name} value that bears out {claimed}, or the reviewer's reason in words", got
    if basis.lost:
        yield (
            "parents that stand, or the reviewer's reason in words",
            f"retracted: {', '.join(map(str, basis.lost))}",
        )
    if basis.alarms:
        yield (
            "no alarm about what the finding rests on, or the reviewer's reason in words",
            f"alarms {', '.join(map(str, basis.alarms))}",
        )
