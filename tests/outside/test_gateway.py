"""The gateway's desks over a real record on disk: what one researcher can do to the others, it cannot."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aar.formats.entry import Entry, sign_entry
from aar.formats.keys import Signer, format_vkey
from aar.lab.method_directory import method_files
from aar.lab.pipeline import parse_pipeline
from aar.lab.snapshot import METHOD, families_of
from aar.outside.admission import Refused
from aar.outside.gateway import researcher_desk
from aar.outside.gateway.blobs import Blobs
from aar.outside.gateway.record_service import Draft, FrozenClock, RecordService
from aar.outside.gateway.researcher_desk import ResearcherDesk
from aar.outside.gateway.server import Pace
from aar.outside.gateway.staff_desk import ControlDesk, EvaluatorDesk, Staff
from aar.outside.keyring import Keyring
from aar.outside.monitor.monitor import Monitor
from aar.outside.record.sequencer import Sequencer
from forge import TASK_TERMS
from outside.test_admission import ROLES, opening
from record.world import LOG, ORIGIN, LocalWitness

SNAPSHOT = {"method.py": "def predict(instance, rng): ..."}


class Gateway:
    """A record service with its desks; a thread publishes, as in the process."""

    def __init__(
        self,
        directory: Path,
        *,
        submissions: int = 4,
        is_watched: bool = False,
        of_task: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        # So much later it is than the clock says.
        self.later_ms = 0
        keyring = Keyring(
            directory / "keys", lambda count: bytes(count - 1) + bytes([len(keyring.signers) + 100])
        )
        self.signers = signers = {name: keyring.open(name) for name in ROLES}
        clock = FrozenClock(lambda: time.time_ns() // 1_000_000 + self.later_ms)
        self.sequencer = Sequencer.open(
            public=directory / "record",
            private=directory / "private",
            signer=LOG,
            witnesses=[LocalWitness()],
            quorum=1,
            clock_ms=clock,
        )
        self.fatal: list[BaseException] = []
        self.keyring, self.clock = keyring, clock
        self.blobs = Blobs(directory / "record" / "blobs", directory / "private")
        self.service = self.start(is_watched=is_watched)
        self.staff = Staff(self.service, self.blobs)
        keys = [{"name": n, "role": r, "vkey": format_vkey(signers[n].vkey)} for n, r in ROLES.items()]
        log = format_vkey(LOG.vkey)
        budget = {"submissions": 2 * submissions, "confirmations": 2, "seconds": 600}
        self.say(
            signers,
            "operator",
            "study-opened",
            opening(keys=keys, log=log, budget=budget, **changes),
            "reviewer-a",
        )
        for name in ("t1", "t2"):
            task = {
                "task": name,
                "title": name,
                "direction": "",
                "workflow": "free",
                "steps": [],
                **TASK_TERMS,
                "limits": dict(of_task or {}),
            }
            self.say(signers, "reviewer-a", "task-opened", {**task, "submissions": submissions})
        self.desks = {
            name: ResearcherDesk(self.service, self.blobs, name, is_closing=lambda: False)
            for name in ("researcher-1", "researcher-2")
        }
        threading.Thread(target=self.service.publish_forever, daemon=True).start()

    def start(self, *, is_watched: bool = False, monitor: Monitor | None = None) -> RecordService:
        """A service on the record as it is now."""
        return RecordService(
            self.sequencer,
            self.keyring,
            origin=ORIGIN,
            clock=self.clock,
            on_fatal=self.fatal.append,
            monitor=Monitor(self.blobs.find) if is_watched else monitor,
        )

    def say(
        self, signers: dict[str, Signer], author: str, kind: str, body: dict[str, Any], cosigner: str = ""
    ) -> None:
        chain = self.service.projection.chain(author)
        entry = Entry(ORIGIN, author, chain.seq, chain.prev, kind, (), body, 1)
        also = [signers[cosigner]] if cosigner else []
        self.service.append([sign_entry(entry, signers[author], *also)])

    def plan(self, researcher: str) -> tuple[str, int]:
        desk = self.desks[researcher]
        task = desk.lease({}, {})["task"]["task"]
        steps = [{"name": "s", "what": ""}]
        return task, desk.plan({"task": task, "steps": steps, "amends": -1}, {})["index"]

    def submit(self, researcher: str, task: str, plan: int, request: str, **changes: Any) -> int:
        body = {"task": task, "plan": plan, "step": "s", "name": "m", "files": SNAPSHOT, "request": request}
        index: int = self.desks[researcher].submit({**body, **changes}, {})["index"]
        return index


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return Gateway(tmp_path)


def test_what_cannot_be_an_entry_is_refused_and_the_record_goes_on(gateway: Gateway) -> None:
    task, plan = gateway.plan("researcher-1")
    with pytest.raises(Refused) as refused:
        gateway.submit("researcher-1", task, 2**60, "a")
    assert refused.value.code == "bad-body"
    assert gateway.fatal == []
    assert gateway.submit("researcher-1", task, plan, "a") > plan


def test_a_batch_is_admitted_whole_or_not_at_all(gateway: Gateway) -> None:
    size = gateway.service.projection.tree_size
    lease = {"task": "t1", "researcher": "researcher-1", "until_ms": 1, "epoch": 1, "direction": ""}
    drafts = [
        Draft(author="gateway", kind="task-leased", body=lease),
        Draft(author="gateway", kind="task-leased", body={**lease, "until_ms": 2**60}),
    ]
    with pytest.raises(Refused):
        gateway.service.append(drafts)
    projection = gateway.service.projection
    assert (projection.tree_size, projection.tasks["t1"].researcher) == (size, "")
    assert len(gateway.service.leaves) == size


def test_a_signature_is_checked_while_another_entry_holds_the_record(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = threading.Event()
    check = gateway.service._signatures.check

    def seen(*arguments: Any) -> Any:
        answers = check(*arguments)
        checked.set()
        return answers

    monkeypatch.setattr(gateway.service._signatures, "check", seen)
    task = {
        "task": "t3",
        "title": "t3",
        "direction": "",
        "workflow": "free",
        "steps": [],
        "submissions": 1,
        **TASK_TERMS,
    }
    saying = threading.Thread(
        target=gateway.say, args=(gateway.signers, "reviewer-a", "task-opened", task), daemon=True
    )
    with gateway.service.lock:
        size = gateway.sequencer.size
        saying.start()
        assert checked.wait(30)
        assert gateway.sequencer.size == size
    saying.join(30)
    assert gateway.sequencer.size == size + 1


def test_a_signature_that_is_not_the_author_s_is_refused_by_the_record(gateway: Gateway) -> None:
    size = gateway.service.projection.tree_size
    task = {
        "task": "t3",
        "title": "t3",
        "direction": "",
        "workflow": "free",
        "steps": [],
        "submissions": 1,
        **TASK_TERMS,
    }
    impostor = {"reviewer-a": Signer("reviewer-a", b"i" * 32)}
    with pytest.raises(Refused) as refused:
        gateway.say(impostor, "reviewer-a", "task-opened", task)
    assert (refused.value.code, refused.value.is_alarm) == ("bad-signature", True)
    assert gateway.service.projection.tree_size == size
    assert gateway.fatal == []


def test_what_a_batch_names_is_on_disk_before_it_and_only_if_it_is_admitted(gateway: Gateway) -> None:
    written: list[int] = []
    lease = {"task": "t1", "researcher": "researcher-1", "until_ms": 1, "epoch": 7, "direction": ""}
    draft = Draft(author="gateway", kind="task-leased", body=lease)
    with pytest.raises(Refused):
        gateway.service.append([draft], before_write=lambda: written.append(gateway.sequencer.size))
    assert written == []
    size = gateway.sequencer.size
    lease["epoch"] = 1
    gateway.service.append([draft], before_write=lambda: written.append(gateway.sequencer.size))
    assert (written, gateway.sequencer.size) == ([size], size + 1)


def test_files_that_a_reviewer_took_out_are_said_to_be_gone_and_nobody_stumbles(gateway: Gateway) -> None:
    task, plan = gateway.plan("researcher-1")
    submission = gateway.submit("researcher-1", task, plan, "a")
    digest = gateway.service.projection.submissions[submission].body["digest"]
    desk = gateway.desks["researcher-2"]
    assert desk.snapshot(None, {"submission": str(submission)})["files"] == SNAPSHOT
    (gateway.blobs._directory / digest).unlink()
    with pytest.raises(Refused) as refused:
        desk.snapshot(None, {"submission": str(submission)})
    assert refused.value.code == "redacted"


def test_a_researcher_says_a_bounded_number_of_things(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(researcher_desk, "MAX_SAID", 3)
    for number in range(3):
        gateway.desks["researcher-1"].comment({"on": 0, "text": f"{number}"}, {})
    with pytest.raises(Refused) as refused:
        gateway.desks["researcher-1"].comment({"on": 0, "text": "one more"}, {})
    assert refused.value.code == "said-enough"
    # What was said may be said again: that is a lost answer asked for once more.
    gateway.desks["researcher-1"].comment({"on": 0, "text": "1"}, {})
    gateway.desks["researcher-2"].comment({"on": 0, "text": "me too"}, {})


def test_an_error_nobody_thought_of_is_an_alarm_and_the_record_is_folded_again(
    gateway: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    gateway.service.projection.tasks["t1"].used = 99
    gateway.desks["researcher-1"].stumbled(KeyError("odd"))
    projection = gateway.service.projection
    assert projection.tasks["t1"].used == 0
    assert [(one["code"], one["who"]) for one in projection.alarms] == [("internal", "researcher-1")]
    assert "researcher-1 failed: KeyError('odd')" in capfd.readouterr().err


def test_a_lost_researcher_s_task_goes_to_another_and_after_three_it_is_dead(gateway: Gateway) -> None:
    control = ControlDesk(gateway.staff, gateway.desks, stop=lambda: None)
    task, _plan = gateway.plan("researcher-1")
    assert gateway.desks["researcher-2"].lease({}, {})["task"]["task"] != task
    assert control.gone({"researcher": "researcher-1"}, {}) == {"tasks": [task]}
    # Said again it changes nothing.
    assert control.gone({"researcher": "researcher-1"}, {}) == {"tasks": []}
    other = next(one for one in gateway.service.projection.tasks if one != task)
    gateway.desks["researcher-2"].done({"task": other, "outcome": "done", "reason": ""}, {})
    assert gateway.desks["researcher-2"].lease({}, {})["task"]["task"] == task
    told = gateway.service.projection.tasks[task]
    assert (told.researcher, told.holders) == ("researcher-2", ["researcher-1", "researcher-2"])
    with pytest.raises(Refused) as refused:
        gateway.desks["researcher-1"].done({"task": task, "outcome": "done", "reason": ""}, {})
    assert refused.value.code == "not-leased"
    told.holders.append("researcher-3")
    assert control.gone({"researcher": "researcher-2"}, {}) == {"tasks": [task]}
    assert told.outcome == "failed"
    assert told.reason.startswith("3 researchers were lost over it")
    assert gateway.desks["researcher-1"].lease({}, {})["task"] is None


HYBRID = {
    "workflow": "hybrid",
    "steps": [],
    "scope": {"families": ["neighbourhood"], "programs": 1, "submissions": 4},
}


def test_who_comes_back_to_a_hybrid_task_goes_on_under_its_own_last_plan(gateway: Gateway) -> None:
    body = {**TASK_TERMS, "task": "t3", "title": "t3", "direction": "", "submissions": 2, "priority": 9}
    gateway.say(gateway.signers, "reviewer-a", "task-opened", {**body, **HYBRID})
    control = ControlDesk(gateway.staff, gateway.desks, stop=lambda: None)
    steps = [{"name": "s", "what": "", "submissions": 2}]
    plans = {}
    for name in ("researcher-1", "researcher-2", "researcher-1"):
        desk = gateway.desks[name]
        task = desk.lease({}, {})["task"]
        # Another's plan is not told as its own.
        assert (task["task"], task["plan"]) == ("t3", plans.get(name, -1))
        plans[name] = desk.plan({"task": "t3", "steps": steps, "amends": -1}, {})["index"]
        last = plans[name]
        control.gone({"researcher": name}, {})
    assert gateway.submit("researcher-1", "t3", last, "a") > plans["researcher-2"] > last


def test_a_lease_says_what_its_holder_was_told(gateway: Gateway) -> None:
    task = gateway.desks["researcher-1"].lease({}, {})["task"]
    (lease,) = gateway.service.projection.leases
    told = ("researcher-1", task["task"], task["direction"])
    assert (lease.researcher, lease.task, lease.direction) == told
    assert task["scope"] == {}


def test_the_families_of_a_pipeline_are_read_from_its_bytes_and_a_program_has_none(gateway: Gateway) -> None:
    task, plan = gateway.plan("researcher-1")
    files = method_files(parse_pipeline([["conf_keep", {}], ["probe", {}]]))
    one = gateway.submit("researcher-1", task, plan, "a", files=files)
    other = gateway.submit("researcher-1", task, plan, "b", files={**files, "method.py": METHOD + "#"})
    submissions = gateway.service.projection.submissions
    assert submissions[one].body["families"] == ["confidence", "baseline"]
    assert submissions[other].body["families"] == []


@pytest.mark.parametrize(
    ("config", "families"),
    [
        ('[["knn/2", {}], ["probe", {}]]', ("neighbourhood", "baseline")),
        ('[["\\u006bnn", {}]]', ("neighbourhood",)),
        ('[["KNN", {}]]', ()),
        ('[["\uff4bnn", {}]]', ()),
        ('[[["knn"], {}]]', ()),
        ("[[7, {}]]", ()),
        ('[["knn"]]', ()),
        ('{"ab": 1}', ()),
        ('\ufeff[["knn", {}]]', ()),
        ("[" * 100_000, ()),
        ('[["knn", {"k": ' + "9" * 5_000 + "}]]", ()),
    ],
)
def test_families_are_those_of_the_blocks_by_name_whatever_their_version(
    config: str, families: tuple[str, ...]
) -> None:
    assert families_of({"method.py": METHOD, "config.json": config}) == families


@pytest.mark.parametrize(
    "files",
    [
        {"method.py": METHOD.replace("\n", "\r\n")},
        {"method.py": METHOD + "\n"},
        {"CONFIG.json": ""},
        {"aar.py": ""},
    ],
    ids=["other line ends", "a line more", "a name in other case", "another module"],
)
def test_what_is_not_the_pipeline_s_two_files_to_the_byte_has_no_families(files: dict[str, str]) -> None:
    assert families_of({"method.py": METHOD, "config.json": '[["knn", {}]]', **files}) == ()


def test_one_researchers_queue_does_not_keep_the_others_waiting(gateway: Gateway) -> None:
    first, plan = gateway.plan("researcher-1")
    many = [gateway.submit("researcher-1", first, plan, f"r{number}") for number in range(3)]
    second, plan = gateway.plan("researcher-2")
    one = gateway.submit("researcher-2", second, plan, "r")
    desk = EvaluatorDesk(gateway.staff)
    given = [desk.work(None, {})["submission"] for _worker in range(4)]
    assert given == [many[0], one, many[1], many[2]]
    assert desk.work(None, {}) == {"do": "nothing"}


def test_a_caller_is_slowed_down_after_a_burst() -> None:
    pace = Pace(rate_per_s=50, burst=5)
    began = time.monotonic()
    for _call in range(5):
        pace.wait()
    assert time.monotonic() - began < 0.05
    for _call in range(10):
        pace.wait()
    assert time.monotonic() - began > 0.15
