"""The report: JSON and Markdown say the same, and looks, runs cut short and runs left out are counted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from aar.cli.ab_picture import draw_comparison
from aar.outside.comparison.analysis import analyse
from aar.outside.comparison.outcome import Outcome
from aar.outside.comparison.plan import Plan, format_plan
from aar.outside.comparison.report import Ended, report_json, report_markdown
from comparison_plans import a_plan, outcomes_of

VALUES = {
    ("claims", "fixed"): [0.50, 0.52, 0.48, 0.50],
    ("claims", "free"): [0.80, 0.79, 0.81, 0.83],
    ("digits", "fixed"): [0.50, 0.52, 0.48, 0.50],
    ("digits", "free"): [0.1, 0.9, 0.3, 0.8],
}


def ended(plan: Plan, outcomes: dict[int, Outcome], *, looks: int = 0, early: bool = False) -> Ended:
    return Ended(
        plan=plan, analysis=analyse(plan, outcomes), outcomes=outcomes, looks=looks, is_stopped_early=early
    )


def test_the_json_can_be_written_and_has_every_run_and_the_plan() -> None:
    plan = a_plan()
    told = json.loads(json.dumps(report_json(ended(plan, outcomes_of(plan, VALUES))), allow_nan=False))
    assert len(told["each_run"]) == plan.runs == 16
    assert told["plan"] == json.loads(format_plan(plan))
    assert {one["problem"]: one["winner"] for one in told["comparisons"]} == {"claims": "free", "digits": ""}
    assert told["overall"][0]["problem"] == "all"


def test_the_markdown_begins_with_the_answer_and_has_each_sentence_of_the_json() -> None:
    plan = a_plan()
    one = ended(plan, outcomes_of(plan, VALUES))
    told, text = report_json(one), report_markdown(one)
    assert text.splitlines()[2] == f"**{told['answer'][0]}**"
    for row in (*told["comparisons"], *told["overall"]):
        assert row["says"] in text
    assert format_plan(plan) in text
    assert "No stop rule: nobody looked before the end." in text


def test_looks_are_counted_and_an_early_end_is_said() -> None:
    plan = a_plan(looks=2)
    half = {pair: values[:2] for pair, values in VALUES.items()}
    one = ended(plan, outcomes_of(plan, half), looks=1, early=True)
    assert report_json(one)["looks"] == {
        "rule": "looks:2",
        "planned": 2,
        "made": 1,
        "stopped_early": True,
        "level_of_each_interval": 0.975,
    }
    text = report_markdown(one)
    assert "Stop rule looks:2: 1 looks were made, and the last one ended it early." in text
    assert "97.5 % intervals, for 2 looks 95 % together" in text


def test_runs_below_their_budget_and_runs_left_out_are_said() -> None:
    plan = a_plan()
    outcomes = outcomes_of(plan, {**VALUES, ("digits", "free"): [0.1]})
    outcomes[1] = replace(outcomes[1], submissions=4, reason="time-over")
    one = ended(plan, outcomes)
    assert report_json(one)["runs"]["below_budget"] == 1
    assert report_json(one)["runs"]["left_out"] == 3
    assert "1 runs handed in fewer than that" in report_markdown(one)


def test_a_bar_in_a_methods_name_does_not_break_the_table() -> None:
    plan = a_plan()
    outcomes = outcomes_of(plan, VALUES)
    outcomes[1] = replace(outcomes[1], method="a|b")
    text = report_markdown(ended(plan, outcomes))
    assert "`a\\|b`" in text


def test_the_picture_is_the_same_for_the_same_numbers(tmp_path: Path) -> None:
    plan = a_plan(("fixed", "free", "hybrid"))
    values = {**VALUES, ("claims", "hybrid"): [0.6] * 4, ("digits", "hybrid"): [0.6] * 4}
    one = ended(plan, outcomes_of(plan, values))
    for name in ("one.svg", "two.svg"):
        draw_comparison(one, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_picture_of_one_block_can_be_drawn(tmp_path: Path) -> None:
    plan = a_plan(problems=("claims",), repeats=1)
    draw_comparison(
        ended(plan, outcomes_of(plan, {("claims", "fixed"): [0.1], ("claims", "free"): [0.2]})),
        tmp_path / "one.svg",
    )
    assert (tmp_path / "one.svg").stat().st_size > 1_000
