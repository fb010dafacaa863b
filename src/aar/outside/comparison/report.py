"""The report of an A/B: JSON with every number, and Markdown for a person."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aar.outside.comparison.analysis import Analysis, Comparison, Effort, Entropy
from aar.outside.comparison.answer import answer, sentence
from aar.outside.comparison.assignment import assign, looks_after
from aar.outside.comparison.intervals import Estimate
from aar.outside.comparison.outcome import Outcome
from aar.outside.comparison.plan import Plan, format_plan

FORMAT = "aar-comparison-report/v1"
DIGITS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a comparison ended: what it came to, the looks that were made, and whether one of them ended it."""

    plan: Plan
    analysis: Analysis
    outcomes: Mapping[int, Outcome]
    looks: int
    is_stopped_early: bool


def report_json(ended: Ended) -> dict[str, Any]:
    """All of it; numbers have four decimals, `None` is what cannot be said."""
    plan, analysis = ended.plan, ended.analysis
    return {
        "format": FORMAT,
        "answer": answer(plan, analysis),
        "plan": json.loads(format_plan(plan)),
        "plan_sha256": plan.digest,
        "runs": {
            "planned": plan.runs,
            "done": len(ended.outcomes),
            "blocks": analysis.blocks,
            "left_out": analysis.left_out,
            "below_budget": _below_budget(ended),
        },
        "looks": {
            "rule": plan.stop_rule,
            "planned": len(looks_after(plan)),
            "made": ended.looks,
            "stopped_early": ended.is_stopped_early,
            "level_of_each_interval": _rounded(float(plan.level)),
        },
        "values": [
            {"problem": one.problem, "arm": one.arm, **_estimate(one.pgr), "nothing_to_publish": one.without}
            for one in analysis.levels
        ],
        "comparisons": [_comparison(plan, one) for one in analysis.comparisons],
        "overall": [_comparison(plan, one) for one in analysis.overall],
        "effort": [_effort(one) for one in analysis.efforts],
        "entropy": [
            {
                "problem": one.problem,
                "arm": one.arm,
                **(_estimate(one.last) if one.last is not None else {}),
                "course": [_rounded(value) for value in one.course],
            }
            for one in analysis.entropies
        ],
        "each_run": [
            {
                "run": run.number,
                "problem": run.problem,
                "repeat": run.repeat,
                "arm": run.arm,
                **_outcome(ended.outcomes[run.number]),
            }
            for run in assign(plan)
            if run.number in ended.outcomes
        ],
    }


def report_markdown(ended: Ended) -> str:
    """What a person reads first to last: the answer, then what it rests on."""
    plan, analysis = ended.plan, ended.analysis
    lines = [f"# {' against '.join(plan.arms)} on {', '.join(plan.problems)}", ""]
    for one in answer(plan, analysis):
        lines += [f"**{one}**", ""]
    lines += [_how_it_ran(ended), ""]
    lines += [f"- {sentence(plan, row)}" for row in (*analysis.comparisons, *analysis.overall)]
    lines += ["", f"## PGR within blocks, {_level_words(plan)}", ""]
    lines += _table(
        [
            "class",
            "comparison",
            "blocks",
            "difference",
            "interval",
            "p (Holm)",
            f"second at most {plan.margin} behind",
            "interval",
        ],
        [_comparison_cells(one) for one in (*analysis.comparisons, *analysis.overall)],
    )
    lines += ["", "## PGR of each arm", ""]
    lines += _table(
        ["class", "arm", "runs", "mean", "interval", "nothing to publish"],
        [
            [
                one.problem,
                one.arm,
                str(one.pgr.count),
                _number(one.pgr.mean),
                _span(one.pgr),
                str(one.without),
            ]
            for one in analysis.levels
        ],
    )
    lines += ["", "## What auditing takes", ""]
    lines += _table(
        [
            "class",
            "arm",
            "entries",
            "plan deviations",
            "minutes to read",
            "publishable findings",
            "entries each",
            "deviations each",
            "minutes each",
        ],
        [_effort_cells(one) for one in analysis.efforts],
    )
    lines += ["", "## Idea families: entropy in bits", ""]
    lines += _entropy_table(analysis.entropies)
    lines += ["", "## Every run", ""]
    lines += _table(
        ["run", "class", "repeat", "arm", "PGR", "method", "receipt", "submissions", "ended"],
        [
            [
                f"{run.number:03}",
                run.problem,
                str(run.repeat),
                run.arm,
                outcome.pgr,
                f"`{outcome.method}`" if outcome.method else "-",
                f"#{outcome.receipt}" if outcome.receipt >= 0 else "-",
                str(outcome.submissions),
                outcome.reason,
            ]
            for run in assign(plan)
            if (outcome := ended.outcomes.get(run.number)) is not None
        ],
    )
    lines += [
        "",
        f"Plan: SHA-256 `{plan.digest}`, in entry 0 of every run:",
        "",
        f"    {format_plan(plan)}",
        "",
    ]
    return "\n".join(lines)


def _how_it_ran(ended: Ended) -> str:
    plan, analysis = ended.plan, ended.analysis
    budget = plan.budget
    told = (
        f"{len(ended.outcomes)} of {plan.runs} runs, {analysis.blocks} whole blocks (problem and repeat); "
        f"each run {budget.researchers} researchers, {budget.submissions} submissions, at most "
        f"{budget.seconds} s. "
    )
    if plan.looks:
        told += f"Stop rule {plan.stop_rule}: {ended.looks} looks were made"
        told += ", and the last one ended it early. " if ended.is_stopped_early else ". "
    else:
        told += "No stop rule: nobody looked before the end. "
    if analysis.left_out:
        told += f"{analysis.left_out} runs of blocks that are not whole are left out. "
    short = _below_budget(ended)
    if short:
        told += f"{short} runs handed in fewer than that: what was spent is not matched there. "
    return told.rstrip()


def _below_budget(ended: Ended) -> int:
    return sum(one.submissions < ended.plan.budget.submissions for one in ended.outcomes.values())


def _level_words(plan: Plan) -> str:
    level = f"{float(plan.level):.1%}".replace("%", " %")
    return "95 % intervals" if not plan.looks else f"{level} intervals, for {plan.looks} looks 95 % together"


def _comparison(plan: Plan, one: Comparison) -> dict[str, Any]:
    return {
        "problem": one.problem,
        "one": one.one,
        "other": one.other,
        **_estimate(one.difference),
        "p": _rounded(one.difference.p_value()),
        "p_holm": _rounded(one.adjusted),
        "p_holm_margin": _rounded(one.adjusted_margin),
        "blocks_within_margin": one.keeps_up,
        "share_within_margin": _rounded(one.keeps_up / one.blocks),
        "share_low": _rounded(one.share[0]),
        "share_high": _rounded(one.share[1]),
        "winner": one.winner,
        "other_is_competitive": one.is_competitive,
        "says": sentence(plan, one),
    }


def _effort(one: Effort) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | int) else _rounded(value)
        for name in Effort.__slots__
        for value in [getattr(one, name)]
    }


def _outcome(one: Outcome) -> dict[str, Any]:
    return {
        "pgr": float(one.pgr),
        "method": one.method,
        "researcher": one.researcher,
        "receipt": one.receipt if one.receipt >= 0 else None,
        "ended": one.reason,
        "submissions": one.submissions,
        "entries": one.entries,
        "amended_plans": one.amended,
        "alarms_of_deviation": one.alarms,
        "words": one.words,
        "reading_minutes": _rounded(one.reading_minutes),
        "publishable": one.publishable,
        "families": [list(names) for names in one.families],
    }


def _estimate(found: Estimate) -> dict[str, Any]:
    return {
        "count": found.count,
        "mean": _rounded(found.mean),
        "low": _rounded(found.low),
        "high": _rounded(found.high),
        "deviation": _rounded(found.deviation),
    }


def _rounded(value: float | None) -> float | None:
    # No "-0.0".
    return None if value is None else round(value, DIGITS) + 0.0


def _comparison_cells(one: Comparison) -> list[str]:
    return [
        one.problem,
        f"{one.one} less {one.other}",
        str(one.blocks),
        f"{one.difference.mean:+.3f}",
        _span(one.difference),
        f"{one.adjusted:.3f}",
        f"{one.keeps_up} of {one.blocks}",
        f"[{one.share[0]:.2f}, {one.share[1]:.2f}]",
    ]


def _effort_cells(one: Effort) -> list[str]:
    return [
        one.problem,
        one.arm,
        f"{one.entries:.1f}",
        f"{one.deviations:.1f}",
        f"{one.minutes:.1f}",
        f"{one.publishable:.1f}",
        _number(one.entries_per_finding, 1),
        _number(one.deviations_per_finding, 2),
        _number(one.minutes_per_finding, 1),
    ]


def _entropy_table(entropies: Sequence[Entropy]) -> list[str]:
    """After a quarter, half and three quarters of the submissions, and at the end with its interval."""
    return _table(
        ["class", "arm", "after 1/4", "1/2", "3/4", "all", "interval"],
        [
            [
                one.problem,
                one.arm,
                *(
                    _number(one.course[max(len(one.course) * part // 4, 1) - 1] if one.course else None, 2)
                    for part in (1, 2, 3)
                ),
                _number(one.last.mean if one.last is not None else None, 2),
                _span(one.last) if one.last is not None else "-",
            ]
            for one in entropies
        ],
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _span(found: Estimate) -> str:
    return "-" if found.low is None or found.high is None else f"[{found.low:.3f}, {found.high:.3f}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown; a bar in a cell would end it."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
