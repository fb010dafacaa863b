"""An idle record shows that it lives; one that cannot publish says so and ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aar.outside.gateway import record_service
from aar.outside.gateway.record_service import FrozenClock, RecordService
from aar.outside.keyring import Keyring
from aar.outside.record.errors import QuorumNotMet


class Ended(BaseException):
    """What the fatal handler of a process would do."""


class Idle:
    """A sequencer with a record in which everything is published."""

    def __init__(self, size: int) -> None:
        self.size = self.published_size = size
        self.beats = 0

    def leaf(self, _index: int) -> bytes:
        raise AssertionError("nothing is folded here")

    def heartbeat(self) -> None:
        self.beats += 1
        if self.beats == 3:
            raise Ended

    def publish(self) -> None:
        raise AssertionError("nothing is new")


def service_of(sequencer: Any, directory: Path, monkeypatch: pytest.MonkeyPatch) -> RecordService:
    def end(error: BaseException) -> None:
        raise Ended from error

    monkeypatch.setattr(RecordService, "rebuild", lambda _self: None)
    keyring = Keyring(directory / "keys", bytes)
    clock = FrozenClock(lambda: 0)
    return RecordService(sequencer, keyring, origin="log.example/1", clock=clock, on_fatal=end)


def test_an_idle_record_is_cosigned_again_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_service, "HEARTBEAT_S", 0.01)
    idle = Idle(5)
    service = service_of(idle, tmp_path, monkeypatch)
    with pytest.raises(Ended):
        service.publish_forever()
    assert idle.beats == 3


def test_a_heartbeat_comes_every_minute() -> None:
    assert record_service.HEARTBEAT_S == 60


def test_a_record_whose_heartbeat_no_witness_answers_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_service, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr(record_service, "PUBLISH_PAUSE_S", 0.0)
    idle = Idle(5)
    asked = 0

    def refuse() -> None:
        nonlocal asked
        asked += 1
        raise QuorumNotMet("0 cosignatures, want 1")

    monkeypatch.setattr(idle, "heartbeat", refuse)
    with pytest.raises(Ended):
        service_of(idle, tmp_path, monkeypatch).publish_forever()
    assert asked == record_service.PUBLISH_TRIES


def test_an_empty_record_has_nothing_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_service, "HEARTBEAT_S", 0.0)
    empty = Idle(0)
    service = service_of(empty, tmp_path, monkeypatch)
    waits = 0

    def wait(_timeout: float) -> bool:
        nonlocal waits
        waits += 1
        if waits == 5:
            raise Ended
        return False

    monkeypatch.setattr(service.changed, "wait", wait)
    with pytest.raises(Ended):
        service.publish_forever()
    assert empty.beats == 0
