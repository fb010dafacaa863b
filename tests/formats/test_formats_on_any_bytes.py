"""On any bytes: only our errors, and what is accepted encodes to the same bytes again."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from every_format import FORMATS, SNIPPETS, outcome

VECTORS = Path(__file__).parent / "vectors"


@st.composite
def edited(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample after one to three small edits."""
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 1, 4, 40])))
        piece = draw(
            st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=2), st.just(bytes(data[end : end + 40])))
        )
        data[start:end] = piece
    return bytes(data)


@pytest.mark.parametrize("name", FORMATS)
def test_the_samples_of_each_format_are_accepted(name: str):
    for sample in FORMATS[name].samples:
        assert outcome(FORMATS[name], sample) == "accepted", sample


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100)
@given(data=st.data())
def test_edited_bytes_are_refused_or_re_encode_to_themselves(name: str, data: st.DataObject):
    one = FORMATS[name]
    outcome(one, data.draw(st.sampled_from(one.samples).flatmap(edited)))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30)
@given(data=st.binary(max_size=200))
def test_on_any_bytes_there_are_only_our_errors(name: str, data: bytes):
    outcome(FORMATS[name], data)


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_fuzzer_kept_still_comes_out_the_same(name: str):
    vectors = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))
    assert vectors
    for one in vectors:
        data = base64.b64decode(one["input"])
        assert outcome(FORMATS[name], data) == one["outcome"], data


def test_every_file_of_vectors_is_that_of_a_format():
    assert {file.stem for file in VECTORS.glob("*.json")} == set(FORMATS)
