"""What one run of an A/B came to, read from its verified record alone: its value, and what auditing takes.

The value is what would be published of it: of the methods whose sealed value is open, the one that leads by
the value that was explored, at its sealed value. Picking and measuring are done on different items: an arm
that tries more things is not flattered for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.comparison.plan import MISSING, SECONDS_PER_ENTRY, WORDS_PER_MINUTE
from aar.outside.projection import Projection
from aar.verify.decisions import bears_out
from aar.verify.leaderboard import Row, leaderboard
from aar.verify.workflow import PLAIN_FAMILY

# What the gateway says of a researcher that leaves the plan it was given, or the scope.
DEVIATIONS = ("step-order", "scope")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One closed run. `pgr` is a decimal text, `receipt` the one it belongs to, -1 where nothing was open.

    `amended` and `alarms` are plan deviations: plans declared anew, and refusals of what leaves step order or
    scope. `words` are those of findings, plans and comments, which are `texts` entries. `publishable` counts
    results whose claim the sealed value bears out. `families` has those of each submission, in order.
    """

    pgr: str
    method: str
    researcher: str
    receipt: int
    reason: str
    submissions: int
    entries: int
    amended: int
    alarms: int
    words: int
    texts: int
    publishable: int
    families: tuple[tuple[str, ...], ...]

    @property
    def deviations(self) -> int:
        return self.amended + self.alarms

    @property
    def reading_minutes(self) -> float:
        """How long a reviewer reads: the plan's rate over the words, and a little for each entry."""
        return self.words / WORDS_PER_MINUTE + self.texts * SECONDS_PER_ENTRY / 60


def outcome_of(leaves: Sequence[Leaf]) -> Outcome:
    """Read a closed run's record, which was verified: nothing is checked here."""
    projection = Projection.of(leaves)
    leader = leading(leaderboard(leaves))
    texts = [leaf for leaf in leaves if leaf.signed.entry.kind in _READ]
    plans = [leaf.signed.entry.body for leaf in leaves if leaf.signed.entry.kind == "plan-declared"]
    steps_of = {leaf.index: leaf.signed.entry.body for leaf in texts}
    return Outcome(
        pgr=MISSING if leader is None or leader.heldout_pgr is None else leader.heldout_pgr,
        method="" if leader is None else leader.method,
        researcher="" if leader is None else leader.researcher,
        receipt=-1 if leader is None else leader.receipts[0],
        reason=str(projection.closed.get("reason", "")),
        submissions=len(projection.submissions),
        entries=projection.tree_size,
        amended=sum(_amends(body) for body in plans),
        alarms=sum(alarm["code"] in DEVIATIONS for alarm in projection.alarms),
        words=sum(_words_of(leaf, steps_of) for leaf in texts),
        texts=len(texts),
        publishable=sum(_is_publishable(projection, index) for index in projection.findings),
        families=tuple(ideas_of(one.body["families"]) for one in projection.submissions.values()),
    )


def ideas_of(families: Sequence[str]) -> tuple[str, ...]:
    """A submission's families; the plain student, which stands at the end of most, counts only alone.

    >>> ideas_of(["confidence", "baseline"]), ideas_of(["baseline"])
    (('confidence',), ('baseline',))
    """
    ideas = tuple(one for one in families if one != PLAIN_FAMILY)
    return ideas or tuple(families)


def leading(rows: Iterable[Row]) -> Row | None:
    """Of the rows with an open sealed value, not retracted, the one explored best; of equals the first."""
    open_rows = [
        row
        for row in rows
        if row.heldout_pgr is not None and row.explored_pgr is not None and row.decision != "retract"
    ]
    return min(open_rows, key=lambda row: (-Fraction(row.explored_pgr or 0), row.receipts[0]), default=None)


def _amends(body: Mapping[str, Any]) -> bool:
    return bool(body["amends"] >= 0)


def _is_publishable(projection: Projection, index: int) -> bool:
    """A result that could stand before a reviewer: all a checklist wants but the reviewer's own re-run."""
    finding = projection.findings[index]
    if finding.body["type"] != "result":
        return False
    basis = projection.basis_of(finding)
    return (
        basis.receipt >= 0
        and bool(basis.sealed)
        and bears_out(finding.body["numbers"]["pgr"], basis.sealed)
        and not basis.lost
        and not basis.alarms
    )


def _words_of(leaf: Leaf, bodies: Mapping[int, Any]) -> int:
    """How many words of an entry are to be read; of an amended plan only the steps that are new in it."""
    entry = leaf.signed.entry
    body: Any = entry.body
    if entry.kind != "plan-declared":
        return sum(len(str(body[field]).split()) for field in _READ[entry.kind])
    before = bodies.get(body["amends"], {}).get("steps", [])
    new = [step for step in body["steps"] if step not in before]
    return sum(len(f"{step['name']} {step['what']}".split()) for step in new)


_READ: Mapping[str, tuple[str, ...]] = {
    "finding": ("title", "text"),
    "plan-declared": ("steps",),
    "comment": ("text",),
}
