"""A review that a limit asks for, and a pause, in the memo: answered, lifted, or holding the verdict up."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aar.outside.oversight.answers import limit_text
from aar.outside.oversight.memo import memo_of
from aar.outside.oversight.terms import Limit
from forge import At
from oversight.deployment import Deployment, codes, file_of, holding, record_of, vault

LIMIT = Limit(signal="steps-without-human", side="above", value=0.1, action="require-review")
TABLE = '[[oversight.limit]]\nsignal = "steps-without-human"\nabove = 0.1\naction = "require-review"\n'
PAUSE = {"researcher": "", "signal": "", "value": "", "limit": "", "reason": "something odd", "evidence": []}


@pytest.fixture
def limited(deploy: Callable[..., Deployment], endpoint: str, prefix: str) -> Deployment:
    made = deploy()
    made.file = file_of(TABLE, vault(endpoint, prefix))
    made.forge = record_of(made.file, made.report)
    alarm = {"code": "limit", "who": "", "what": "passed", "evidence": [], "attempt": limit_text(LIMIT)}
    made.forge.add("limit", "monitor", "alarm", alarm, before="closed")
    return made


def comment(made: Deployment, author: str) -> None:
    body = {"on": At("limit"), "text": "I read the plans: go on"}
    made.forge.add("answer", author, "comment", body, before="closed")


def test_a_review_that_nobody_gave_holds_the_verdict_up(limited: Deployment) -> None:
    memo = memo_of(limited.facts())
    assert (memo.verdict, codes(memo)) == ("hold", [])
    assert "told in entry" in holding(memo)[0]
    assert "not answered" in holding(memo)[0]


def test_a_reviewer_s_comment_on_the_alarm_is_the_review(limited: Deployment) -> None:
    comment(limited, "reviewer")
    memo = memo_of(limited.facts())
    index = limited.forge.position("answer")
    assert (memo.verdict, holding(memo)) == ("go", [])
    (limit,) = memo.sections["monitors"]["limits"]
    assert (limit["state"], limit["answered_by"], limit["answered_in"]) == ("passed", "reviewer", index)
    said = [one for one in memo.said["monitors"] if f"answered by reviewer in entry {index}" in one.says]
    assert f"entry {index}" in said[0].cites


def test_a_researcher_s_comment_is_no_review(limited: Deployment) -> None:
    comment(limited, "r1")
    assert memo_of(limited.facts()).verdict == "hold"


def test_a_comment_on_another_entry_is_no_review(limited: Deployment) -> None:
    body = {"on": 0, "text": "fine"}
    limited.forge.add("answer", "reviewer", "comment", body, before="closed")
    assert memo_of(limited.facts()).verdict == "hold"


def test_a_pause_that_nobody_lifted_holds_the_verdict_up(
    deploy: Callable[..., Deployment],
) -> None:
    made = deploy()
    made.forge.add("pause", "reviewer", "queue-paused", PAUSE, before="closed")
    facts = made.facts()
    memo = memo_of(facts)
    assert holding(memo) == ["What paused the queue, which no reviewer has lifted: something odd"]
    assert memo.sections["monitors"]["paused"] is True


def test_a_pause_that_outlasted_the_study_is_answered_by_a_reviewer_s_comment(
    deploy: Callable[..., Deployment],
) -> None:
    made = deploy()
    made.forge.add("pause", "reviewer", "queue-paused", PAUSE, before="closed")
    body = {"on": At("pause"), "text": "it was nothing"}
    made.forge.add("answer", "reviewer", "comment", body, before="closed")
    assert memo_of(made.facts()).verdict == "go"


def test_a_pause_that_was_lifted_is_told_and_holds_nothing_up(deploy: Callable[..., Deployment]) -> None:
    made = deploy()
    made.forge.add("pause", "reviewer", "queue-paused", PAUSE, before="closed")
    body = {"pause": At("pause"), "reason": "it was nothing"}
    made.forge.add("resume", "reviewer", "queue-resumed", body, before="closed").refs = [At("pause")]
    memo = memo_of(made.facts())
    assert memo.verdict == "go"
    assert memo.sections["monitors"]["pauses"] == [made.forge.position("pause")]
    told = [one.says for one in memo.said["monitors"] if "pause" in one.says]
    assert any(one.startswith("reviewer paused the queue: something odd") for one in told)
    assert any("reviewer lifted the pause of entry" in one and "it was nothing" in one for one in told)


def test_the_stop_of_a_researcher_is_told_as_one(deploy: Callable[..., Deployment]) -> None:
    made = deploy()
    made.forge.add("stop", "operator", "queue-paused", {**PAUSE, "researcher": "r1"}, before="closed")
    memo = memo_of(made.facts())
    assert memo.sections["monitors"]["paused"] is False
    assert "operator stopped r1: something odd" in [one.says for one in memo.said["monitors"]]
