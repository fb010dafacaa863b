"""Researchers that are models in one Inspect evaluation: a task of Inspect's each, a sample for each of ours.

A sample's transcript becomes a file of its own when it ends, and its digest an entry of the record. Inspect's
log of the whole life is scratch beside it. What a model call used is told to the gateway from Inspect's own
hook, which sees every call, those that sum up a conversation too.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from inspect_ai import SampleSource, Task, eval_async
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.agent import Agent, AgentState, agent
from inspect_ai.dataset import Sample
from inspect_ai.hooks import Hooks, ModelRetry, ModelUsageData, TaskStart, hooks
from inspect_ai.log import EvalLog, EvalSample, EvalSpec, write_eval_log_async
from inspect_ai.model import GenerateConfig, get_model

from aar.inside.gateway_client import GatewayError, GatewayLost, RecordMisbehaved
from aar.llm.brief import render
from aar.llm.ending import Ending, ModelUnusable
from aar.llm.inspect_talk import Talk, one_line, prepared
from aar.llm.inspect_tools import in_thread
from aar.llm.kept_work import KeptWork
from aar.llm.seat import Seat
from aar.llm.worker_config import WorkerConfig
from aar.llm.worker_desk import Usage
from aar.outside.keyring import write_durably
from aar.outside.staff_client import GatewayGone, GatewayRefused

TRANSCRIPTS = "transcripts"
KEPT = "kept"
SCRATCH = "inspect"
NO_TASK_LOOK_S = 1.0
# A task that could not be worked on for a reason nobody thought of is handed back, not tried for ever.
MAX_STUMBLES = 3
PROGRESS_S = 15.0


class TeamBroken(Exception):
    """Inspect gave up on a researcher: an error of ours, or of its."""


@dataclass(slots=True)
class Member:
    """One researcher at work, or waiting for a task."""

    seat: Seat
    spec: EvalSpec | None = None
    talk: Talk | None = None
    task: dict[str, Any] | None = None
    ending: Ending | None = None
    state: str = "starting"
    is_idle: bool = False
    # Why it takes no more tasks in this life: "" as long as it does.
    over: str = ""
    stumbles: int = 0
    lives: int = 0

    @property
    def name(self) -> str:
        return self.seat.place.name


@dataclass(slots=True)
class Team:
    """Everybody of one study. `refused` says, once the run is over, what a person has to mend."""

    config: WorkerConfig
    seats: list[Seat]
    template: str
    say: Callable[[str], None]
    members: dict[str, Member] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    is_stopping: bool = False
    _said_s: dict[str, float] = field(default_factory=dict)

    async def run(self) -> None:
        """Work until there is no task for anybody, or everybody has to stop."""
        self.members = {one.place.name: Member(one) for one in self.seats}
        TEAM.append(self)
        logs_directory = Path(self.config.directory) / SCRATCH / "logs"
        # Of a life that was killed: what was said in it is kept, and goes on.
        shutil.rmtree(logs_directory, ignore_errors=True)
        anyio.to_thread.current_default_thread_limiter().total_tokens = 8 + 4 * len(self.members)
        try:
            await self._enter_digests_of_earlier_lives()
            logs = await eval_async(
                tasks=[self._inspect_task(one) for one in self.members.values()],
                max_tasks=len(self.members),
                max_samples=1,
                log_dir=str(logs_directory),
                log_format="eval",
                log_realtime=False,
                log_model_api=False,
                fail_on_error=False,
                score=False,
                ctl_server=False,
            )
            broken = [one for one in logs if one.status == "error" and one.error is not None]
            if broken:
                raise TeamBroken(f"{broken[0].eval.task}: {one_line(broken[0].error.message)}")
            shutil.rmtree(logs_directory, ignore_errors=True)
        finally:
            TEAM.remove(self)
            for member in self.members.values():
                member.seat.close()

    def stop(self) -> None:
        """End every conversation before its next turn; the work is kept."""
        self.is_stopping = True
        for seat in self.seats:
            seat.desk.stop()

    def _inspect_task(self, member: Member) -> Task:
        place = member.seat.place
        try:
            config = GenerateConfig(seed=place.seed or None)
            model = get_model(place.model, config=config, memoize=False, **self.config.model_args)
        except (PrerequisiteError, ValueError, ImportError) as error:
            raise ModelUnusable(f"{place.model} cannot be asked: {one_line(error)}") from error
        return Task(
            name=member.name,
            dataset=Leases(self, member),
            solver=researcher(self, member),
            model=prepared(model),
            fail_on_error=False,
        )

    # One researcher.

    async def next_task(self, member: Member) -> dict[str, Any] | None:
        """The task that it works on next; `None` when it has nothing more to do in this life."""
        while not member.over and not self.is_stopping:
            member.is_idle = True
            try:
                task = await in_thread(member.seat.lease)
            except (GatewayLost, GatewayError) as error:
                self._leave(member, one_line(error))
                return None
            if task is not None:
                member.is_idle = False
                member.task = task
                return task
            member.state = "waiting for a task"
            if all(one.is_idle or one.over for one in self.members.values()) and not await self._is_paused(
                member
            ):
                self._leave(member, "there is no task for it")
                return None
            await anyio.sleep(NO_TASK_LOOK_S)
        return None

    async def _is_paused(self, member: Member) -> bool:
        try:
            return (await in_thread(member.seat.standing)).is_paused
        except GatewayGone:
            return False

    def _leave(self, member: Member, why: str) -> None:
        member.over = member.over or why
        member.state = why

    async def work(self, member: Member, state: AgentState) -> AgentState:
        """One conversation, from brief to hand-back."""
        task = member.task
        if task is None:
            raise ValueError(f"{member.name} has no task")
        told = await in_thread(member.seat.study)
        others = await in_thread(member.seat.findings_of_others)
        member.talk = talk = Talk(
            seat=member.seat,
            kept=self._kept(member, task["task"]),
            brief=render(self.template, study=told, task=task, findings=others),
            max_turns=self.config.max_turns,
            compact_at_tokens=self.config.compact_at_tokens,
            fresh=self.config.fresh,
            say=lambda line: self.tell(member.name, line),
            is_stopping=lambda: self.is_stopping,
        )
        member.state = f"works on {task['task']}"
        try:
            state = await talk.run(state)
        except (RecordMisbehaved, GatewayGone, GatewayLost) as error:
            talk.ending = Ending("interrupted", one_line(error))
            self.refused.append(f"{member.name}: {one_line(error)}")
        finally:
            await in_thread(member.seat.close)
        ending = talk.ending or Ending("interrupted", "cut off")
        self.tell(member.name, f"{task['task']}: {ending.outcome}, {ending.reason} ({talk.turns} turns)")
        member.ending = ending
        if not ending.is_over:
            if "provider" in ending.reason:
                self.refused.append(f"{member.name}: {ending.reason}")
            self._leave(member, ending.reason)
        return state

    async def ended(self, member: Member, sample: EvalSample) -> None:
        """Keep a sample's transcript, then hand its task back: with the last task the study ends."""
        task, ending = (member.task or {}).get("task", ""), member.ending
        member.ending = None
        if sample.error is not None:
            member.stumbles += 1
            line = one_line(sample.error.message)
            self.tell(member.name, f"{task}: {line}")
            is_hopeless = member.stumbles >= MAX_STUMBLES
            ending = Ending("failed", f"it could not be worked on: {line}") if is_hopeless else None
        else:
            member.stumbles = 0
        await self._keep_transcript(member, task, sample)
        if ending is None or not ending.is_over:
            return
        try:
            await in_thread(partial(member.seat.done, task, ending.outcome, ending.reason))
            await in_thread(self._kept(member, task).forget)
        except (GatewayLost, GatewayError) as error:
            self.tell(member.name, f"{task} could not be handed back: {one_line(error)}")
            # It would be offered to it again, and again.
            self._leave(member, "its task could not be handed back")

    def _kept(self, member: Member, task: str) -> KeptWork:
        return KeptWork(Path(self.config.directory) / KEPT / member.name / task)

    async def _keep_transcript(self, member: Member, task: str, sample: EvalSample) -> None:
        """Write a transcript as a file of its own, and have its digest entered."""
        if member.spec is None:
            return
        folder = Path(self.config.directory) / TRANSCRIPTS / member.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = len(list(folder.glob(f"{member.name}.{task}.*.eval"))) + 1
        path = folder / f"{member.name}.{task}.{number}.eval"
        status = "success" if sample.error is None else "error"
        half = Path(self.config.directory) / SCRATCH / path.name
        await write_eval_log_async(EvalLog(status=status, eval=member.spec, samples=[sample]), str(half))
        data = half.read_bytes()
        half.unlink()
        # Whole on the disk before its digest is in the record, or not there.
        write_durably(path, data, mode=0o600)
        await self._enter_digest(member, task, path)

    async def _enter_digest(self, member: Member, task: str, path: Path) -> None:
        data = await in_thread(path.read_bytes)
        try:
            await in_thread(
                partial(
                    member.seat.desk.transcript,
                    researcher=member.name,
                    task=task,
                    file=path.name,
                    sha256=hashlib.sha256(data).hexdigest(),
                    size_bytes=len(data),
                )
            )
        except (GatewayGone, GatewayRefused) as error:
            self.tell(member.name, f"the digest of {path.name} is not in the record: {one_line(error)}")

    async def _enter_digests_of_earlier_lives(self) -> None:
        """A worker may be killed between a transcript and its digest; told twice, it is entered once."""
        for member in self.members.values():
            folder = Path(self.config.directory) / TRANSCRIPTS / member.name
            for path in sorted(folder.glob(f"{member.name}.*.eval")):
                task = path.name.removeprefix(f"{member.name}.").rsplit(".", 2)[0]
                await self._enter_digest(member, task, path)

    # What the hooks tell.

    async def used(self, name: str, data: ModelUsageData) -> None:
        """Charge one model call."""
        member = self.members[name]
        usage = Usage(
            input=data.usage.input_tokens,
            output=data.usage.output_tokens,
            cache_read=data.usage.input_tokens_cache_read or 0,
            cache_write=data.usage.input_tokens_cache_write or 0,
        )
        tell = partial(
            member.seat.desk.used, name, call=uuid.uuid4().hex, model=member.seat.place.model, usage=usage
        )
        try:
            # Waited for to its end: what is charged nowhere is a limit that does not hold.
            await anyio.to_thread.run_sync(tell)
        except (GatewayGone, GatewayRefused) as error:
            if member.talk is not None:
                member.talk.ending = Ending("interrupted", f"a call could not be charged: {one_line(error)}")

    def waits(self, name: str, data: ModelRetry) -> None:
        """The provider does not answer; said at most every `PROGRESS_S` of one researcher."""
        what = f"status {data.status_code}" if data.status_code else (data.exception_type or "no answer")
        line = f"the provider fails ({what}), try {data.attempt}; waiting {data.wait_time:.0f} s"
        self.members[name].state = line
        if time.monotonic() - self._said_s.get(name, -PROGRESS_S) >= PROGRESS_S:
            self._said_s[name] = time.monotonic()
            self.tell(name, line)

    def tell(self, name: str, line: str) -> None:
        self.say(f"{name}: {line}")


class Leases(SampleSource):
    """A researcher's tasks as the samples of one Inspect task, one after the other."""

    def __init__(self, team: Team, member: Member) -> None:
        self._team = team
        self._member = member

    async def next_samples(self) -> list[Sample] | None:
        task = await self._team.next_task(self._member)
        if task is None:
            return None
        self._member.lives += 1
        return [Sample(id=f"{task['task']}.{self._member.lives}", input=task["title"])]

    async def sample_complete(self, sample: EvalSample) -> list[Sample] | None:
        await self._team.ended(self._member, sample)
        return None


@agent(name="researcher")
def researcher(team: Team, member: Member) -> Agent:
    """The agent of one researcher's samples."""

    async def execute(state: AgentState) -> AgentState:
        return await team.work(member, state)

    return execute


# The team that runs in this process. Inspect makes one instance of a hook, and calls it for everybody.
TEAM: list[Team] = []


@hooks(name="aar_account", description="Tells the gateway of each model call, and a person of each retry.")
class Account(Hooks):
    """What Inspect tells of every call."""

    async def on_task_start(self, data: TaskStart) -> None:
        for team in TEAM:
            team.members[data.spec.task].spec = data.spec

    async def on_model_usage(self, data: ModelUsageData) -> None:
        for team in TEAM:
            if data.task_name in team.members:
                await team.used(data.task_name, data)

    async def on_model_retry(self, data: ModelRetry) -> None:
        for team in TEAM:
            if data.task_name in team.members:
                team.waits(data.task_name, data)
