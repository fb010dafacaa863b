"""The pattern that the problems are there for: which ideas work where, and that nothing works on the canary.

Few seeds, wide margins; `python benchmarks/lab.py --table` gives the figures.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from aar.lab.experiment import Sampled, sample
from aar.lab.methods import COMPOSED, METHODS, methods_for
from aar.lab.pipeline import offered_by, parse_pipeline_text, run_pipeline
from aar.lab.problems.registry import problem_named

pytestmark = pytest.mark.slow

# Seeds that the benchmark's table does not use.
FIRST_SEED = 50_000


@cache
def splits(problem: str, seeds: int, replicates: int = 1) -> tuple[Sampled, ...]:
    found = problem_named(problem)
    return tuple(
        sample(found, FIRST_SEED + seed, replicate)
        for seed in range(seeds)
        for replicate in range(replicates)
    )


def pgr(method: str, runs: tuple[Sampled, ...]) -> float:
    """Ratio of differences of mean accuracies."""
    pipeline = parse_pipeline_text(METHODS[method])
    student = [
        ((run_pipeline(pipeline, one.instance, np.random.default_rng(k)) > 0.5) == one.taught.truth).mean()
        for k, one in enumerate(runs)
    ]
    weak = np.mean([one.taught.weak_correct.mean() for one in runs])
    ceiling = np.mean([one.taught.ceiling_correct.mean() for one in runs])
    return float((np.mean(student) - weak) / (ceiling - weak))


def single_ideas(runs: tuple[Sampled, ...]) -> list[str]:
    return [name for name in methods_for(offered_by(runs[0].instance)) if name not in COMPOSED]


def test_on_digits_neighbourhood_smoothing_beats_the_plain_student_by_a_tenth() -> None:
    runs = splits("digits", 4, 8)
    vanilla = pgr("vanilla", runs)
    assert 0.2 < vanilla < 0.5
    assert pgr("label_prop", runs) - vanilla >= 0.1
    assert pgr("knn_relabel_20", runs) - vanilla >= 0.08
    assert abs(pgr("conf_filter_50", runs) - vanilla) < 0.1


def test_on_overlap_the_auxiliary_confidence_loss_recovers_nearly_all() -> None:
    runs = splits("overlap", 5)
    assert pgr("logconf_aux_.75", runs) >= 0.88
    assert 0.15 < pgr("vanilla", runs) < 0.45
    assert pgr("twomeans", runs) < -0.5


def test_on_shortcut_nothing_recovers_what_is_not_there() -> None:
    runs = splits("shortcut", 4)
    found = {name: pgr(name, runs) for name in methods_for(offered_by(runs[0].instance))}
    assert {name: value for name, value in found.items() if value > 0.2} == {}


def test_on_claims_no_single_idea_works_and_two_in_a_row_do() -> None:
    runs = splits("claims", 6)
    assert -0.05 <= pgr("vanilla", runs) <= 0.25
    found = {name: pgr(name, runs) for name in single_ideas(runs)}
    assert {name: value for name, value in found.items() if value > 0.4} == {}
    assert pgr("drop_top+twomeans", runs) >= 0.75
