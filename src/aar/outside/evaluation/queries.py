"""Queries: the explored runs of one researcher as a row, read again whenever another one joins it.

A single run shows little of who asks for labels through its scores; the row does. What was explored is in the
record, what it scored is in the evaluator's payloads: a restarted evaluator reads the same row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aar.lab.problems import CANARIES
from aar.outside.evaluation.detectors import (
    Query,
    Reading,
    asked,
    canary_queries,
    distillability,
    query_geometry,
)
from aar.outside.evaluation.official_run import Problem
from aar.verify.payload import Payload


class Queries:
    """Rows of explored runs; what a run asked is kept by its method's digest.

    `stored` gives the public half of a method's explored run, or `None` where it is gone; `residual` the
    share of that run's answers that no rule over the features reproduces. It is asked for what is far below
    the teacher alone.
    """

    def __init__(
        self, stored: Callable[[str], Payload | None], residual: Callable[[str], float | None]
    ) -> None:
        self._stored = stored
        self._residual = residual
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
        order = dict.fromkeys([*(one["digest"] for one in explored), digest])
        row = [(one, query) for one in order if (query := self.of(one, problem.name)) is not None]
        queries = [query for _digest, query in row]
        readings = [canary_queries(queries)]
        if not problem.pool.is_fresh:
            readings.append(query_geometry(queries))
        return [
            (one, [receipts[row[place][0]] for place in one.places if row[place][0] in receipts])
            for one in readings
        ]

    def of(self, digest: str, problem: str) -> Query | None:
        """What the explored run of a method asked; `None` where its values are gone."""
        if digest not in self._asked:
            self._asked[digest] = self._read(digest, problem)
        return self._asked[digest]

    def _read(self, digest: str, problem: str) -> Query | None:
        payload = self._stored(digest)
        if payload is None:
            return None
        query = asked(payload)
        if not query.is_below_weak:
            return query
        residual = self._residual(digest)
        return replace(
            query, is_below_weak=residual is not None and distillability(residual, problem).is_alarm
        )
