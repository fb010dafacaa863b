"""Allocation: each policy gives out what its words say, and only what the record holds decides."""

from __future__ import annotations

from typing import Any

import pytest

from aar.outside.admission import Refused
from aar.outside.allocation import Offer, next_offer
from outside.test_admission import Study, opening

NORTH, SOUTH = "look north", "look south"


def study(policy: str = "directed", *directions: str, tasks: int = 3, **more: Any) -> Study:
    """A study in memory under that policy, its tasks free and of the same priority."""
    one = Study()
    allocation = {"policy": policy, "directions": list(directions)}
    budget = {"submissions": 40, "confirmations": 0, "seconds": 600}
    one.say("operator", "study-opened", opening(allocation=allocation, budget=budget))
    for number in range(1, tasks + 1):
        one.task(f"t{number}", **more)
    return one


def offer(one: Study, researcher: str, now_ms: int = 0) -> Offer | None:
    return next_offer(one.projection, researcher, now_ms=now_ms)


def take(one: Study, researcher: str) -> tuple[str, str]:
    """Lease what is offered; the task and the direction."""
    given = offer(one, researcher)
    assert given is not None
    one.lease(researcher, given.task.name, given.task.epoch + 1, direction=given.direction)
    return given.task.name, given.direction


def finish(one: Study, researcher: str, task: str) -> None:
    body = {"task": task, "researcher": researcher, "outcome": "done", "reason": ""}
    one.say("gateway", "task-closed", body)


def score(one: Study, researcher: str, task: str, pgr: str) -> None:
    """A scored run of the researcher's that released a value of its own."""
    plan = one.plan(researcher, task)
    submission = one.submit(plan, f"{researcher}/{task}", task=task, researcher=researcher)
    released = {"pgr": pgr, "low": "0.0000", "high": "0.9000", "improved": 1}
    one.receipt(submission, researcher=researcher, released=released)


@pytest.mark.parametrize("policy", ["directed", "undirected", "round-robin", "risk-tiered"])
def test_nobody_gets_what_another_works_on_and_the_last_one_gets_nothing(policy: str) -> None:
    one = study(policy, tasks=1)
    task, _direction = take(one, "researcher-1")
    assert task == "t1"
    assert offer(one, "researcher-2") is None
    held = offer(one, "researcher-1")
    assert held is not None
    assert held.task.name == "t1"


@pytest.mark.parametrize("policy", ["directed", "undirected", "round-robin", "risk-tiered"])
def test_a_task_of_a_higher_priority_goes_out_first_under_every_policy(policy: str) -> None:
    one = study(policy, tasks=2)
    one.task("urgent", priority=5)
    assert take(one, "researcher-1")[0] == "urgent"


def test_a_directed_researcher_has_a_direction_of_its_own() -> None:
    one = study("directed", NORTH, SOUTH)
    assert take(one, "researcher-2") == ("t1", SOUTH)
    assert take(one, "researcher-1") == ("t2", NORTH)
    finish(one, "researcher-1", "t2")
    assert take(one, "researcher-1") == ("t3", NORTH)


def test_without_directions_the_tasks_own_is_given() -> None:
    one = study("directed", tasks=0)
    one.task("t1", direction="where the task says")
    assert take(one, "researcher-1") == ("t1", "where the task says")


def test_an_undirected_researcher_is_told_no_direction() -> None:
    one = study("undirected", tasks=0)
    one.task("t1", direction="where the task says")
    assert take(one, "researcher-1") == ("t1", "")


def test_a_restarted_researcher_is_told_the_direction_of_its_lease() -> None:
    one = study("directed", NORTH, SOUTH)
    take(one, "researcher-2")
    again = offer(one, "researcher-2")
    assert again is not None
    assert again.direction == SOUTH


def test_round_robin_deals_the_tasks_in_turn() -> None:
    one = study("round-robin", tasks=5)
    assert take(one, "researcher-2")[0] == "t2"
    assert take(one, "researcher-1")[0] == "t1"
    finish(one, "researcher-2", "t2")
    assert take(one, "researcher-2")[0] == "t4"
    finish(one, "researcher-2", "t4")
    # Its turn would be t6: in a circle of five that is t1, which is held; the next one is t3, as t2 is done.
    assert take(one, "researcher-2")[0] == "t3"
    finish(one, "researcher-1", "t1")
    assert take(one, "researcher-1")[0] == "t5"


def test_a_bandit_tries_each_direction_once_and_then_the_better_one() -> None:
    one = study("bandit", NORTH, SOUTH, tasks=6)
    task, direction = take(one, "researcher-1")
    assert direction == NORTH
    score(one, "researcher-1", task, "0.1000")
    finish(one, "researcher-1", task)
    task, direction = take(one, "researcher-1")
    assert direction == SOUTH
    score(one, "researcher-1", task, "0.8000")
    finish(one, "researcher-1", task)
    task, direction = take(one, "researcher-1")
    assert direction == SOUTH
    # A pull that brought nothing counts: after enough of them the other is looked at again.
    finish(one, "researcher-1", task)
    assert take(one, "researcher-1")[1] == NORTH


def test_a_bandit_s_reward_is_of_the_lease_it_was_made_under() -> None:
    one = study("bandit", NORTH, SOUTH, tasks=6)
    first, _north = take(one, "researcher-1")
    second, _south = take(one, "researcher-2")
    score(one, "researcher-2", second, "0.9000")
    finish(one, "researcher-1", first)
    assert take(one, "researcher-1")[1] == SOUTH


def test_the_riskiest_task_goes_out_first_and_only_under_steps() -> None:
    one = study("risk-tiered", tasks=1)
    with pytest.raises(Refused, match="a task of high risk is fixed"):
        one.task("risky", risk="high")
    one.task("risky", risk="high", steps=("s1",))
    assert take(one, "researcher-1")[0] == "risky"


def test_whoever_an_alarm_is_about_gets_nothing_free() -> None:
    one = study("risk-tiered", tasks=1)
    body = {"code": "odd", "who": "researcher-1", "what": "it looked odd", "evidence": [], "attempt": ""}
    one.say("monitor", "alarm", body)
    assert offer(one, "researcher-1") is None
    one.task("walk", steps=("s1",))
    assert take(one, "researcher-1")[0] == "walk"
    assert take(one, "researcher-2")[0] == "t1"
