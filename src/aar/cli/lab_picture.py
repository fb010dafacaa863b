"""PGR of methods on problems as a picture: a panel per problem, a line per method, intervals as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aar.cli.picture import COLOURS, STYLE, use_own_matplotlib_directory
from aar.cli.safe_text import terminal_safe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, RED = COLOURS[0], COLOURS[1]
INK, FAINT, GREY = "#222222", "#767676", "#8c8c8c"
# What lies outside is drawn as an arrow at the edge, with its number.
FROM, TO = -0.35, 1.2
_ROW_INCHES, _PANEL_INCHES = 0.205, 2.55
_HOW_TO_READ = (
    "0 is the weak teacher, 1 the ceiling   bar: 95 % interval, teacher, ceiling and items drawn again   "
    "arrow: beyond the edge"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A method on a problem: PGR, its interval, and the interval of its lead over vanilla."""

    problem: str
    method: str
    pgr: float
    low: float
    high: float
    lead_low: float
    lead_high: float

    @property
    def colour(self) -> str:
        """Blue ahead of vanilla, red behind it, grey where the interval of the lead holds 0."""
        return BLUE if self.lead_low > 0 else RED if self.lead_high < 0 else GREY


def draw_table(
    shown: Sequence[Shown], problems: Sequence[str], methods: Sequence[str], path: Path, *, seeds: int
) -> None:
    """Draw to `path` (.png or .svg): methods from the best mean down; the same SVG for the same values."""
    use_own_matplotlib_directory()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.lines import Line2D

        order = _ordered(shown, methods)
        height = 1.35 + _ROW_INCHES * max(len(order), 3)
        # Wide enough for title and legend beside each other.
        width = max(1.9 + _PANEL_INCHES * len(problems), 8.2)
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(problems), sharey=True, squeeze=False)[0]
        for panel, problem in zip(panels, problems):
            _draw_panel(panel, [one for one in shown if one.problem == problem], problem, order)
        panels[0].set_yticks(range(len(order)), [_label(name) for name in order])
        panels[0].set_ylim(len(order) - 0.4, -0.6)
        figure.suptitle(
            f"Performance gap recovered, {seeds} {'seed' if seeds == 1 else 'seeds'}",
            x=0.01,
            ha="left",
            fontsize=12,
            color=INK,
        )
        figure.supxlabel(_HOW_TO_READ, x=0.01, ha="left", fontsize=8, color=FAINT)
        marks = [
            Line2D([], [], color=colour, marker="o", markersize=5, linewidth=1.6, label=label)
            for colour, label in (
                (BLUE, "ahead of vanilla"),
                (GREY, "not told apart"),
                (RED, "behind vanilla"),
            )
        ]
        marks.append(Line2D([], [], color=INK, linewidth=1.0, linestyle=(0, (1, 2)), label="vanilla"))
        figure.legend(handles=marks, loc="outside upper right", ncols=4, frameon=False, fontsize=8)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(path, format=kind, dpi=150, metadata=metadata)


def _ordered(shown: Sequence[Shown], methods: Sequence[str]) -> list[str]:
    """By the mean over problems of what is shown of a PGR, the best first."""

    def mean(name: str) -> float:
        own = [min(max(one.pgr, FROM), TO) for one in shown if one.method == name]
        return sum(own) / len(own)

    drawn = [name for name in methods if any(one.method == name for one in shown)]
    return sorted(drawn, key=lambda name: -mean(name))


def _draw_panel(axes: Axes, shown: Sequence[Shown], problem: str, order: Sequence[str]) -> None:
    for row in range(0, len(order), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="#f6f6f6", linewidth=0, zorder=0)
    for value in (0.0, 1.0):
        axes.axvline(value, color=FAINT, linewidth=0.9, linestyle=(0, (5, 4)), zorder=1)
    for one in shown:
        if one.method == "vanilla":
            axes.axvline(one.pgr, color=INK, linewidth=1.0, linestyle=(0, (1, 2)), zorder=2)
    for one in shown:
        row = order.index(one.method)
        if not FROM <= one.pgr <= TO:
            _note_beyond(axes, one, row)
            continue
        axes.plot(
            [max(one.low, FROM), min(one.high, TO)],
            [row, row],
            color=one.colour,
            linewidth=2.2,
            alpha=0.45,
            solid_capstyle="butt",
            zorder=3,
        )
        axes.plot(
            [one.pgr],
            [row],
            marker="o",
            markersize=5,
            color=one.colour,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=4,
        )
    axes.set_xlim(FROM, TO)
    axes.set_xticks([0, 0.5, 1], ["0", ".5", "1"])
    axes.set_title(terminal_safe(problem, 40), loc="left", fontsize=10, color=INK, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def _note_beyond(axes: Axes, one: Shown, row: int) -> None:
    is_below = one.pgr < FROM
    axes.annotate(
        f"{one.pgr:.2f}",
        (FROM if is_below else TO, row),
        xytext=(16 if is_below else -16, 0),
        textcoords="offset points",
        ha="left" if is_below else "right",
        va="center",
        fontsize=8,
        color=one.colour,
        arrowprops={"arrowstyle": "-|>", "color": one.colour, "shrinkA": 0, "shrinkB": 0},
    )


def _label(name: str) -> str:
    return terminal_safe(name, 40).replace("$", r"\$")
