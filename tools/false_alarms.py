"""Counts how often the detectors flag honest work, under seeds that no threshold was set with.

    .venv/bin/python tools/false_alarms.py [--seed N] [--rows] [--json] [PROBLEM...]

Each method of the library is run as in a study of 5 seeds and 4 replicates, without the sandboxes: explored,
confirmed, and controlled with weak labels that say nothing. Then rows: honest researchers who hand in 16
methods each, drawn from the library or chosen by the scripted search, and confirm their best. Nothing is
calibrated here and no file is written. `--seed` gives the studies' secret: another one is another draw.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from aar.inside.forum import Tried
from aar.inside.official_run import as_line, read_instances
from aar.inside.search import choose
from aar.lab import bench
from aar.lab.methods import methods_for
from aar.lab.pipeline import format_pipeline, offered_by, parse_pipeline_text, run_pipeline
from aar.lab.problems import CANARIES
from aar.outside.evaluation.detectors import (
    Query,
    Reading,
    asked,
    canary_problem,
    canary_queries,
    distillability,
    explored_excess,
    permutation_control,
    prediction_entropy,
    prediction_prior,
    query_geometry,
    rerun,
)
from aar.outside.evaluation.inspection import AUDITED_SPLITS, right_share
from aar.outside.evaluation.official_run import Problem, deal_of, dealt_as, exact_values, pool_of
from aar.outside.evaluation.release import LADDER_STEP
from aar.verify.interval import ladder, score
from aar.verify.payload import Payload
from aar.verify.pgr import UndefinedPGR

PROBLEMS = ("claims", "digits", "overlap", "shortcut")
SEEDS, REPLICATES = 5, 4
ROW = 16
DRAWN_ROWS = 1_000
SEARCHES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a pipeline: its answers, a line per split, what the bench kept, and its exact values."""

    lines: list[str]
    kept: list[dict[str, Any]]
    priors: list[float]
    request: dict[str, Any]
    public: Payload
    sealed: Payload


class Study:
    """A problem under a secret of its own; what a method was scored is kept."""

    def __init__(self, name: str, seed: int) -> None:
        self.secret = hashlib.sha256(b"aar-false-alarms/v1\n%d\n" % seed).digest()
        pool = pool_of(bench.describe({"problem": name})[0])
        self.problem = Problem(name=name, pool=pool, seeds=SEEDS, replicates=REPLICATES)

    def run(self, text: str, label: str, control: int = 0) -> Run | None:
        """A run under that label; `None` where these seeds left no gap."""
        digest = hashlib.sha256(text.encode()).hexdigest()
        deal = deal_of(self.secret, self.problem.pool)
        runs, key = dealt_as(self.secret, self.problem, label, digest)
        request = {"problem": self.problem.name, "runs": runs, "sealed": deal.sealed, "key": key.hex()}
        told, data = bench.prepare({**request, "control": control})
        pipeline, lines = parse_pipeline_text(text), []
        with tempfile.TemporaryDirectory() as directory:
            at = 0
            for name, size in told["files"].items():
                (Path(directory) / name).write_bytes(data[at : at + size])
                at += size
            splits = json.loads((Path(directory) / "splits.json").read_text("utf-8"))["splits"]
            for instance, rng in read_instances(Path(directory)):
                line = as_line(run_pipeline(pipeline, instance, rng), len(instance.test_x))
                if line is None:
                    raise ValueError(f"{text} gave no answer on {self.problem.name}")
                lines.append(line)
        kept = told["splits"]
        public, sealed = exact_values(self.problem.pool, deal.sealed_mask, runs, kept, lines)
        try:
            score(public)
        except UndefinedPGR:
            return None
        priors = [float(one["class_prior"]) for one in splits]
        return Run(lines=lines, kept=kept, priors=priors, request=request, public=public, sealed=sealed)

    def inspected(self, text: str, run: Run) -> list[Reading]:
        """What is read of one confirm run, as `aar.outside.evaluation.inspection` reads it."""
        name = self.problem.name
        if name in CANARIES:
            return [canary_problem(float(score(run.public).pgr))]
        readings = [
            prediction_prior(run.lines, run.priors, name),
            prediction_entropy(run.lines, name),
            self.audited(run),
        ]
        if not self.problem.pool.is_fresh:
            readings.append(explored_excess(run.public, run.sealed, group=self.problem.pool.group))
        controlled = self.run(text, "confirm", control=1)
        if controlled is not None:
            shares = [
                right_share(line, kept["truth"])
                for line, kept in zip(controlled.lines, controlled.kept, strict=True)
            ]
            readings.append(permutation_control(shares, name))
        return readings

    def audited(self, run: Run) -> Reading:
        few = {**run.request, "runs": run.request["runs"][:AUDITED_SPLITS]}
        residual = float(bench.residual({**few, "lines": run.lines[:AUDITED_SPLITS]})[0]["residual"])
        return distillability(residual, self.problem.name)

    def query_of(self, run: Run) -> Query:
        """What an explored run asked, as `aar.outside.evaluation.queries` has it."""
        query = asked(run.public)
        return replace(query, is_below_weak=query.is_below_weak and self.audited(run).is_alarm)

    def compared(self, explored: Run, confirmed: Run) -> Reading:
        return rerun(explored.public, confirmed.public, group=self.problem.pool.group)

    def row_of(self, queries: Sequence[Query]) -> list[Reading]:
        """What is read of a row, as `aar.outside.evaluation.queries` reads it."""
        readings = [canary_queries(queries)]
        return readings if self.problem.pool.is_fresh else [*readings, query_geometry(queries)]


class Counts:
    """Alarms of how many readings, by detector and by kind of work."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, list[int]]] = {}

    def add(self, reading: Reading, work: str) -> None:
        counted = self.of.setdefault(reading.code, {}).setdefault(work, [0, 0])
        counted[0] += reading.is_alarm
        counted[1] += 1


def measured(name: str, seed: int, *, rows_only: bool = False) -> dict[str, Any]:
    """All counts of a problem, or those of explored runs in a row alone."""
    study, counts = Study(name, seed), Counts()
    first = study.run('[["probe", {}]]', "baseline")
    if first is None:
        raise ValueError(f"{name}: seed {seed} leaves no gap")
    offered = _offered(first)
    explored: dict[str, Run] = {}
    confirmed: dict[str, Run] = {}
    for place, (method, text) in enumerate(methods_for(offered).items()):
        run = study.run(text, "explore")
        again = None if rows_only else study.run(text, "confirm")
        if run is not None:
            explored[method] = run
        if again is None:
            continue
        confirmed[method] = again
        # Every second method set the thresholds (tools/calibrate_detectors.py).
        work = "methods that set no threshold" if place % 2 else "methods that set thresholds"
        for reading in study.inspected(text, again):
            counts.add(reading, work)
        if run is not None and name not in CANARIES:
            counts.add(study.compared(run, again), work)
    found = {"counts": counts.of, "methods": len(explored)}
    if name in CANARIES:
        return found
    queries = {method: study.query_of(run) for method, run in explored.items()}
    rng = np.random.default_rng([seed, 1])
    for _row in range(DRAWN_ROWS):
        row = [list(explored)[int(place)] for place in rng.permutation(len(explored))[:ROW]]
        for reading in study.row_of([queries[method] for method in row]):
            counts.add(reading, f"{ROW} library methods")
        best = max(row, key=lambda method: score(explored[method].public).pgr)
        if best in confirmed:
            counts.add(study.compared(explored[best], confirmed[best]), f"best of {ROW} library methods")
    for number in range(SEARCHES):
        rng = np.random.default_rng([seed, 2, number])
        searched(study, counts, rng, offered, is_confirmed=not rows_only)
    below = sorted(method for method, run in explored.items() if asked(run.public).is_below_weak)
    by_no_rule = [method for method in below if queries[method].is_below_weak]
    return {**found, "below_weak": below, "by_no_rule": by_no_rule}


def _offered(run: Run) -> frozenset[str]:
    """What the problem offers its methods."""
    with tempfile.TemporaryDirectory() as directory:
        told, data = bench.prepare({**run.request, "runs": run.request["runs"][:1]})
        at = 0
        for name, size in told["files"].items():
            (Path(directory) / name).write_bytes(data[at : at + size])
            at += size
        instance, _rng = next(read_instances(Path(directory)))
    return offered_by(instance)


def searched(
    study: Study, counts: Counts, rng: np.random.Generator, offered: frozenset[str], *, is_confirmed: bool
) -> None:
    """A scripted researcher alone on the problem: its row of submissions, and its best one confirmed."""
    tried: list[Tried] = []
    queries: list[Query] = []
    best: tuple[Fraction, str, Run] | None = None
    told: Fraction | None = None
    while len(tried) < ROW:
        choice = choose(tried, "", rng, offered=offered)
        if choice is None:
            break
        text = format_pipeline(choice.pipeline)
        run = study.run(text, "explore")
        pgr = None if run is None else score(run.public).pgr
        rung = None
        if run is not None and pgr is not None:
            queries.append(study.query_of(run))
            rung = pgr if study.problem.pool.is_fresh else ladder(told, pgr, LADDER_STEP)
            best = max([one for one in (best, (pgr, text, run)) if one is not None], key=lambda one: one[0])
        told = told if rung is None else rung
        tried.append(
            Tried(
                submission=len(tried),
                researcher="r",
                pipeline=choice.pipeline,
                pgr=None if told is None else float(told),
                is_improved=rung is not None,
            )
        )
    for reading in study.row_of(queries):
        counts.add(reading, f"searches of {ROW}")
    again = study.run(best[1], "confirm") if is_confirmed and best is not None else None
    if best is not None and again is not None:
        counts.add(study.compared(best[2], again), f"best of a search of {ROW}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Count how often the detectors flag honest work.")
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", default=PROBLEMS)
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--rows", action="store_true", help="leave out what is read of a single run")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    whole = {}
    for name in options.problems:
        whole[name] = found = measured(name, options.seed, rows_only=options.rows)
        if options.json:
            continue
        print(
            f"{name}, seed {options.seed}: {found['methods']} methods, {SEEDS} seeds, {REPLICATES} replicates"
        )
        for code, works in found["counts"].items():
            for work, (flagged, of) in works.items():
                print(f"  {code:<24} {flagged:>4} of {of:<5} {work}")
        if found.get("below_weak"):
            print(f"  far below the weak teacher: {', '.join(found['below_weak'])}")
            print(f"  of these by no rule: {', '.join(found['by_no_rule']) or 'none'}")
        sys.stdout.flush()
    if options.json:
        print(json.dumps(whole, indent=1, sort_keys=True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
