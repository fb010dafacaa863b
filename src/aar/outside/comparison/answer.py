"""Does free decomposition always win? In plain sentences, which never say more than the intervals do."""

from __future__ import annotations

from collections.abc import Sequence

from aar.outside.comparison.analysis import REFERENCE, Analysis, Comparison
from aar.outside.comparison.intervals import Estimate
from aar.outside.comparison.plan import Plan


def answer(plan: Plan, analysis: Analysis) -> list[str]:
    """One sentence for each arm that was compared with the fixed one: the answer to the question."""
    if REFERENCE not in plan.arms:
        return [f"The {REFERENCE} workflow was not compared: this says nothing of whether free always wins."]
    sentences = []
    for arm in plan.arms:
        rows = [one for one in analysis.comparisons if (one.one, one.other) == (arm, REFERENCE)]
        if arm != REFERENCE:
            sentences.append(_answer(plan, arm, rows))
    return sentences


def _answer(plan: Plan, arm: str, rows: Sequence[Comparison]) -> str:
    question = f"Does {arm} decomposition always win over the {REFERENCE} workflow?"
    if not rows:
        return f"{question} No block is whole yet: nothing can be said."
    ahead = [one for one in rows if one.winner == REFERENCE]
    near = [one for one in rows if one.is_competitive and one.winner != REFERENCE]
    wins = [one for one in rows if one.winner == arm]
    if ahead or near:
        parts = [f"on {_names(ahead)} the {REFERENCE} workflow is ahead"] if ahead else []
        if near:
            who = "it" if ahead else f"the {REFERENCE} workflow"
            parts.append(f"on {_names(near)} {who} is competitive, less than {plan.margin} behind")
        return f"{question} No: {'; '.join(parts)}."
    none = f"no class of problem was found in which the {REFERENCE} workflow is shown to be competitive"
    if len(wins) == len(rows):
        return f"{question} On {_names(rows)} it did, and {none}; of other problems this says nothing."
    if wins:
        open_ones = [one for one in rows if not one.winner]
        return f"{question} On {_names(wins)} it won; on {_names(open_ones)} no winner is shown, and {none}."
    return f"{question} It is not shown to win on any class here, and {none}: more repeats would tell."


def sentence(plan: Plan, one: Comparison) -> str:
    """What one comparison says, with its interval."""
    where = "Over all problems" if one.problem == "all" else f"On {one.problem}"
    found = f"{one.one} less {one.other} {estimate_words(one.difference)}"
    if one.difference.low is None:
        return f"{where}: {found}; {_no_interval(one.difference)}, so nothing is said of a winner."
    if one.winner == one.one:
        by = f", by less than {plan.margin}" if one.is_competitive else ""
        return f"{where}: {found}; {one.one} is ahead{by}."
    if one.winner:
        return f"{where}: {found}; {one.other} is ahead."
    if one.difference.is_apart_from_0:
        told = "the interval does not include 0, but so many comparisons were made that no winner is named"
    else:
        told = "the interval includes 0: no winner"
    if one.is_competitive:
        return f"{where}: {found}; {told}, and {one.other} is competitive: less than {plan.margin} behind."
    return f"{where}: {found}; {told}, and {one.other} is not shown to be competitive either."


def estimate_words(found: Estimate) -> str:
    """A mean with its interval, in three decimals."""
    interval = "" if found.low is None or found.high is None else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.mean:+.3f}{interval}"


def _no_interval(found: Estimate) -> str:
    return (
        "one block has no interval" if found.count < 2 else "all differences are equal: there is no interval"
    )


def _names(rows: Sequence[Comparison]) -> str:
    names = [one.problem for one in rows]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
