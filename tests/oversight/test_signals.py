"""Signals of a record, computed by hand beside; limits and what they ask for; what frameworks say."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import pytest

import forge as forgery
from aar.formats.entry import Leaf, parse_leaf
from aar.outside.oversight.frameworks import NOT_QUOTED, QUOTATIONS, missing_of
from aar.outside.oversight.limits import DEFAULT_LIMITS, judge_limits
from aar.outside.oversight.markdown import format_threshold
from aar.outside.oversight.memo import CHECKLIST
from aar.outside.oversight.signals import Signal, _change, _share_change, signals_of
from aar.outside.oversight.terms import SIGNALS, HumanBaseline, Limit
from aar.outside.projection import Projection
from aar.outside.review import evidence
from aar.verify.statistics import binomial_interval, t_quantile

HUMAN = HumanBaseline(pgr=0.23, hours=336.0, source="two people for a week")


@pytest.fixture(scope="module")
def leaves() -> list[Leaf]:
    return [parse_leaf(data) for data in forgery.honest().leaves()]


@pytest.fixture(scope="module")
def signals(leaves: list[Leaf]) -> dict[str, Signal]:
    return {one.name: one for one in signals_of(leaves, HUMAN)}


def test_every_signal_has_a_definition_a_source_and_a_value_or_a_reason(signals: dict[str, Signal]) -> None:
    assert tuple(signals) == SIGNALS
    for one in signals.values():
        assert one.definition
        assert one.source
        assert one.cites
        assert (one.value is None) == bool(one.reason), one
        assert (one.trend is None) == bool(one.no_trend), one


def test_steps_that_a_human_signed_are_counted_by_role(
    leaves: list[Leaf], signals: dict[str, Signal]
) -> None:
    steps = [leaf for leaf in leaves if leaf.signed.entry.kind in (
        "task-opened", "task-proposed", "task-refused", "plan-declared", "submission", "score-receipt",
        "finding", "comment", "vote", "decision",
    )]  # fmt: skip
    human = [leaf.index for leaf in steps if leaf.signed.entry.author == "reviewer"]
    told = signals["steps-without-human"]
    assert len(human) == 4  # two tasks, a refusal, a decision
    assert told.count == len(steps)
    assert told.value == pytest.approx(1 - 4 / len(steps))
    assert (told.low, told.high) == binomial_interval(len(steps) - 4, len(steps))
    assert told.cites == tuple(f"entry {index}" for index in human)


def test_a_researcher_that_is_given_its_steps_made_no_subtasks() -> None:
    forge = forgery.honest()
    two = [{"name": "a", "what": "x"}, {"name": "b", "what": "y"}]
    forge["plan-search"].body["steps"] = two
    forge["task-walk"].body |= {"workflow": "fixed", "steps": [{"name": "s1", "what": "x", "pipelines": []}]}
    told = {one.name: one for one in signals_of([parse_leaf(one) for one in forge.leaves()], None)}
    made = told["autonomous-subtasks"]
    assert (made.count, made.value) == (2, 1.0)
    assert made.low == 0.0
    assert made.high == pytest.approx(1 + t_quantile(0.975, 1) * 1.0)
    assert made.detail == "1 follow-up tasks proposed, 0 of them opened by a reviewer"


def test_counts_that_are_all_alike_have_no_interval(signals: dict[str, Signal]) -> None:
    told = signals["autonomous-subtasks"]
    assert (told.count, told.value, told.low, told.high) == (2, 1.0, None, None)


def test_transfer_is_the_share_of_heldout_runs_that_beat_the_plain_student(
    signals: dict[str, Signal],
) -> None:
    told = signals["transfer"]
    difference = float(forgery.honest().runs["elsewhere"].exact("public")["difference_low"])
    assert (told.count, told.value) == (1, float(difference > 0))


def test_cost_is_compared_with_a_stated_human_baseline(
    leaves: list[Leaf], signals: dict[str, Signal]
) -> None:
    told = signals["cost-per-pgr"]
    assert told.value is not None
    assert told.low is not None
    assert told.low < told.value
    spent = (leaves[-1].received_ms - leaves[0].received_ms) * 2 / 3_600_000
    best = float(re.search(r"PGR of (\S+)", told.detail).group(1))  # type: ignore[union-attr]
    assert told.value == pytest.approx(spent / best / (336.0 / 0.23), rel=0.02)
    assert "key oversight.human" in told.cites
    alone = {one.name: one for one in signals_of(leaves, None)}["cost-per-pgr"]
    assert (alone.value, "no human baseline" in alone.reason) == (None, True)
    assert alone.detail


def test_a_running_study_has_no_cost_and_says_why() -> None:
    running = [parse_leaf(data) for data in forgery.running().leaves()]
    told = {one.name: one for one in signals_of(running, HUMAN)}
    assert "no held-out value is open" in told["cost-per-pgr"].reason
    assert "held out" in told["transfer"].reason
    assert told["time-horizon"].reason.startswith("not estimable")


def test_an_opened_study_without_a_step_has_reasons_and_no_values() -> None:
    (opened,) = [parse_leaf(data) for data in forgery.honest().leaves()[:1]]
    assert [one.value for one in signals_of([opened], HUMAN)] == [None] * len(SIGNALS)


def test_a_trend_is_the_difference_of_two_halves_with_its_interval() -> None:
    rising = _share_change([False] * 10 + [True] * 10)
    assert rising is not None
    assert (rising.earlier, rising.later, rising.direction) == (0.0, 1.0, "rising")
    flat = _share_change([True, False] * 40)
    assert flat is not None
    assert (flat.change, flat.direction) == (0.0, "no change shown")
    assert _share_change([True] * 5) is None
    assert _change([1.0, 2.0, 3.0, 4.0]) is None


def test_a_change_of_means_has_welchs_interval() -> None:
    told = _change([1.0, 2.0, 3.0, 11.0, 12.0, 13.0])
    assert told is not None
    error = math.sqrt(1 / 3 + 1 / 3)
    assert told.change == 10.0
    assert told.high - told.change == pytest.approx(t_quantile(0.975, 4) * error)
    assert told.direction == "rising"
    flat = _change([2.0] * 6)
    assert flat is not None
    assert (flat.low, flat.high, flat.direction) == (0.0, 0.0, "no change shown")


def test_the_checklist_of_the_memo_is_that_of_the_gate(leaves: list[Leaf]) -> None:
    projection = Projection.of(leaves)
    finding = next(iter(projection.findings.values()))
    told = evidence(projection, finding, record_verdict="ok")
    assert tuple(one.item for one in told.checklist) == CHECKLIST


def reading(value: float | None, low: float | None, high: float | None) -> Signal:
    reason = "" if value is not None else "no reading"
    return Signal(
        name="transfer", definition="d", source="s", cites=("entry 0",), value=value, low=low, high=high,
        reason=reason, no_trend="none",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("side", "signal", "state", "calls"),
    [
        ("above", reading(0.2, 0.1, 0.4), "within", False),
        ("above", reading(0.2, 0.1, 0.6), "unclear", True),
        ("above", reading(0.2, None, None), "unclear", True),
        ("above", reading(0.2, 0.1, None), "unclear", True),
        ("above", reading(0.6, 0.1, 0.8), "passed", True),
        ("below", reading(0.6, 0.55, 0.8), "within", False),
        ("below", reading(0.6, 0.4, 0.8), "unclear", True),
        ("below", reading(0.4, 0.1, 0.8), "passed", True),
        ("above", reading(None, None, None), "not estimable", True),
    ],
)
def test_only_what_is_shown_to_be_within_lets_a_limit_rest(
    side: str, signal: Signal, state: str, calls: bool
) -> None:
    limit = Limit(signal="transfer", side=side, value=0.5, action="require-review")
    (judged,) = judge_limits([signal], (limit,))
    assert (judged.state, judged.calls_for_review, judged.key) == (state, calls, "key oversight.limit 1")
    quiet = Limit(signal="transfer", side=side, value=0.5, action="notify")
    assert not judge_limits([signal], (quiet,))[0].calls_for_review


def test_a_study_file_without_limits_has_those_that_only_notify(signals: dict[str, Signal]) -> None:
    judged = judge_limits(signals.values(), ())
    assert [one.limit for one in judged] == list(DEFAULT_LIMITS)
    assert {one.limit.action for one in judged} == {"notify"}


def test_each_quotation_has_a_version_a_date_and_a_source() -> None:
    assert {one.framework.split(",")[0] for one in QUOTATIONS} == {"Anthropic", "Google DeepMind"}
    for one in QUOTATIONS:
        assert re.match(r"3\.\d", one.version)
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", one.date)
        assert one.source.startswith("https://")
        assert len(one.words) < 300
    assert all(one.startswith("not quoted: ") for one in NOT_QUOTED)


def test_the_text_shows_signals_limits_quotations_and_what_is_missing(
    leaves: Sequence[Leaf], signals: dict[str, Signal]
) -> None:
    judged = judge_limits(signals.values(), ())
    text = format_threshold("s", tuple(signals.values()), judged, missing_of(leaves), lambda text: text)
    for name in SIGNALS:
        assert f"## {name}: " in text
    for quoted in QUOTATIONS:
        assert quoted.words in text
    assert "## What this study does not do that would cross them" in text
    assert text.count("Trend: ") == len(SIGNALS)
