"""Plans: one spelling, nothing that this version does not compute, and what differs is said in words."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.outside.comparison.plan import (
    ARMS,
    Plan,
    PlanError,
    differences,
    format_plan,
    parse_plan,
    stop_rule_looks,
)
from comparison_plans import a_plan


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    arms = draw(st.lists(st.sampled_from(ARMS), min_size=2, max_size=3, unique=True))
    problems = draw(st.lists(st.sampled_from(("claims", "digits", "overlap")), min_size=1, unique=True))
    repeats = draw(st.integers(2, 50))
    looks = draw(st.sampled_from([0, *range(2, min(repeats, 10) + 1)]))
    seed = draw(st.integers(0, 2**53 - 1))
    margin = draw(st.sampled_from(("0.05", "0.1000", "1.00")))
    return a_plan(arms, problems, repeats=repeats, looks=looks, seed=seed, margin=margin)


@given(plans())
def test_a_plan_is_read_back_as_it_was_written_and_has_one_spelling(plan: Plan) -> None:
    text = format_plan(plan)
    assert parse_plan(text) == plan
    assert format_plan(parse_plan(text)) == text
    assert len(text) <= 8_000


@given(st.text(max_size=50))
def test_any_other_text_is_refused_with_our_error(text: str) -> None:
    with pytest.raises(PlanError):
        parse_plan(text)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), "aar-comparison/v2"),
        (("order",), "as I like"),
        (("analysis", "outcome"), "best-of-all"),
        (("analysis", "interval"), "narrow"),
        (("analysis", "level"), "0.50"),
        (("analysis", "missing"), "0.50"),
        (("reading", "words_per_minute"), 500),
        (("surplus",), 1),
    ],
)
def test_a_plan_that_says_what_is_not_computed_is_refused(path: tuple[str, ...], value: object) -> None:
    document = json.loads(format_plan(a_plan()))
    place = document
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    with pytest.raises(PlanError, match="what this version does not compute"):
        parse_plan(text)


def test_another_spelling_of_the_same_plan_is_refused() -> None:
    with pytest.raises(PlanError, match="another spelling"):
        parse_plan(json.dumps(json.loads(format_plan(a_plan()))))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nonce": "no"}, "nonce 'no': want 16"),
        ({"arms": ("fixed",)}, "arms fixed: want 2 or more"),
        ({"arms": ("fixed", "fixed")}, "each once"),
        ({"arms": ("fixed", "wild")}, "arms wild: want two or more of fixed, free, hybrid"),
        ({"problems": ()}, "problems none: want 1 or more"),
        ({"repeats": 0}, "repeats 0: want a whole number from 1"),
        ({"repeats": 10_000}, "40000 runs: want at most 10000"),
        ({"seed": -1}, "seed -1"),
        ({"margin": "0.00"}, "margin 0.00: want a PGR above 0"),
        ({"looks": 5}, "5 looks at 4 repeats"),
        ({"files": {}}, "0 study files: want one for each of 4"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(PlanError, match=says):
        format_plan(replace(a_plan(), **changes))  # type: ignore[arg-type]


def test_what_differs_between_two_plans_is_said_with_both_values() -> None:
    plan = a_plan()
    assert differences(plan, plan) == []
    other = replace(plan, repeats=9, looks=2, budget=replace(plan.budget, seconds=60))
    assert differences(plan, other) == [
        "repeats 9, it has 4",
        "stop rule looks:2, it has none",
        "seconds 60, it has 180",
    ]
    files = {**plan.files, ("digits", "free"): "f" * 64}
    assert differences(plan, replace(plan, files=files)) == ["other study files: digits/free"]


def test_a_stop_rule_is_none_or_a_number_of_looks() -> None:
    assert [stop_rule_looks(text) for text in ("none", "looks:2", "looks:10")] == [0, 2, 10]
    for text in ("looks:1", "looks:11", "looks:", "looks:x", "look:3", "", "looks:²"):
        with pytest.raises(PlanError, match="want none, or looks:K"):
            stop_rule_looks(text)


def test_with_k_looks_each_interval_may_miss_a_kth_of_the_five_per_cent() -> None:
    assert float(a_plan().level) == 0.95
    assert float(a_plan(looks=4).level) == 0.9875
