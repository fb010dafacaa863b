"""The parser of what an exec server says: what fits is a frame, and everything else is one error."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.outside.sandbox.asked import SnapshotCall, SnapshotCaps
from aar.outside.sandbox.frames import CHUNK, HEADER_BYTES, Frame, FrameReader, MalformedFrame


def written(header: dict[str, Any], body: bytes = b"") -> bytes:
    return json.dumps({**header, "size": len(body)}).encode() + b"\n" + body


EVERY_FRAME = [
    Frame(1, "out", b"a\n{"),
    Frame(2, "err", b"\x00\xff"),
    Frame(3, "data", b"x" * CHUNK),
    Frame(4, "file", "ä/b".encode()),
    Frame(5, "skipped", b"c", {"why": "symlink"}),
    Frame(6, "done"),
    Frame(7, "done", b"", {"code": 255, "truncated": True, "reason": "wall"}),
    Frame(8, "failed", b"", {"errno": 2, "why": "os"}),
]
WRITTEN = b"".join(written({"id": one.call, "say": one.say, **one.fields}, one.body) for one in EVERY_FRAME)


@given(st.lists(st.integers(0, len(WRITTEN)), max_size=6))
def test_frames_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    reader = FrameReader()
    places = [0, *sorted(cuts), len(WRITTEN)]
    parts = [WRITTEN[a:b] for a, b in pairwise(places)]
    assert [frame for part in parts for frame in reader.feed(part)] == EVERY_FRAME


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[" * 900,
        b'{"id":1,"say":"done","size":0,"size":0}',
        b'{"id":1,"say":"done"}',
        b'{"id":1,"say":"done","size":1}',
        b'{"id":1,"say":"done","size":-1}',
        b'{"id":1,"say":"done","size":true}',
        b'{"id":1.0,"say":"done","size":0}',
        b'{"id":-1,"say":"done","size":0}',
        b'{"id":"1","say":"done","size":0}',
        b'{"id":NaN,"say":"done","size":0}',
        b'{"id":1,"say":"done","size":0,"more":1}',
        b'{"id":1,"say":"done","size":0,"code":256,"truncated":false,"reason":"exited"}',
        b'{"id":1,"say":"done","size":0,"code":0,"truncated":0,"reason":"exited"}',
        b'{"id":1,"say":"done","size":0,"code":0,"truncated":false,"reason":"sandbox-died"}',
        b'{"id":1,"say":"out","size":0}',
        b'{"id":1,"say":"out","size":65537}',
        b'{"id":1,"say":"out","size":1,"code":0}',
        b'{"id":1,"say":"exec","size":1}',
        b'{"id":1,"say":["out"],"size":1}',
        b'{"id":1,"say":"failed","errno":2,"why":"because","size":0}',
        b'{"id":1,"say":"failed","errno":5000,"why":"os","size":0}',
        b'{"id":1,"say":"skipped","why":["os"],"size":1}',
        b'{"id":1,"say":"out","size":1,"\xc3\xa4":0}',
    ],
)
def test_what_no_honest_server_says_is_one_error(line: bytes) -> None:
    with pytest.raises(MalformedFrame):
        list(FrameReader().feed(line + b"\nx"))


def test_a_header_that_does_not_end_is_given_up_at_its_limit() -> None:
    reader = FrameReader()
    assert list(reader.feed(b'{"id":' + b"1" * (HEADER_BYTES - 7))) == []
    with pytest.raises(MalformedFrame, match="no end"):
        list(reader.feed(b"1"))


@given(st.binary(max_size=2000))
def test_any_bytes_are_frames_or_that_error(data: bytes) -> None:
    reader = FrameReader()
    try:
        for frame in reader.feed(data):
            assert len(frame.body) <= CHUNK
    except MalformedFrame:
        pass


def test_the_same_name_left_out_again_and_again_is_counted() -> None:
    call = SnapshotCall(SnapshotCaps(max_files=3))
    skipped = Frame(1, "skipped", b"again", {"why": "name"})
    for _ in range(3):
        call.take(skipped)
    with pytest.raises(MalformedFrame, match="beyond what a snapshot may hold"):
        call.take(skipped)
