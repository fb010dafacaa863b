"""Queries: the explored runs of one researcher as a row, read again whenever another one joins it.

A single run shows little of who asks for labels through its scores; the row does. What was explored is in the
record, what it scored is in the evaluator's payloads: a restarted evaluator reads the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aar.lab.problems import CANARIES
from aar.outside.evaluation.detectors import Query, Reading, asked, canary_queries, query_geometry
from aar.outside.evaluation.official_run import Problem
from aar.verify.payload import Payload


class Queries:
    """Rows of explored runs; what a run asked is kept by its method's digest. Not safe for several threads.

    `stored` gives the public half of a method's explored run, or `None` where it is gone.
    """

    def __init__(self, stored: Callable[[str], Payload | None]) -> None:
        self._stored = stored
        self._asked: dict[str, Query | None] = {}

    def read(
        self, problem: Problem, explored: Sequence[Mapping[str, Any]], digest: str
    ) -> list[tuple[Reading, list[int]]]:
        """Readings of the row that `digest` is the newest of, and the receipts that each rests on.

        `explored` are receipt and digest of the scored runs before it, in their order. The same program
        again has the same seeds: it asks nothing, and counts once. On a canary every honest method may be
        below the teacher; and where each run draws fresh items, none is like another.
        """
        if problem.name in CANARIES:
            return []
        receipts = {one["digest"]: int(one["receipt"]) for one in reversed(explored)}
        order = [one["digest"] for one in sorted(explored, key=lambda one: int(one["receipt"]))]
        row = [
            (one, query) for one in dict.fromkeys([*order, digest]) if (query := self._of(one)) is not None
        ]
        queries = [query for _digest, query in row]
        readings = [canary_queries(queries)]
        if not problem.pool.is_fresh:
            readings.append(query_geometry(queries))
        return [
            (one, [receipts[row[place][0]] for place in one.places if row[place][0] in receipts])
            for one in readings
        ]

    def _of(self, digest: str) -> Query | None:
        if digest not in self._asked:
            payload = self._stored(digest)
            self._asked[digest] = None if payload is None else asked(payload)
        return self._asked[digest]
