"""A monitor that is a model: it reads, beside the researchers, what they say and do, and tells of alarms.

It has no tools. What it is shown is bounded and quoted, what it answers is read strictly, and what comes of
it is entered by the gateway, which believes none of it. Each reading is a file, its digest in the record.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import TaskGroup
from inspect_ai._util.error import PrerequisiteError
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)

from aar.formats.kinds import MONITOR, UNREAD
from aar.llm.ending import ModelUnusable
from aar.llm.inspect_talk import REFUSES, UNCOUNTED, is_uncounted, one_line, prepared, status_of
from aar.llm.inspect_tools import in_thread
from aar.llm.monitor_backlog import Backlog, next_to_read
from aar.llm.monitor_words import (
    WORD_BYTES,
    Alarm,
    Answer,
    Item,
    Unreadable,
    again,
    clean,
    entry_item,
    file_items,
    message_item,
    page,
    page_of,
    parse_answer,
)
from aar.llm.provider_keys import without_keys
from aar.llm.worker_desk import Usage, WorkerDesk
from aar.outside.keyring import write_durably
from aar.outside.staff_client import GatewayGone, GatewayRefused

READINGS = "transcripts/monitor"
BACKLOG = "reading"
LOOK_S = 1.0
# One call, its retries with it; what is asked of a provider that fails is asked again after so long.
CALL_S = 300
CALL_AT_THE_END_S = 60
FIRST_PAUSE_S, LONGEST_PAUSE_S = 2.0, 60.0
# At the end of a study a provider that fails is not waited for any longer.
MAX_FAILURES_AT_THE_END = 2
# With what a model thinks before it answers.
ANSWER_TOKENS = 8_000
# Researchers that are read at once.
AT_ONCE = 4
# So many entries without a submission among them are read together.
MOST_ENTRIES = 8
MAX_STUMBLES = 3


class _Unasked(Exception):
    """The model gave no answer; the message is a line."""


@dataclass(slots=True)
class ModelMonitor:
    """The monitor of one study. `refused` says, when it gave up, what a person has to mend."""

    told: Mapping[str, Any]
    desk: WorkerDesk
    directory: Path
    say: Callable[[str], None]
    randomness: Callable[[int], bytes] = os.urandom
    model_args: Mapping[str, Any] = field(default_factory=dict)
    refused: str = ""
    is_stopping: bool = False
    # Whether no researcher works in this process any more.
    is_alone: bool = False
    _model: Model | None = None
    _backlogs: dict[str, Backlog] = field(default_factory=dict)
    # Of each researcher, the messages that it was last heard with, by what is said in them.
    _shown: dict[str, dict[str, Item]] = field(default_factory=dict)
    _since: int = 0
    _is_last: bool = False
    _failures: int = 0
    _pause_until_s: float = 0.0
    _stumbles: int = 0
    _is_spent: bool = False
    # Researchers that are being read.
    _busy: set[str] = field(default_factory=set)

    def prepare(self) -> None:
        """Find the model; raises `ModelUnusable`."""
        name = self.told["model"]
        config = GenerateConfig(max_tokens=ANSWER_TOKENS, timeout=CALL_S)
        try:
            self._model = prepared(get_model(name, config=config, memoize=False, **self.model_args))
        except (PrerequisiteError, ValueError, ImportError) as error:
            raise ModelUnusable(f"the monitor's {name} cannot be asked: {one_line(error)}") from error

    # What it hears.

    def heard(self, researcher: str, messages: Sequence[ChatMessage]) -> None:
        """A researcher's conversation as it is now: what of it is new is to be read."""
        before, told, items = self._shown.get(researcher, {}), dict[str, Item](), list[Item]()
        for one in messages:
            said = _said_in(one)
            # Made once, for a conversation comes again with each turn; what it left behind is let go.
            told[said] = item = told.get(said) or before.get(said) or shown(one)
            items.append(item)
        self._shown[researcher] = told
        try:
            self._backlog(researcher).hear(items)
        except OSError as error:
            self.say(f"monitor: what {researcher} said could not be kept to be read: {one_line(error)}")

    def _backlog(self, researcher: str) -> Backlog:
        if researcher not in self._backlogs:
            self._backlogs[researcher] = Backlog(self.directory / BACKLOG, researcher)
        return self._backlogs[researcher]

    async def _look(self) -> None:
        """Ask the gateway what was entered since the last look, and for the files of what was handed in."""
        while True:
            ask = partial(self.desk.unread, self._since, is_alone=self.is_alone)
            told = await in_thread(ask)
            for one in told["entries"]:
                backlog = self._backlog(one["researcher"])
                item = entry_item(one["index"], one["kind"], one["body"])
                if backlog.has(item):
                    continue
                items = list[Item]()
                if one["kind"] == "submission":
                    files = await in_thread(partial(self.desk.files, one["index"]))
                    for name, text in sorted(files.items()):
                        items += file_items(one["index"], name, text)
                # It comes last: once it is there, after a kill too, all of its files are.
                backlog.hear([*items, item])
            self._since, self._is_last = told["upto"], bool(told["is_last"])
            if not told["entries"]:
                return

    # Reading.

    async def run(self) -> None:
        """Read until the study ends and nothing is left, of some researchers at once; raises nothing."""
        async with anyio.create_task_group() as group:
            while not self.is_stopping and not self.refused:
                try:
                    if await self._step(group):
                        return
                except ModelUnusable as error:
                    self.refused = str(error)
                except GatewayGone as error:
                    self.say(f"monitor: {one_line(error)}")
                    break
                except Exception as error:  # noqa: BLE001 - it ends neither the others' work nor the reading
                    await self._stumbled(error)
            # Who has to stop waits for no answer any more.
            group.cancel_scope.cancel()

    async def _step(self, group: TaskGroup) -> bool:
        """One look, and what is due is begun to be read; true when all is read and nothing will come."""
        await self._look()
        is_over = self._is_last and self.is_alone
        while len(self._busy) < AT_ONCE and (time.monotonic() >= self._pause_until_s or is_over):
            backlog = next_to_read(
                [one for one in self._backlogs.values() if one.researcher not in self._busy],
                every_turns=self.told["every_turns"],
                most_entries=MOST_ENTRIES,
                is_last=is_over,
            )
            if backlog is None:
                if is_over and not self._busy:
                    # With this the gateway knows that all was read: else it says so when the study closes.
                    say_so = partial(self.desk.unread, self._since, is_alone=True, is_done=True)
                    told = await in_thread(say_so)
                    return not told["entries"]
                break
            if await self._is_at_its_limit():
                if is_over and not self._busy:
                    return True
                break
            self._busy.add(backlog.researcher)
            group.start_soon(self._read_one, backlog)
        await anyio.sleep(LOOK_S)
        return False

    async def _is_at_its_limit(self) -> bool:
        standing = await in_thread(partial(self.desk.standing, MONITOR))
        if standing.stop and not self._is_spent:
            self.say(f"monitor: it reads no more: {standing.stop}")
        self._is_spent = bool(standing.stop)
        return self._is_spent

    async def _read_one(self, backlog: Backlog) -> None:
        """One reading, and what goes wrong with it."""
        try:
            await self._read(backlog)
            self._stumbles = 0
        except ModelUnusable as error:
            self.refused = str(error)
        except GatewayGone as error:
            self.say(f"monitor: {one_line(error)}")
        except Exception as error:  # noqa: BLE001 - it ends neither the others' work nor the reading
            await self._stumbled(error)
        finally:
            self._busy.discard(backlog.researcher)

    async def _stumbled(self, error: Exception) -> None:
        self._stumbles += 1
        self.say(f"monitor: {type(error).__name__}: {one_line(error)}")
        if self._stumbles >= MAX_STUMBLES:
            self.refused = f"the monitor stumbles: {type(error).__name__}: {one_line(error)}"
        await anyio.sleep(LOOK_S)

    async def _read(self, backlog: Backlog) -> None:
        """One reading: ask, read the answer, keep the file, tell the gateway."""
        count = page_of(backlog.unread)
        items = backlog.unread[:count]
        submissions = sorted(backlog.submissions)
        text = self._page(backlog, items, submissions)
        said: list[str] = []
        answer: Answer | None = None
        try:
            answer, notes = await self._asked(text, items, submissions, said)
            self._failures = 0
        except _Unasked as error:
            self._failures += 1
            self.say(f"monitor: {backlog.researcher} is not read yet: {error}")
            is_over = self._is_last and self.is_alone
            if not is_over or self._failures < MAX_FAILURES_AT_THE_END:
                pause_s = min(FIRST_PAUSE_S * 2 ** min(self._failures, 8), LONGEST_PAUSE_S)
                self._pause_until_s = time.monotonic() + pause_s
                await anyio.sleep(FIRST_PAUSE_S if is_over else 0)
                return
            # There is no later: the record says that nobody read this.
            count, items = len(backlog.unread), list(backlog.unread)
            notes = [f"the model could not be asked: {error}"]
        alarms = [] if answer is None else [_told(one) for one in answer.alarms]
        if notes:
            alarms.append(_unread(items, notes))
        for line in notes:
            self.say(f"monitor: {backlog.researcher}: {line}")
        await self._keep(backlog.researcher, items, text, said, alarms)
        backlog.done(count)

    def _page(self, backlog: Backlog, items: Sequence[Item], submissions: Sequence[int]) -> str:
        while True:
            word = self.randomness(WORD_BYTES).hex()
            try:
                return page(items, researcher=backlog.researcher, submissions=submissions, word=word)
            except ValueError:
                continue

    async def _asked(
        self, text: str, items: Sequence[Item], submissions: Sequence[int], said: list[str]
    ) -> tuple[Answer | None, list[str]]:
        """The model's answer, or `None` for one that could not be read twice; what is to be told of it."""
        messages: list[ChatMessage] = [
            ChatMessageSystem(content=self.told["told"]),
            ChatMessageUser(content=text),
        ]
        notes: list[str] = []
        best: Answer | None = None
        why = ""
        for _time in range(2):
            output = await self._generate(messages)
            answered = output.message.text
            said.append(answered)
            calls = len(output.message.tool_calls or ())
            if calls:
                notes.append(f"it called tools, which it has not: {calls} calls ignored")
            try:
                best = parse_answer(answered, items=items, submissions=submissions)
                if not best.thrown:
                    break
                error = Unreadable("; ".join(best.thrown))
            except Unreadable as unreadable:
                error = unreadable
            why = str(error)
            messages += [
                ChatMessageAssistant(content=answered or "(nothing)"),
                ChatMessageUser(content=again(error)),
            ]
        if best is None:
            return None, [*notes, f"its answer could not be read: {why}"]
        if best.thrown:
            notes += [f"{len(best.thrown)} alarms thrown away or changed: {'; '.join(best.thrown)}"]
        return best, notes

    async def _generate(self, messages: list[ChatMessage]) -> ModelOutput:
        """One call, charged; raises `_Unasked`, and `ModelUnusable` for what a person has to mend."""
        if self._model is None:
            raise ModelUnusable("the monitor was not prepared")
        output: ModelOutput | None = None
        wait_s = CALL_AT_THE_END_S if self._is_last else 2 * CALL_S
        with anyio.move_on_after(wait_s):
            try:
                output = await self._model.generate(messages, tools=[])
            except Exception as error:
                status = status_of(error)
                if status in REFUSES:
                    raise ModelUnusable(f"the monitor's provider {REFUSES[status]} ({status})") from error
                raise _Unasked(one_line(f"{type(error).__name__}: {error}")) from error
        if output is None:
            raise _Unasked(f"no answer within {wait_s} s")
        if is_uncounted(output):
            raise ModelUnusable(f"the monitor: {UNCOUNTED}")
        if output.usage is not None:
            usage = Usage(
                input=output.usage.input_tokens,
                output=output.usage.output_tokens,
                cache_read=output.usage.input_tokens_cache_read or 0,
                cache_write=output.usage.input_tokens_cache_write or 0,
            )
            tell = partial(
                self.desk.used, MONITOR, call=uuid.uuid4().hex, model=self.told["model"], usage=usage
            )
            # Waited for to its end: what is charged nowhere is a limit that does not hold.
            await anyio.to_thread.run_sync(tell)
        return output

    async def _keep(
        self,
        researcher: str,
        items: Sequence[Item],
        text: str,
        said: Sequence[str],
        alarms: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write a reading as a file of its own, whole on the disk before the record has its digest."""
        folder = self.directory / READINGS
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        number = len(list(folder.glob(f"monitor.{researcher}.*.json"))) + 1
        path = folder / f"monitor.{researcher}.{number}.json"
        kept = {
            "researcher": researcher,
            "model": self.told["model"],
            "items": len(items),
            "shown": text,
            "answers": list(said),
            "alarms": list(alarms),
        }
        data = without_keys(json.dumps(kept, indent=1)).encode()
        await in_thread(partial(write_durably, path, data, mode=0o600))
        payload: dict[str, Any] = {
            "researcher": researcher,
            "file": path.name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
        }
        try:
            await in_thread(partial(self.desk.reading, {**payload, "alarms": list(alarms)}))
        except GatewayRefused as error:
            self.say(f"monitor: {path.name} was refused: {one_line(error)}")
            if not alarms:
                return
            # What it would have said is in the file, and that there was something is in the record.
            note = _unread([], [f"the gateway refused what it said: {one_line(error)}"])
            try:
                await in_thread(partial(self.desk.reading, {**payload, "alarms": [note]}))
            except GatewayRefused as again_refused:
                self.say(f"monitor: {path.name} is not in the record: {one_line(again_refused)}")


def shown(message: ChatMessage) -> Item:
    """A message of a conversation as the monitor is shown it, thoughts too where they are told."""
    try:
        text = clean(_text_of(message))
        if isinstance(message, ChatMessageAssistant):
            calls = [{"tool": one.function, "arguments": one.arguments} for one in message.tool_calls or ()]
            return message_item(role=message.role, text=text, calls=calls)
        if isinstance(message, ChatMessageTool):
            return message_item(role=message.role, text=text, tool=clean(message.function or "tool"))
        return message_item(role=message.role, text=text)
    except (RecursionError, TypeError, ValueError) as error:
        return message_item(role=message.role, text=f"[it cannot be shown: {type(error).__name__}]")


def _said_in(message: ChatMessage) -> str:
    """The digest of all that is shown of a message: its id is another's to give, and says nothing of that."""
    calls = [(one.function, one.arguments) for one in getattr(message, "tool_calls", None) or ()]
    try:
        said = repr((message.role, getattr(message, "function", None), _text_of(message), calls))
    except RecursionError:
        said = f"{message.role} that cannot be shown"
    return hashlib.sha256(said.encode("utf-8", "backslashreplace")).hexdigest()


def _text_of(message: ChatMessage) -> str:
    parts = []
    if isinstance(message, ChatMessageTool) and message.error is not None:
        parts.append(f"[error] {message.error.message}")
    for one in [message.content] if isinstance(message.content, str) else message.content:
        if isinstance(one, (str, ContentText, ContentReasoning)):
            parts.append(one if isinstance(one, str) else one.text)
        else:
            # An image, a document: that it is there is all that is told of it.
            parts.append(f"[{one.type}, not shown]")
    return "\n".join(part for part in parts if part)


def _told(alarm: Alarm) -> dict[str, Any]:
    """An alarm as the gateway takes it: a bad one about a submission would hold it."""
    named = {alarm.submission} - {-1}
    return {
        "code": f"model-alarm-{alarm.severity}",
        "what": clean(alarm.what),
        "quote": clean(alarm.quote),
        "evidence": sorted({*list(alarm.entries)[:32], *named}),
        "hold": alarm.submission if alarm.severity == "high" else -1,
    }


def _unread(items: Iterable[Item], notes: Sequence[str]) -> dict[str, Any]:
    """That something was not read, or not all that was said of it: whoever decides looks for itself."""
    entries = sorted({one["entry"] for one in items if "entry" in one})
    return {
        "code": UNREAD,
        "what": clean("; ".join(notes)),
        "quote": "",
        "evidence": entries[:64],
        "hold": -1,
    }
