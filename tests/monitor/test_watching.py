"""The monitor beside a real record: what it sees is entered once, whatever happens in between."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from aar.outside.admission import Refused
from aar.outside.gateway.record_service import MAX_ALARMS_PER_KIND, Draft
from aar.outside.monitor.monitor import Monitor
from outside.test_gateway import Gateway

METHOD = {"method.py": "def predict(instance, rng):\n    return rng.random(3)\n"}


def lottery(gateway: Gateway, count: int) -> list[int]:
    """So many submissions that do the same in other bytes."""
    task, plan = gateway.plan("researcher-1")
    return [
        gateway.submit(
            "researcher-1", task, plan, str(number), files={"method.py": METHOD["method.py"] + "#" * number}
        )
        for number in range(count)
    ]


def test_what_is_seen_is_the_next_entry_with_what_shows_it(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_watched=True)
    first, again = lottery(gateway, 2)
    (alarm,) = gateway.service.projection.alarms
    assert (alarm["code"], alarm["who"]) == ("near-duplicate-submission", "researcher-1")
    assert alarm["evidence"] == [first, again]
    # The submission's own index is what was acknowledged: its charge follows, then the alarm.
    assert alarm["index"] == again + 2
    entry = gateway.service.leaves[alarm["index"]].signed.entry
    assert (entry.author, entry.refs) == ("monitor", (first, again))


def test_a_record_without_a_monitor_has_no_such_entry(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    lottery(gateway, 2)
    assert gateway.service.projection.alarms == []


def test_a_gateway_that_starts_again_repeats_no_alarm(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_watched=True)
    lottery(gateway, 3)
    before = gateway.service.projection.tree_size
    again = gateway.start(is_watched=True)
    assert again.projection.tree_size == before
    assert len(again.projection.alarms) == 2


def test_an_alarm_that_a_crash_swallowed_is_entered_at_the_next_start(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    lottery(gateway, 2)
    assert len(gateway.start(is_watched=True).projection.alarms) == 1
    assert len(gateway.start(is_watched=True).projection.alarms) == 1


def test_one_who_goes_on_and_on_does_not_fill_the_record(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_watched=True, submissions=MAX_ALARMS_PER_KIND + 5)
    lottery(gateway, MAX_ALARMS_PER_KIND + 5)
    assert len(gateway.service.projection.alarms) == MAX_ALARMS_PER_KIND
    assert len(gateway.start(is_watched=True).projection.alarms) == MAX_ALARMS_PER_KIND


def test_an_alarm_is_no_reason_for_an_alarm_and_no_caller_waits_for_another(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_watched=True)
    lottery(gateway, 2)
    size, threads = gateway.service.projection.tree_size, threading.active_count()
    refused = Refused("forged-author", "it named another", is_alarm=True)
    gateway.service.alarm(refused, who="researcher-1", what="POST")
    assert gateway.service.projection.tree_size == size + 1
    # Threads of other tests may end meanwhile.
    assert threading.active_count() <= threads


def test_an_entry_that_the_monitor_stumbles_over_ends_no_study(tmp_path: Path) -> None:
    def unreadable(digest: str) -> bytes:
        raise PermissionError(digest)

    gateway = Gateway(tmp_path)
    (first,) = lottery(gateway, 1)
    gateway.service = gateway.start(monitor=Monitor(unreadable))
    (alarm,) = gateway.service.projection.alarms
    assert (alarm["code"], alarm["who"], alarm["evidence"]) == ("monitor-failed", "researcher-1", [first])
    assert gateway.start(monitor=Monitor(unreadable)).projection.alarms == [alarm]


def test_what_is_refused_is_not_seen(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path, is_watched=True)
    lottery(gateway, 1)
    size = gateway.service.projection.tree_size
    vote = Draft(author="researcher-1", kind="vote", body={"on": 0, "value": 1})
    with pytest.raises(Refused):
        gateway.service.append([vote, vote])
    assert gateway.service.projection.tree_size == size
    lottery_again = gateway.submit("researcher-1", "t1", size - 3, "again", files=METHOD)
    assert [one["evidence"][-1] for one in gateway.service.projection.alarms] == [lottery_again]
