"""`aar trace`: what it finds out of itself; tests/llm/test_model_study.py runs it on a study."""

from __future__ import annotations

from aar.cli.trace import missing


def test_a_transcript_that_the_record_tells_of_and_nobody_finds_is_named() -> None:
    recorded = [("researcher-1", "a.eval"), ("researcher-1", "b.eval"), ("researcher-2", "c.eval")]
    assert missing("researcher-1", ["b.eval", "new.eval"], recorded) == ["a.eval"]
    assert missing("researcher-2", ["c.eval"], recorded) == []
