"""One conversation about one task: Inspect's react agent, with our limits asked around every turn.

Everything is kept after each turn, and once more between what the model asked for and its doing: a worker
that was killed goes on from there (`aar.llm.kept_work`). What a model may say is bounded here, because it may
be anything: a megabyte of text, a hundred calls at once, the same call for ever, nothing but refusals.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import anyio
from inspect_ai.agent import Agent, AgentState, AgentSubmit, agent, react
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageTool,
    ChatMessageUser,
    CompactionSummary,
    Content,
    ContentReasoning,
    Model,
    ModelOutput,
    execute_tools,
    get_model,
)
from inspect_ai.tool import Tool, ToolCall, ToolDef, ToolParam, ToolParams
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticSerializationError

from aar.inside.gateway_client import GatewayLost
from aar.llm.brief import NOTEBOOK
from aar.llm.ending import Ending, ending_for
from aar.llm.inspect_tools import FINISH, Answer, in_thread, sandbox_tools, study_tools
from aar.llm.kept_work import KeptWork, Moment
from aar.llm.provider_keys import take_keys_out, without_keys
from aar.llm.seat import WORKSPACE, Seat
from aar.outside.sandbox.terminal import terminal_safe
from aar.outside.staff_client import GatewayGone

MAX_CALLS_AT_ONCE = 16
MAX_TEXT_CHARACTERS = 64 << 10
# As JSON: a file that an editor writes at once, and some more.
MAX_ARGUMENTS_CHARACTERS = 256 << 10
# In a row: turns without a call, turns that say the very same, answers that cannot be used.
MAX_SILENT = 4
MAX_SAME = 25
MAX_UNUSABLE = 5
# What ends the worker each time is not tried for ever.
MAX_LIVES_WITHOUT_TURN = 3
PAUSED_LOOK_S = 2.0
# While the provider lets us wait, limits are looked at so often.
WAITING_LOOK_S = 3.0
REFUSES = {401: "refuses the key", 403: "refuses the key", 404: "does not know the model"}
UNCOUNTED = "the provider does not say how many tokens a call took: no limit would hold"
GO_ON = f"Go on with your task with your tools, or end it with {FINISH} and say why."
_SANDBOX_TOOLS = ("bash", "python", "text_editor")
_MESSAGES = TypeAdapter(list[ChatMessage])


@dataclass(slots=True)
class Talk:
    """A researcher's conversation about the task that it holds."""

    seat: Seat
    kept: KeptWork
    brief: str
    max_turns: int
    compact_at_tokens: int
    fresh: bool
    say: Callable[[str], None]
    is_stopping: Callable[[], bool]
    heard: Callable[[Sequence[ChatMessage]], None] = lambda _messages: None
    ending: Ending | None = None
    turns: int = 0
    life: int = 1
    _silent: int = 0
    _same: int = 0
    _last_calls: str = ""
    _context_tokens: int = 0
    _lives_without_turn: int = 0
    _looked_s: float = 0.0
    _sandbox_used: bool = False
    _finding_posted: bool = False
    _tools: list[ToolDef] = field(default_factory=list)

    async def run(self, state: AgentState) -> AgentState:
        """Talk until it ends; `ending` says how."""
        state = await self._converse(state)
        if self.ending is not None and not self.ending.is_over:
            await in_thread(self.kept.end_life_in_order)
        return state

    async def _converse(self, state: AgentState) -> AgentState:
        self._tools = [*sandbox_tools(self.seat, self._watched), *study_tools(self.seat)]
        moment = await in_thread(self.kept.load)
        if moment is None:
            state.messages = [ChatMessageUser(content=self.brief, source="input")]
            await self._keep(state)
        else:
            self._lives_without_turn = moment.lives_without_turn + 1
            state.messages = _MESSAGES.validate_python(moment.messages)
            self.turns, self.life = moment.turns, moment.life + 1
            self._context_tokens = moment.context_tokens
            self.seat.files = dict(moment.files)
            transcript().info({"resumed": {"turns": self.turns, "life": self.life}})
            if self._lives_without_turn > MAX_LIVES_WITHOUT_TURN:
                self.ending = Ending(
                    "failed", f"its worker ended {MAX_LIVES_WITHOUT_TURN} times at this turn"
                )
                return state
            await self._keep(state)
        try:
            if not await self._may_go_on():
                return state
            if moment is not None and not await self._catch_up(state):
                return state
            talking = react(
                prompt=None,
                tools=self._tools,
                model=self._turn(),
                submit=AgentSubmit(tool=self._finish_tool(), keep_in_messages=True, answer_only=True),
                on_continue=self._after_turn,
                truncation="auto",
            )
            state = await talking(state)
        except GatewayLost as error:
            self.ending = Ending("interrupted", str(error))
        if self.ending is None:
            self.ending = Ending("failed", _why_over(state.output))
        return state

    async def _catch_up(self, state: AgentState) -> bool:
        """Do what the model had asked for when the worker ended; False when that ended the conversation."""
        last = state.messages[-1]
        if isinstance(last, ChatMessageAssistant) and last.tool_calls:
            messages, _output = await execute_tools(state.messages, [*self._tools, self._finish_tool()])
            state.messages.extend(messages)
            self._note_calls(last)
            await self._keep(state)
        return self.ending is None

    # A turn.

    def _turn(self) -> Agent:
        @agent(name="turn")
        def turn() -> Agent:
            async def execute(state: AgentState, tools: Sequence[Tool]) -> AgentState:
                """Ask the model once.

                Args:
                    state: The conversation.
                    tools: What it may call.
                """
                await self._compact(state)
                ask = partial(get_model().generate, state.messages, list(tools))
                output = None if self.ending else await self._generate(ask)
                if output is None:  # stopped while it waited
                    output = ModelOutput.from_content(str(get_model()), "")
                    state.output = output
                    return state
                message = bounded(output.message)
                output.choices[0].message = message
                state.output = output
                state.messages.append(message)
                self.turns += 1
                self._lives_without_turn = 0
                self._context_tokens = _context_after(output)
                self._note_calls(message)
                # Before what it asks for is done: after a kill it is done then, and not asked for twice.
                await self._keep(state)
                return state

            return execute

        return turn()

    async def _generate(self, ask: Callable[[], Awaitable[ModelOutput]]) -> ModelOutput | None:
        """The model's answer; `None` when the researcher was stopped while it waited for one."""
        unusable = 0
        while True:
            answer = await self._watched(ask)
            if isinstance(answer, ModelOutput) and is_uncounted(answer):
                self.ending = Ending("interrupted", UNCOUNTED)
                return None
            if answer is None or isinstance(answer, ModelOutput):
                return answer
            status = status_of(answer)
            if status in REFUSES:
                self.ending = Ending("interrupted", f"the provider {REFUSES[status]} ({status})")
                return None
            unusable += 1
            line = one_line(f"{type(answer).__name__}: {answer}")
            if unusable >= MAX_UNUSABLE:
                self.ending = Ending("failed", f"{unusable} answers of the model could not be used: {line}")
                return None
            self.say(f"an answer of the model cannot be used, asking again: {line}")
            await anyio.sleep(2.0**unusable + random.Random(self.turns).random())

    async def _watched(self, ask: Callable[[], Awaitable[Answer]]) -> Answer | Exception | None:
        """Ask, or do, and look at the limits while it takes its time; `None` when it was not waited for.

        Many short ones in a row are looked between, too.
        """
        answer: Answer | Exception | None = None

        async def asking(scope: anyio.CancelScope) -> None:
            nonlocal answer
            try:
                answer = await ask()
            # Whatever a provider's library raises about an answer is that answer.
            except Exception as error:  # noqa: BLE001
                answer = error
            scope.cancel()

        is_due = self._looked_s + WAITING_LOOK_S < anyio.current_time()
        if self.ending is not None or (is_due and not await self._may_wait()):
            return None
        async with anyio.create_task_group() as group:
            group.start_soon(asking, group.cancel_scope)
            while True:
                await anyio.sleep(WAITING_LOOK_S)
                if not await self._may_wait():
                    group.cancel_scope.cancel()
        return answer

    async def _may_wait(self) -> bool:
        """Whether what runs may run on; a pause ends nothing that has begun."""
        self._looked_s = anyio.current_time()
        return await self._may_go_on(wait_for_resume=False)

    async def _after_turn(self, state: AgentState) -> bool | str | AgentState:
        """What react asks after each turn: False ends the conversation."""
        if self.ending is not None:
            return False
        calls = state.output.message.tool_calls
        self._silent = 0 if calls else self._silent + 1
        if not calls:
            state.messages.append(ChatMessageUser(content=GO_ON))
        if self._finding_posted and self.fresh:
            await self._begin_afresh(state)
        self._finding_posted = False
        await self._keep(state)
        if self._silent >= MAX_SILENT:
            self.ending = Ending("failed", f"it used no tool in {self._silent} turns")
        elif self._same >= MAX_SAME:
            self.ending = Ending("failed", f"it made the same calls {self._same} turns in a row")
        elif self.turns >= self.max_turns:
            self.ending = Ending("failed", f"it took {self.turns} turns")
        if self.ending is not None or not await self._may_go_on():
            return False
        return state

    def _note_calls(self, message: ChatMessageAssistant) -> None:
        calls = message.tool_calls or []
        names = [one.function for one in calls]
        self._sandbox_used = self._sandbox_used or any(name in _SANDBOX_TOOLS for name in names)
        self._finding_posted = "post_finding" in names
        said = json.dumps([[one.function, one.arguments] for one in calls], sort_keys=True, default=str)
        self._same = self._same + 1 if calls and said == self._last_calls else 1
        self._last_calls = said

    async def _may_go_on(self, *, wait_for_resume: bool = True) -> bool:
        """Whether to take another turn; sets `ending` when not. A pause is waited for."""
        was_paused = False
        while True:
            if self.is_stopping():
                self.ending = self.ending or Ending("interrupted", "the study is being stopped")
                return False
            try:
                standing = await in_thread(self.seat.standing)
            except GatewayGone as error:
                self.ending = Ending("interrupted", str(error))
                return False
            if not standing.is_paused:
                break
            if not wait_for_resume:
                return True
            if not was_paused:
                self.say("the queue is paused: waiting")
            was_paused = True
            await anyio.sleep(PAUSED_LOOK_S)
        if standing.stop:
            self.ending = self.ending or ending_for(standing.stop)
            return False
        return True

    # Memory.

    async def _keep(self, state: AgentState) -> None:
        """Keep the conversation, and the workspace when something ran in it that is over."""
        self.heard(state.messages)
        is_between = isinstance(state.messages[-1], ChatMessageAssistant) and bool(
            state.messages[-1].tool_calls
        )
        if self._sandbox_used and not is_between:
            line = await in_thread(self.seat.keep)
            if line and isinstance(state.messages[-1], ChatMessageTool):
                state.messages.append(ChatMessageUser(content=line))
            self._sandbox_used = False
        moment = Moment(
            messages=[one.model_dump(mode="json", exclude_none=True) for one in state.messages],
            turns=self.turns,
            life=self.life,
            context_tokens=self._context_tokens,
            lives_without_turn=self._lives_without_turn,
            files=self.seat.files,
        )
        await in_thread(partial(self.kept.save, moment))

    async def _compact(self, state: AgentState) -> None:
        """Let Inspect have the conversation summed up when it is long; brief and notebook outlive it."""
        if self._context_tokens < self.compact_at_tokens:
            return
        self.say(f"its conversation has {self._context_tokens} tokens: it is summed up")
        strategy = CompactionSummary(instructions=f"Say what is in {NOTEBOOK} and what comes next.")
        answer = await self._watched(partial(strategy.compact, get_model(), state.messages, []))
        if isinstance(answer, Exception):
            raise answer
        if answer is None:
            return
        state.messages = list(answer[0])
        self._context_tokens = 0
        await self._keep(state)

    async def _begin_afresh(self, state: AgentState) -> None:
        """A new conversation of brief and notebook."""
        self.heard(state.messages)
        name = NOTEBOOK.removeprefix(f"{WORKSPACE}/")
        notebook = self.seat.files.get(name, b"").decode("utf-8", "backslashreplace")
        text = f"You begin afresh after a finding. Your notebook, {NOTEBOOK}:\n\n{notebook or '(empty)'}"
        state.messages = [
            ChatMessageUser(content=self.brief, source="input"),
            ChatMessageUser(content=text[:MAX_TEXT_CHARACTERS]),
        ]
        self._context_tokens = 0

    # The end.

    def _finish_tool(self) -> ToolDef:
        async def finish(reason: str, outcome: str = "done") -> str:
            # What ended it before, a limit or a call that was not charged, is not talked away.
            ending = Ending("failed" if outcome == "failed" else "done", one_line(reason) or "done")
            self.ending = self.ending or ending
            return "The task is handed back."

        return ToolDef(
            finish,
            name=FINISH,
            description="End your work on this task and hand it back, saying why.",
            parameters=ToolParams(
                properties={
                    "reason": ToolParam(type="string", description="what came of it, in a sentence or two"),
                    "outcome": ToolParam(
                        type="string", description="done by default", enum=["done", "failed"]
                    ),
                },
                required=["reason"],
            ),
        )


def bounded(message: ChatMessageAssistant) -> ChatMessageAssistant:
    """The same message with at most `MAX_CALLS_AT_ONCE` calls and `MAX_TEXT_CHARACTERS` of text.

    A call of more than `MAX_ARGUMENTS_CHARACTERS` is not made, and the model is told why; thoughts that are
    longer are dropped whole, for a provider takes them back as it gave them or not at all.
    """
    change: dict[str, Any] = {}
    calls = [_bounded_call(one) for one in (message.tool_calls or [])[:MAX_CALLS_AT_ONCE]]
    if calls != (message.tool_calls or []):
        change["tool_calls"] = calls
    thoughts = [one for one in _parts(message) if isinstance(one, ContentReasoning)]
    is_brooding = sum(len(one.reasoning) + len(one.summary or "") for one in thoughts) > MAX_TEXT_CHARACTERS
    if is_brooding:
        change["content"] = [one for one in _parts(message) if not isinstance(one, ContentReasoning)]
    if len(message.text) > MAX_TEXT_CHARACTERS:
        change["content"] = (
            f"{message.text[:MAX_TEXT_CHARACTERS]}\n[cut here: {len(message.text)} characters in all]"
        )
    return message.model_copy(update=change) if change else message


def _parts(message: ChatMessageAssistant) -> list[Content]:
    return [] if isinstance(message.content, str) else message.content


def _bounded_call(call: ToolCall) -> ToolCall:
    size = len(json.dumps(call.arguments, default=str))
    if size <= MAX_ARGUMENTS_CHARACTERS:
        return call
    why = f"the call has {size} characters: want at most {MAX_ARGUMENTS_CHARACTERS}; write a file in parts"
    return replace(call, arguments={}, parse_error=why)


def is_uncounted(output: ModelOutput) -> bool:
    """Whether the provider answered without saying what it took, which is charged to nobody.

    Inspect itself answers, for nothing, where a request was refused as too long or as unwanted.
    """
    if output.stop_reason in ("model_length", "content_filter"):
        return False
    usage = output.usage
    return usage is None or not (
        usage.input_tokens or usage.input_tokens_cache_read or usage.input_tokens_cache_write
    )


def status_of(error: BaseException | None) -> int:
    """The HTTP status that an error is about, itself or what it came from; 0 without one."""
    while error is not None:
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return 0


def one_line(what: object) -> str:
    """As one line of at most 300 characters, without a key, or what an entry or a terminal does not take."""
    return terminal_safe(" ".join(without_keys(str(what)).split()))[:300]


def prepared(model: Model) -> Model:
    """A model whose tokens are counted by characters, and whose answers are whole text.

    Inspect's own count downloads a tokenizer, or asks the provider each time; it decides only when a
    conversation is shortened, and what is charged is what the provider says. Half a character in an answer
    cannot be written into a transcript: Inspect would give up on the researcher, in this life and the next.
    """
    ask = model.api.generate

    async def generate(*words: Any, **named: Any) -> Any:
        try:
            answer = await ask(*words, **named)
        except Exception as error:
            # It is written into the transcript.
            take_keys_out(error)
            raise
        return tuple(map(whole, answer)) if isinstance(answer, tuple) else whole(answer)

    async def estimate(given: str | list[ChatMessage], _config: object = None) -> int:
        texts = [given] if isinstance(given, str) else [one.text for one in given]
        return sum(map(len, texts)) // 3 + 1

    model.api.count_tokens = estimate
    model.api.generate = generate
    return model


def _context_after(output: ModelOutput) -> int:
    """Tokens of the conversation with this answer in it, as far as the provider told."""
    usage = output.usage
    if usage is None:
        return 0
    asked: int = (
        usage.input_tokens + (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    )
    return asked + int(min(usage.output_tokens, MAX_TEXT_CHARACTERS // 3))


def whole(answer: Any) -> Any:
    """The same answer of a provider, or record of a call, with no half of a character in it."""
    if isinstance(answer, Exception):
        take_keys_out(answer)
    if not isinstance(answer, BaseModel):
        return answer
    try:
        answer.model_dump_json()
    except PydanticSerializationError:
        return type(answer).model_validate(_whole_text(answer.model_dump()))
    return answer


def _whole_text(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_whole_text(key): _whole_text(one) for key, one in value.items()}
    return [_whole_text(one) for one in value] if isinstance(value, list) else value


def _why_over(output: ModelOutput) -> str:
    if output.empty:
        return "the conversation ended without an answer"
    if output.stop_reason == "content_filter":
        return "the model refused three times in a row"
    if output.stop_reason == "model_length":
        return "the conversation no longer fits the model's context"
    return f"the conversation ended: {output.stop_reason}"
