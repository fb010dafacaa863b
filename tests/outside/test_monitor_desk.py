"""The monitor's desk over a real record on disk: what a worker says of what it read, and may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aar.outside.admission import Refused
from aar.outside.gateway import monitor_desk
from aar.outside.gateway.monitor_desk import MonitorDesk
from aar.outside.gateway.record_service import MAX_ALARMS_PER_KIND
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk, summary
from aar.outside.projection import Projection
from outside.test_worker_desk import ONE, TOKENS, TWO, Spending
from spending import CALL, monitor


class Watched(Spending):
    """A gateway whose study has a model for its monitor."""

    def __init__(self, directory: Path, **terms: Any) -> None:
        self.terms = monitor(**terms)
        super().__init__(directory, study={"monitor": self.terms})
        self.evaluator = EvaluatorDesk(self.staff)
        self.control = ControlDesk(self.staff, self.desks, stop=lambda: None)
        for desk in self.desks.values():
            desk._is_running = lambda submission, run: (submission, run) in self.staff.begun([submission])

    def attach(self) -> None:
        super().attach()
        self.staff.spent_by_monitor = self.worker.spent_by_monitor
        self.desk = MonitorDesk(self.staff, self.worker)

    def read(self, *alarms: dict[str, Any], number: int = 1, researcher: str = ONE, **changes: Any) -> Any:
        name = f"monitor.{researcher}.{number}.json"
        told = {"researcher": researcher, "file": name, "sha256": "0b" * 32, "bytes": 12}
        return self.desk.reading({**told, "alarms": list(alarms), **changes}, {})

    def think(self, number: int = 1) -> Any:
        told = {"researcher": "monitor", "call": f"m-{number}", "model": "test/monitor", **CALL}
        return self.worker.usage(told, {})

    def submitted(self, researcher: str = ONE, request: str = "a") -> int:
        task, plan = self.plan(researcher)
        return self.submit(researcher, task, plan, request)

    def of(self, kind: str) -> list[Any]:
        return [leaf.signed.entry for leaf in self.service.leaves if leaf.signed.entry.kind == kind]


def alarm(*evidence: int, hold: int = -1, code: str = "model-alarm-high", **changes: Any) -> dict[str, Any]:
    body = {"code": code, "what": "it says that it will", "quote": "I will", "evidence": list(evidence)}
    return {**body, "hold": hold, **changes}


@pytest.fixture
def gateway(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_what_was_said_and_handed_in_is_there_to_read_and_nothing_else(gateway: Watched) -> None:
    submission = gateway.submitted()
    told = gateway.desk.unread({}, {})
    assert [one["kind"] for one in told["entries"]] == ["plan-declared", "submission"]
    assert {one["researcher"] for one in told["entries"]} == {ONE}
    assert told["upto"] == gateway.service.projection.tree_size
    assert gateway.desk.files({}, {"submission": str(submission)})["files"]["method.py"].startswith("def")
    assert gateway.desk.unread({}, {"since": str(told["upto"])})["entries"] == []


def test_more_than_one_answer_takes_is_read_from_where_it_ended(
    gateway: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission = gateway.submitted()
    monkeypatch.setattr(monitor_desk, "MOST_ENTRIES", 1)
    first = gateway.desk.unread({}, {})
    (second,) = gateway.desk.unread({}, {"since": str(first["upto"])})["entries"]
    assert (first["entries"][0]["kind"], second["index"]) == ("plan-declared", submission)


def test_a_reading_is_its_digest_its_calls_its_alarms_and_its_holds_in_one_batch(gateway: Watched) -> None:
    submission = gateway.submitted()
    gateway.think()
    size = gateway.service.projection.tree_size
    told = gateway.read(alarm(submission, hold=submission), alarm(code="model-alarm-low"))
    assert told == {"alarms": 2, "held": 1}
    entries = [leaf.signed.entry for leaf in gateway.service.leaves[size:]]
    assert [one.kind for one in entries] == ["budget-charged", "alarm", "submission-held", "alarm"]
    assert [one.author for one in entries] == ["gateway", "monitor", "monitor", "monitor"]
    charge, seen, held = (one.body for one in entries[:3])
    assert (charge["researcher"], charge["task"], charge["amount"]) == ("monitor", "", TOKENS)
    assert charge["usage"]["transcripts"][0]["name"] == f"monitor.{ONE}.1.json"
    assert (seen["who"], seen["evidence"]) == (ONE, [submission])
    assert seen["attempt"] == f"monitor.{ONE}.1.json: I will"
    assert entries[1].refs == tuple(sorted((submission, size)))
    assert (held["submission"], held["alarm"], held["running"]) == (submission, size + 1, [])


def test_no_reading_is_entered_as_a_transcript_past_the_bound_of_readings(gateway: Watched) -> None:
    told = {"researcher": "monitor", "task": "", "file": "a.json", "sha256": "0b" * 32, "bytes": 1}
    size = gateway.service.projection.tree_size
    with pytest.raises(Refused, match="on /v1/reading"):
        gateway.worker.transcript(told, {})
    assert gateway.service.projection.tree_size == size


def test_a_reading_told_again_is_entered_once(gateway: Watched) -> None:
    submission = gateway.submitted()
    gateway.read(alarm(submission))
    gateway.restart()
    assert gateway.read(alarm(submission)) == {"alarms": 0, "held": 0}
    assert len(gateway.of("alarm")) == 1
    with pytest.raises(Refused, match="with another digest"):
        gateway.read(sha256="0c" * 32)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"researcher": "researcher-9"}, "no-researcher"),
        ({"file": "../../etc/passwd"}, "bad-request"),
        ({"sha256": "0B" * 32}, "bad-request"),
        ({"alarms": [alarm()] * 17}, "bad-request"),
        ({"alarms": [alarm(code="burst")]}, "bad-request"),
        ({"alarms": [alarm(code="monitor-spent")]}, "bad-request"),
        ({"alarms": [alarm(what=" ")]}, "bad-request"),
        ({"alarms": [{**alarm(), "evidence": ["1"]}]}, "bad-request"),
        ({"alarms": [{**alarm(), "approve": 1}]}, "bad-request"),
        ({"alarms": [alarm(0)]}, "evidence"),
        ({"alarms": [alarm(10**6)]}, "evidence"),
    ],
)
def test_what_is_no_reading_is_refused_whole(gateway: Watched, changes: dict[str, Any], code: str) -> None:
    size = gateway.service.projection.tree_size
    with pytest.raises(Refused) as refused:
        gateway.read(**changes)
    assert (refused.value.code, gateway.service.projection.tree_size) == (code, size)


def test_an_alarm_about_one_researcher_does_not_name_what_another_did(gateway: Watched) -> None:
    submission = gateway.submitted(TWO)
    with pytest.raises(Refused, match=f"{ONE} did not say or hand in entries"):
        gateway.read(alarm(submission))
    assert gateway.of("alarm") == []


def test_a_worker_that_was_taken_over_floods_nothing(
    gateway: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        gateway.read(*[alarm(code="model-alarm-low")] * 16, number=number)
    assert len(gateway.of("alarm")) == MAX_ALARMS_PER_KIND
    # Small ones leave room for others, of this researcher and the other.
    gateway.read(alarm(), number=4)
    gateway.read(alarm(code="model-alarm-low"), researcher=TWO)
    assert len(gateway.of("alarm")) == MAX_ALARMS_PER_KIND + 2
    monkeypatch.setattr(monitor_desk, "MOST_READINGS", 6)
    with pytest.raises(Refused, match="there are 6 readings"):
        gateway.read(number=5)


def test_a_hold_is_entered_however_many_alarms_there_were_and_once_for_a_method(gateway: Watched) -> None:
    task, plan = gateway.plan(ONE)
    first = gateway.submit(ONE, task, plan, "a")
    for number in range(2):
        gateway.read(*[alarm()] * 16, number=number)
    assert gateway.read(alarm(first, hold=first), number=2) == {"alarms": 1, "held": 1}
    # The same bytes again: held already.
    second = gateway.submit(ONE, task, plan, "b")
    assert gateway.read(alarm(second, hold=second), number=3) == {"alarms": 0, "held": 0}
    assert gateway.service.projection.holds.holding(second) >= 0


@pytest.mark.parametrize("hold", [0, 10**6, -7])
def test_what_is_no_submission_of_the_alarm_is_not_held(gateway: Watched, hold: int) -> None:
    submission = gateway.submitted()
    assert gateway.read(alarm(submission, hold=hold)) == {"alarms": 1, "held": 0}
    assert gateway.read(alarm(hold=submission), number=2) == {"alarms": 1, "held": 0}


@pytest.mark.parametrize("code", ["model-alarm-low", "model-alarm-medium", "monitor-unread"])
def test_nothing_but_a_grave_alarm_holds(gateway: Watched, code: str) -> None:
    submission = gateway.submitted()
    assert gateway.read(alarm(submission, hold=submission, code=code)) == {"alarms": 1, "held": 0}


def test_a_monitor_that_may_not_hold_only_raises_alarms(tmp_path: Path) -> None:
    gateway = Watched(tmp_path, holds=0)
    submission = gateway.submitted()
    assert gateway.read(alarm(submission, hold=submission)) == {"alarms": 1, "held": 0}


def test_no_verb_of_the_worker_s_socket_lets_a_submission_go(gateway: Watched) -> None:
    assert {path for _method, path in {**gateway.worker.verbs(), **gateway.desk.verbs()}} == {
        *("/v1/usage", "/v1/limits", "/v1/transcript"),
        *("/v1/unread", "/v1/files", "/v1/reading"),
    }


def release(gateway: Watched, submission: int, author: str = "reviewer-a", released: int = 1) -> None:
    chain = gateway.service.projection.chain(author)
    from aar.formats.entry import Entry, sign_entry
    from record.world import ORIGIN

    body: dict[str, Any] = {"submission": submission, "released": released, "reason": "it is a quotation"}
    entry = Entry(ORIGIN, author, chain.seq, chain.prev, "submission-released", (submission,), body, 1)
    gateway.service.append([sign_entry(entry, gateway.signers[author])])


@pytest.mark.parametrize("author", ["operator", "monitor", "gateway", "evaluator", ONE])
def test_nobody_but_a_reviewer_lets_go(gateway: Watched, author: str) -> None:
    submission = gateway.submitted()
    gateway.read(alarm(submission, hold=submission))
    with pytest.raises(Refused, match="is signed by a reviewer"):
        release(gateway, submission, author)


def test_what_is_held_is_given_to_nobody_to_run_until_it_is_let_go(gateway: Watched) -> None:
    submission = gateway.submitted()
    gateway.read(alarm(submission, hold=submission))
    assert gateway.evaluator.work({}, {}) == {"do": "nothing"}
    with pytest.raises(Refused, match="is held for review"):
        gateway.desks[ONE].receipt({}, {"submission": str(submission), "wait_s": "20"})
    told = summary(gateway.service.projection, now_ms=0)
    assert (told["pending"], [one["submission"] for one in told["held"]]) == (0, [submission])
    release(gateway, submission, released=0)
    assert gateway.evaluator.work({}, {}) == {"do": "nothing"}
    release(gateway, submission)
    job = gateway.evaluator.work({}, {})
    assert (job["do"], job["tier"], job["submission"]) == ("run", "explore", submission)
    assert summary(gateway.service.projection, now_ms=0)["held"] == []
    # What a reviewer let go stays let go.
    assert gateway.read(alarm(submission, hold=submission), number=2) == {"alarms": 1, "held": 0}


def test_a_run_that_had_begun_is_said_to_have_and_its_receipt_is_waited_for(gateway: Watched) -> None:
    submission = gateway.submitted()
    assert gateway.evaluator.work({}, {})["do"] == "run"
    gateway.read(alarm(submission, hold=submission))
    (held,) = gateway.of("submission-held")
    assert held.body["running"] == [{"submission": submission, "run": "explore"}]
    assert gateway.desks[ONE].receipt({}, {"submission": str(submission)}) == {"receipt": None}
    # An evaluator that is started again begins nothing of it anew.
    gateway.evaluator.hello({}, {})
    assert gateway.evaluator.work({}, {}) == {"do": "nothing"}
    # Nor does its researcher wait for what will not come.
    with pytest.raises(Refused, match="is held for review"):
        gateway.desks[ONE].receipt({}, {"submission": str(submission)})


def test_a_study_closes_over_what_is_held(gateway: Watched) -> None:
    submission = gateway.submitted()
    gateway.read(alarm(submission, hold=submission))
    gateway.control.start_closing({"reason": "stopped"}, {})
    assert gateway.evaluator.work({}, {}) == {"do": "close"}
    with pytest.raises(Refused, match="no reading is taken any more"):
        gateway.read(number=2)


def test_what_is_let_go_after_the_close_is_not_run_any_more(gateway: Watched) -> None:
    first = gateway.submitted()
    gateway.read(alarm(first, hold=first))
    gateway.control.start_closing({"reason": "stopped"}, {})
    assert gateway.evaluator.work({}, {}) == {"do": "close"}
    projection = gateway.service.projection
    projection.closed = {"reason": "stopped"}
    release(gateway, first)
    assert projection.holds.holding(first) < 0
    assert gateway.evaluator.work({}, {}) == {"do": "nothing"}
    assert summary(projection, now_ms=0)["pending"] == 0


def test_the_monitor_s_limit_is_its_own_and_reaching_it_is_an_alarm(tmp_path: Path) -> None:
    gateway = Watched(tmp_path, tokens=2 * TOKENS)
    gateway.call(1)
    assert gateway.think(1)["stop"] == ""
    told = gateway.think(2)
    assert (told["stop"], told["left"]["tokens"]) == ("tokens", 0)
    assert [one.body["code"] for one in gateway.of("alarm")] == ["monitor-spent"]
    assert gateway.worker.limits({}, {"researcher": ONE})["left"]["tokens"] == 100_000 - TOKENS
    status = gateway.control.status({}, {})
    assert (status["monitor"]["calls"], status["monitor"]["stop"]) == (2, "tokens")
    gateway.restart()
    gateway.worker.settle()
    assert len(gateway.of("alarm")) == 1


def test_what_researchers_spend_stops_no_monitor(tmp_path: Path) -> None:
    gateway = Watched(tmp_path)
    gateway.set("", tokens=TOKENS)
    assert gateway.call(1)["stop"] == "tokens"
    told = gateway.worker.limits({}, {"researcher": "monitor"})
    assert (told["stop"], told["left"]["tokens"]) == ("", 100_000)
    # Nor does its call stop them.
    gateway.set("", tokens=2 * TOKENS)
    gateway.think()
    assert gateway.worker.limits({}, {"researcher": TWO})["stop"] == ""
    assert gateway.worker.spending()[""]["calls"] == 1
    assert Projection.of(gateway.service.leaves).spending.spent_of("").calls == 1


def test_without_a_model_for_its_monitor_a_study_takes_no_reading(tmp_path: Path) -> None:
    gateway = Spending(tmp_path)
    desk = MonitorDesk(gateway.staff, gateway.worker)
    for ask in (desk.unread, desk.files, lambda _payload, query: desk.reading(READING, query)):
        with pytest.raises(Refused, match="no monitor that is a model"):
            ask({}, {"submission": "1"})
    assert gateway.worker.spent_by_monitor() == {}


READING = {"researcher": ONE, "file": "a.json", "sha256": "0b" * 32, "bytes": 1, "alarms": []}


def test_who_works_beside_the_monitor_and_when_it_is_to_end_is_passed_on(gateway: Watched) -> None:
    assert gateway.desk.unread({}, {})["is_last"] is False
    gateway.desk.unread({}, {"alone_pid": "77"})
    assert gateway.control.status({}, {})["monitor"]["alone_pid"] == 77
    gateway.control.last_reading({}, {})
    assert gateway.desk.unread({}, {})["is_last"] is True
    assert gateway.control.status({}, {})["monitor"]["alone_pid"] == 0


@pytest.mark.parametrize("is_done", [True, False])
def test_a_study_that_ends_before_its_monitor_has_read_all_says_so(is_done: bool, gateway: Watched) -> None:
    gateway.desk.unread({}, {"is_done": str(int(is_done))})
    gateway.control.start_closing({"reason": "stopped"}, {})
    told = [] if is_done else ["monitor-unread"]
    assert [one.body["code"] for one in gateway.of("alarm")] == told


@pytest.mark.parametrize("moment", ["before it says so", "after"])
def test_what_is_said_when_the_monitor_has_read_all_is_not_read(moment: str, gateway: Watched) -> None:
    size = gateway.service.projection.tree_size
    if moment == "after":
        gateway.desk.unread({}, {"since": str(size), "is_done": "1"})
        gateway.submitted()
    else:
        gateway.submitted()
        gateway.desk.unread({}, {"since": str(size), "is_done": "1"})
    gateway.control.start_closing({"reason": "stopped"}, {})
    assert [one.body["code"] for one in gateway.of("alarm")] == ["monitor-unread"]
