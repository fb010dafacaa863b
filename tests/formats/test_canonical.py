"""Canonical JSON: one spelling per value, and no value that other readers could read differently."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.formats.canonical import MAX_DEPTH, MAX_INTEGER, format_canonical, parse_canonical
from aar.formats.errors import MalformedJSON

GOLDEN: list[tuple[Any, bytes]] = [
    ({}, b"{}"),
    ([], b"[]"),
    ("", b'""'),
    (0, b"0"),
    (-MAX_INTEGER, b"-9007199254740991"),
    ({"b": 1, "a": [2, "x"], "B": {}}, b'{"B":{},"a":[2,"x"],"b":1}'),
    ('é\u2028\n\t\x01"\\/\x7f', b'"\xc3\xa9\xe2\x80\xa8\\n\\t\\u0001\\"\\\\/\x7f"'),
    ("\U0001f512", b'"\xf0\x9f\x94\x92"'),
    # By code point, not by UTF-16 unit: U+FF5E stands before U+1F512.
    ({"\U0001f512": 1, "\uff5e": 2}, '{"\uff5e":2,"\U0001f512":1}'.encode()),
]


@pytest.mark.parametrize(("value", "data"), GOLDEN)
def test_the_golden_values_have_these_bytes(value: Any, data: bytes):
    assert format_canonical(value) == data
    assert parse_canonical(data) == value


def test_a_tuple_is_written_as_an_array():
    assert format_canonical({"a": (1, (2,))}) == b'{"a":[1,[2]]}'  # type: ignore[dict-item]


@pytest.mark.parametrize("value", [True, False, None, 1.0, float("nan"), b"x", {1}])
def test_other_types_have_no_spelling(value: Any):
    for nested in (value, [value], {"a": value}):
        with pytest.raises(MalformedJSON, match="want an object, array, string or integer"):
            format_canonical(nested)


@pytest.mark.parametrize("value", [MAX_INTEGER + 1, -MAX_INTEGER - 1, pytest.param(10**5000, id="huge")])
def test_an_integer_beyond_2_53_has_no_spelling(value: int):
    with pytest.raises(MalformedJSON, match="want one within 2"):
        format_canonical(value)


def test_a_key_that_is_not_a_string_has_no_spelling():
    with pytest.raises(MalformedJSON, match="key 1: want a string"):
        format_canonical({1: "a"})  # type: ignore[dict-item]


def test_a_lone_surrogate_has_no_spelling():
    with pytest.raises(MalformedJSON, match="not Unicode text"):
        format_canonical("\ud800")


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 0


def test_nesting_ends_at_the_limit():
    assert parse_canonical(format_canonical(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(MalformedJSON, match="nested deeper than 16"):
        format_canonical(nested(MAX_DEPTH + 1))


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b'{"b":1,"a":2}',
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b"-0",
        b'"\\u0041"',
        b'"\\/"',
        b'"\\u00e9"',
        b"1\n",
        b"01",
        b"1 1",
    ],
)
def test_another_spelling_is_refused(data: bytes):
    with pytest.raises(MalformedJSON, match="another spelling, or a key twice"):
        parse_canonical(data)


@pytest.mark.parametrize("data", [b"1.0", b"1e3", b"NaN", b"Infinity", b"-Infinity", b"[0.5]"])
def test_a_number_that_is_not_an_integer_is_refused(data: bytes):
    with pytest.raises(MalformedJSON, match="decimals are strings"):
        parse_canonical(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b" 1",
        b"+1",
        b"'a'",
        b'"a',
        b'"\n"',
        b"\xff",
        b"\xef\xbb\xbf1",
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"9" * 5000, id="huge"),
    ],
)
def test_what_is_not_json_is_refused(data: bytes):
    with pytest.raises(MalformedJSON, match="^not canonical JSON: (?!another)"):
        parse_canonical(data)


@pytest.mark.parametrize("data", [b"null", b"true", b'{"a":false}', b"9007199254740992", b'"\\ud800"'])
def test_json_beyond_our_values_is_refused(data: bytes):
    with pytest.raises(MalformedJSON):
        parse_canonical(data)


VALUES = st.recursive(
    st.text() | st.integers(-MAX_INTEGER, MAX_INTEGER),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_every_value_survives_its_spelling(value: Any):
    data = format_canonical(value)
    assert b"\n" not in data
    assert parse_canonical(data) == value
