"""What the blocks that a profile withholds are worth: the same search with them and without them.

    OPENBLAS_NUM_THREADS=1 python tools/compare_profiles.py [--problem NAME] [--searches N] [--tries N]

Each search is one scripted researcher's (`aar.inside.search`), alone, told what a study would tell it: scores
of five seeds through the ladder, or exact ones where a problem draws fresh items. What it found best is then
run on ten seeds that no search saw. The default takes about 3 processor minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Collection
from fractions import Fraction

import numpy as np

from aar.inside.forum import Tried
from aar.inside.search import choose
from aar.lab.errors import LabError
from aar.lab.methods import STARTER
from aar.lab.pipeline import Pipeline, format_pipeline
from aar.lab.problems.problem import AnyProblem
from aar.lab.problems.registry import problem_named
from aar.lab.runs import run_experiment
from aar.verify.interval import ladder

STEP = Fraction(1, 20)
SEEDS = 5
# Far from every seed that a search draws.
FRESH = range(2_000_000, 2_000_010)
DIRECTION = "Recover as much of the gap as you can."


def search(problem: AnyProblem, number: int, tries: int, profile: Collection[str] | None) -> Pipeline:
    """The best method that one search of so many tries knows at its end."""
    rng = np.random.default_rng([number, 7])
    tried: list[Tried] = []
    best: Fraction | None = None
    for place in range(tries):
        choice = choose(tried, DIRECTION, rng, profile=profile)
        if choice is None:
            break
        first = int(rng.integers(1_000_000))
        try:
            exact = Fraction(run_experiment(problem, choice.pipeline, range(first, first + SEEDS)).pgr)
        except (LabError, ArithmeticError, np.linalg.LinAlgError):
            tried.append(_tried(place, choice.pipeline, None, is_improved=False))
            continue
        told = exact if problem.sizes.is_fresh else ladder(best, exact, STEP)
        if told is not None:
            best = told if best is None else max(best, told)
        shown = told if told is not None else best
        tried.append(
            _tried(
                place, choice.pipeline, None if shown is None else float(shown), is_improved=told is not None
            )
        )
    known = [one for one in tried if one.is_improved and one.pgr is not None]
    return max(known, key=lambda one: one.pgr or 0.0).pipeline


def _tried(place: int, pipeline: Pipeline, pgr: float | None, *, is_improved: bool) -> Tried:
    return Tried(submission=place, researcher="one", pipeline=pipeline, pgr=pgr, is_improved=is_improved)


def main() -> int:
    parser = argparse.ArgumentParser(description="The same search with and without the starter profile.")
    parser.add_argument("--problem", default="claims")
    parser.add_argument("--searches", type=int, default=6, metavar="N")
    parser.add_argument("--tries", type=int, default=100, metavar="N")
    options = parser.parse_args()
    problem = problem_named(options.problem)
    print(
        f"{options.problem}: {options.searches} searches of {options.tries} tries, "
        f"the PGR of what each found best on {len(FRESH)} fresh seeds"
    )
    for name, profile in (("all blocks", None), ("starter", STARTER)):
        values = []
        for number in range(options.searches):
            pipeline = search(problem, number, options.tries, profile)
            values.append(run_experiment(problem, pipeline, FRESH).pgr)
            print(f"  {name:<10} search {number}: {values[-1]:6.2f}  {format_pipeline(pipeline)}", flush=True)
        print(f"  {name:<10} mean {np.mean(values):.2f}, from {min(values):.2f} to {max(values):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
