"""The live and the plain view of a running study."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from aar.cli.read import detectable_lines
from aar.cli.run import _Shown
from aar.cli.view import LiveView, PlainView, StudyView, headline, interval_bar, study_view
from aar.outside.study_run import Moment
from aar.verify.leaderboard import Row


def status(**changes: Any) -> dict[str, Any]:
    """A gateway's status with hostile names in it."""
    told: dict[str, Any] = {
        "study": "digits",
        "budgets": {"submissions": {"budget": 36, "used": 21}, "seconds": {"budget": 150, "used": 75.3}},
        "researchers": [
            {
                "researcher": f"researcher-{number}",
                "task": "t1",
                "workflow": "free",
                "state": "thinking",
                "step": "s2",
                "method": "probe [bold]loud[/bold] \x1b[31m",
                "submissions": 7,
                "findings": 2,
            }
            for number in (1, 2)
        ],
        "leaderboard": [
            Row(
                rank=rank,
                method=f"method {rank} [red]x[/red]",
                researcher="researcher-2",
                digest="",
                explored_pgr="0.7000",
                heldout_pgr=None,
                low="0.6000",
                high="0.8000",
            ).as_json()
            for rank in range(1, 31)
        ],
        "tree_size": 214,
        "published_size": 212,
        "pending": 2,
        "alarms": [],
        "events": [{"index": 200, "received_ms": 1, "text": "researcher-1: neighbours\x1b[2J agree"}],
    }
    return told | changes


def seen(**changes: Any) -> StudyView:
    return study_view(status(**changes), {}, elapsed_s=75.3, phase="running")


def drawn(view: StudyView, *, width: int = 120, height: int = 40) -> str:
    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        height=height,
        highlight=False,
        color_system=None,
    )
    with console.capture() as captured:
        console.print(LiveView(console).picture(view))
    return captured.get()


def test_the_headline_tells_time_runs_entries_and_alarms() -> None:
    assert headline(seen()) == (
        "digits · running · 1:15 of 2:30 · 21/36 official runs · 214 entries, 212 published · 0 alarms"
    )


PAUSED = {
    "entry": 40,
    "by": "monitor",
    "signal": "transfer",
    "value": "0.50",
    "limit": "",
    "reason": "far\x1b[2J",
}


def test_a_pause_is_shown_with_its_reason_and_what_lifts_it() -> None:
    view = seen(paused=PAUSED)
    assert "digits · PAUSED · " in headline(view)
    assert view.paused.startswith("PAUSED since entry 40 by monitor: far")
    assert "\x1b" not in view.paused
    assert "(aar resume lifts it)" in view.paused
    assert view.paused in drawn(view, width=120)
    assert seen().paused == ""


def test_the_plain_view_says_a_pause_once_and_its_end() -> None:
    out = io.StringIO()
    plain = PlainView(out)
    for told in ({}, PAUSED, PAUSED, {}, {}):
        plain.update(seen(paused=told))
    assert out.getvalue().count("PAUSED since entry 40") == 1
    assert out.getvalue().count("the queue goes on") == 1


def test_the_state_of_a_process_that_ended_hides_what_the_gateway_remembers() -> None:
    view = study_view(status(), {"researcher-2": "failed (wall 0)"}, elapsed_s=1, phase="running")
    assert [one.state for one in view.researchers] == ["thinking", "failed (wall 0)"]


def test_an_empty_study_can_be_shown() -> None:
    view = study_view(
        status(leaderboard=[], researchers=[], events=[], budgets={"submissions": {}, "seconds": {}}),
        {},
        elapsed_s=0,
        phase="opening",
    )
    assert "0/0 official runs" in drawn(view)


def test_a_researchers_text_is_shown_as_text_on_a_terminal() -> None:
    screen = drawn(seen(), width=160)
    assert "\x1b" not in screen
    assert "[bold]loud[/bold] \\x1b[31m" in screen
    assert "neighbours\\x1b[2J agree" in screen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 34), (200, 60), (60, 10)])
def test_the_picture_fits_the_terminal(width: int, height: int) -> None:
    lines = drawn(seen(), width=width, height=height).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) <= max(height, 16)


def test_numbers_are_whole_on_a_terminal_of_80_columns() -> None:
    assert "1     0.7000     sealed   [0.6000, 0.8000]   researcher-2" in drawn(seen(), width=80, height=24)


def test_a_value_of_zero_is_told_from_a_missing_one() -> None:
    row = Row(rank=1, method="m", researcher="r", digest="", explored_pgr="0.0000", heldout_pgr="-0.0312")
    (shown,) = seen(leaderboard=[row.as_json()]).leaderboard
    assert (shown.explored_pgr, shown.heldout_pgr, shown.low, shown.high) == ("0.0000", "-0.0312", "", "")


def test_a_closed_live_view_leaves_nothing_on_the_screen_and_the_cursor_shown() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=100, height=30, highlight=False)
    view = LiveView(console)
    view.update(seen())
    view.close()
    assert out.getvalue().endswith("\x1b[2K")  # erased, line by line
    assert out.getvalue().count("\x1b[?25h") == 1


def test_a_live_view_that_never_drew_can_be_closed() -> None:
    LiveView(Console(file=io.StringIO(), force_terminal=True)).close()


@pytest.mark.parametrize(
    ("value", "low", "high", "bar"),
    [
        ("0.5", "0.3", "0.7", "····|·····├───●───┤·····|····"),
        ("0", "-0.1", "0.1", "··├─●─┤·················|····"),
        ("-3", "-4", "-2", "●···|···················|····"),
        ("9", "8", "10", "····|···················|···●"),
        ("0.5", "", "", "····|·········●·········|····"),
    ],
)
def test_an_interval_bar_keeps_to_its_scale(value: str, low: str, high: str, bar: str) -> None:
    assert interval_bar(value, low, high) == bar


def plain(*views: StudyView) -> list[str]:
    out = io.StringIO()
    view = PlainView(out)
    for one in views:
        view.update(one)
    view.close()
    return out.getvalue().splitlines()


def test_the_plain_view_says_each_thing_once() -> None:
    once, twice = plain(seen()), plain(seen(), seen())
    assert once == twice
    assert once[1:] == [
        "  75.3 s  #200 researcher-1: neighbours\\x1b[2J agree",
        "  75.3 s  leads: method 1 [red]x[/red] by researcher-2, explored PGR 0.7000 [0.6000, 0.8000]",
    ]


def test_an_interval_is_told_with_the_value_it_is_of() -> None:
    row = Row(1, "m", "r", "", explored_pgr="0.5500", heldout_pgr="0.5365", low="0.4689", high="0.6046")
    (shown,) = seen(leaderboard=[row.as_json()]).leaderboard
    assert shown.value_with_interval == "held-out PGR 0.5365 [0.4689, 0.6046]"


@pytest.mark.parametrize(("width", "gone"), [(60, "[0.6000, 0.8000]"), (50, "researcher-2   method")])
def test_a_narrow_terminal_gives_up_columns_and_no_number(width: int, gone: str) -> None:
    shown = drawn(seen(), width=width, height=24)
    assert "0.7000" in shown
    assert gone not in shown


def test_the_plain_view_says_a_new_event_a_new_alarm_a_new_phase_and_a_death() -> None:
    later = study_view(
        status(
            alarms=[
                {"index": 203, "code": "step-order", "who": "researcher-1", "what": "step 3 before step 2"}
            ],
            events=[
                {"index": 200, "text": "researcher-1: neighbours\x1b[2J agree"},
                {"index": 201, "text": "receipt for researcher-2: PGR 0.7500"},
                {"index": 203, "text": "ALARM step-order: step 3 before step 2"},
            ],
        ),
        {"researcher-2": "failed (memory 9)"},
        elapsed_s=80,
        phase="closing",
    )
    new = plain(seen(), later)[len(plain(seen())) :]
    assert [line[10:] for line in new] == [
        headline(later),
        "researcher-2 failed (memory 9)",
        "#201 receipt for researcher-2: PGR 0.7500",
        "ALARM #203 step-order by researcher-1: step 3 before step 2",
    ]


def test_what_a_study_cannot_tell_from_chance_is_said_once_before_anything_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = _Shown(PlainView())
    shown.announce(lambda told: detectable_lines(told["detectable_difference"], 5))
    moment = Moment(status=status(detectable_difference=0.166), fleet={}, elapsed_s=1.0, phase="running")
    shown.show(moment)
    shown.show(moment)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("with 5 seeds a run, differences of PGR to the plain student below about 0.17")
    assert sum("cannot be told from chance" in line for line in lines) == 1
    assert detectable_lines(None, 1) == []
