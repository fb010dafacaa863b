"""Who runs when: the order of an A/B's runs in random blocks, and what is matched within a block.

A block is one repeat of one problem, and holds each arm once. Order comes from digests over the plan's seed,
so that anybody can derive it again in any language; the runs of one repeat come before those of the next, so
that whenever it ends, the arms had the same problems.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from aar.outside.comparison.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run: its `number` counts from 1 in the order of running, its `repeat` from 1, too."""

    number: int
    repeat: int
    problem: str
    arm: str

    @property
    def block(self) -> tuple[str, int]:
        return self.problem, self.repeat


def assign(plan: Plan) -> tuple[Run, ...]:
    """All runs of a plan in their order."""
    runs: list[Run] = []
    for repeat in range(1, plan.repeats + 1):
        for problem in sorted(plan.problems, key=lambda one: _draw(plan, repeat, one)):
            for arm in sorted(plan.arms, key=lambda one: _draw(plan, repeat, problem, one)):
                runs.append(Run(number=len(runs) + 1, repeat=repeat, problem=problem, arm=arm))
    return tuple(runs)


def looks_after(plan: Plan) -> tuple[int, ...]:
    """After how many repeats the stop rule looks, the end included; `()` without one."""
    return tuple(plan.repeats * number // plan.looks for number in range(1, plan.looks + 1))


def is_look_after(plan: Plan, run: Run) -> bool:
    """Whether the stop rule looks once this run is over: the last one of its repeat."""
    is_last = run.number % (len(plan.arms) * len(plan.problems)) == 0
    return is_last and run.repeat in looks_after(plan)


def origin_of(plan: Plan, run: Run) -> str:
    """The log's origin of a run: a second record of the same run has the same one, and no other run has."""
    return f"aar.local/study-{_digest('origin', plan.digest, str(run.number))[:16]}"


def researchers_seed(plan: Plan, run: Run) -> str:
    """What the researchers' own random choices come from: the same in every arm of a block.

    From the plan's seed alone: another comparison with that seed has the same.
    """
    return _digest("researchers", str(plan.seed), run.problem, str(run.repeat))


def _draw(plan: Plan, repeat: int, *names: str) -> str:
    return _digest("order", str(plan.seed), str(repeat), *names)


def _digest(*parts: str) -> str:
    # No part holds a line break: names and numbers.
    return hashlib.sha256("\n".join(("aar-comparison", *parts)).encode()).hexdigest()
