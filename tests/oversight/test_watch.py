"""Limits watched beside a real record: told once, paused where they say so, lifted by a reviewer alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aar.formats.entry import Entry, sign_entry
from aar.outside.admission import Refused
from aar.outside.oversight.terms import Limit, Terms, terms_as_body
from aar.outside.oversight.watch import LimitWatch
from aar.outside.projection import Projection
from outside.test_gateway import Gateway
from record.world import ORIGIN


def watched(directory: Path, *limits: Limit) -> Gateway:
    return Gateway(directory, is_watched=True, oversight=terms_as_body(Terms(limits=limits)))


def share(value: float, action: str, side: str = "above") -> Limit:
    return Limit(signal="steps-without-human", side=side, value=value, action=action)


def steps(gateway: Gateway, count: int) -> None:
    """So many more steps that no human signed; two tasks that a human opened are there already."""
    desk, projection = gateway.desks["researcher-1"], gateway.service.projection
    for number in range(count):
        plans = projection.tasks["t1"].plan_entries
        if not plans:
            gateway.plan("researcher-1")
            continue
        told = [{"name": "s", "what": f"{len(plans)}, {number}"}]
        desk.plan({"task": "t1", "steps": told, "amends": plans[-1]}, {})


def entries(gateway: Gateway, *kinds: str) -> list[Any]:
    return [leaf.signed.entry for leaf in gateway.service.leaves if leaf.signed.entry.kind in kinds]


def sign(gateway: Gateway, author: str, kind: str, body: dict[str, Any], *refs: int) -> int:
    chain = gateway.service.projection.chain(author)
    entry = Entry(ORIGIN, author, chain.seq, chain.prev, kind, refs, body, 1)
    return gateway.service.append([sign_entry(entry, gateway.signers[author])])[0]


def resume(gateway: Gateway) -> None:
    pause = gateway.service.projection.paused
    sign(gateway, "reviewer-a", "queue-resumed", {"pause": pause, "reason": "looked at it"}, pause)


def test_a_limit_that_notifies_is_told_once(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.3, "notify"))
    steps(gateway, 5)
    (alarm,) = gateway.service.projection.alarms
    assert (alarm["code"], alarm["who"]) == ("limit", "the study")
    assert alarm["attempt"] == "steps-without-human above 0.3: notify"
    assert "nothing is held up" in alarm["what"]
    assert entries(gateway, "queue-paused") == []


def test_a_limit_that_asks_for_a_review_says_how_it_is_answered(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.3, "require-review"))
    steps(gateway, 5)
    (alarm,) = gateway.service.projection.alarms
    assert "a reviewer answers with a comment on this entry" in alarm["what"]


def test_a_signal_within_its_limit_is_not_told(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.9, "notify"), share(0.9, "pause"), share(0.1, "notify", "below"))
    steps(gateway, 5)
    assert entries(gateway, "alarm", "queue-paused") == []


def test_a_pause_holds_leases_and_submissions_until_a_reviewer_lifts_it(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.3, "pause"))
    steps(gateway, 1)
    (pause,) = entries(gateway, "queue-paused")
    assert pause.author == "monitor"
    assert (pause.body["signal"], pause.body["value"]) == ("steps-without-human", "0.3333")
    assert pause.body["limit"] == "steps-without-human above 0.3: pause"
    assert "aar resume" in pause.body["reason"]
    assert list(pause.refs) == pause.body["evidence"]
    plan = gateway.service.projection.tasks["t1"].plan
    with pytest.raises(Refused) as refused:
        gateway.submit("researcher-1", "t1", plan, "a")
    assert refused.value.code == "paused"
    with pytest.raises(Refused) as refused:
        gateway.desks["researcher-2"].lease({}, {})
    assert refused.value.code == "paused"
    for author in ("researcher-1", "gateway", "monitor"):
        with pytest.raises(Refused, match="signed by a reviewer"):
            sign(gateway, author, "queue-resumed", {"pause": pause, "reason": "me"} | {"pause": 0}, 0)
    resume(gateway)
    assert gateway.submit("researcher-1", "t1", plan, "a") > plan
    assert gateway.desks["researcher-2"].lease({}, {})["task"]["task"] == "t2"


def test_after_a_resume_the_same_limit_pauses_again_only_twice_as_far_beyond(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.25, "pause"))
    steps(gateway, 1)
    resume(gateway)  # At 1 of 3: .08 beyond.
    steps(gateway, 1)  # 2 of 4 is .25 beyond: more than twice.
    assert [one.body["value"] for one in entries(gateway, "queue-paused")] == ["0.3333", "0.5000"]
    steps(gateway, 1)
    resume(gateway)  # At 3 of 5: .35 beyond.
    steps(gateway, 12)  # 15 of 17 is .63 beyond.
    assert len(entries(gateway, "queue-paused")) == 2


def test_one_pause_at_a_time(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.2, "pause"), share(0.3, "pause"))
    steps(gateway, 3)
    assert [one.body["limit"] for one in entries(gateway, "queue-paused")] == [
        "steps-without-human above 0.2: pause"
    ]
    resume(gateway)
    steps(gateway, 1)
    assert len(entries(gateway, "queue-paused")) == 2
    assert gateway.service.projection.paused >= 0


def test_a_reviewer_s_own_pause_is_enough(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.2, "pause"))
    by_hand = {"researcher": "", "signal": "", "value": "", "limit": "", "reason": "lunch", "evidence": []}
    at = sign(gateway, "reviewer-a", "queue-paused", by_hand)
    desk = gateway.desks["researcher-1"]
    with pytest.raises(Refused, match="paused since entry"):
        desk.lease({}, {})
    note = {"title": "go on", "direction": "", "reason": ""}
    desk.propose(note, {})
    assert gateway.service.projection.paused == at


def test_a_gateway_that_starts_again_tells_and_pauses_no_second_time(tmp_path: Path) -> None:
    gateway = watched(tmp_path, share(0.3, "pause"), share(0.3, "notify"))
    steps(gateway, 2)
    resume(gateway)
    size = gateway.service.projection.tree_size
    assert gateway.start(is_watched=True).projection.tree_size == size
    assert len(entries(gateway, "queue-paused")) == len(entries(gateway, "alarm")) == 1


def test_what_a_crash_swallowed_is_entered_at_the_next_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, oversight=terms_as_body(Terms(limits=(share(0.3, "pause"),))))
    steps(gateway, 1)
    assert gateway.service.projection.paused < 0
    assert gateway.start(is_watched=True).projection.paused > 0


def test_a_closed_study_is_not_paused(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, oversight=terms_as_body(Terms(limits=(share(0.3, "pause"),))))
    steps(gateway, 1)
    projection = Projection.of(gateway.service.leaves)
    assert len(LimitWatch().look(gateway.service.leaves, projection)) == 1
    projection.closed = {"reason": "tasks-done"}
    assert LimitWatch().look(gateway.service.leaves, projection) == []


def test_the_cost_of_looking_stays_in_proportion_to_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Gateway(tmp_path)
    steps(gateway, 200)
    looks = []
    watch, projection = LimitWatch(), Projection()
    monkeypatch.setattr(
        "aar.outside.oversight.watch.signals_in", lambda leaves, *_rest: looks.append(len(leaves)) or ()
    )
    monkeypatch.setattr("aar.outside.oversight.watch.judge_limits", lambda *_rest: [])
    for count, leaf in enumerate(gateway.service.leaves, 1):
        projection.fold(leaf)
        watch.look(gateway.service.leaves[:count], projection)
    late = [one for one in looks if one > 100]
    assert 10 < len(late) < 40
