"""A comparison as a picture: values by arm, differences with their intervals, ideas, what reading takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aar.cli.picture import COLOURS, MARKERS
from aar.cli.simulate_picture import FAINT, INK, save
from aar.outside.comparison.analysis import ALL
from aar.outside.comparison.assignment import assign

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aar.outside.comparison.report import Ended

APART = 0.2


def draw_comparison(ended: Ended, path: Path) -> None:
    """Four panels, to a .png or .svg; the same SVG for the same numbers."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(2, 2)
        _draw_values(panels[0][0], ended)
        _draw_differences(panels[0][1], ended)
        _draw_entropy(panels[1][0], ended)
        _draw_reading(panels[1][1], ended)
        title = f"{' against '.join(ended.plan.arms)}: {ended.analysis.blocks} blocks"
        figure.suptitle(title, x=0.01, ha="left", fontsize=12, color=INK)

    save(draw, path, size=(10.0, 7.2))


def _look(ended: Ended, arm: str) -> tuple[str, str]:
    number = ended.plan.arms.index(arm)
    return COLOURS[number], MARKERS[number]


def _shift(ended: Ended, arm: str) -> float:
    arms = ended.plan.arms
    return APART * (arms.index(arm) - (len(arms) - 1) / 2)


def _draw_values(axes: Axes, ended: Ended) -> None:
    """Each run a small mark, the mean of an arm a large one with its interval."""
    problems = ended.plan.problems
    for run in assign(ended.plan):
        outcome = ended.outcomes.get(run.number)
        if outcome is not None:
            colour, marker = _look(ended, run.arm)
            x = problems.index(run.problem) + _shift(ended, run.arm)
            axes.plot([x], [float(outcome.pgr)], color=colour, marker=marker, markersize=3.5, alpha=0.45)
    for one in ended.analysis.levels:
        colour, marker = _look(ended, one.arm)
        x = problems.index(one.problem) + _shift(ended, one.arm) + APART / 3
        if one.pgr.low is not None and one.pgr.high is not None:
            axes.plot([x, x], [one.pgr.low, one.pgr.high], color=colour, linewidth=1.4)
        axes.plot([x], [one.pgr.mean], color=colour, marker=marker, markersize=7, linestyle="")
    for arm in ended.plan.arms:
        colour, marker = _look(ended, arm)
        axes.plot([], [], color=colour, marker=marker, linestyle="", label=arm)
    axes.set_xticks(range(len(problems)), problems)
    axes.set_ylabel("PGR, sealed half")
    axes.set_title("What a run would publish", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8)


def _draw_differences(axes: Axes, ended: Ended) -> None:
    rows = [*ended.analysis.comparisons, *ended.analysis.overall]
    margin = float(ended.plan.margin)
    axes.axvspan(-margin, margin, color=FAINT, alpha=0.15, linewidth=0)
    axes.axvline(0, color=FAINT, linewidth=0.9, linestyle=(0, (5, 4)))
    for place, one in enumerate(rows):
        colour = COLOURS[ended.plan.arms.index(one.one)]
        if one.difference.low is not None and one.difference.high is not None:
            axes.plot([one.difference.low, one.difference.high], [place, place], color=colour, linewidth=1.6)
        axes.plot([one.difference.mean], [place], color=colour, marker="o", markersize=6)
    axes.set_yticks(range(len(rows)), [f"{one.problem}: {one.one} less {one.other}" for one in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"PGR; grey: the margin of {ended.plan.margin}")
    axes.set_title("Differences within blocks", loc="left", fontsize=10, color=INK)


def _draw_entropy(axes: Axes, ended: Ended) -> None:
    styles = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 3)))
    for one in ended.analysis.entropies:
        colour, _marker = _look(ended, one.arm)
        style = styles[ended.plan.problems.index(one.problem) % len(styles)]
        counts = range(1, len(one.course) + 1)
        axes.plot(counts, one.course, color=colour, linestyle=style, label=f"{one.arm}, {one.problem}")
    axes.set_xlabel("submissions of a run")
    axes.set_ylabel("bits")
    axes.set_ylim(bottom=0)
    axes.set_title("Entropy of idea families (described, not aimed at)", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=7, ncols=max(len(ended.plan.arms) - 1, 1))


def _draw_reading(axes: Axes, ended: Ended) -> None:
    rows = [
        one for one in ended.analysis.efforts if one.problem != ALL and one.minutes_per_finding is not None
    ]
    problems = ended.plan.problems
    for one in rows:
        colour, _marker = _look(ended, one.arm)
        x = problems.index(one.problem) + _shift(ended, one.arm)
        axes.bar([x], [one.minutes_per_finding or 0.0], width=APART * 0.9, color=colour, alpha=0.8)
    axes.set_xticks(range(len(problems)), problems)
    axes.set_ylabel("minutes")
    title = "Reading per publishable finding"
    axes.set_title(title, loc="left", fontsize=10, color=INK)
