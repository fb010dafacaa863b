"""PGR over time as a picture: what each researcher was told, and what the sealed half said at the end."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aar.cli.safe_text import terminal_safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

# Okabe and Ito's palette, less black and yellow: told apart by colour-blind readers, and legible on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Seven marks to six colours: two researchers look the same only when there are more than forty of them.
MARKERS = ("o", "s", "^", "v", "P", "X", "D")
_INK, _FAINT = "#222222", "#767676"
_HOW_TO_READ = (
    "line: best value told to a researcher, in whole steps, drawn a little apart   "
    "band: its 95 % interval, widened to whole steps\n"
    "mark: one official run, its exact value once that is opened   held-out: with its 95 % interval"
)

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # it comes with matplotlib: the same picture on every machine
    "font.size": 9.0,
    "svg.fonttype": "path",
    "svg.hashsalt": "aar",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One scored official run.

    `minutes` since the study opened; `released` is what the researcher was told, with its interval
    `low`..`high`; `improved` is false where the release rule repeated an earlier value; `exact` is the
    opened public value and `heldout` the opened sealed one with its interval `heldout_span`: None while they
    are closed.
    """

    minutes: float
    researcher: str
    released: float
    low: float
    high: float
    improved: bool
    exact: float | None
    heldout: float | None
    heldout_span: tuple[float, float] | None = None


def draw_pgr_over_time(
    points: Sequence[Point],
    path_svg: Path,
    path_png: Path,
    *,
    title: str,
    weak: float = 0.0,
    ceiling: float = 1.0,
) -> None:
    """Draw `points` to both files; the SVG is the same bytes for the same points.

    Left: per researcher the best released value as steps with the interval of that value, a dot per official
    run (its opened value where there is one), and the best of all researchers so far. Right: held-out values.
    """
    use_own_matplotlib_directory()
    import matplotlib

    # A matplotlibrc in the current directory must not restyle the picture.
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.transforms import offset_copy

        # Not pyplot: it looks for a display, and takes as long to import as the rest together.
        figure = Figure(figsize=(10.0, 5.4), layout="constrained")
        FigureCanvasAgg(figure)
        ordered = sorted(points, key=lambda point: (point.minutes, point.researcher))
        names = sorted({point.researcher for point in ordered}, key=_natural)
        grid = figure.add_gridspec(1, 2, width_ratios=(5, min(1 + 0.2 * len(names), 4)), wspace=0.02)
        axes = figure.add_subplot(grid[0])
        sealed = figure.add_subplot(grid[1], sharey=axes)
        end = max((point.minutes for point in ordered), default=1.0) * 1.02 or 1.0

        for each in (axes, sealed):
            _reference_lines(each, weak=weak, ceiling=ceiling)
        for number, name in enumerate(names):
            # Released values are multiples of one step: lines side by side, so that none hides another.
            aside = max(min(2.2, 9 / len(names)), 0.4) * (number - (len(names) - 1) / 2)
            beside = offset_copy(axes.transData, fig=figure, y=aside, units="points")
            own = [point for point in ordered if point.researcher == name]
            _draw_researcher(axes, own, number, end, beside)
        _draw_best_so_far(axes, ordered, end)
        _draw_heldout(sealed, ordered, names)

        axes.set_xlim(0, end)
        axes.set_ylim(*_limits(ordered, weak=weak, ceiling=ceiling))
        numbers = {name: number for number, name in enumerate(names)}
        _note_values_beyond(
            axes, [(point.minutes, _shown(point), numbers[point.researcher]) for point in ordered]
        )
        _note_values_beyond(
            sealed,
            [
                (numbers[point.researcher], point.heldout, numbers[point.researcher])
                for point in ordered
                if point.heldout is not None
            ],
        )
        axes.set_xlabel("minutes since the study opened")
        axes.set_ylabel("performance gap recovered (PGR)")
        axes.set_title(
            terminal_safe(title, 100), loc="left", fontsize=12, color=_INK, pad=34, parse_math=False
        )
        told = axes.annotate(
            _HOW_TO_READ,
            (0, 1),
            xycoords="axes fraction",
            xytext=(0, 8),
            textcoords="offset points",
            color=_FAINT,
            fontsize=8,
        )
        # It may stand over the other panel, too: else the layout would make room for all of its width.
        told.set_in_layout(False)
        for text, value, offset in (("ceiling", ceiling, 3), ("weak teacher", weak, 3)):
            axes.annotate(
                text, (0, value), xytext=(4, offset), textcoords="offset points", color=_FAINT, fontsize=8
            )
        if ordered:
            _legend(figure, axes)
        else:
            axes.text(
                0.5, 0.5, "no official run was scored", transform=axes.transAxes, ha="center", color=_FAINT
            )
        figure.savefig(path_svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(path_png, format="png", dpi=150, metadata={"Software": None})


def use_own_matplotlib_directory() -> None:
    """Keep matplotlib's font list beside the installation: found again offline, and in nobody's home."""
    own = Path(sys.prefix) / "matplotlib"
    if sys.prefix != sys.base_prefix and os.access(sys.prefix, os.W_OK):
        os.environ["MPLCONFIGDIR"] = str(own)
    elif "MPLCONFIGDIR" not in os.environ and not os.access(Path.home(), os.W_OK):
        os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="aar-matplotlib-")


def _natural(name: str) -> tuple[str, int]:
    """researcher-2 before researcher-10."""
    stem = name.rstrip("0123456789")
    digits = name[len(stem) :]
    return stem, int(digits) if digits else -1


def _look(number: int) -> dict[str, Any]:
    return {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}


def _reference_lines(axes: Axes, *, weak: float, ceiling: float) -> None:
    for value in (weak, ceiling):
        axes.axhline(value, color=_FAINT, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
    axes.grid(visible=True, axis="y", color="#ececec", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)


def _draw_researcher(axes: Axes, points: Sequence[Point], number: int, end: float, beside: Transform) -> None:
    look = _look(number)
    best = _best_steps(points)
    times = [point.minutes for point in best] + [end]
    last = best[-1:]
    axes.step(
        times,
        [point.released for point in [*best, *last]],
        where="post",
        color=look["color"],
        linewidth=1.6,
        transform=beside,
        zorder=4,
    )
    axes.fill_between(
        times,
        [point.low for point in [*best, *last]],
        [point.high for point in [*best, *last]],
        step="post",
        color=look["color"],
        alpha=0.12,
        linewidth=0,
        zorder=2,
    )
    axes.plot(
        [point.minutes for point in points],
        [_shown(point) for point in points],
        linestyle="none",
        markersize=5.5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        label=terminal_safe(points[0].researcher, 40).replace("$", r"\$"),
        zorder=5,
        **look,
    )


def _best_steps(points: Sequence[Point]) -> list[Point]:
    """The points at which the best released value so far rose."""
    best: list[Point] = []
    for point in points:
        if not best or point.released > best[-1].released:
            best.append(point)
    return best


def _draw_best_so_far(axes: Axes, points: Sequence[Point], end: float) -> None:
    best = _best_steps(points)
    if best:
        axes.step(
            [point.minutes for point in best] + [end],
            [point.released for point in [*best, best[-1]]],
            where="post",
            color=_INK,
            linewidth=4.5,
            alpha=0.28,
            solid_capstyle="round",
            label="best so far, as released",
            zorder=3,
        )


def _draw_heldout(axes: Axes, points: Sequence[Point], names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        opened = [point for point in points if point.researcher == name and point.heldout is not None]
        for place, point in enumerate(opened):
            value = point.released if point.heldout is None else point.heldout
            # Side by side: their intervals overlap.
            x = number + 0.6 * ((place + 0.5) / len(opened) - 0.5)
            if point.heldout_span is not None:
                colour = COLOURS[number % len(COLOURS)]
                axes.plot([x, x], point.heldout_span, color=colour, linewidth=1.1, alpha=0.6, zorder=4)
            axes.plot(
                [x],
                [value],
                linestyle="none",
                markersize=5.0,
                markeredgecolor="white",
                markeredgewidth=0.6,
                zorder=5,
                **_look(number),
            )
    axes.set_xlim(-0.7, max(len(names), 1) - 0.3)
    axes.set_xticks(range(len(names)), [str(number) for number in range(1, len(names) + 1)])
    axes.set_xlabel("researcher")
    axes.set_title("held-out", fontsize=10, color=_INK, pad=8)
    axes.tick_params(axis="y", length=0, labelleft=False)
    axes.spines["left"].set_visible(False)
    if all(point.heldout is None for point in points):
        axes.text(0.5, 0.5, "sealed", transform=axes.transAxes, ha="center", color=_FAINT, rotation=90)


def _limits(points: Sequence[Point], *, weak: float, ceiling: float) -> tuple[float, float]:
    """Both reference lines and every value, but at most a quarter of the gap beyond the lines."""
    gap = ceiling - weak
    values = [weak, ceiling]
    for point in points:
        values += [point.released, point.low, point.high, _shown(point)]
        values += [] if point.heldout is None else [point.heldout]
    low = max(min(values), weak - 0.25 * gap)
    high = min(max(values), ceiling + 0.25 * gap)
    return low - 0.06 * gap, high + 0.08 * gap


def _shown(point: Point) -> float:
    """The opened value where there is one, else the released one."""
    return point.released if point.exact is None else point.exact


def _note_values_beyond(axes: Axes, points: Sequence[tuple[float, float, int]]) -> None:
    """An arrow and the number at the edge for each (x, value, researcher) outside the limits."""
    low, high = axes.get_ylim()
    for x, value, number in points:
        if low <= value <= high:
            continue
        is_below = value < low
        axes.annotate(
            f"{value:.2f}",
            (x, low if is_below else high),
            xytext=(0, 14 if is_below else -14),
            textcoords="offset points",
            ha="center",
            va="bottom" if is_below else "top",
            fontsize=8,
            color=COLOURS[number % len(COLOURS)],
            arrowprops={
                "arrowstyle": "-|>",
                "color": COLOURS[number % len(COLOURS)],
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _legend(figure: Figure, axes: Axes) -> None:
    """Below the picture, where it hides no value."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)
