"""A memo, and a table of signals, as Markdown for a person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aar.outside.oversight.frameworks import NOT_QUOTED, QUOTATIONS, Missing
from aar.outside.oversight.limits import Judged, interval_text
from aar.outside.oversight.memo import Memo
from aar.outside.oversight.signals import Signal

TITLES = {
    "isolation": "Isolation",
    "log_integrity": "Log integrity",
    "allocation": "Pipeline and task allocation",
    "review_gate": "Human gate",
    "monitors": "Threshold monitors",
}


def format_memo(memo: Memo, safe: Callable[[str], str]) -> str:
    """The memo; `safe` is put over every text that may be somebody else's."""
    lines = [f"# Deployment review of {safe(memo.subject)}: {memo.verdict.upper()}", "", "## Not checked"]
    for one in memo.not_checked:
        mark = "**Holds the verdict up.** " if one.holds else ""
        lines.append(_line(mark + safe(one.says), one.cites, safe))
    lines += ["", "## Refusals"]
    for refusal in memo.refusals:
        says = f"**{refusal.code}**: {safe(refusal.says)}. Next: {safe(refusal.next)}"
        lines.append(_line(says, refusal.cites, safe))
    if not memo.refusals:
        lines.append("None.")
    for name, title in TITLES.items():
        lines += ["", f"## {title}", *_scores(memo.sections[name])]
        lines += [_line(safe(one.says), one.cites, safe) for one in memo.said[name]]
    lines += ["", f"## Verdict: {memo.verdict}"]
    lines.append(_why(memo))
    return "\n".join(lines)


def _scores(section: dict[str, object]) -> list[str]:
    score = section.get("score")
    if isinstance(score, dict):
        return ["Score: " + ", ".join(f"{name} {value:.2f}" for name, value in score.items()) + ".", ""]
    return [] if score is None else [f"Score: {score:.2f}.", ""]


def _why(memo: Memo) -> str:
    if memo.refusals:
        return "No-go: " + ", ".join(one.code for one in memo.refusals) + "."
    holding = sum(one.holds for one in memo.not_checked)
    if holding:
        return f"Hold: {holding} things that have to be known were not checked."
    return "Go, for what was checked: what stands first was not."


def _line(says: str, cites: Iterable[str], safe: Callable[[str], str]) -> str:
    return f"- {says}. [{'; '.join(safe(one) for one in cites)}]"


def format_threshold(
    subject: str,
    signals: Sequence[Signal],
    judged: Sequence[Judged],
    missing: Sequence[Missing],
    safe: Callable[[str], str],
) -> str:
    """Signals, limits, what frameworks call a threshold, and what is missing to it."""
    lines = [f"# Signals of {safe(subject)}"]
    for one in signals:
        lines += [
            "",
            f"## {one.name}: {interval_text(one)}",
            f"{one.definition[0].upper()}{one.definition[1:]}.",
        ]
        lines.append(f"Source: {one.source}. [{'; '.join(one.cites)}]")
        lines += [f"Not estimable: {safe(one.reason.removeprefix('not estimable: '))}."] if one.reason else []
        lines.append(_trend(one))
        lines += [f"Detail: {safe(one.detail)}."] if one.detail else []
    lines += ["", "## Limits"]
    lines += [f"- {safe(one.says())}. [{one.key}]" for one in judged]
    lines += ["", "## What frameworks say"]
    for quoted in QUOTATIONS:
        lines.append(
            f"- {quoted.framework} {quoted.version}, {quoted.date}, {quoted.level}: “{quoted.words}” "
            f"({quoted.source})"
        )
    lines += [f"- {one}." for one in NOT_QUOTED]
    lines += ["", "## What this study does not do that would cross them"]
    lines += [f"- {safe(one.says)}. [{'; '.join(one.cites)}]" for one in missing]
    return "\n".join(lines)


def _trend(signal: Signal) -> str:
    if signal.trend is None:
        return f"Trend: not estimable, {signal.no_trend}."
    trend = signal.trend
    return (
        f"Trend: {trend.direction}, from {trend.earlier:.4g} in the first half to {trend.later:.4g} in the "
        f"second, change {trend.change:+.4g} [{trend.low:+.4g}, {trend.high:+.4g}]."
    )
