"""Conduct: plans that are not kept, votes for each other, more words than work."""

from __future__ import annotations

import pytest

from aar.outside.monitor.conduct import BURST_WORDS, RING_VOTES, WORDS_PER_SUBMISSION
from aar.outside.monitor.sighting import MOST_EVIDENCE
from monitor.told import METHOD, MINUTE_MS, Told


def test_a_step_that_the_plan_lacks_is_a_deviation() -> None:
    told = Told()
    plan = told.plan("a", {"name": "s"})
    submission = told.submit("a", METHOD, plan=plan, step="other")
    assert told.codes == ["plan-deviation"]
    assert told.sightings[0].evidence == (plan, submission)


def test_ideas_of_another_family_than_the_steps_are_a_deviation() -> None:
    told = Told()
    plan = told.plan("a", {"name": "s", "families": ["prior"]})
    told.submit("a", METHOD, plan=plan, families=["prior"])
    told.submit("a", METHOD + "x = 1\n", plan=plan, families=[])
    told.submit("a", METHOD + "x = print\n", plan=plan, families=["prior", "baseline"])
    assert told.codes == []
    told.submit("a", METHOD + "print(1)\n", plan=plan, families=["prior", "ensembles"])
    assert told.codes == ["plan-deviation"]
    assert "ensembles" in told.sightings[0].what


def test_a_step_that_names_no_family_binds_to_none() -> None:
    told = Told()
    plan = told.plan("a", {"name": "s", "families": []})
    told.submit("a", METHOD, plan=plan, families=["prior"])
    assert told.codes == []


def test_more_submissions_than_a_step_says_are_a_deviation() -> None:
    told = Told()
    plan = told.plan("a", {"name": "s", "submissions": 2})
    for number in range(3):
        assert told.codes == []
        told.submit("a", METHOD + f"print({number})\n", plan=plan)
    assert told.codes == ["plan-deviation"]


def votes(told: Told, voter: str, other: str, count: int, *, built: int = 0) -> None:
    for _number in range(count):
        finding = told.find(other)
        told.vote(voter, finding)
        if built > 0:
            built -= 1
            told.find(voter, parents=(finding,))


def test_two_who_vote_for_each_other_are_a_ring() -> None:
    told = Told()
    votes(told, "a", "b", RING_VOTES)
    votes(told, "b", "a", RING_VOTES - 1)
    assert told.codes == []
    votes(told, "b", "a", 1)
    assert told.codes == ["vote-ring"]
    assert len(told.sightings[0].evidence) == 2 * RING_VOTES
    votes(told, "b", "a", 3)
    assert told.codes == ["vote-ring"]


def test_three_in_a_circle_are_a_ring() -> None:
    told = Told()
    for voter, other in ("ab", "bc", "ca"):
        assert told.codes == []
        votes(told, voter, other, RING_VOTES)
    assert told.codes == ["vote-ring"]


def test_votes_for_what_one_builds_on_make_no_ring() -> None:
    told = Told()
    votes(told, "a", "b", 20)
    votes(told, "b", "a", 20, built=20)
    assert told.codes == []


def test_votes_against_make_no_ring() -> None:
    told = Told()
    for voter, other in ("ab", "ba"):
        for _number in range(20):
            told.vote(voter, told.find(other), -1)
    assert told.codes == []


def chatter(told: Told, words: int, *, within_ms: int) -> None:
    for number in range(words):
        told.say("a", "comment", on=0, text=str(number))
        told.now_ms += within_ms // words - 1_000


def test_more_words_in_a_minute_than_work_explains_are_a_burst() -> None:
    told = Told()
    chatter(told, BURST_WORDS, within_ms=MINUTE_MS // 2)
    assert told.codes == []
    chatter(told, 1, within_ms=1_000)
    assert told.codes == ["burst"]
    assert len(told.sightings[0].evidence) == BURST_WORDS + 1 <= MOST_EVIDENCE
    chatter(told, 100, within_ms=MINUTE_MS // 2)
    assert told.codes == ["burst"]


def test_as_many_words_over_two_minutes_are_no_burst() -> None:
    told = Told()
    chatter(told, 2 * BURST_WORDS - 10, within_ms=2 * MINUTE_MS)
    assert told.codes == []


def test_who_hands_in_more_may_say_more() -> None:
    told = Told()
    for number in range(10):
        told.submit("a", METHOD.replace("0.5", f"0.{number + 1}"), plan=0, step="s")
        told.now_ms -= 900
    told.sightings.clear()
    chatter(told, BURST_WORDS + 10 * WORDS_PER_SUBMISSION, within_ms=MINUTE_MS // 2)
    assert told.codes == []
    chatter(told, 1, within_ms=1_000)
    assert told.codes == ["burst"]


@pytest.mark.parametrize("author", ["reviewer", "b"])
def test_a_reviewer_may_say_much_and_each_is_counted_alone(author: str) -> None:
    told = Told()
    for number in range(BURST_WORDS):
        told.say("a", "comment", on=0, text=str(number))
        told.say(author, "comment", on=0, text=str(number))
        told.now_ms -= 1_900
    assert told.codes == []


def test_a_reviewers_own_words_are_never_a_burst() -> None:
    told = Told()
    for number in range(3 * BURST_WORDS):
        told.say("reviewer", "comment", on=0, text=str(number))
        told.now_ms -= 999
    assert told.codes == []
