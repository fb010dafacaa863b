"""Researchers that are models: one real study, whose small worker is killed once, that many tests read."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from aar.cli.main import main
from aar.cli.read import poll_leaves
from aar.formats.keys import Signer, format_skey
from aar.lab.problems import STUDY_PROBLEMS
from aar.outside.allocation import MAX_HOLDERS
from aar.outside.projection import Projection
from aar.outside.sandbox.doctor import DoctorReport
from aar.outside.study_directory import StudyDirectory, service_uids
from aar.outside.study_file import StudyFile, parse_study
from aar.outside.study_programs import keep_programs
from aar.outside.study_run import ModelTerms, Moment, StudyRun, StudyStopped
from aar.verify.report import Report
from aar.verify.study import verify_study
from small_study import SMALL, Commands
from small_worker import FIRST_CALLS, USED

pytestmark = [pytest.mark.slow, pytest.mark.sandbox]

CANARY = "canary-7d1e0f"
ATTESTATION = {"identity": "test", "digest": "0" * 64}
PRICES = {"input": "3.00", "output": "15.00", "cache_read": "0.30", "cache_write": "3.75"}
TEAM = """
[[researcher]]
model = "test/steady"

[[researcher]]
model = "test/greedy"
tokens = 5_000

[[researcher]]
submissions = 5

[[researcher]]
program = "burning.py"
sandbox_seconds = 2

[budget]
dollars = "1.50"
sandbox_seconds = 9_000
"""
# So much that some is left when those who may hand in a few have done so.
TASKS = "".join(
    f'\n[[task]]\ntask = "x{number}"\ntitle = "x"\nworkflow = "free"\ndirection = "d"\nsubmissions = 1\n'
    for number in range(8)
)
STUDY = SMALL.replace("researchers = 2", "researchers = 4") + TASKS + TEAM
BURNING = """
from aar.inside.gateway_client import GatewayClient

GatewayClient("/run/gw/gw.sock").lease()
while True:
    pass
"""
TOKENS = sum(USED.values())


class Ran:
    """The study once it was closed."""

    def __init__(self, directory: Path) -> None:
        self.study = StudyDirectory(directory)
        self.environments: dict[str, bytes] = {}
        self.killed = 0
        self.commands = Commands(directory.parent)
        self.reviewer = Signer("reviewer-test", b"r" * 32)
        self.key = directory.parent / "reviewer.key"
        self.key.write_text(format_skey(self.reviewer) + "\n")
        self.key.chmod(0o600)
        self.account: Any = {}
        self.pids: list[int] = []
        self.is_second = False
        self.done: list[str] = []
        self.limited_task = ""
        self.raised: subprocess.CompletedProcess[str] | None = None
        file = parse_study(STUDY, source="models", problems=STUDY_PROBLEMS).as_written()
        self.study.create(file.text, service_uids())
        keep_programs(self.study.programs, {"researcher-4": BURNING.encode()})
        self.states: set[str] = set()
        self.told_at_its_limit: set[str] = set()
        self.study.lock()
        with pytest.raises(StudyStopped):
            self.start(file)
        self.ended_in_order = (self.study.worker / "ended").exists()
        self.left = [pid for pid in self.pids if Path(f"/proc/{pid}").exists()]
        self.is_second = True
        self.start(file)
        self.study.unlock()
        self.leaves = poll_leaves(self.study)
        self.projection = Projection.of(self.leaves)
        self.report: Report = verify_study(directory)

    def start(self, file: StudyFile) -> None:
        self.run = StudyRun(
            self.study,
            file,
            reviewer=self.reviewer,
            doctor=DoctorReport("ok", (), "bubblewrap", {}, ATTESTATION),
            on_moment=self.look,
            models=ModelTerms(
                prices={"test/steady": PRICES, "test/greedy": PRICES},
                brief="You are {{researcher}}.\n",
                environment={"PATH": os.environ["PATH"], "TEST_API_KEY": CANARY},
                worker=(str(Path(__file__).parent.parent / "small_worker.py"),),
            ),
        )
        self.run.run()

    def look(self, moment: Moment) -> None:
        worker = self.run._worker
        if worker is None or moment.phase != "running":
            return
        use, state = moment.status["use"]["researchers"], moment.fleet["researcher-4"]
        if use["researcher-4"]["stop"]:
            self.told_at_its_limit.add(state)
        if self.is_second:
            self.states.add(state)
            self.change(moment.status)
        elif not self.killed:
            self.kill_the_worker(worker.pid, moment.status["spending"])
        elif self.is_all_begun(use):
            self.account = self.commands.json("budget", str(self.study.path), "--json")
            self.raised = self.budget("set", "--dollars", "1.25", "--reason", "it goes well")
            self.pids = [*self.run.plane.pids().values(), worker.pid]
            # As Ctrl-C does.
            raise KeyboardInterrupt

    def kill_the_worker(self, pid: int, spending: Mapping[str, Any]) -> None:
        """In the middle of the steady one's task, when the greedy one has said what it tried at its limit."""
        if spending["researcher-1"]["calls"] < 3 or not (self.study.worker / "researcher-2.json").exists():
            return
        pids = {**self.run.plane.pids(), "worker": pid}
        self.environments = {name: Path(f"/proc/{one}/environ").read_bytes() for name, one in pids.items()}
        self.killed = pid
        os.kill(pid, signal.SIGKILL)

    def is_all_begun(self, use: Mapping[str, Any]) -> bool:
        """Whether the worker works again, and the scripted ones have what the account is to tell of."""
        third = use["researcher-3"]
        return (
            len((self.study.worker / "lives").read_text().split()) == 2
            and use["researcher-4"]["stop"] != ""
            and min(third["seconds"]["used"], third["sandbox_seconds"]["used"]) > 0
        )

    def change(self, status: Mapping[str, Any]) -> None:
        """One after the other: limit a task to less than it took, raise the limit that was reached, stop the
        other model, let it go on.
        """
        spending = status["spending"]
        if not self.limited_task:
            self.limit_a_task(status)
        elif not self.done:
            self.say("budget", "set", "researcher-2", "--tokens", "9000")
            self.say("stop", "researcher-1")
        elif len(self.done) == 2 and spending["researcher-2"]["calls"] > FIRST_CALLS:
            self.say("resume", "researcher-1")
            (self.study.worker / "go").touch()

    def limit_a_task(self, status: Mapping[str, Any]) -> None:
        """One on which the steady one, who has it, spent something."""
        for one in status["tasks"]:
            spent = status["use"]["tasks"][one["task"]]["tokens"]["used"]
            if one["held"] and one["researcher"] == "researcher-1" and spent:
                body = {"researcher": "", "task": one["task"], "limits": {"tokens": 1}, "reason": "enough"}
                self.run.plane.control.append([self.reviewer], "budget-set", body)
                self.limited_task = one["task"]

    def say(self, command: str, *words: str) -> None:
        told = [command, str(self.study.path), *words, "--reason", "it is time", "--key", str(self.key)]
        done = self.commands.run(*told)
        assert done.returncode == 0, done.stderr
        self.done.append(command)

    def budget(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.commands.run("budget", str(self.study.path), *words, "--key", str(self.key))

    def charges(self, researcher: str) -> list[Mapping[str, Any]]:
        bodies: list[Any] = [
            leaf.signed.entry.body for leaf in self.leaves if leaf.signed.entry.kind == "budget-charged"
        ]
        return [one for one in bodies if (one["researcher"], one["what"]) == (researcher, "tokens")]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return Ran(tmp_path_factory.mktemp("models") / "study")


def test_a_study_of_models_and_a_scripted_one_runs_to_its_close_and_holds(ran: Ran) -> None:
    assert ran.report.verdict == "ok", ran.report.findings
    assert ran.projection.closed["reason"] == "tasks-done"
    said = {one.body["researcher"] for one in ran.projection.submissions.values()}
    assert {"researcher-1", "researcher-3"} == said


def test_calls_told_again_by_a_worker_that_was_killed_are_charged_once(ran: Ran) -> None:
    assert ran.killed
    lives = (ran.study.worker / "lives").read_text().split()
    # Killed, interrupted with the study, and started anew for who may go on.
    assert len(lives) >= 4
    ledger = [json.loads(line) for line in (ran.study.gateway / "calls.jsonl").read_text().splitlines()]
    told = {one["call"] for one in ledger}
    assert len(told) == len(ledger)
    for name in ("researcher-1", "researcher-2"):
        calls = sum(one["researcher"] == name for one in ledger)
        spent = ran.projection.spending.spent[name]
        assert (spent.calls, spent.tokens) == (calls, calls * TOKENS)
        assert (
            spent.dollars
            == calls * sum((USED[one] * Fraction(PRICES[one]) for one in USED), Fraction()) / 1_000_000
        )


def test_a_limit_stops_a_researcher_within_one_turn_and_says_so(ran: Ran) -> None:
    limits = [body["usage"]["limit"] for body in ran.charges("researcher-2")]
    assert limits[-1] == "tokens"
    assert [one for one in limits if one] == ["tokens", "tokens"]
    tried = json.loads((ran.study.worker / "researcher-2.json").read_text())
    assert tried == {"lease": None, "submit": "budget", "calls": FIRST_CALLS}
    assert "researcher-2 spent 9540 tokens, 540 over its limit" in ran.report.warnings


def test_who_had_to_end_goes_on_when_a_reviewer_changes_it_on_a_running_study(ran: Ran) -> None:
    assert ran.done == ["budget", "stop", "resume"]
    assert ran.projection.spending.spent["researcher-2"].calls == 9
    lifted = next(one.index for one in ran.leaves if one.signed.entry.kind == "queue-resumed")
    stopped = next(one.index for one in ran.leaves if one.signed.entry.kind == "queue-paused")
    between = [one.signed.entry for one in ran.leaves[stopped + 1 : lifted]]
    assert not [one for one in between if one.author == "researcher-1"]
    # What it spent until it noticed is charged, too.
    said = {one.kind for one in between if one.body.get("researcher") == "researcher-1"}
    assert said <= {"task-leased", "budget-charged", "score-receipt"}


def test_the_task_of_who_is_at_a_limit_goes_to_another(ran: Ran) -> None:
    had = [task for task in ran.projection.tasks.values() if "researcher-2" in task.holders]
    assert had
    tasks = ran.projection.tasks.items()
    # Of one that three had, of whom two or three reached a limit, nobody else is to be the next.
    others = [task for name, task in tasks if name != ran.limited_task and len(task.holders) < MAX_HOLDERS]
    assert all(task.researcher != "researcher-2" for task in had if task in others)
    assert all(task.outcome == "done" for task in others)


def test_a_task_at_a_limit_set_while_it_is_worked_on_is_closed_and_its_model_goes_on(ran: Ran) -> None:
    task = ran.projection.tasks[ran.limited_task]
    assert (task.outcome, task.reason) == ("budget", "it reached its limit, task-tokens: 1 tokens")
    closed = next(
        leaf.index
        for leaf in ran.leaves
        if leaf.signed.entry.kind == "task-closed" and leaf.signed.entry.body["task"] == task.name
    )
    leases = [leaf for leaf in ran.leaves[closed:] if leaf.signed.entry.kind == "task-leased"]
    assert "researcher-1" in {leaf.signed.entry.body["researcher"] for leaf in leases}
    assert task.name not in {leaf.signed.entry.body["task"] for leaf in leases}


def test_a_scripted_researcher_at_its_limit_on_sandboxes_is_ended_and_stays_so(ran: Ran) -> None:
    used = ran.projection.account.used["researcher-4"]
    charges = [
        leaf
        for leaf in ran.leaves
        if leaf.signed.entry.kind == "budget-charged" and leaf.signed.entry.body["what"] == "sandbox"
    ]
    bodies: list[Any] = [leaf.signed.entry.body for leaf in charges]
    limits = [one["usage"]["limit"] for one in bodies if one["researcher"] == "researcher-4"]
    first = limits.index("sandbox-seconds")
    # What it still used while it was ended is charged later, and is beyond the limit, too.
    assert set(limits[first:]) == {"sandbox-seconds"}
    assert set(limits[:first]) <= {""}
    # It is looked at every second, and its process ended then; it may use both processors until that.
    assert 2_000 <= used.sandbox_ms < 2_000 + 5_000
    reached = next(leaf.index for leaf, one in zip(charges, bodies, strict=True) if one["usage"]["limit"])
    after: list[Any] = [leaf.signed.entry for leaf in ran.leaves[reached + 1 :]]
    assert not [one for one in after if one.author == "researcher-4"]
    about = {one.kind for one in after if one.body.get("researcher") == "researcher-4"}
    assert about <= {"task-leased", "budget-charged", "score-receipt"}
    leases = [
        one.body for one in after if one.kind == "task-leased" and one.body["researcher"] == "researcher-4"
    ]
    assert all(one["until_ms"] <= entry.at for one in leases for entry in after if entry.body is one)
    # When anybody was told of its limit it was ended; in the study's second life it was never started.
    assert ran.told_at_its_limit == ran.states == {"at its limit: sandbox-seconds"}


def test_who_may_hand_in_so_many_hands_in_no_more(ran: Ran) -> None:
    assert 0 < ran.projection.account.used["researcher-3"].submissions <= 5


def test_what_the_sandboxes_of_each_researcher_used_is_in_the_record(ran: Ran) -> None:
    used = ran.projection.account.used
    assert all(used[name].sandbox_ms > 100 for name in ("researcher-1", "researcher-3", "researcher-4"))
    usage = (
        json.loads((ran.study.operator / "usage.json").read_text())
        if (ran.study.operator / "usage.json").exists()
        else {}
    )
    assert usage == {} or used["researcher-3"].sandbox_ms < 1000 * usage["sandboxes_cpu_s"]


def test_a_transcript_stands_in_the_record_once_by_its_digest(ran: Ran) -> None:
    kept = [one for body in ran.charges("researcher-1") for one in body["usage"]["transcripts"]]
    assert kept
    for one in kept:
        data = (ran.study.worker / one["name"]).read_bytes()
        assert (one["sha256"], one["size"]) == (hashlib.sha256(data).hexdigest(), len(data))
    assert len({one["name"] for one in kept}) == len(kept)


def test_a_providers_key_is_in_the_environment_of_the_worker_alone(ran: Ran) -> None:
    has_key = {name for name, data in ran.environments.items() if CANARY.encode() in data}
    assert has_key == {"worker"}
    assert {"gateway", "evaluator", "witness", "launcher", "worker"} == set(ran.environments)
    seen = (ran.study.worker / "researcher-1.seen").read_bytes()
    assert b"PATH" in seen
    assert CANARY.encode() not in seen


@pytest.mark.skipif(os.getuid() != 0, reason="an ordinary user has one uid for all services")
def test_the_worker_has_a_uid_of_its_own_and_reads_no_key_and_no_label(ran: Ran) -> None:
    uid = service_uids().worker
    owner = (ran.study.worker / "lives").stat()
    assert owner.st_uid == uid
    assert uid not in {service_uids().gateway, service_uids().evaluator, service_uids().witness, 0}
    for folder in (ran.study.gateway, ran.study.evaluator, ran.study.operator, ran.study.log):
        assert folder.stat().st_mode & 0o077 == 0
        assert folder.stat().st_uid != uid


def test_the_worker_ends_in_order_when_the_study_is_interrupted_and_nothing_is_left(ran: Ran) -> None:
    assert ran.ended_in_order
    assert len(ran.pids) == 5
    assert ran.left == []


def test_the_account_of_a_running_study_counts_calls_that_no_entry_has_yet(ran: Ran) -> None:
    assert ran.account["is_live"]
    first, second, third, fourth = ran.account["researchers"]
    assert first["tokens"]["spent"] == first["calls"] * TOKENS > 0
    assert first["tokens"]["left"] == 2_000_000 - first["tokens"]["spent"]
    assert first["tokens"]["per_hour"] > 0
    assert (second["stop"], second["tokens"]["left"]) == ("tokens", 0)
    assert (third["model"], "tokens" in third) == ("", False)
    assert third["used"]["sandbox_seconds"]["used"] > 0
    assert third["used"]["seconds"]["per_hour"] > 0
    assert fourth["used"]["sandbox_seconds"]["limit"] == 2
    assert ran.account["tasks"]["x0"]["state"]
    in_all = ran.account["in_all"]
    assert in_all["tokens"]["spent"] == first["tokens"]["spent"] + second["tokens"]["spent"]
    assert in_all["dollars"]["limit"] == "1.50"
    assert in_all["submissions"]["budget"] == 14


def test_a_limit_set_on_a_running_study_stands_in_its_record(ran: Ran) -> None:
    assert ran.raised is not None
    assert ran.raised.returncode == 0, ran.raised.stderr
    assert "all models together: at most 1.25 dollars (entry " in ran.raised.stdout
    bodies = [one.signed.entry.body for one in ran.leaves if one.signed.entry.kind == "budget-set"]
    assert [one["researcher"] or one["task"] for one in bodies] == ["", ran.limited_task, "researcher-2"]
    of_study = {"researcher": "", "task": "", "limits": {"dollars": "1.25"}, "reason": "it goes well"}
    assert bodies[0] == of_study
    assert ran.projection.spending.limits[""].dollars == Fraction("1.25")


def test_the_account_of_a_study_at_rest_is_a_table_from_its_record(ran: Ran) -> None:
    told = ran.budget()
    assert told.returncode == 0, told.stderr
    head, *rows = told.stdout.splitlines()
    assert head.split()[:4] == ["researcher", "model", "calls", "tokens"]
    assert rows[1].split()[:6] == ["researcher-2", "test/greedy", "9", "9540", "9000", "0"]
    assert rows[1].endswith("stopped: tokens")
    assert rows[2].split()[:2] == ["researcher-3", "(scripted)"]
    assert rows[3].endswith("stopped: sandbox-seconds")
    uses = rows[rows.index("") + 1 :]
    assert uses[0].split()[:3] == ["researcher", "minutes", "of"]
    assert uses[4].split()[5:7] == ["2", "0"]
    of_tasks = uses[uses.index("") + 1 :]
    told_of_task = next(one.split() for one in of_tasks if one.startswith(f"{ran.limited_task} "))
    assert (told_of_task[1], told_of_task[3:5]) == ("budget", ["1", "0"])
    assert "seconds: " in told.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["set", "--reason", "x"],
            "wants --tokens, --dollars, --minutes, --sandbox-seconds or --submissions",
        ),
        (["set", "researcher-1", "--task", "x1", "--minutes", "5"], "a RESEARCHER or --task TASK, not both"),
        (
            ["set", "nobody", "--minutes", "5", "--reason", "x"],
            "no researcher nobody; there is: researcher-1",
        ),
        (["set", "--task", "x99", "--minutes", "5", "--reason", "x"], "no task x99; there is: walk"),
        (["set", "--task", "LIMITED", "--minutes", "5", "--reason", "x"], "task LIMITED is closed (budget)"),
        (["set", "--minutes", "0", "--reason", "x"], "--minutes 0: want more than 0"),
        (["set", "--sandbox-seconds", "0", "--reason", "x"], "--sandbox-seconds 0: want 1 to"),
        (["set", "--submissions", "0", "--reason", "x"], "--submissions 0: want 1 to 100000"),
        (["set", "--dollars", "9"], "wants --reason TEXT"),
        (["set", "researcher-3", "--tokens", "9", "--reason", "x"], "researcher-3 has no limit"),
        (["set", "--tokens", "9", "--reason", "x"], "is closed: nothing is spent any more"),
    ],
)
def test_a_limit_that_cannot_be_set_is_one_line(
    ran: Ran,
    words: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(ran.commands.config))
    words = [ran.limited_task if one == "LIMITED" else one for one in words]
    assert main(["budget", str(ran.study.path), *words, "--key", str(ran.key)]) == 2
    assert says.replace("LIMITED", ran.limited_task) in capsys.readouterr().err
