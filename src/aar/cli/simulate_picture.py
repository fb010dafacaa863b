"""Pictures of simulations: workflows by class, a liar with and without a record, power, trust."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aar.cli.picture import COLOURS, MARKERS, STYLE, use_own_matplotlib_directory

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from aar.simulation.demonstration import Demonstration
    from aar.simulation.power import Comparison

INK, FAINT = "#222222", "#767676"
UNIT = 10_000


def draw_demonstration(shown: Demonstration, path: Path) -> None:
    """Four panels, to a .png or .svg; the same SVG for the same numbers."""

    def draw(figure: Figure) -> None:
        panels = figure.subplots(2, 2)
        _draw_workflows(panels[0][0], shown)
        _draw_break_evens(panels[0][1], shown)
        _draw_compromised(panels[1][0], shown)
        _draw_compression(panels[1][1], shown)
        figure.suptitle(f"Simulated studies, seed {shown.seed}", x=0.01, ha="left", fontsize=12, color=INK)

    save(draw, path, size=(10.0, 7.6))


def draw_power(rows: Sequence[Comparison], path: Path) -> None:
    """One line per class: how often so many pairs of studies find the difference."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for colour, marker, row in zip(COLOURS, MARKERS, rows):
            counts, shares = zip(*row.power)
            label = f"{row.problem}: {row.difference / UNIT:+.2f}"
            axes.plot(counts, [one / 1_000 for one in shares], color=colour, marker=marker, label=label)
        axes.axhline(0.8, color=FAINT, linewidth=0.9, linestyle=(0, (5, 4)))
        axes.set_xscale("log")
        ticks = [count for count, _share in rows[0].power]
        axes.set_xticks(ticks, [str(one) for one in ticks])
        axes.minorticks_off()
        axes.set_ylim(0, 1.02)
        axes.set_xlabel("pairs of studies")
        axes.set_ylabel("share of experiments that find it")
        axes.set_title(f"{rows[0].one} less {rows[0].other}: power of a paired t test", loc="left", color=INK)
        axes.legend(frameon=False, fontsize=8, title="class: difference in PGR", title_fontsize=8)

    save(draw, path, size=(7.2, 4.4))


def save(draw: Callable[[Figure], None], path: Path, *, size: tuple[float, float]) -> None:
    use_own_matplotlib_directory()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        kind = path.suffix.lower().removeprefix(".")
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        figure.savefig(path, format=kind, dpi=150, metadata=metadata)


def _draw_workflows(axes: Axes, shown: Demonstration) -> None:
    for row, one in enumerate(shown.means.workflows):
        axes.plot(
            [one.mean_one / UNIT, one.mean_other / UNIT], [row, row], color=FAINT, linewidth=1.0, zorder=1
        )
        for value, colour, marker in (
            (one.mean_one, COLOURS[0], MARKERS[0]),
            (one.mean_other, COLOURS[1], MARKERS[1]),
        ):
            axes.plot(
                [value / UNIT], [row], color=colour, marker=marker, linestyle="", markersize=7, zorder=2
            )
    axes.plot([], [], color=COLOURS[0], marker=MARKERS[0], linestyle="", label="free")
    axes.plot([], [], color=COLOURS[1], marker=MARKERS[1], linestyle="", label="fixed")
    axes.set_yticks(range(len(shown.means.workflows)), [one.problem for one in shown.means.workflows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("true PGR of what is published, mean")
    axes.set_title("Workflow by class of problem", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8)


def _draw_break_evens(axes: Axes, shown: Demonstration) -> None:
    for colour, marker, one in zip(COLOURS, MARKERS, shown.means.break_evens):
        known, means = zip(*one.means)
        lead = [(mean - one.free) / UNIT for mean in means]
        axes.plot(known, lead, color=colour, marker=marker, markersize=4, label=one.problem)
    axes.axhline(0, color=FAINT, linewidth=0.9, linestyle=(0, (5, 4)))
    axes.set_xlabel("chance that the human's list for a part holds a right idea, %")
    axes.set_ylabel("fixed less free, PGR")
    axes.set_title("What a fixed workflow needs to keep up", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8)


def _draw_compromised(axes: Axes, shown: Demonstration) -> None:
    for row, one in enumerate(shown.means.compromised):
        axes.plot([one.low / UNIT, one.high / UNIT], [row, row], color=COLOURS[0], linewidth=5, alpha=0.4)
        for value, colour, marker in (
            (one.claimed, COLOURS[1], "|"),
            (one.found, COLOURS[2], "^"),
            (one.published, COLOURS[0], "o"),
        ):
            axes.plot([value / UNIT], [row], color=colour, marker=marker, linestyle="", markersize=8)
    for label, colour, marker in (
        ("claimed", COLOURS[1], "|"),
        ("best found by the honest", COLOURS[2], "^"),
        ("true value of what leads, 95 %", COLOURS[0], "o"),
    ):
        axes.plot([], [], color=colour, marker=marker, linestyle="", label=label)
    axes.set_yticks(range(len(shown.means.compromised)), [one.arm for one in shown.means.compromised])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("PGR, mean")
    axes.set_title(f"One of three is not honest, class {shown.problem}", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8)


def _draw_compression(axes: Axes, shown: Demonstration) -> None:
    rates = sorted({one.alignment for one in shown.means.compression})
    for colour, marker, rate in zip(COLOURS, MARKERS, rates):
        own = [one for one in shown.means.compression if one.alignment == rate]
        trust = [one.trust for one in own]
        axes.plot(
            trust,
            [one.gap / 1_000 for one in own],
            color=colour,
            marker=marker,
            label=f"alignment {rate / 10:g} %",
        )
        axes.plot(
            trust,
            [one.believed_gap / 1_000 for one in own],
            color=colour,
            linewidth=1.0,
            linestyle=(0, (1, 2)),
        )
    axes.set_yscale("log")
    axes.set_xlabel("share of results that hold, %")
    axes.set_ylabel("capability over alignment")
    axes.set_title("Trust in the process (dotted: what is believed)", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=8, title="capability 10 % per period", title_fontsize=8)
