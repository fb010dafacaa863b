"""The analysis plan of an A/B: what is compared, how, and when it ends, as it stands in every run's record.

The plan is one line of canonical JSON, `comparison.plan` of `study-opened`; every text that could be chosen
after the fact is fixed in it: arms, problems, repeats, the seed of the order, budgets, outcome, estimator,
interval, margin, stop rule, and the digest of each run's study file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from aar.formats.canonical import Value, format_canonical, parse_canonical_text
from aar.formats.errors import FormatError
from aar.formats.kinds import DECIMAL, HEX32, NAME

FORMAT = "aar-comparison/v1"
ARMS = ("fixed", "free", "hybrid")
MAX_PLAN_CHARACTERS = 8_000
MAX_RUNS = 10_000
MAX_LOOKS = 10
NO_STOP = "none"
# What the words of a plan stand for; another way of computing any of them is another word.
OUTCOME = "sealed-value-of-explored-leader"
MISSING = "0.00"
ESTIMATOR = "mean-of-differences-within-blocks"
INTERVAL = "student-t"
LEVEL = "0.95"
ADJUSTMENT = "holm"
ORDER = "sha256-blocks"
# Silent reading of non-fiction by adults, in English: Brysbaert 2019, a meta-analysis of 190 studies,
# Journal of Memory and Language 109, 104047. What an entry costs beside its words is a guess of ours.
WORDS_PER_MINUTE = 238
SECONDS_PER_ENTRY = 15


class PlanError(ValueError):
    """A plan cannot be used; the message is one line that says what came and what was wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What each run gets, in every arm the same; `submissions` is of the whole run."""

    researchers: int
    submissions: int
    seconds: int
    seeds: int
    replicates: int
    draws: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One comparison; `nonce`, 16 hex digits, sets it apart from others that say the same.

    `looks` is 0 without a stop rule; `files` has the digest of a study file by (problem, arm); `margin` is in
    PGR.
    """

    nonce: str
    arms: tuple[str, ...]
    problems: tuple[str, ...]
    repeats: int
    seed: int
    budget: Budget
    margin: str
    looks: int
    files: Mapping[tuple[str, str], str]

    @property
    def runs(self) -> int:
        """How many there are if it is not stopped early."""
        return len(self.arms) * len(self.problems) * self.repeats

    @property
    def stop_rule(self) -> str:
        """As `--stop-rule` takes it."""
        return f"looks:{self.looks}" if self.looks else NO_STOP

    @property
    def level(self) -> Fraction:
        """Of each interval: with several looks each may miss only its part of the 5 % (Bonferroni), so that
        the interval at whichever look it ends covers at the stated level."""
        return 1 - (1 - Fraction(LEVEL)) / max(self.looks, 1)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the plan's text."""
        return hashlib.sha256(format_plan(self).encode()).hexdigest()


def stop_rule_looks(text: str) -> int:
    """`none` is 0 looks, `looks:K` is K."""
    if text == NO_STOP:
        return 0
    word, _colon, count = text.partition(":")
    if word != "looks" or not count.isascii() or not count.isdigit() or not 2 <= int(count) <= MAX_LOOKS:
        raise PlanError(f"stop rule {text!r:.40}: want {NO_STOP}, or looks:K with K from 2 to {MAX_LOOKS}")
    return int(count)


def format_plan(plan: Plan) -> str:
    """The plan's one spelling; `PlanError` for one that no record could carry."""
    _check(plan)
    budget = plan.budget
    value: Value = {
        "format": FORMAT,
        "nonce": plan.nonce,
        "arms": list(plan.arms),
        "problems": list(plan.problems),
        "repeats": plan.repeats,
        "seed": plan.seed,
        "order": ORDER,
        "budget": {name: getattr(budget, name) for name in Budget.__slots__},
        "analysis": {
            "outcome": OUTCOME,
            "missing": MISSING,
            "estimator": ESTIMATOR,
            "interval": INTERVAL,
            "level": LEVEL,
            "adjustment": ADJUSTMENT,
            "margin": plan.margin,
        },
        "stop": plan.stop_rule,
        "reading": {"words_per_minute": WORDS_PER_MINUTE, "seconds_per_entry": SECONDS_PER_ENTRY},
        "files": {f"{problem}/{arm}": digest for (problem, arm), digest in plan.files.items()},
    }
    text = format_canonical(value).decode()
    if len(text) > MAX_PLAN_CHARACTERS:
        raise PlanError(
            f"the plan has {len(text)} characters, an entry takes {MAX_PLAN_CHARACTERS}: name fewer problems"
        )
    return text


def parse_plan(text: str) -> Plan:
    """The plan whose one spelling is `text`; `PlanError` for any other text."""
    try:
        value: Any = parse_canonical_text(text)
        plan = Plan(
            nonce=value["nonce"],
            arms=tuple(value["arms"]),
            problems=tuple(value["problems"]),
            repeats=value["repeats"],
            seed=value["seed"],
            budget=Budget(**value["budget"]),
            margin=value["analysis"]["margin"],
            looks=stop_rule_looks(value["stop"]),
            files={_pair(name): digest for name, digest in value["files"].items()},
        )
        again = format_plan(plan)
    except PlanError:
        raise
    except (FormatError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise PlanError(f"not an analysis plan of {FORMAT}: {error!s:.200}") from error
    if again != text:
        raise PlanError(f"not an analysis plan of {FORMAT}: it says what this version does not compute")
    return plan


def differences(kept: Plan, wanted: Plan) -> list[str]:
    """In words, where two plans differ: what the kept one has, and what was asked for."""
    found = []
    for name in ("arms", "problems", "repeats", "seed", "margin", "stop_rule"):
        has, asked = getattr(kept, name), getattr(wanted, name)
        if has != asked:
            found.append(f"{name.replace('_', ' ')} {_words(asked)}, it has {_words(has)}")
    for name in Budget.__slots__:
        has, asked = getattr(kept.budget, name), getattr(wanted.budget, name)
        if has != asked:
            found.append(f"{name} {asked}, it has {has}")
    if not found and kept.files != wanted.files:
        changed = sorted(
            f"{problem}/{arm}"
            for problem, arm in set(kept.files) | set(wanted.files)
            if kept.files.get((problem, arm)) != wanted.files.get((problem, arm))
        )
        found.append(f"other study files: {', '.join(changed)}")
    return found


def _words(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _pair(name: str) -> tuple[str, str]:
    problem, slash, arm = name.partition("/")
    if not slash:
        raise PlanError(f"study file {name!r:.80}: want PROBLEM/ARM")
    return problem, arm


def _check(plan: Plan) -> None:
    if not re.fullmatch("[0-9a-f]{16}", str(plan.nonce), re.ASCII):
        raise PlanError(f"nonce {plan.nonce!r:.40}: want 16 lower-case hex digits")
    _distinct("arms", plan.arms, 2)
    _distinct("problems", plan.problems, 1)
    unknown = [one for one in plan.arms if one not in ARMS]
    if unknown:
        raise PlanError(f"arms {', '.join(map(str, unknown))}: want two or more of {', '.join(ARMS)}")
    for name in plan.problems:
        NAME("problems", name)
    _whole("repeats", plan.repeats, 1, MAX_RUNS)
    _whole("seed", plan.seed, 0, 2**53 - 1)
    if plan.runs > MAX_RUNS:
        raise PlanError(f"{plan.runs} runs: want at most {MAX_RUNS}")
    for name in Budget.__slots__:
        _whole(name, getattr(plan.budget, name), 1, 10_000_000)
    DECIMAL("margin", plan.margin)
    if Fraction(plan.margin) <= 0:
        raise PlanError(f"margin {plan.margin}: want a PGR above 0, such as 0.05")
    if plan.looks > plan.repeats:
        raise PlanError(f"{plan.looks} looks at {plan.repeats} repeats: want no more looks than repeats")
    wanted = {(problem, arm) for problem in plan.problems for arm in plan.arms}
    if set(plan.files) != wanted:
        raise PlanError(
            f"{len(plan.files)} study files: want one for each of {len(wanted)} problems and arms"
        )
    for digest in plan.files.values():
        HEX32("files", digest)


def _distinct(name: str, values: Sequence[str], least: int) -> None:
    if len(values) < least or len(set(values)) != len(values):
        raise PlanError(f"{name} {', '.join(map(str, values)) or 'none'}: want {least} or more, each once")


def _whole(name: str, value: object, least: int, most: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise PlanError(f"{name} {value!r:.40}: want a whole number from {least} to {most}")
