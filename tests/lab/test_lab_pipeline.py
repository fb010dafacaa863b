"""Pipelines: what is one, what is refused and why, and that a method's identity is its text."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import State
from aar.lab.errors import LabError, MalformedInstance, MalformedPipeline
from aar.lab.instance import Instance
from aar.lab.pipeline import (
    MAX_BLOCKS,
    MAX_TEXT_CHARACTERS,
    format_pipeline,
    parse_pipeline,
    parse_pipeline_text,
    pipeline_digest,
    pipeline_name,
    run_pipeline,
)
from aar.lab.practice import practice

INSTANCE, TRUTH = practice(np.random.default_rng(0))

REFUSED: dict[str, tuple[Any, str]] = {
    "no list": ({"probe": {}}, "want a list of 1 to 12"),
    "a text": ("probe", "want a list of 1 to 12"),
    "nothing": (None, "want a list of 1 to 12"),
    "an empty list": ([], "want a list of 1 to 12"),
    "too many blocks": ([["harden", {}]] * MAX_BLOCKS + [["probe", {}]], "want a list of 1 to 12"),
    "a block that is a text": (["probe"], "block 0: want .NAME"),
    "a block without parameters": ([["probe"]], "block 0: want .NAME"),
    "a block with a third part": ([["probe", {}, 1]], "block 0: want .NAME"),
    "an unknown block": ([["prob", {}]], "no block 'prob'; there is: .*label_prop"),
    "a block name that is a list": ([[["probe"], {}]], "no block"),
    "a block name that is null": ([[None, {}]], "no block None"),
    "no objective": ([["knn", {}]], "block 0, knn: an objective stands last"),
    "an objective in the middle": (
        [["probe", {}], ["probe", {}]],
        "block 0, probe: an objective stands last",
    ),
    "an aggregate alone": ([["bag", {}]], "block 0, bag: an objective stands last"),
    "an aggregate in the middle": ([["knn", {}], ["bag", {}], ["probe", {}]], "block 1, bag: an aggregate"),
    "two aggregates": ([["bag", {}], ["bag", {}], ["probe", {}]], "block 1, bag: an aggregate stands first"),
    "parameters in a list": ([["probe", [0.1]]], "want an object with some of: l2"),
    "parameters that are null": ([["probe", None]], "want an object with some of: l2"),
    "an unknown parameter": ([["probe", {"l1": 1}]], "want an object with some of: l2"),
    "a parameter where none is": ([["harden", {"k": 1}], ["probe", {}]], "harden: got .* some of: nothing"),
    "a text for a number": ([["probe", {"l2_factor": "0.1"}]], "probe.l2_factor: got '0.1', want a number"),
    "true for a number": ([["knn_vote", {"k": True}]], "knn_vote.k: got True, want a number from 1 to 200"),
    "null for a number": ([["probe", {"l2_factor": None}]], "probe.l2_factor: got None"),
    "too small": ([["knn_vote", {"k": 0}]], "want a number from 1 to 200"),
    "too large": ([["knn_vote", {"k": 201}]], "want a number from 1 to 200"),
    "not a number": ([["probe", {"l2_factor": float("nan")}]], "probe.l2_factor: got nan"),
    "infinity": ([["probe", {"l2_factor": float("inf")}]], "probe.l2_factor: got inf"),
    "an integer beyond floats": ([["probe", {"l2_factor": 10**400}]], "probe.l2_factor"),
    "a fraction for a count": ([["knn_vote", {"k": 2.5}]], "knn_vote.k: got 2.5, want a whole number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_pipeline_is_refused_with_the_reason(case: str) -> None:
    value, reason = REFUSED[case]
    with pytest.raises(MalformedPipeline, match=reason):
        parse_pipeline(value)


REFUSED_TEXTS = {
    "not JSON": ("[[probe]]", "is not JSON"),
    "empty": ("", "is not JSON"),
    "a key twice": ('[["knn",{"k":1,"k":2}],["probe",{}]]', "stands twice in .'k', 'k'"),
    "too long": ("[" + " " * MAX_TEXT_CHARACTERS + "]", "characters, at most"),
    "too deep": ("[" * 3_999, "is not JSON"),
    "digits without end": ('[["probe",{"l2_factor":' + "9" * 3_900 + "}]]", "probe.l2_factor"),
    "a word of Python's": ('[["probe",{"l2_factor":NaN}]]', "probe.l2_factor: got nan"),
}


@pytest.mark.parametrize("case", REFUSED_TEXTS)
def test_what_is_no_text_of_a_pipeline_is_refused_with_the_reason(case: str) -> None:
    text, reason = REFUSED_TEXTS[case]
    with pytest.raises(MalformedPipeline, match=reason):
        parse_pipeline_text(text)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from([*BLOCKS, "k", "l2_factor"])
)
KEYS = st.sampled_from(["k", "l2_factor", "x"])


@given(
    st.recursive(
        SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=12
    )
)
def test_any_value_is_a_pipeline_or_a_malformed_one(value: Any) -> None:
    try:
        pipeline = parse_pipeline(value)
    except MalformedPipeline:
        return
    assert parse_pipeline_text(format_pipeline(pipeline)) == pipeline


@st.composite
def pipelines(draw: st.DrawFn) -> Any:
    kinds = {kind: [b for b in BLOCKS.values() if b.kind == kind] for kind in ("objective", "aggregate")}
    middle = [b for b in BLOCKS.values() if b.kind not in kinds]
    chosen = draw(st.lists(st.sampled_from(kinds["aggregate"]), max_size=1))
    chosen += draw(st.lists(st.sampled_from(middle), max_size=4))
    chosen.append(draw(st.sampled_from(kinds["objective"])))
    return [
        [
            b.name,
            {
                key: draw(st.sampled_from(span.grid))
                for key, span in b.parameters.items()
                if draw(st.booleans())
            },
        ]
        for b in chosen
    ]


@given(pipelines())
def test_the_text_of_a_pipeline_leads_back_to_it(value: Any) -> None:
    pipeline = parse_pipeline(value)
    text = format_pipeline(pipeline)
    assert parse_pipeline_text(text) == pipeline
    assert format_pipeline(parse_pipeline_text(text)) == text
    assert pipeline_digest(pipeline) == hashlib.sha256(text.encode()).hexdigest()


def test_defaults_are_filled_in_and_written_out() -> None:
    assert format_pipeline(parse_pipeline([["knn", {"mix": 1}], ["probe", {}]])) == (
        '[["knn",{"k":20,"mix":1.0}],["probe",{"l2_factor":1.0}]]'
    )


def test_one_method_has_one_digest_however_it_was_spelled() -> None:
    spellings: list[Any] = [
        [["label_prop", {}], ["probe", {}]],
        (("label_prop", {"steps": 50, "k": 12}), ("probe", {"l2_factor": 1.0})),
        [["label_prop", {"k": 12.0, "alpha": 0.9, "steps": 50}], ["probe", {"l2_factor": 1.0}]],
    ]
    assert len({pipeline_digest(parse_pipeline(one)) for one in spellings}) == 1
    other = parse_pipeline([["label_prop", {"k": 13}], ["probe", {}]])
    assert pipeline_digest(other) != pipeline_digest(parse_pipeline(spellings[0]))


def test_a_name_shows_the_parameters_that_are_not_the_default() -> None:
    value = [
        ["bag", {"count": 3}],
        ["label_prop", {"k": 24, "alpha": 0.97}],
        ["harden", {}],
        ["probe", {"l2_factor": 1.0}],
    ]
    assert pipeline_name(parse_pipeline(value)) == "bag(count=3)+label_prop(k=24,alpha=0.97)+harden+probe"


def test_a_pipeline_that_was_not_checked_and_has_no_objective_says_so() -> None:
    with pytest.raises(MalformedPipeline, match="harden: no objective"):
        run_pipeline((("harden", {}),), INSTANCE, np.random.default_rng(0))


def test_blocks_run_in_the_order_they_are_written() -> None:
    """Hardened and then averaged is not averaged and then hardened."""
    one, other = (
        run_pipeline(parse_pipeline([*blocks, ["knn_vote", {"k": 1}]]), INSTANCE, np.random.default_rng(0))
        for blocks in ([["harden", {}], ["knn", {}]], [["knn", {}], ["harden", {}]])
    )
    assert set(other) <= {0.0, 1.0}
    assert not set(one) <= {0.0, 1.0}


def test_the_same_generator_gives_the_same_answer_and_another_one_another() -> None:
    pipeline = parse_pipeline([["bag", {}], ["self_train", {}], ["probe", {}]])
    first, again, other = (
        run_pipeline(pipeline, INSTANCE, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# Instances.

X = np.zeros((3, 2), dtype=np.float32)
GOOD: dict[str, Any] = {"train_x": X, "weak": np.full(3, 0.5), "test_x": X[:1], "class_prior": 0.5}
BAD_INSTANCES: dict[str, dict[str, Any]] = {
    "weak labels too few": {"weak": np.full(2, 0.5)},
    "weak labels in two columns": {"weak": np.full((3, 1), 0.5)},
    "train in one dimension": {"train_x": X[:, 0]},
    "train in three": {"train_x": X[:, :, None]},
    "test in one dimension": {"test_x": X[0]},
    "test of another width": {"test_x": np.zeros((1, 3), dtype=np.float32)},
    "nothing to train on": {"train_x": X[:0], "weak": np.zeros(0)},
    "a weak label above one": {"weak": np.array([0, 0.5, 1.01])},
    "a weak label below zero": {"weak": np.array([0, 0.5, -0.01])},
    "a weak label that is no number": {"weak": np.array([0, 0.5, np.nan])},
    "a prior above one": {"class_prior": 1.5},
    "a prior below zero": {"class_prior": -0.5},
    "a prior that is no number": {"class_prior": float("nan")},
}


@pytest.mark.parametrize("case", BAD_INSTANCES)
def test_arrays_that_do_not_fit_are_no_instance(case: str) -> None:
    with pytest.raises(MalformedInstance):
        Instance(**{**GOOD, **BAD_INSTANCES[case]})


def test_probabilities_of_exactly_zero_and_one_are_probabilities() -> None:
    Instance(**{**GOOD, "weak": np.array([0.0, 1.0, 0.5]), "class_prior": 1.0})
    Instance(**{**GOOD, "test_x": X[:0]})


def test_a_pipeline_starts_from_the_weak_labels_with_all_weights_one() -> None:
    state = State.of(INSTANCE)
    assert state.targets is INSTANCE.weak
    assert set(state.weights) == {1.0}
    assert state.answer is None


def test_there_is_no_place_for_a_label_in_an_instance() -> None:
    assert set(Instance.__dataclass_fields__) == {
        "train_x",
        "weak",
        "test_x",
        "class_prior",
        "student_l2",
        "votes",
        "zero_shot",
    }
    with pytest.raises((AttributeError, TypeError)):
        INSTANCE.truth = TRUTH  # type: ignore[attr-defined]


def test_every_error_of_the_lab_can_be_caught_as_one() -> None:
    assert issubclass(MalformedPipeline, LabError)
    assert issubclass(MalformedInstance, LabError)
    with pytest.raises(LabError):
        replace(INSTANCE, class_prior=2.0)


# Practice data.


def test_practice_has_the_sizes_asked_for_and_is_a_function_of_the_generator() -> None:
    first, truth = practice(np.random.default_rng(5), labelled=20, train=30, test=11)
    again, truth_again = practice(np.random.default_rng(5), labelled=20, train=30, test=11)
    assert first.train_x.shape == (30, 48)
    assert first.test_x.shape == (11, 48)
    assert first.train_x.dtype == np.float32
    assert set(truth) <= {0.0, 1.0}
    np.testing.assert_array_equal(first.weak, again.weak)
    np.testing.assert_array_equal(truth, truth_again)


def test_on_practice_data_a_student_can_be_better_than_a_coin_and_confidence_helps() -> None:
    """Shin et al. 2024: enough to tell a method that runs from one that answers anything."""
    plain, confident = [], []
    for seed in range(12):
        instance, truth = practice(np.random.default_rng(seed), train=800, test=800)
        for found, value in ((plain, [["probe", {}]]), (confident, [["logconf", {"c": 0.75}]])):
            answer = run_pipeline(parse_pipeline(value), instance, np.random.default_rng(0))
            found.append(((answer > 0.5) == truth).mean())
    assert 0.6 < np.mean(plain) < 0.8
    assert np.mean(confident) > np.mean(plain) + 0.01


def test_a_problem_text_is_plain_json() -> None:
    text = format_pipeline(parse_pipeline([["probe", {}]]))
    assert json.loads(text) == [["probe", {"l2_factor": 1.0}]]
    assert " " not in text
