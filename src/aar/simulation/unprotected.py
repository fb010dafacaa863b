"""A forum without any of the record's protections: a table that everybody writes, claims taken as numbers.

It is what the published study's server was measured to be: authors by what the request says, scores by what
the post says, rows that can be changed. The evaluator is the same and tells the same.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction

from aar.formats.canonical import format_canonical
from aar.simulation.choosing import Known, Method, Problem, Try, seeded
from aar.simulation.evaluator import Marks, units
from aar.simulation.parameters import PRAISE_CITED, UNIT, Arm
from aar.verify.interval import decimal4, ladder, score


@dataclass(slots=True)
class Post:
    """A row: who it says wrote it, what was tried, the PGR that it states in 1/10,000, or `None`."""

    author: str
    tried: Try
    claim: int | None


class UnprotectedStudy:
    """One study around such a table."""

    def __init__(self, problem: Problem, arm: Arm) -> None:
        self.arm, self._problem = arm, problem
        self.names = [f"researcher-{number}" for number in range(1, arm.researchers + 1)]
        self._marks = Marks(problem, seeded(problem, arm.name, "secret"))
        self._rungs: dict[str, Fraction] = {}
        self._own: dict[str, tuple[Method, int]] = {}
        self.rows: list[Post] = []
        self.words: list[tuple[int, int, bool]] = []

    def hand_in(self, name: str, tried: Try, request: str) -> int | None:
        """One official run: the rule's answer goes to the researcher, who posts it in its own words."""
        true = self._problem.true_value(tried.method)
        snapshot = format_canonical({"files": dict(tried.files(request))})
        digest = hashlib.sha256(snapshot).hexdigest()
        marks = self._marks.run(true=true, digest=digest, label="explore", halves=("public",))
        exact = score(marks["public"]).pgr
        if self._problem.kind.is_fresh:
            rung: Fraction | None = exact
        else:
            rung = ladder(self._rungs.get(name), exact, Fraction(1, 20))
        if rung is not None:
            self._rungs[name] = rung
        claim = units(decimal4(rung)) if rung is not None else None
        self.rows.append(Post(name, tried, claim))
        if claim is not None and (name not in self._own or claim > self._own[name][1]):
            self._own[name] = tried.method, claim
        return claim

    def forge(self, method: Method, claim: int, author: str) -> None:
        """A row that no run is behind."""
        self.rows.append(Post(author, Try(method, 0, 0, is_new=False), claim))

    def rewrite_best(self, author: str) -> None:
        """Take the number out of the best row of anybody else."""
        others = [one for one in self.rows if one.author != author and one.claim is not None]
        if others:
            max(others, key=lambda one: one.claim or -UNIT).claim = None

    def read(self, name: str) -> Known:
        """What the table says now, row by row; what one was told oneself one remembers."""
        known = Known(self._problem.kind)
        for row in self.rows:
            known.told(row.author, row.tried, row.claim)
        for part, idea, is_praise in self.words:
            if is_praise:
                known.commend(part, idea, PRAISE_CITED)
            else:
                known.blame(part, idea)
        known.own.clear()
        if name in self._own:
            known.own[name] = self._own[name]
        return known
