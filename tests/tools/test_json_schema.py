"""The schema checker: each word refuses alone, in one line, and no stranger's value breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.lab.protocol.json_schema import fault, shown
from aar.lab.protocol.operations import FINDING, KEPT_FILES, METHOD_FILES, NUMBERS, PLAN

NAMED = {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": False}
CASES: list[tuple[dict[str, Any], Any, Any, str]] = [
    # schema, a value that fits, one that does not, a word of the complaint
    ({"type": "object"}, {}, [], "an object"),
    ({"type": "array"}, [], {}, "a list"),
    ({"type": "string"}, "", 1, "a text"),
    ({"type": "integer"}, 1, 1.0, "a whole number"),
    ({"type": "integer"}, 0, False, "a whole number"),
    ({"type": "boolean"}, False, 0, "true or false"),
    ({"type": ["object", "null"]}, None, 0, "an object or null"),
    ({"type": "string", "enum": ["x", "y"]}, "y", "z", "'x', 'y'"),
    ({"type": "string", "minLength": 1}, "a", "", "0 characters"),
    ({"type": "string", "maxLength": 2}, "ab", "abc", "3 characters, want 0 to 2"),
    ({"type": "string", "pattern": "^[a-z]+$"}, "ab", "ab\n", "what matches"),
    ({"type": "string"}, "\u20ac", "a\ud800", "half of a surrogate pair at character 1"),
    ({"type": "integer", "minimum": 2}, 2, 1, "2 or more"),
    ({"type": "integer", "minimum": 2, "maximum": 3}, 3, 4, "2 to 3"),
    ({"type": "array", "minItems": 1, "maxItems": 2}, [1], [], "0 items, want 1 to 2"),
    ({"type": "array", "maxItems": 1}, [1], [1, 2], "2 items"),
    ({"type": "array", "items": {"type": "string"}}, ["a"], ["a", 2], "[1]: got 2"),
    ({"type": "object", "required": ["a"]}, {"a": 1}, {}, "it lacks a"),
    (NAMED, {"a": 1}, {"b": 1}, "unknown 'b'; known here: a"),
    (NAMED, {"a": 1}, {"a": ""}, "a: got ''"),
    ({"type": "object", "maxProperties": 1}, {"a": 1}, {"a": 1, "b": 2}, "2 of them"),
    (dict(NUMBERS), {}, {"pgr": "0.1000"}, "pgr stands there without low and high"),
    (
        {"type": "object", "propertyNames": {"type": "string", "pattern": "^[a-z]$"}},
        {"a": 1},
        {"A": 1},
        "key: got 'A'",
    ),
    ({"type": "object", "additionalProperties": {"type": "string"}}, {"a": ""}, {"a": 1}, "'a': got 1"),
    ({"type": "object", "x-max-bytes": 3}, {"a": "\u20ac"}, {"a": "\u20ac", "b": "c"}, "4 bytes in all"),
]


@pytest.mark.parametrize(("schema", "good", "bad", "words"), CASES)
def test_each_word_of_a_schema_refuses_what_it_is_for(
    schema: dict[str, Any], good: Any, bad: Any, words: str
) -> None:
    assert fault(good, schema) == ""
    said = fault(bad, schema)
    assert words in said
    assert "\n" not in said


@pytest.mark.parametrize(
    "value",
    [
        *("x" * 10**7, 10**5000, -(2**70), {"k" * 10**6: 1}, [[]] * 10**6),
        *(b"\xff", float("nan"), "\x1b[2J\n\ud800"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_stranger_hands_in_is_shown_in_a_few_printable_characters(value: Any) -> None:
    text = shown(value)
    assert len(text) <= 60
    assert text.isprintable()
    assert text.isascii()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner),
    max_leaves=12,
)


@given(JSON, st.sampled_from([FINDING, PLAN, METHOD_FILES, KEPT_FILES, NUMBERS]))
def test_any_value_gets_a_verdict_of_one_line(value: Any, schema: dict[str, Any]) -> None:
    said = fault(value, schema, "it")
    assert "\n" not in said
    assert len(said) < 1_000
