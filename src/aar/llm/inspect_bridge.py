"""A conversation that an agent of somebody else's holds inside the sandbox, asked for outside, call by call.

Inspect's sandbox bridge answers the agent on its own loopback: what it asks its model comes out here, is
asked with our key, and goes back. So every limit is looked at as in a conversation of our own
(`aar.llm.inspect_talk`): before each call, while it is waited for, and while the agent is busy with something
else. Its tools of the study are executed here, too.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio
from inspect_ai.agent import AgentState, BridgedToolsSpec, sandbox_agent_bridge
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatMessage,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelOutput,
    get_model,
)
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import ExecResult, OutputLimitExceededError, sandbox

from aar.inside.gateway_client import GatewayLost, RecordMisbehaved
from aar.llm.cli_agents import ANEW, PORT, SERVER, TOOLS, Launch, launch
from aar.llm.ending import Ending
from aar.llm.inspect_seat import SeatEnvironment
from aar.llm.inspect_talk import (
    GO_ON,
    MAX_LIVES_WITHOUT_TURN,
    MAX_SAME,
    MAX_SILENT,
    WAITING_LOOK_S,
    Talk,
    bounded,
    one_line,
)
from aar.llm.inspect_tools import in_thread, study_tools
from aar.llm.kept_work import Moment
from aar.llm.seat import WORKSPACE
from aar.outside.sandbox.argv import sandbox_python

# So often a program may end with an error, or its sandbox under it, with no turn in between.
MAX_BREAKDOWNS = 3
# Whatever runs in that sandbox may ask the bridge; so often a minute, and so many of its model at once.
MAX_ASKED_A_MINUTE = 900
MAX_AT_ONCE = 32
# Of what it asks in all: it stands in this process, which others share, until the conversation is over.
MAX_CHARACTERS = 1 << 30
# What ended a conversation is noticed so soon where it was not the agent's own call of its model.
LOOK_S = 0.5


# An agent that comes before its bridge has no tools, and some say nothing of it.
UP_S = 120
_WAIT = f"""
import socket, sys, time
for _again in range({UP_S * 10}):
    try:
        socket.create_connection(("localhost", {PORT})).close()
        sys.exit()
    except OSError:
        time.sleep(0.1)
sys.exit("the bridge does not listen after {UP_S} s")
"""


class BridgeDown(Exception):
    """The bridge did not come up in the sandbox."""


@dataclass(slots=True)
class BridgedTalk(Talk):
    """The conversation of an agent program; what was said in it is lost with its sandbox, its work is not."""

    _scope: anyio.CancelScope | None = None
    _one_by_one: anyio.Lock = field(default_factory=anyio.Lock)
    _errors: list[Exception] = field(default_factory=list)
    _breakdowns: int = 0
    _at_once: int = 0

    async def _converse(self, state: AgentState) -> AgentState:
        moment = await in_thread(self.kept.load)
        if moment is not None:
            self._lives_without_turn = moment.lives_without_turn + 1
            self.turns, self.life = moment.turns, moment.life + 1
            self.seat.files = dict(moment.files)
            transcript().info({"resumed": {"turns": self.turns, "life": self.life, "anew": True}})
            if self._lives_without_turn > MAX_LIVES_WITHOUT_TURN:
                self.ending = Ending(
                    "failed", f"its worker ended {MAX_LIVES_WITHOUT_TURN} times at this turn"
                )
                return state
        is_anew = moment is not None
        try:
            while self.ending is None and await self._may_go_on():
                prompt = self.brief + TOOLS + (ANEW if is_anew else "")
                state.messages = [ChatMessageUser(content=prompt, source="input")]
                await self._keep(state)
                await self._sit(state, prompt)
                is_anew = True
        except GatewayLost as error:
            self.ending = Ending("interrupted", str(error))
        return state

    # One sandbox.

    async def _sit(self, state: AgentState, prompt: str) -> None:
        """From the start of the agent in a sandbox to the end of either; `ending` where all is over."""
        self._errors.clear()
        environment = sandbox().as_type(SeatEnvironment)
        await environment.sit_down()
        async with anyio.create_task_group() as group:
            self._scope = group.cancel_scope
            group.start_soon(self._look_on, environment)
            try:
                async with sandbox_agent_bridge(
                    state,
                    filter=self._answer,
                    port=PORT,
                    bridged_tools=[self._served()],
                    web_search=False,
                    code_execution=False,
                ):
                    await _wait_for_bridge()
                    await self._run_agent(prompt)
            # Whatever the bridge makes of a sandbox that is gone, or a tool of a gateway that is.
            except Exception as error:  # noqa: BLE001
                self._errors.append(error)
            group.cancel_scope.cancel()
        for one in self._errors:
            # Whatever else ended it, a record that contradicts itself is what has to be heard of.
            if isinstance(one, RecordMisbehaved):
                raise one
        if self.ending is None and self._errors:
            if await in_thread(environment.session.is_alive):
                raise self._errors[0]
            self._broke_down("its sandbox ended: too much memory, or a command ended it")
        await self._keep(state)

    async def _look_on(self, environment: SeatEnvironment) -> None:
        """End it at what its own calls do not notice: a limit while it computes, a flood, its last word."""
        since_s, asked = anyio.current_time(), environment.asked
        while self.ending is None:
            await anyio.sleep(LOOK_S)
            now_s = anyio.current_time()
            if environment.asked - asked > MAX_ASKED_A_MINUTE:
                self.ending = Ending("failed", f"it asked its bridge {MAX_ASKED_A_MINUTE} times in a minute")
            elif environment.characters > MAX_CHARACTERS:
                self.ending = Ending("failed", f"it asked its bridge {MAX_CHARACTERS} characters in all")
            elif now_s - since_s >= 60:
                since_s, asked = now_s, environment.asked
            if now_s - self._looked_s >= WAITING_LOOK_S:
                await self._may_wait()
        # The tool that ended it returns first.
        await anyio.sleep(LOOK_S)
        self._end()

    async def _run_agent(self, prompt: str) -> None:
        """Start the program, and again as long as it ends without having said that it is done."""
        goes_on: bool = False
        while not self._is_over():
            turns = self.turns
            agent, said = self.seat.place.agent, GO_ON if goes_on else prompt
            ended = await self._run(launch(agent, model=get_model().name, prompt=said, goes_on=goes_on))
            if self._is_over():
                return
            if not await self._may_go_on():
                return
            if self._silent >= MAX_SILENT:
                self.ending = Ending("failed", f"it used no tool in {self._silent} turns")
            elif ended.returncode or self.turns == turns:
                why = one_line(ended.stderr[-400:]) or "it says nothing"
                self._broke_down(f"{agent} ended with {ended.returncode}: {why}")
            # One that never asked has no conversation to go on with.
            if self.turns > turns:
                goes_on = True

    def _end(self) -> None:
        """End the agent, with all that it started, and the bridge."""
        if self._scope is not None:
            self._scope.cancel()

    def _is_over(self) -> bool:
        return self.ending is not None

    async def _run(self, start: Launch) -> ExecResult[str]:
        for path, data in start.files.items():
            await sandbox().write_file(path, data)
        # Its last words are in what its model was asked; on its standard error is what went wrong.
        words = ["bash", "-c", 'exec "$@" </dev/null >/dev/null', "agent", *start.argv]
        try:
            return await sandbox().exec(words, cwd=WORKSPACE, env=dict(start.env))
        except OutputLimitExceededError:
            return ExecResult(False, 1, "", "it wrote far too much on its standard error")

    def _broke_down(self, why: str) -> None:
        """Count breakdowns since the last turn; too many are the end."""
        self._breakdowns += 1
        self.say(f"{why}; it is started again")
        if self._breakdowns >= MAX_BREAKDOWNS:
            self.ending = Ending("failed", why)

    # One call of its model.

    async def _answer(
        self,
        model: Model,
        messages: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice | None,
        config: GenerateConfig,
    ) -> ModelOutput:
        """The bridge asks this in the model's place. What ends the conversation ends the agent at once."""
        output = None
        self._at_once += 1
        try:
            if await self._may_ask(messages):
                ask = partial(model.generate, messages, tools, tool_choice, config)
                # A call that is let go with its sandbox is on the bill and in no account: it is waited for as
                # long as limits and a stop allow it.
                with anyio.CancelScope(shield=True):
                    output = await self._asked(messages, ask)
        # The bridge would tell it to the agent, which would ask again.
        except Exception as error:  # noqa: BLE001
            self._errors.append(error)
        finally:
            self._at_once -= 1
        if output is None:
            self._end()
            await anyio.sleep_forever()
            raise RuntimeError("not reached")
        return output

    async def _may_ask(self, messages: list[ChatMessage]) -> bool:
        """Look at the limits, and keep what there is: what it asked for last is done by now."""
        async with self._one_by_one:
            if self.ending is not None:
                return False
            if self.turns >= self.max_turns:
                self.ending = Ending("failed", f"it took {self.turns} turns")
            elif self._at_once > MAX_AT_ONCE:
                self.ending = Ending("failed", f"it asked its model {self._at_once} times at once")
            if self._is_over():
                return False
            await self._keep(AgentState(messages=messages))
            await in_thread(self.seat.copy_forum)
            return await self._may_go_on()

    async def _asked(
        self, messages: Sequence[ChatMessage], ask: Callable[[], Awaitable[ModelOutput]]
    ) -> ModelOutput | None:
        output = await self._generate(ask)
        if output is None:
            return None
        message = bounded(output.message)
        output.choices[0].message = message
        # Whoever asked in there need not say it again, and of several conversations Inspect knows one.
        self.heard([*messages, message])
        self.turns += 1
        self._lives_without_turn = self._breakdowns = 0
        self._silent = 0 if message.tool_calls else self._silent + 1
        self._note_calls(message)
        if self._same >= MAX_SAME:
            self.ending = Ending("failed", f"it made the same calls {self._same} turns in a row")
            return None
        return output

    async def _keep(self, state: AgentState) -> None:
        """Keep the workspace, and the conversation for a person to read: no other one goes on with it."""
        self.heard(state.messages)
        line = await in_thread(self.seat.keep)
        if line:
            self.say(line)
        moment = Moment(
            messages=[one.model_dump(mode="json", exclude_none=True) for one in state.messages],
            turns=self.turns,
            life=self.life,
            lives_without_turn=self._lives_without_turn,
            files=self.seat.files,
        )
        await in_thread(partial(self.kept.save, moment))

    def _served(self) -> BridgedToolsSpec:
        """The study's tools, for its MCP server; a program that its model wrote may call them as well."""
        tools = [one.as_tool() for one in (*study_tools(self.seat), self._finish_tool())]
        return BridgedToolsSpec(name=SERVER, tools=tools, require_proposal=False)


async def _wait_for_bridge() -> None:
    """Raise `BridgeDown` unless it answers on the sandbox's loopback soon."""
    ended = await sandbox().exec([*sandbox_python(), "-c", _WAIT], timeout=UP_S + 60)
    if not ended.success:
        raise BridgeDown(one_line(ended.stderr))
