"""`aar trace`: what it finds out of itself; tests/llm/test_model_study.py runs it on a study."""

from __future__ import annotations

import pytest

from aar.cli.trace import missing, reading_in, reading_lines


def test_a_transcript_that_the_record_tells_of_and_nobody_finds_is_named() -> None:
    recorded = [("researcher-1", "a.eval"), ("researcher-1", "b.eval"), ("researcher-2", "c.eval")]
    assert missing("researcher-1", ["b.eval", "new.eval"], recorded) == ["a.eval"]
    assert missing("researcher-2", ["c.eval"], recorded) == []


@pytest.mark.parametrize("data", [b"", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"[1]", b"null"])
def test_a_file_that_is_no_reading_is_shown_as_one_that_says_nothing(data: bytes) -> None:
    told = {"reading": reading_in(data), "file": "monitor.r.1.json", "recorded": False}
    assert next(iter(reading_lines(told))) == "== monitor.r.1.json: of nobody, digest NOT in the record"
