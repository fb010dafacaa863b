"""What each problem is stated to be: weak, ceiling, gap, the plain student's PGR and their spread.

The numbers in stated.json were drawn by `python tools/state_problems.py`; a test draws some of them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from aar.lab.errors import UnknownProblem
from aar.lab.experiment import sample
from aar.lab.pipeline import VANILLA, parse_pipeline_text, run_pipeline
from aar.lab.problems import CANARIES
from aar.lab.problems.problem import baselines_of
from aar.lab.problems.registry import problem_named

STATED_FILE = Path(__file__).with_name("stated.json")
_DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Means over seeds; `gap_error` is the gap's standard error, each `sd` that of one seed.

    `vanilla` is the PGR of the plain student on hard weak labels: the mean over seeds of what it gains on
    its own teacher, over the mean gap. A canary's honest PGR is near nothing for every method.
    """

    problem: str
    weak: float
    ceiling: float
    gap: float
    gap_error: float
    vanilla: float
    vanilla_sd: float
    seeds: int
    replicates: int
    is_canary: bool


def stated(name: str) -> Stated:
    """What is stated of the problem of that name; `UnknownProblem` if nothing is."""
    told = json.loads(STATED_FILE.read_text())["problems"]
    for one in told:
        if one["problem"] == name:
            return Stated(**one)
    raise UnknownProblem(f"nothing is stated of {name!r:.60}; run tools/state_problems.py")


def measure(name: str, seeds: Iterable[int], replicates: int) -> Stated:
    """Draw the numbers of one problem, nothing sealed; `DegenerateGapError` for want of a gap."""
    problem, plain = problem_named(name), parse_pipeline_text(VANILLA)
    taught, gains = [], []
    for seed in seeds:
        own = []
        for replicate in range(replicates):
            one = sample(problem, seed, replicate)
            answer = run_pipeline(plain, one.instance, np.random.default_rng(seed))
            taught.append((seed, one.taught))
            own.append(float(((answer > 0.5) == one.taught.truth).mean() - one.taught.weak_correct.mean()))
        gains.append(float(np.mean(own)))
    found = baselines_of(taught)
    pgr = np.array(gains) / found.gap
    return Stated(
        problem=name,
        weak=round(found.weak, _DIGITS),
        ceiling=round(found.ceiling, _DIGITS),
        gap=round(found.gap, _DIGITS),
        gap_error=round(found.error, _DIGITS),
        vanilla=round(float(pgr.mean()), _DIGITS),
        vanilla_sd=round(float(pgr.std(ddof=1)), _DIGITS),
        seeds=len(gains),
        replicates=replicates,
        is_canary=name in CANARIES,
    )


def format_stated(command: str, found: Iterable[Stated]) -> str:
    """The text of stated.json."""
    return json.dumps({"made_by": command, "problems": [asdict(one) for one in found]}, indent=1) + "\n"
