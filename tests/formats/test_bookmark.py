"""Bookmarks: one spelling, and each way to miss it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aar.formats.bookmark import format_bookmark, parse_bookmark
from aar.formats.canonical import format_canonical, parse_canonical
from aar.formats.errors import MalformedBookmark
from every_format import BOOKMARK


def test_a_bookmark_reads_back_as_it_was_written():
    assert format_bookmark(parse_bookmark(BOOKMARK)) == BOOKMARK
    assert parse_bookmark(BOOKMARK).chains == {"researcher-1": (2, "0a" * 32)}


def test_a_bookmark_of_a_study_without_sandboxes_keeps_that():
    bookmark = replace(parse_bookmark(BOOKMARK), isolation="none")
    assert parse_bookmark(format_bookmark(bookmark)) == bookmark


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"v": "aar-bookmark/v2"}, "want v"),
        ({"checkpoint": 1}, "a checkpoint's note"),
        ({"received_ms": -1}, "received_ms"),
        ({"received_ms": "1"}, "received_ms"),
        ({"is_closed": 2}, "is_closed 0 or 1"),
        ({"keys": {}}, "a list of keys"),
        ({"chains": []}, "an object of chains"),
        ({"keys": [["a", "b"]]}, "a key is"),
        ({"keys": ["abc"]}, "a key is"),
        ({"keys": [["a", "b", 1]]}, "three strings"),
        ({"keys": [["a", "b", "c"]]}, "verifier key"),
        ({"chains": {"a": [1]}}, "a chain is"),
        ({"chains": {"a": [0, "0a" * 32]}}, "a count from 1"),
        ({"chains": {"a": [1, 1]}}, "a digest"),
        ({"chains": {"a": [1, "x"]}}, "bookmark"),
        ({"more": 1}, "want the fields"),
        ({"isolation": ""}, "isolation: '', want 'none' or no such field"),
        ({"isolation": "full"}, "isolation: 'full', want 'none' or no such field"),
    ],
    ids=str,
)
def test_what_is_no_bookmark_is_refused(change: dict[str, Any], says: str):
    value: Any = parse_canonical(BOOKMARK[:-1])
    with pytest.raises(MalformedBookmark, match=says):
        parse_bookmark(format_canonical({**value, **change}) + b"\n")


@pytest.mark.parametrize("data", [b"", BOOKMARK[:-1], b"noise\n", b"[]\n"])
def test_bytes_that_are_no_bookmark_are_refused(data: bytes):
    with pytest.raises(MalformedBookmark):
        parse_bookmark(data)
