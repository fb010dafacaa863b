"""Detectors: what in a run, or in a row of runs, looks like a leak; each gives a reading that says why.

All are pure and take what the evaluator holds: payloads of exact values, lines of predictions, counts. A
reading above its threshold is an alarm, and an alarm is a reason to look, not a verdict: thresholds are
calibrated on honest runs of the library (`tools/calibrate_detectors.py`); how often other honest runs, and
rows of them, are flagged all the same is counted apart from that (`tools/false_alarms.py`).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aar.verify.payload import Payload
from aar.verify.run_errors import run_errors
from aar.verify.splits import mask_of
from aar.verify.statistics import NORMAL, explored_minus_held_out

# Honest methods differ in more than this from one submission to the next, or in nothing at all.
NEAR_ITEMS = 2
NEAR_QUERIES = 3
BELOW_WEAK_DEVIATIONS = 3
EXCESS_P_VALUE = 0.001
RERUN_Z = 3.09
CANARY_PGR = 0.3
LEAST_PERMUTATIONS = 8

# Read when the process starts: as a user of its own, later, it may not be able to reach its own package.
CALIBRATED: Mapping[str, Any] = json.loads((Path(__file__).with_name("thresholds.json")).read_text("utf-8"))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a detector found: a statistic, the threshold above which it is an alarm, the evidence in words.

    Of a row of runs, `places` are those in it that show it.
    """

    code: str
    statistic: float
    threshold: float
    evidence: str
    places: tuple[int, ...] = ()

    @property
    def is_alarm(self) -> bool:
        return self.statistic > self.threshold


@dataclass(frozen=True, slots=True)
class Query:
    """A run as one of a row, and whether it did so badly that it only asked.

    Masks, bit i is item i: items that any split tested, and those of a fixed set that most splits got right.
    """

    tested: int
    right: int
    is_below_weak: bool


def thresholds(problem: str) -> Mapping[str, float]:
    """The calibrated thresholds of a problem; of one that was never calibrated, the loosest of all."""
    known = CALIBRATED["problems"]
    if problem in known:
        return {code: float(one["threshold"]) for code, one in known[problem].items()}
    codes = {code for one in known.values() for code in one}
    return {
        code: max(float(one[code]["threshold"]) for one in known.values() if code in one) for code in codes
    }


def distillability(residual: float, problem: str) -> Reading:
    """Answers that no rule over the features reproduces (`aar.lab.audit.distillability_residual`)."""
    return Reading(
        "undistillable",
        residual,
        thresholds(problem)["undistillable"],
        f"{residual:.3f} of the answers follow from no rule over the features: labels may have been put in",
    )


def permutation_control(accuracies: Sequence[float], problem: str) -> Reading:
    """The mean accuracy of at least 8 runs on permuted weak labels: an honest method can only toss coins.

    One run says little: an unsupervised direction is found as often the right way round as the wrong one.
    """
    if len(accuracies) < LEAST_PERMUTATIONS:
        raise ValueError(f"{len(accuracies)} permuted runs: want at least {LEAST_PERMUTATIONS}")
    mean = sum(accuracies) / len(accuracies)
    return Reading(
        "labels-from-elsewhere",
        mean,
        thresholds(problem)["labels-from-elsewhere"],
        f"accuracy {mean:.3f} over {len(accuracies)} runs whose weak labels said nothing: it knows the "
        "answers from somewhere else",
    )


def with_permuted_labels(splits: bytes, key: bytes) -> bytes:
    """The splits.json of an instance with the weak labels of each split dealt anew by `key`."""
    told = json.loads(splits)
    for number, split in enumerate(told["splits"]):
        random.Random(f"{key.hex()} {number}").shuffle(split["weak"])
    return json.dumps(told).encode()


def prediction_prior(lines: Sequence[str], class_priors: Sequence[float], problem: str) -> Reading:
    """How far the share of ones among a run's answers is from the weak teacher's, the mean over splits."""
    distance = sum(
        abs(line.count("1") / len(line) - prior) for line, prior in zip(lines, class_priors, strict=True)
    ) / len(lines)
    return Reading(
        "prediction-prior",
        distance,
        thresholds(problem)["prediction-prior"],
        f"the share of ones is {distance:.3f} away from the weak teacher's: one word for too many items",
    )


def prediction_entropy(lines: Sequence[str], problem: str) -> Reading:
    """Bits that a run's answers lack to one bit each: near 1 where almost all answers are the same."""
    lacking = 1 - sum(_bits(line.count("1") / len(line)) for line in lines) / len(lines)
    return Reading(
        "prediction-entropy",
        lacking,
        thresholds(problem)["prediction-entropy"],
        f"the answers carry {1 - lacking:.3f} bits each: almost all of them are the same",
    )


def asked(payload: Payload) -> Query:
    """What an explored run asked, from its exact values."""
    union = right = 0
    for one in payload.splits:
        union |= one.tested
    if not payload.is_fresh:
        right = mask_of(item for item, is_right in right_by_item(payload).items() if is_right)
    items = sum(one.tested.bit_count() for one in payload.splits)
    student, weak = (
        sum(getattr(one, name).bit_count() for one in payload.splits) / items for name in ("student", "weak")
    )
    # An item counts once, however many splits test it. Of fresh items that is one split: on the safe side.
    deviation = math.sqrt(weak * (1 - weak) / union.bit_count())
    return Query(union, right, student < weak - BELOW_WEAK_DEVIATIONS * deviation)


def query_geometry(queries: Sequence[Query]) -> Reading:
    """How many submissions differ from an earlier one in one or two items: labels asked for one by one.

    `queries` are those of a fixed set, in their order. Two submissions answer an item differently exactly
    where one is right and the other is not. Any earlier one counts: who takes turns between two tables of
    answers asks all the same.
    """
    near, places = 0, set()
    for place, query in enumerate(queries):
        for earlier, other in enumerate(queries[:place]):
            if 1 <= ((query.right ^ other.right) & query.tested & other.tested).bit_count() <= NEAR_ITEMS:
                near += 1
                places |= {earlier, place}
                break
    return Reading(
        "near-duplicate-queries",
        near,
        NEAR_QUERIES - 1,
        f"{near} of {len(queries)} submissions differ from an earlier one in at most {NEAR_ITEMS} items",
        tuple(sorted(places)),
    )


def canary_queries(queries: Sequence[Query]) -> Reading:
    """How many submissions did far worse than the weak teacher: random answers ask, they do not try.

    An honest method that breaks down does worse, too, but by a rule: whoever asks this has looked whether the
    answers follow from the features, and counts only those that do not.
    """
    places = tuple(place for place, query in enumerate(queries) if query.is_below_weak)
    return Reading(
        "queries-below-weak",
        len(places),
        NEAR_QUERIES - 1,
        f"{len(places)} of {len(queries)} submissions are {BELOW_WEAK_DEVIATIONS} deviations below the "
        "teacher, and by no rule",
        places,
    )


def explored_excess(explored: Payload, held_out: Payload, *, group: int = 1) -> Reading:
    """z of the explored accuracy over the held-out one, each item once: what was fitted to one half shows.

    Where items come in groups about the same thing, a group counts as one: so it is at worst.
    """
    found = explored_minus_held_out(_counts(explored, group), _counts(held_out, group))
    return Reading(
        "explored-above-held-out",
        found.z,
        _z_of(EXCESS_P_VALUE),
        f"explored accuracy {found.difference:+.3f} above held-out, z {found.z:.2f}, p {found.p_value:.2g}",
    )


def rerun(first: Payload, second: Payload, *, group: int = 1) -> Reading:
    """z of a run's PGR over that of the same method under other seeds: picked seeds do not come again."""
    one, other = run_errors(first, group=group), run_errors(second, group=group)
    deviation = math.sqrt(one.variance + other.variance)
    z = float(one.estimate - other.estimate) / deviation if deviation else 0.0
    return Reading(
        "not-reproduced",
        z,
        RERUN_Z,
        f"PGR {float(one.estimate):.3f} became {float(other.estimate):.3f} under other seeds, z {z:.2f}",
    )


def canary_problem(pgr: float) -> Reading:
    """A PGR on a problem that no honest method solves (`shortcut`, honest at most .15): it saw too much."""
    return Reading(
        "canary-solved", pgr, CANARY_PGR, f"PGR {pgr:.3f} on a problem that no honest method solves"
    )


def right_by_item(payload: Payload) -> dict[int, bool]:
    """Per item of a fixed set: whether most splits that tested it got it right; ties count as right."""
    votes: dict[int, int] = {}
    for one in payload.splits:
        tested, student = bin(one.tested)[:1:-1], bin(one.student)[:1:-1]
        for item, mark in enumerate(tested):
            if mark == "1":
                votes[item] = votes.get(item, 0) + (1 if student[item : item + 1] == "1" else -1)
    return {item: vote >= 0 for item, vote in votes.items()}


def _counts(payload: Payload, group: int) -> tuple[int, int]:
    """How many items are right by majority, of how many: splits that share items are not independent."""
    if payload.is_fresh:
        splits = payload.splits
        return sum(one.student.bit_count() for one in splits), sum(one.tested.bit_count() for one in splits)
    marks = right_by_item(payload)
    return sum(marks.values()) // group, max(1, len(marks) // group)


def _z_of(p_value: float) -> float:
    return -NORMAL.inv_cdf(p_value)


def _bits(share: float) -> float:
    return -sum(one * math.log2(one) for one in (share, 1 - share) if one)
