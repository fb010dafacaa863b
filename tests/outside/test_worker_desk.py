"""The worker's desk over a real record on disk: a call is charged once, a limit ends its researcher."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from aar.formats.entry import Entry, sign_entry
from aar.outside.admission import Refused
from aar.outside.gateway import worker_desk
from aar.outside.gateway.ledger import Ledger, LedgerUnusable
from aar.outside.gateway.meter import METER, Meter, MeterUnusable
from aar.outside.gateway.server import WORKER_CONNECTIONS, UnixServer, serve_in_thread
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk
from aar.outside.gateway.worker_desk import CALLS_PER_ENTRY, WorkerDesk
from aar.outside.projection import Projection
from aar.outside.staff_client import StaffClient
from aar.verify.spending import Spent
from outside.test_gateway import Gateway
from record.world import ORIGIN
from spending import CALL, CALL_DOLLARS, models

ONE, TWO = "researcher-1", "researcher-2"
TOKENS = sum(CALL.values())


class Spending(Gateway):
    """A gateway with a worker's desk; `restart` is what a new process finds after kill -9."""

    def __init__(
        self,
        directory: Path,
        *,
        study: Mapping[str, Any] | None = None,
        of_task: Mapping[str, Any] | None = None,
        **limits: Any,
    ) -> None:
        super().__init__(directory, of_task=of_task, models=models(ONE, TWO, **limits), **(study or {}))
        self.path = directory / "private" / "calls.jsonl"
        self.meter = directory / "private" / METER
        self.attach()

    def restart(self) -> None:
        # The thread of the old one would publish beside the new one's.
        self.service.finish()
        self.service = self.start()
        threading.Thread(target=self.service.publish_forever, daemon=True).start()
        self.attach()

    def attach(self) -> None:
        self.worker = WorkerDesk(
            self.service,
            Ledger(self.path),
            is_closing=lambda: bool(self.staff.closing),
            meter=Meter(self.meter),
        )
        self.staff.service = self.service
        self.staff.settle, self.staff.set_limit = self.worker.settle, self.worker.set_limit
        for desk in self.desks.values():
            desk._service, desk._settle = self.service, self.worker.settle_task

    def call(self, number: int, researcher: str = ONE, **changes: Any) -> dict[str, Any]:
        told = {"researcher": researcher, "call": f"{researcher}-{number}", "model": "test/one", **CALL}
        return self.worker.usage({**told, **changes}, {})

    def charges(self, researcher: str = ONE) -> list[Mapping[str, Any]]:
        bodies: list[Any] = [
            leaf.signed.entry.body
            for leaf in self.service.leaves
            if leaf.signed.entry.kind == "budget-charged"
        ]
        return [one for one in bodies if (one["researcher"], one["what"]) == (researcher, "tokens")]

    def spent(self, researcher: str = ONE) -> tuple[int, int, Fraction]:
        """Calls, tokens and dollars as whoever reads the record alone folds them."""
        spent = Projection.of(self.service.leaves).spending.spent[researcher]
        return spent.calls, spent.tokens, spent.dollars

    def set(self, researcher: str = ONE, **changes: Any) -> None:
        body = {"researcher": researcher, "task": "", "limits": changes, "reason": "x"}
        self.say(self.signers, "reviewer-a", "budget-set", body)
        self.worker.enforce()


@pytest.fixture
def gateway(tmp_path: Path) -> Spending:
    return Spending(tmp_path)


def test_calls_are_summed_up_every_so_many(gateway: Spending) -> None:
    for number in range(CALLS_PER_ENTRY - 1):
        assert gateway.call(number)["stop"] == ""
    assert gateway.charges() == []
    gateway.call(CALLS_PER_ENTRY)
    (charge,) = gateway.charges()
    assert charge["usage"]["calls"] == CALLS_PER_ENTRY
    assert gateway.spent() == (10, 10 * TOKENS, 10 * CALL_DOLLARS)
    assert gateway.charges(TWO) == []


def test_what_is_left_counts_calls_that_no_entry_has_yet(gateway: Spending) -> None:
    told = gateway.call(1)
    assert told["left"]["tokens"] == 100_000 - TOKENS
    assert Fraction(told["left"]["dollars"]) == 1 - CALL_DOLLARS
    assert told == gateway.worker.limits({}, {"researcher": ONE})
    assert gateway.worker.limits({}, {"researcher": TWO})["left"]["tokens"] == 100_000


def test_calls_that_no_entry_had_when_the_gateway_was_killed_are_charged_at_its_start(
    gateway: Spending,
) -> None:
    gateway.call(1)
    gateway.call(2)
    assert gateway.spent() == (0, 0, 0)
    gateway.restart()
    assert gateway.spent() == (2, 2 * TOKENS, 2 * CALL_DOLLARS)
    gateway.restart()
    assert len(gateway.charges()) == 1


def test_a_call_told_again_after_a_kill_is_charged_once(gateway: Spending) -> None:
    gateway.call(1)
    gateway.restart()
    gateway.call(1)
    gateway.call(2)
    gateway.worker.settle()
    assert gateway.spent() == (2, 2 * TOKENS, 2 * CALL_DOLLARS)


def test_a_call_id_of_another_call_is_refused(gateway: Spending) -> None:
    gateway.call(1)
    with pytest.raises(Refused, match="with other numbers"):
        gateway.call(1, input=5)


def test_a_ledger_without_calls_that_were_charged_is_not_gone_on_with(gateway: Spending) -> None:
    gateway.call(1)
    gateway.call(2)
    gateway.worker.settle()
    lines = gateway.path.read_text().splitlines(keepends=True)
    gateway.path.write_text(lines[0])
    with pytest.raises(LedgerUnusable, match="put back gateway/calls.jsonl"):
        gateway.restart()
    gateway.path.write_text(lines[0] + lines[1].replace('"input": 1000', '"input": 1001'))
    with pytest.raises(LedgerUnusable, match="charged for 2 that are not these"):
        gateway.restart()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"model": "test/two"}, "wrong-model"),
        ({"call": ""}, "bad-request"),
        ({"call": "x" * 129}, "bad-request"),
        ({"input": -1}, "bad-request"),
        ({"output": 10**9 + 1}, "bad-request"),
        ({"researcher": "researcher-9"}, "no-model"),
    ],
)
def test_what_cannot_be_counted_is_refused(gateway: Spending, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        gateway.call(1, **changes)
    assert refused.value.code == code
    gateway.restart()
    assert gateway.charges() == []


@pytest.mark.parametrize("before", [Spent(tokens=2**53 - 1), Spent(dollars=Fraction("999999999.999"))])
def test_a_call_that_no_charge_could_tell_of_is_refused_before_it_is_on_disk(
    gateway: Spending, before: Spent
) -> None:
    gateway.service.projection.spending.spent[ONE] = before
    with pytest.raises(Refused, match="more than a charge can say: (tokens|dollars) in all"):
        gateway.call(1)
    assert not gateway.path.exists()


def test_a_limit_is_an_entry_at_once_and_ends_the_lease(tmp_path: Path) -> None:
    gateway = Spending(tmp_path, tokens=2 * TOKENS)
    task, plan = gateway.plan(ONE)
    assert gateway.call(1)["stop"] == ""
    told = gateway.call(2)
    assert told["stop"] == "tokens"
    assert told["left"]["tokens"] == 0
    assert [one["usage"]["limit"] for one in gateway.charges()] == ["tokens"]
    assert gateway.desks[ONE].lease({}, {}) == {"task": None, "study_open": True}
    with pytest.raises(Refused, match="reached its limit, tokens"):
        gateway.submit(ONE, task, plan, "late")
    with pytest.raises(Refused, match="was ended"):
        gateway.desks[ONE].done({"task": task, "outcome": "budget", "reason": "x"}, {})
    assert gateway.desks[TWO].lease({}, {})["task"]["task"] == task


def test_a_limit_holds_after_a_restart(tmp_path: Path) -> None:
    gateway = Spending(tmp_path, dollars="0.004")
    gateway.call(1)
    gateway.restart()
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "dollars"
    assert gateway.desks[ONE].lease({}, {})["task"] is None


def test_a_call_under_way_when_a_limit_was_reached_is_paid_for_too(tmp_path: Path) -> None:
    gateway = Spending(tmp_path, tokens=TOKENS)
    gateway.call(1)
    assert gateway.call(2)["stop"] == "tokens"
    assert gateway.spent() == (2, 2 * TOKENS, 2 * CALL_DOLLARS)


def test_the_limit_of_the_study_ends_all_its_models(gateway: Spending) -> None:
    for researcher in (ONE, TWO):
        gateway.plan(researcher)
    gateway.set("", tokens=2 * TOKENS)
    assert gateway.call(1)["stop"] == ""
    assert gateway.call(1, TWO)["stop"] == "tokens"
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "tokens"
    assert {one["usage"]["limit"] for one in (*gateway.charges(), *gateway.charges(TWO))} == {
        "",
        "study-tokens",
    }
    now_ms = gateway.service.now_ms()
    assert all(task.lease_until_ms <= now_ms for task in gateway.service.projection.tasks.values())


def test_a_lowered_limit_ends_the_lease_also_when_witnesses_are_late(
    gateway: Spending, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(_index: int) -> dict[str, Any]:
        raise Refused("not-published", "no witness has answered")

    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    monkeypatch.setattr(gateway.service, "acknowledge", late)
    chain = gateway.service.projection.chain("reviewer-a")
    body: dict[str, Any] = {"researcher": ONE, "task": "", "limits": {"tokens": 10}, "reason": "x"}
    entry = Entry(ORIGIN, "reviewer-a", chain.seq, chain.prev, "budget-set", (), body, 1)
    signed = base64.b64encode(sign_entry(entry, gateway.signers["reviewer-a"]).data).decode()
    with pytest.raises(Refused, match="no witness"):
        gateway.staff.take_entry({"entry": signed, "blobs": []}, who="control")
    assert gateway.desks[TWO].lease({}, {})["task"]["task"] == task


def test_nothing_is_handed_back_between_the_entry_of_a_limit_and_what_it_ends(
    gateway: Spending, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    told = {"task": task, "outcome": "done", "reason": "x"}
    handing_back = threading.Thread(target=lambda: gateway.desks[ONE].done(told, {}))
    enforce = gateway.worker.enforce

    def enforce_late() -> None:
        handing_back.start()
        handing_back.join(0.2)
        enforce()

    monkeypatch.setattr(gateway.worker, "enforce", enforce_late)
    chain = gateway.service.projection.chain("reviewer-a")
    body: dict[str, Any] = {"researcher": "", "task": task, "limits": {"tokens": 10}, "reason": "x"}
    entry = Entry(ORIGIN, "reviewer-a", chain.seq, chain.prev, "budget-set", (), body, 1)
    signed = base64.b64encode(sign_entry(entry, gateway.signers["reviewer-a"]).data).decode()
    gateway.staff.take_entry({"entry": signed, "blobs": []}, who="control")
    handing_back.join()
    assert gateway.service.projection.tasks[task].outcome == "budget"


def test_a_lease_that_a_killed_gateway_had_not_ended_at_a_limit_is_ended_at_its_start(
    gateway: Spending,
) -> None:
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    body = {"researcher": ONE, "task": "", "limits": {"tokens": 10}, "reason": "x"}
    gateway.say(gateway.signers, "reviewer-a", "budget-set", body)
    gateway.restart()
    assert gateway.desks[TWO].lease({}, {})["task"]["task"] == task


def test_calls_that_were_just_entered_are_not_counted_twice_against_the_study(tmp_path: Path) -> None:
    gateway = Spending(tmp_path, tokens=2 * TOKENS)
    gateway.plan(ONE)
    task, _plan = gateway.plan(TWO)
    gateway.call(1)
    assert gateway.call(2)["stop"] == "tokens"
    assert gateway.worker.limits({}, {"researcher": TWO})["stop"] == ""
    held = gateway.service.projection.tasks[task]
    assert (held.researcher, held.lease_until_ms > gateway.service.now_ms()) == (TWO, True)


def test_a_limit_lowered_below_what_is_spent_ends_the_lease_and_a_raised_one_gives_it_back(
    gateway: Spending,
) -> None:
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    gateway.set(tokens=10)
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "tokens"
    assert gateway.spent()[0] == 1
    assert gateway.desks[ONE].lease({}, {})["task"] is None
    gateway.set(tokens=10_000)
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == ""
    assert gateway.desks[ONE].lease({}, {})["task"]["task"] == task


def test_what_a_task_cost_is_charged_when_it_ends(gateway: Spending) -> None:
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    gateway.desks[ONE].done({"task": task, "outcome": "done", "reason": ""}, {})
    assert [(one["task"], one["usage"]["calls"]) for one in gateway.charges()] == [(task, 1)]


def test_calls_of_two_tasks_are_charged_apart(gateway: Spending) -> None:
    gateway.call(1)
    task, _plan = gateway.plan(ONE)
    gateway.call(2)
    assert [(one["task"], one["usage"]["calls"]) for one in gateway.charges()] == [("", 1), (task, 1)]


def test_everything_is_charged_when_the_study_closes(gateway: Spending) -> None:
    gateway.call(1)
    control = ControlDesk(gateway.staff, {}, stop=lambda: None)
    control.start_closing({"reason": "stopped"}, {})
    assert gateway.spent()[0] == 1
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "stopped"


def transcript(gateway: Spending, **changes: Any) -> Any:
    told = {"researcher": ONE, "task": "t1", "file": "a.eval", "sha256": "0b" * 32, "bytes": 12}
    return gateway.worker.transcript({**told, **changes}, {})


def test_a_transcript_is_an_entry_with_the_calls_that_wait_and_told_again_the_same_one(
    gateway: Spending,
) -> None:
    gateway.plan(ONE)
    gateway.call(1)
    first = transcript(gateway)
    assert transcript(gateway)["index"] == first["index"]
    (charge,) = gateway.charges()
    assert charge["usage"]["transcripts"] == [{"name": "a.eval", "sha256": "0b" * 32, "size": 12}]
    assert transcript(gateway, file="b.eval")["index"] > first["index"]
    assert [one["usage"]["calls"] for one in gateway.charges()] == [1, 0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"file": "../../etc/passwd"}, "bad-request"),
        ({"sha256": "0B" * 32}, "bad-request"),
        ({"researcher": "nobody"}, "no-model"),
        ({"bytes": -1}, "bad-body"),
    ],
)
def test_a_transcript_that_is_none_is_refused(gateway: Spending, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Refused) as refused:
        transcript(gateway, **changes)
    assert refused.value.code == code


def test_of_one_researcher_there_are_so_many_transcripts_and_no_more(
    gateway: Spending, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_desk, "MOST_TRANSCRIPTS", 1)
    index = transcript(gateway)["index"]
    assert transcript(gateway)["index"] == index
    with pytest.raises(Refused) as refused:
        transcript(gateway, file="b.eval")
    assert refused.value.code == "said-enough"


def test_a_transcript_of_a_name_that_was_told_before_is_refused(gateway: Spending) -> None:
    transcript(gateway)
    with pytest.raises(Refused, match="with another digest"):
        transcript(gateway, sha256="0c" * 32)


def stop(gateway: Spending, researcher: str, author: str = "reviewer-a") -> None:
    body = {"researcher": researcher, "signal": "", "value": "", "limit": "", "reason": "x", "evidence": []}
    gateway.say(gateway.signers, author, "queue-paused", body)


def test_a_stop_and_a_pause_are_told_of(gateway: Spending) -> None:
    stop(gateway, ONE)
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "stopped"
    assert gateway.worker.limits({}, {"researcher": TWO})["stop"] == ""
    assert gateway.desks[ONE].lease({}, {}) == {"task": None, "study_open": True}
    stop(gateway, "")
    assert gateway.worker.limits({}, {"researcher": TWO})["stop"] == "paused"


def test_who_has_no_task_when_submissions_are_spent_may_stop(tmp_path: Path) -> None:
    gateway = Spending(tmp_path)
    for researcher in (ONE, TWO):
        task, plan = gateway.plan(researcher)
        for number in range(4):
            gateway.submit(researcher, task, plan, f"{researcher}-{number}")
    told = gateway.worker.limits({}, {"researcher": ONE})
    assert (told["stop"], told["left"]["submissions"]) == ("", 0)
    held = next(one.name for one in gateway.service.projection.tasks.values() if one.researcher == ONE)
    gateway.desks[ONE].done({"task": held, "outcome": "done", "reason": ""}, {})
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "submissions"


def test_a_task_over_which_too_many_reached_their_limits_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_desk, "MAX_HOLDERS", 2)
    gateway = Spending(tmp_path, tokens=TOKENS)
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    assert gateway.service.projection.tasks[task].state == "leased"
    gateway.plan(TWO)
    gateway.call(1, TWO)
    told = gateway.service.projection.tasks[task]
    assert (told.outcome, told.reason) == (
        "budget",
        f"{ONE}, {TWO} had it, the last to a limit of its budget",
    )


def test_many_at_once_tell_of_their_calls_and_each_counts_once(gateway: Spending, tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "worker.sock"))
    listener.listen(64)
    server = UnixServer(
        listener,
        gateway.worker.verbs(),
        on_refused=lambda *_told: None,
        on_request=lambda: None,
        on_error=gateway.fatal.append,
        connections=WORKER_CONNECTIONS,
    )
    serve_in_thread(server, "worker")
    threads, calls = 40, 4
    together = threading.Barrier(threads)

    def tell(number: int) -> None:
        client = StaffClient(str(tmp_path / "worker.sock"))
        client.get("/v1/limits", researcher=ONE)
        # All of them hold a connection now.
        together.wait(30)
        for one in range(calls):
            # Two threads tell of each: one of them again.
            told = {"researcher": ONE, "call": f"{number // 2}-{one}", "model": "test/one", **CALL}
            client.post("/v1/usage", told)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(tell, range(threads)))
    gateway.worker.settle()
    count = threads // 2 * calls
    assert gateway.spent() == (count, count * TOKENS, count * CALL_DOLLARS)
    assert gateway.fatal == []


# Limits of time, of sandboxes, of submissions and of tasks.


def limited(directory: Path, of_task: dict[str, Any] | None = None, **limits: int) -> Spending:
    """A gateway in whose study the first researcher has these limits, and each task those."""
    told = [{"researcher": ONE, "limits": limits}] if limits else []
    return Spending(directory, study={"limits": told}, of_task=of_task or {})


def use(gateway: Spending, ms: int, researcher: str = ONE, life: str = "one") -> None:
    gateway.worker.measured({"life": life, "used_ms": {researcher: ms}}, {})


def of_sandboxes(gateway: Spending, researcher: str = ONE) -> list[tuple[str, int, int, str]]:
    """Task, amount, total and limit of each charge."""
    bodies: list[Any] = [leaf.signed.entry.body for leaf in gateway.service.leaves]
    return [
        (one["task"], one["amount"], one["usage"]["total"], one["usage"]["limit"])
        for one in bodies
        if one.get("what") == "sandbox" and one["researcher"] == researcher
    ]


def is_held(gateway: Spending, task: str) -> bool:
    told = gateway.service.projection.tasks[task]
    return not told.outcome and told.lease_until_ms > gateway.service.now_ms()


def test_what_sandboxes_used_is_summed_up_and_told_again_counts_once(gateway: Spending) -> None:
    task, _plan = gateway.plan(ONE)
    for ms in (10_000, 29_999, 29_999, 20_000):
        use(gateway, ms)
    assert of_sandboxes(gateway) == []
    use(gateway, 31_000)
    assert of_sandboxes(gateway) == [(task, 31_000, 31_000, "")]
    # Another life of the launcher counts from nothing.
    use(gateway, 30_500, life="two")
    assert of_sandboxes(gateway)[1:] == [(task, 30_500, 61_500, "")]


def test_what_sandboxes_used_is_said_on_the_control_socket_alone(gateway: Spending) -> None:
    gateway.staff.measured = gateway.worker.measured
    desks = [gateway.worker, EvaluatorDesk(gateway.staff), *gateway.desks.values()]
    assert not any(("POST", "/v1/used") in desk.verbs() for desk in desks)
    control = ControlDesk(gateway.staff, gateway.desks, stop=lambda: None)
    control.verbs()["POST", "/v1/used"]({"life": "one", "used_ms": {ONE: 30_000}}, {})
    assert of_sandboxes(gateway) == [("", 30_000, 30_000, "")]


def test_a_lease_of_who_came_to_its_limit_since_it_was_looked_at_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = limited(tmp_path, sandbox_seconds=1)
    gateway.plan(ONE)
    use(gateway, 1_000)
    monkeypatch.setattr(gateway.desks[ONE], "_may_have_a_task", lambda _now_ms: True)
    assert gateway.desks[ONE].lease({}, {}) == {"task": None, "study_open": True}


def test_what_sandboxes_used_and_no_entry_had_is_charged_after_kill_9_and_when_a_task_ends(
    gateway: Spending,
) -> None:
    task, _plan = gateway.plan(ONE)
    use(gateway, 1_500)
    gateway.restart()
    assert of_sandboxes(gateway) == [(task, 1_500, 1_500, "")]
    use(gateway, 1_700)
    gateway.desks[ONE].done({"task": task, "outcome": "done", "reason": ""}, {})
    use(gateway, 1_800)
    gateway.restart()
    assert of_sandboxes(gateway)[1:] == [(task, 200, 1_700, ""), ("", 100, 1_800, "")]


def test_a_meter_that_was_lost_forgets_what_no_entry_had_and_nothing_else(gateway: Spending) -> None:
    gateway.plan(ONE)
    use(gateway, 30_000)
    use(gateway, 31_000)
    gateway.meter.unlink()
    gateway.restart()
    assert gateway.service.projection.account.used[ONE].sandbox_ms == 30_000
    use(gateway, 30_000, life="two")
    assert gateway.service.projection.account.used[ONE].sandbox_ms == 60_000
    gateway.meter.write_text("{}")
    with pytest.raises(MeterUnusable, match="put back the file that was there"):
        gateway.restart()


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ({"life": "x", "used_ms": {"researcher-9": 1}}, "no-researcher"),
        ({"life": "x", "used_ms": {ONE: -1}}, "bad-request"),
        ({"life": "x", "used_ms": {ONE: 1.5}}, "bad-request"),
        ({"life": "x", "used_ms": []}, "bad-request"),
    ],
)
def test_readings_that_are_none_are_refused(gateway: Spending, payload: Any, code: str) -> None:
    with pytest.raises(Refused) as refused:
        gateway.worker.measured(payload, {})
    assert refused.value.code == code


def test_a_limit_on_sandboxes_ends_the_lease_at_once_and_after_a_restart(tmp_path: Path) -> None:
    gateway = limited(tmp_path, sandbox_seconds=2)
    task, plan = gateway.plan(ONE)
    use(gateway, 1_999)
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == ""
    assert gateway.worker.limits({}, {"researcher": ONE})["left"]["sandbox_seconds"] == 0
    use(gateway, 2_100)
    assert of_sandboxes(gateway) == [(task, 2_100, 2_100, "sandbox-seconds")]
    for _life in range(2):
        assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "sandbox-seconds"
        assert gateway.desks[ONE].lease({}, {})["task"] is None
        with pytest.raises(Refused, match="its limit, sandbox-seconds"):
            gateway.submit(ONE, task, plan, "more")
        gateway.restart()
    assert gateway.worker.use()["researchers"][ONE]["stop"] == "sandbox-seconds"
    assert gateway.desks[TWO].lease({}, {})["task"]["task"] == task
    gateway.set(sandbox_seconds=3)
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == ""


def test_a_limit_on_all_sandboxes_ends_everybodys_leases(gateway: Spending) -> None:
    tasks = [gateway.plan(one)[0] for one in (ONE, TWO)]
    gateway.set("", sandbox_seconds=2)
    use(gateway, 1_000)
    use(gateway, 1_000, TWO)
    assert {one[-1] for name in (ONE, TWO) for one in of_sandboxes(gateway, name)} == {
        "",
        "study-sandbox-seconds",
    }
    assert not any(is_held(gateway, task) for task in tasks)
    assert gateway.worker.limits({}, {"researcher": TWO})["stop"] == "sandbox-seconds"


def test_a_limit_on_minutes_ends_the_lease_and_is_told_once(tmp_path: Path) -> None:
    gateway = limited(tmp_path, seconds=10)
    task, _plan = gateway.plan(ONE)
    gateway.later_ms += 9_000
    use(gateway, 1)
    assert is_held(gateway, task)
    assert gateway.worker.limits({}, {"researcher": ONE})["left"]["seconds"] == 0
    gateway.later_ms += 1_500
    use(gateway, 2)
    use(gateway, 3)
    assert not is_held(gateway, task)
    assert [one[-1] for one in of_sandboxes(gateway)] == ["", "minutes"]
    gateway.restart()
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "minutes"
    assert gateway.desks[ONE].lease({}, {})["task"] is None
    gateway.set(seconds=99)
    assert gateway.desks[ONE].lease({}, {})["task"]["task"] == task


def test_a_limit_on_minutes_is_noticed_between_two_readings_when_a_model_asks(tmp_path: Path) -> None:
    gateway = limited(tmp_path, seconds=10)
    task, _plan = gateway.plan(ONE)
    gateway.later_ms += 10_500
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "minutes"
    assert not is_held(gateway, task)


def test_no_gap_is_too_long_to_be_time_where_time_counts(tmp_path: Path) -> None:
    gateway = limited(tmp_path, seconds=999)
    gateway.plan(ONE)
    began = gateway.service.projection.account.held_ms(ONE, gateway.service.now_ms())
    for _second in range(60):
        gateway.later_ms += 1_000
        gateway.worker.measured({"life": "one", "used_ms": {}}, {})
    account = gateway.service.projection.account
    assert account.held_ms(ONE, gateway.service.now_ms()) - began >= 60_000
    assert len(of_sandboxes(gateway)) == 4


def pass_time(gateway: Spending, seconds: int) -> None:
    for _look in range(seconds // 10):
        gateway.later_ms += 10_000
        gateway.worker.measured({"life": "one", "used_ms": {}}, {})


def test_a_lease_lasts_as_long_as_a_study_that_was_given_more_time(gateway: Spending) -> None:
    task, _plan = gateway.plan(ONE)
    pass_time(gateway, 560)
    # In a study that ends when it does it is left alone.
    assert gateway.service.projection.tasks[task].epoch == 1
    gateway.set("", seconds=2_000)
    pass_time(gateway, 140)
    assert gateway.service.projection.tasks[task].epoch == 2
    assert is_held(gateway, task)
    assert gateway.service.projection.account.held_ms(ONE, gateway.service.now_ms()) >= 700_000
    assert gateway.desks[TWO].lease({}, {})["task"]["task"] != task


def test_the_time_of_who_hands_in_after_its_lease_ran_out_counts_again(gateway: Spending) -> None:
    task, plan = gateway.plan(ONE)
    gateway.later_ms += 700_000
    assert not is_held(gateway, task)
    index = gateway.submit(ONE, task, plan, "late")
    assert is_held(gateway, task)
    assert gateway.service.projection.submissions[index].body["request"] == "late"


def test_no_lease_is_prolonged_once_the_monitor_paused_the_queue_over_another(
    gateway: Spending, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = [gateway.plan(one)[0] for one in (ONE, TWO)]
    gateway.set("", seconds=2_000)
    gateway.later_ms += 550_000
    watch = gateway.service._watch

    def pausing() -> None:
        monkeypatch.setattr(gateway.service, "_watch", watch)
        stop(gateway, "")

    monkeypatch.setattr(gateway.service, "_watch", pausing)
    gateway.worker._prolong_leases()
    assert [gateway.service.projection.tasks[one].epoch for one in tasks] == [2, 1]


@pytest.mark.parametrize("what", ["closing", "pause", "stop", "limit", "done"])
def test_no_lease_is_prolonged_of_who_may_have_none(what: str, gateway: Spending) -> None:
    task, plan = gateway.plan(ONE)
    gateway.set("", seconds=2_000)
    if what == "closing":
        gateway.staff.closing = "x"
    if what in ("pause", "stop"):
        stop(gateway, "" if what == "pause" else ONE)
    if what == "limit":
        gateway.submit(ONE, task, plan, "first")
        gateway.set(submissions=1)
    if what == "done":
        gateway.desks[ONE].done({"task": task, "outcome": "done", "reason": ""}, {})
    gateway.later_ms += 550_000
    gateway.worker.measured({"life": "one", "used_ms": {}}, {})
    assert gateway.service.projection.tasks[task].epoch == 1


def test_a_limit_on_submissions_lets_what_was_handed_in_be_written_up(tmp_path: Path) -> None:
    gateway = limited(tmp_path, submissions=1)
    task, plan = gateway.plan(ONE)
    gateway.submit(ONE, task, plan, "first")
    with pytest.raises(Refused, match="its limit, submissions"):
        gateway.submit(ONE, task, plan, "second")
    told = gateway.worker.limits({}, {"researcher": ONE})
    assert (told["stop"], told["left"]["submissions"]) == ("", 0)
    assert gateway.worker.use()["researchers"][ONE]["stop"] == ""
    gateway.worker.enforce()
    # What it still uses is summed up as it always is.
    for number in range(3):
        gateway.call(number)
        use(gateway, number)
    assert gateway.charges() == of_sandboxes(gateway) == []
    assert gateway.desks[ONE].lease({}, {})["task"]["task"] == task
    gateway.desks[ONE].done({"task": task, "outcome": "done", "reason": ""}, {})
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == "submissions"
    assert gateway.worker.use()["researchers"][ONE]["stop"] == "submissions"
    assert gateway.desks[ONE].lease({}, {}) == {"task": None, "study_open": True}


@pytest.mark.parametrize(
    ("limit", "word", "reason"),
    [
        ({"tokens": 2 * TOKENS}, "task-tokens", f"{2 * TOKENS} tokens"),
        ({"dollars": "0.009"}, "task-dollars", "0.009 dollars"),
        ({"sandbox_seconds": 2}, "task-sandbox-seconds", "2 seconds of sandboxes"),
        ({"seconds": 9}, "task-minutes", "9 seconds for which it is held"),
    ],
)
def test_a_task_at_its_limit_is_closed_with_its_reason_and_its_model_is_told_in_the_turn(
    tmp_path: Path, limit: dict[str, Any], word: str, reason: str
) -> None:
    gateway = limited(tmp_path, limit)
    task, plan = gateway.plan(ONE)
    assert gateway.call(1)["stop"] == ""
    use(gateway, 2_000)
    gateway.later_ms += 10_000
    assert gateway.call(2)["stop"] == word
    closed = gateway.service.projection.tasks[task]
    assert (closed.outcome, closed.reason) == ("budget", f"it reached its limit, {word}: {reason}")
    gateway.restart()
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == word
    # Of the researcher that is no limit: it works on, on another task.
    assert gateway.worker.use()["researchers"][ONE]["stop"] == ""
    with pytest.raises(Refused) as refused:
        gateway.submit(ONE, task, plan, "more")
    assert refused.value.code == "budget"
    gateway.desks[ONE].done({"task": task, "outcome": "budget", "reason": "x"}, {})
    assert gateway.desks[ONE].lease({}, {})["task"]["task"] != task
    assert gateway.worker.limits({}, {"researcher": ONE})["stop"] == ""


def test_a_limit_of_a_task_set_below_what_was_used_closes_it_whoever_used_it(gateway: Spending) -> None:
    task, _plan = gateway.plan(ONE)
    use(gateway, 3_000)
    body = {"researcher": "", "task": task, "limits": {"sandbox_seconds": 3}, "reason": "x"}
    gateway.say(gateway.signers, "reviewer-a", "budget-set", body)
    gateway.worker.enforce()
    assert gateway.service.projection.tasks[task].outcome == "budget"


def test_who_says_that_a_task_ended_for_a_budget_that_is_not_spent_is_refused(gateway: Spending) -> None:
    task, _plan = gateway.plan(ONE)
    with pytest.raises(Refused, match="no limit of .* was reached: it is done or failed"):
        gateway.desks[ONE].done({"task": task, "outcome": "budget", "reason": "tired"}, {})
    assert is_held(gateway, task)


def test_the_account_of_use_has_researchers_tasks_and_the_study(tmp_path: Path) -> None:
    gateway = limited(tmp_path, {"tokens": 9_000}, sandbox_seconds=60, submissions=4)
    task, _plan = gateway.plan(ONE)
    gateway.call(1)
    use(gateway, 1_234)
    told = gateway.worker.use()
    assert told["researchers"][ONE]["sandbox_seconds"] == {"used": 1.2, "limit": 60, "left": 58.8}
    assert told["researchers"][ONE]["submissions"] == {"used": 0, "limit": 4, "left": 4}
    assert told["researchers"][ONE]["seconds"]["limit"] is None
    assert told["tasks"][task]["tokens"] == {"used": TOKENS, "limit": 9_000, "left": 9_000 - TOKENS}
    assert told["tasks"][task]["dollars"] == {"used": "0.0045", "limit": None, "left": None}
    assert told["sandbox_seconds"] == {"used": 1.2, "limit": None, "left": None}
