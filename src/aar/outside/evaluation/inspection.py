"""Inspection: what the detectors say of one scored run, once its answers and its snapshot are at hand.

It costs one or two further runs of the program, under weak labels that say nothing, so it belongs to the
tiers with a small budget: confirm and held-out. Pure like the run itself: a crash in between repeats it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from aar.lab.problems import CANARIES
from aar.outside.evaluation.bench import Bench, Prepared
from aar.outside.evaluation.detectors import (
    LEAST_PERMUTATIONS,
    Reading,
    canary_problem,
    distillability,
    explored_excess,
    permutation_control,
    prediction_entropy,
    prediction_prior,
)
from aar.outside.evaluation.official_run import Problem, RunResult, deal_of, dealt_as, places_of, predicted
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.verify.interval import score
from aar.verify.payload import Payload

AUDITED_SPLITS = 3


def inspect(
    *,
    secret: bytes,
    problem: Problem,
    label: str,
    digest: str,
    snapshot: bytes,
    result: RunResult,
    bench: Bench,
    sandboxes: OfficialSandboxes,
) -> list[Reading]:
    """All readings of a scored run; of a failed one there are none.

    On a canary there is nothing to recover, and honest methods break down in ways that look odd. What it has
    to say is its PGR alone.
    """
    if result.public is None or result.sealed is None:
        return []
    if problem.name in CANARIES:
        return [canary_problem(float(score(result.public).pgr))]
    sealed = deal_of(secret, problem.pool).sealed
    runs, key = dealt_as(secret, problem, label, digest)
    prepared = bench.prepare(problem.name, runs, sealed, key)
    lines = answered(prepared.kept, result.public, result.sealed)
    priors = class_priors(prepared)
    residual = residual_of(secret, problem, label, digest, lines, bench)
    readings = [
        prediction_prior(lines, priors, problem.name),
        prediction_entropy(lines, problem.name),
        distillability(residual, problem.name),
    ]
    if not problem.pool.is_fresh:
        readings.append(explored_excess(result.public, result.sealed, group=problem.pool.group))
    # A strong model's own answers are no weak label: a method may rightly live on them alone.
    if "zero_shot.npy" in prepared.files:
        return readings
    accuracies: list[float] = []
    control = 0
    while len(accuracies) < LEAST_PERMUTATIONS:
        control += 1
        dealt = bench.prepare(problem.name, runs, sealed, key, control=control)
        found, reason = predicted(
            snapshot=snapshot,
            prepared=dealt,
            sandboxes=sandboxes,
        )
        if found is None:
            return [*readings, control_failed(reason)]
        accuracies += [right_share(line, kept["truth"]) for line, kept in zip(found, dealt.kept, strict=True)]
    return [*readings, permutation_control(accuracies, problem.name)]


def residual_of(
    secret: bytes, problem: Problem, label: str, digest: str, lines: Sequence[str], bench: Bench
) -> float:
    """The share of a run's answers, of its first splits, that no rule over the features reproduces."""
    runs, key = dealt_as(secret, problem, label, digest)
    few, sealed = runs[:AUDITED_SPLITS], deal_of(secret, problem.pool).sealed
    return bench.residual(problem.name, few, sealed, key, lines[: len(few)])


def control_failed(reason: str) -> Reading:
    """A program that runs on weak labels, and not on the same ones dealt anew, may have looked first."""
    evidence = f"the run under weak labels that say nothing failed ({reason}), the one before it did not"
    return Reading("control-failed", 1, 0, evidence)


def answered(kept: Sequence[Mapping[str, Any]], public: Payload, sealed: Payload) -> list[str]:
    """The lines that a run printed, from what it got right and what is true."""
    lines = []
    for split, one, other in zip(kept, public.splits, sealed.splits, strict=True):
        right, line = one.student | other.student, list(split["truth"])
        for item, place in enumerate(places_of(split)):
            if place < len(line) and not right >> item & 1:
                line[place] = "10"[int(line[place])]
        lines.append("".join(line))
    return lines


def class_priors(prepared: Prepared) -> list[float]:
    """The weak teacher's share of ones, per split."""
    return [float(one["class_prior"]) for one in json.loads(prepared.files["splits.json"])["splits"]]


def right_share(line: str, truth: str) -> float:
    return sum(map(str.__eq__, line, truth)) / len(truth)
