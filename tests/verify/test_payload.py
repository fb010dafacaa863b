"""Payloads: one spelling, and on any bytes only our errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.formats.canonical import format_canonical
from aar.formats.errors import FormatError
from aar.verify.payload import (
    MAX_POOL,
    MalformedPayload,
    Payload,
    SplitCounts,
    format_payload,
    parse_payload,
)

SAMPLE = Payload("public", 10, (SplitCounts(7, 0, 0b1100000011, 0b11, 0b1, 0b1000000011, 0b10),))


@st.composite
def payloads(draw: st.DrawFn) -> Payload:
    pool = draw(st.integers(1, 40))
    splits = []
    for _split in range(draw(st.integers(1, 3))):
        tested = draw(st.integers(1, 2**pool - 1))
        masks = [draw(st.integers(0, 2**pool - 1)) & tested for _mask in range(4)]
        splits.append(SplitCounts(draw(st.integers(0, 2**48 - 1)), draw(st.integers(0, 9)), tested, *masks))
    half, is_fresh = draw(st.sampled_from(["public", "sealed"])), draw(st.booleans())
    return Payload(half, pool, tuple(splits), is_fresh)


@given(payloads())
def test_what_is_written_is_read_again(payload: Payload) -> None:
    assert parse_payload(format_payload(payload)) == payload


def test_a_payload_is_spelt_like_this() -> None:
    assert format_payload(SAMPLE) == (
        b'{"fresh":0,"half":"public","pool":10,"splits":[{"ceiling":"AwI=","replicate":0,"seed":7,'
        b'"student":"AwA=","tested":"AwM=","vanilla":"AgA=","weak":"AQA="}],"v":2}'
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    check_any(data)


@given(st.data())
def test_any_change_of_a_payload_is_a_payload_or_refused(data: st.DataObject) -> None:
    sample = bytearray(format_payload(SAMPLE))
    for _change in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(sample) - 1))
        sample[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    check_any(bytes(sample))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(field=st.sampled_from(["half", "pool", "splits", "v", "seed", "replicate", "tested"]), value=ANY_JSON)
def test_any_value_of_any_field_is_a_payload_or_refused(field: str, value: Any) -> None:
    whole = json.loads(format_payload(SAMPLE))
    place = whole if field in whole else whole["splits"][0]
    place[field] = value
    check_any(json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def check_any(data: bytes) -> None:
    try:
        payload = parse_payload(data)
    except FormatError:
        return
    assert format_payload(payload) == data


def set_field(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole.__setitem__(name, value)


def set_in_split(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda whole: whole["splits"][0].__setitem__(name, value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (set_field("v", 1), "version 2"),
        (set_field("more", 1), "exactly fresh, half, pool, splits, v"),
        (set_field("fresh", 2), "fresh 2, want 0 or 1"),
        (set_field("fresh", "1"), "fresh '1'"),
        (set_field("half", "whole"), "half 'whole'"),
        (set_field("half", ["public"]), "half"),
        (set_field("pool", 0), "pool 0"),
        (set_field("pool", MAX_POOL + 1), "pool 32769"),
        (set_field("pool", "10"), "pool '10'"),
        (set_field("splits", []), "at least one split"),
        (set_field("splits", {}), "at least one split"),
        (set_field("splits", ["x"]), "a split has exactly"),
        (set_in_split("more", 1), "a split has exactly"),
        (set_in_split("seed", -1), "counts from 0"),
        (set_in_split("replicate", -1), "counts from 0"),
        (set_in_split("seed", "7"), "counts from 0"),
        (set_in_split("replicate", "7"), "counts from 0"),
        (set_in_split("weak", 1), "weak: want base64"),
        (set_in_split("weak", "A"), "weak: base64"),
        (set_in_split("weak", "AQ=="), "weak: a mask over 10 items, got 1 bytes"),
        (set_in_split("weak", "AQAA"), "weak: a mask over 10 items, got 3 bytes"),
        (set_in_split("tested", "AwQ="), "tested: a mask over 10 items"),
        (set_in_split("weak", "BAA="), "that was not tested"),
        (set_in_split("student", "BAA="), "that was not tested"),
        (set_in_split("ceiling", "BAA="), "that was not tested"),
        (set_in_split("vanilla", "BAA="), "that was not tested"),
    ],
)
def test_what_is_no_payload_is_refused_with_a_reason(
    change: Callable[[dict[str, Any]], None], says: str
) -> None:
    whole = json.loads(format_payload(SAMPLE))
    change(whole)
    with pytest.raises(MalformedPayload) as refused:
        parse_payload(format_canonical(whole))
    assert says in str(refused.value)


def test_a_split_that_tested_nothing_is_refused() -> None:
    with pytest.raises(MalformedPayload, match="none was tested"):
        parse_payload(format_payload(Payload("public", 10, (SplitCounts(7, 0, 0, 0, 0, 0),))))


@pytest.mark.parametrize("data", [b"", b"[]", b"1", format_payload(SAMPLE) + b"\n"])
def test_what_is_not_an_object_in_its_one_spelling_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedPayload):
        parse_payload(data)


def test_the_largest_pool_is_a_pool() -> None:
    payload = Payload("sealed", MAX_POOL, (SplitCounts(1, 1, 1, 0, 0, 1),))
    assert parse_payload(format_payload(payload)) == payload
