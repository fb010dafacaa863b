"""A running study on the screen: a live view on a terminal, a line for each thing of note elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from aar.cli.safe_text import terminal_safe

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text

# The range of PGR that an interval's bar spans; what lies outside is drawn at the edge.
BAR_FROM, BAR_TO, BAR_CELLS = -0.2, 1.2, 29
_STATE_STYLES = {
    "running": "cyan",
    "thinking": "green",
    "finished": "dim",
    "idle": "dim",
    "stopped": "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResearcherView:
    """One researcher, as the gateway and the fleet see it."""

    name: str
    state: str
    task: str
    workflow: str
    step: str
    method: str
    submissions: int
    findings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankView:
    """One row of the leaderboard; values are decimals of four digits, "" where there is none."""

    rank: int
    method: str
    researcher: str
    explored_pgr: str
    heldout_pgr: str
    low: str
    high: str

    @property
    def value(self) -> str:
        """The value that the interval is of: the held-out one where there is one."""
        return self.heldout_pgr or self.explored_pgr

    @property
    def value_with_interval(self) -> str:
        """Which value, the value, and its interval."""
        half = "held-out" if self.heldout_pgr else "explored"
        return f"{half} PGR {self.value} [{self.low}, {self.high}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """An entry worth a line."""

    index: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyView:
    """What a person watching a study is shown at one moment."""

    study: str
    phase: str
    elapsed_s: float
    used_s: float
    limit_s: float
    researchers: tuple[ResearcherView, ...]
    leaderboard: tuple[RankView, ...]
    entries: int
    published_size: int
    submissions_used: int
    submissions_budget: int
    pending: int
    alarms: tuple[str, ...]
    events: tuple[EventView, ...]
    paused: str = ""
    isolation: str = ""


def study_view(
    status: Mapping[str, Any], fleet: Mapping[str, str], *, elapsed_s: float, phase: str
) -> StudyView:
    """The view of a gateway's status and of the researchers' processes; every text comes out terminal-safe.

    `elapsed_s` counts this run, the status's seconds the whole study, a study that goes on has both.
    """
    seconds = status["budgets"]["seconds"]
    submissions = status["budgets"]["submissions"]
    return StudyView(
        study=terminal_safe(status["study"]),
        phase=phase,
        elapsed_s=elapsed_s,
        used_s=float(seconds.get("used", 0)),
        limit_s=float(seconds.get("budget", 0)),
        researchers=tuple(_researcher(one, fleet) for one in status["researchers"]),
        leaderboard=tuple(_rank(row) for row in status.get("leaderboard", ())),
        entries=status["tree_size"],
        published_size=status.get("published_size", status["tree_size"]),
        submissions_used=submissions.get("used", 0),
        submissions_budget=submissions.get("budget", 0),
        pending=status.get("pending", 0),
        alarms=tuple(
            terminal_safe(f"#{one['index']} {one['code']} by {one['who']}: {one['what']}")
            for one in status["alarms"]
        ),
        events=tuple(
            EventView(index=one["index"], text=terminal_safe(one["text"])) for one in status.get("events", ())
        ),
        paused=_paused(status.get("paused", {})),
        isolation=status.get("isolation", ""),
    )


def _paused(told: Mapping[str, Any]) -> str:
    if not told:
        return ""
    return terminal_safe(
        f"PAUSED since entry {told['entry']} by {told['by']}: {told['reason']} (aar resume lifts it)"
    )


def _researcher(told: Mapping[str, Any], fleet: Mapping[str, str]) -> ResearcherView:
    process = fleet.get(told["researcher"], "running")
    return ResearcherView(
        name=terminal_safe(told["researcher"]),
        # The gateway knows what a researcher is at only while its process lives.
        state=told["state"] if process == "running" else terminal_safe(process),
        task=terminal_safe(told["task"]),
        workflow=told["workflow"],
        step=terminal_safe(told["step"]),
        method=terminal_safe(told["method"]),
        submissions=told["submissions"],
        findings=told["findings"],
    )


def _rank(row: Mapping[str, Any]) -> RankView:
    return RankView(
        rank=row["rank"],
        method=terminal_safe(row["method"]),
        researcher=terminal_safe(row["researcher"]),
        explored_pgr=_decimal(row["explored_pgr"]),
        heldout_pgr=_decimal(row["heldout_pgr"]),
        low=_decimal(row["low"]),
        high=_decimal(row["high"]),
    )


def _decimal(value: float | None) -> str:
    """Four digits, as receipts have them."""
    return "" if value is None else f"{value:.4f}"


def clock(seconds: float) -> str:
    """Minutes and seconds.

    >>> clock(75.2)
    '1:15'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def headline(view: StudyView) -> str:
    """The study in one line."""
    phase = "PAUSED" if view.paused else view.phase
    warning = "NO ISOLATION · " if view.isolation else ""
    return (
        f"{warning}{view.study} · {phase} · {clock(view.used_s)} of {clock(view.limit_s)} · "
        f"{view.submissions_used}/{view.submissions_budget} official runs · "
        f"{view.entries} entries, {view.published_size} published · "
        f"{len(view.alarms)} alarm{'' if len(view.alarms) == 1 else 's'}"
    )


def interval_bar(value: str, low: str, high: str) -> str:
    """The interval on a scale of PGR from -0.2 to 1.2, with marks at 0 (weak teacher) and 1 (ceiling).

    >>> interval_bar("0.5", "0.3", "0.7")
    '····|·····├───●───┤·····|····'
    """
    cells = ["·"] * BAR_CELLS
    cells[_cell("0")] = cells[_cell("1")] = "|"
    if low and high:
        first, last = _cell(low), _cell(high)
        cells[first : last + 1] = "─" * (last + 1 - first)
        cells[first], cells[last] = "├", "┤"
    if value:
        cells[_cell(value)] = "●"
    return "".join(cells)


def _cell(value: str) -> int:
    share = (float(value) - BAR_FROM) / (BAR_TO - BAR_FROM)
    return min(max(round(share * (BAR_CELLS - 1)), 0), BAR_CELLS - 1)


class PlainView:
    """A line for each thing of note, for pipes and log files."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._last_event = -1
        self._alarms = 0
        self._phase = ""
        self._leader = ""
        self._states: dict[str, str] = {}
        self._paused = ""

    def update(self, view: StudyView) -> None:
        """Write what is new since the last update."""
        lines = []
        if view.phase != self._phase:
            self._phase = view.phase
            lines.append(headline(view))
        for researcher in view.researchers:
            before = self._states.get(researcher.name)
            self._states[researcher.name] = researcher.state
            if researcher.state.startswith("failed") and before != researcher.state:
                lines.append(f"{researcher.name} {researcher.state}")
        lines += [f"#{event.index} {event.text}" for event in _events(view) if event.index > self._last_event]
        self._last_event = max([self._last_event, *(event.index for event in view.events)])
        lines += [f"ALARM {alarm}" for alarm in view.alarms[self._alarms :]]
        self._alarms = len(view.alarms)
        if view.paused != self._paused:
            self._paused = view.paused
            lines.append(view.paused or "the queue goes on")
        if view.leaderboard:
            top = view.leaderboard[0]
            leader = f"leads: {top.method} by {top.researcher}, {top.value_with_interval}"
            if leader != self._leader:
                self._leader = leader
                lines.append(leader)
        for line in lines:
            self._out.write(f"{view.elapsed_s:6.1f} s  {line}\n")
        self._out.flush()

    def close(self) -> None:
        """Nothing is open."""


class LiveView:
    """Researchers, leaderboard and latest events, drawn again in place; gone when closed."""

    def __init__(self, console: Console | None = None) -> None:
        # Imported here: rich costs a tenth of a second, and only this view needs it.
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False) if console is None else console
        # No refresh thread: the screen changes when the study did.
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def update(self, view: StudyView) -> None:
        """Draw this moment."""
        if not self._live.is_started:
            self._live.start()
        self._live.update(self.picture(view), refresh=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._live.stop()

    def picture(self, view: StudyView) -> Group:
        """This moment as something rich can draw, at most as high as the terminal."""
        from rich.console import Group

        # Headline, headings, rules and blank lines take 9 lines; the rest goes to ranks, then to events.
        alarms = view.alarms[-2:]
        spare = max(self._console.height - 10 - len(view.researchers) - len(alarms), 3)
        ranks = min(len(view.leaderboard), max(spare - 4, 2), 10)
        events = _events(view)[-max(min(spare - ranks, 6), 1) :]
        blank = _text("")
        return Group(
            self._headline(view),
            _text(view.paused, "bold yellow"),
            self._researchers(view.researchers),
            blank,
            self._leaderboard(view.leaderboard[:ranks], len(view.leaderboard)),
            blank,
            *(_text(f"#{event.index:<5}{event.text}", "dim") for event in events),
            *(_text(f"ALARM {alarm}", "bold red") for alarm in alarms),
        )

    def _headline(self, view: StudyView) -> Text:
        line = headline(view)
        text = _text(line, "bold")
        if view.limit_s > 0 and self._console.width >= len(line) + 24:
            done = round(min(view.used_s / view.limit_s, 1.0) * 20)
            text.append("  " + "━" * done, "cyan").append("━" * (20 - done), "dim")
        return text

    def _researchers(self, researchers: Sequence[ResearcherView]) -> Table:
        table = _table("researcher", "doing", "task", ">runs", ">findings", "*step", "*method handed in last")
        for one in researchers:
            table.add_row(
                _text(one.name),
                _text(one.state, _STATE_STYLES.get(one.state, "bold red")),
                _text(f"{one.task} ({one.workflow})" if one.task else ""),
                _text(str(one.submissions)),
                _text(str(one.findings)),
                _text(one.step),
                _text(one.method),
            )
        return table

    def _leaderboard(self, rows: Sequence[RankView], count: int) -> Table:
        title = "leaderboard" if len(rows) == count else f"leaderboard ({len(rows)} of {count})"
        is_wide = self._console.width >= 110
        bar = ("-0.2 .. 0 weak .. 1 ceiling",) if is_wide else ()
        # Columns that a narrow terminal has no room for: first the interval, then who it was.
        width = self._console.width
        interval = ("95 % interval",) if width >= 72 else ()
        who = ("researcher",) if width >= 56 else ()
        table = _table(">", ">explored", ">held-out", *interval, *bar, *who, f"*{title}")
        for row in rows:
            scale = (_text(interval_bar(row.value, row.low, row.high), "cyan"),) if is_wide else ()
            table.add_row(
                _text(str(row.rank)),
                _text(row.explored_pgr, "bold" if row.rank == 1 else ""),
                _text(row.heldout_pgr or "sealed", "" if row.heldout_pgr else "dim"),
                *((_text(f"[{row.low}, {row.high}]" if row.low else ""),) if interval else ()),
                *scale,
                *((_text(row.researcher),) if who else ()),
                _text(row.method),
            )
        return table


def _events(view: StudyView) -> list[EventView]:
    """The latest events without the alarms, which are shown by themselves."""
    return [event for event in view.events if not event.text.startswith("ALARM ")]


def _text(text: str, style: str = "") -> Text:
    """Text as it is: rich's markup in it is only characters."""
    from rich.text import Text

    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _table(*headings: str) -> Table:
    """Headings that start with > stand right; those with * give way when the terminal is narrow."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, expand=True, header_style="dim")
    for heading in headings:
        name = heading.lstrip(">*")
        table.add_column(
            _text(name),
            justify="right" if heading.startswith(">") else "left",
            no_wrap=True,
            ratio=1 if heading.startswith("*") else None,
        )
    return table
