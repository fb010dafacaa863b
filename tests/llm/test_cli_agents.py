"""How agents of others are started, and what ends a conversation with one; whole studies are elsewhere."""

from __future__ import annotations

import contextlib
import functools
import json
import time
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from inspect_ai.agent import AgentState
from inspect_ai.model import ChatMessageUser, GenerateConfig, ModelOutput, ModelUsage
from inspect_ai.tool import ToolCall

from aar.formats.kinds import AGENTS
from aar.inside.gateway_client import RecordMisbehaved
from aar.llm import inspect_bridge, inspect_talk
from aar.llm.cli_agents import ANEW, NO_KEY, PORT, SERVER, TOOLS, launch
from aar.llm.ending import Ending
from aar.llm.inspect_bridge import MAX_AT_ONCE, MAX_BREAKDOWNS, BridgedTalk
from aar.llm.inspect_tools import study_tools
from aar.llm.kept_work import KeptWork
from aar.llm.provider_keys import without_keys
from aar.llm.worker_desk import Standing


@pytest.mark.parametrize("agent", AGENTS)
def test_an_agent_gets_its_prompt_a_loopback_and_nothing_that_looks_like_a_key(agent: str) -> None:
    start = launch(agent, model="m-1", prompt="do it", goes_on=False)
    assert (start.argv[0], start.argv[-1]) == (f"/opt/agent/{agent}", "do it")
    told = json.dumps([*start.argv, start.env, *(one.decode() for one in start.files.values())])
    assert without_keys(told) == told
    assert NO_KEY in start.env.values()
    urls = [word for word in told.replace("\\", "").split('"') if "://" in word]
    assert urls
    assert all(one.startswith(f"http://localhost:{PORT}") for one in urls)


@pytest.mark.parametrize(("agent", "word"), [*zip(AGENTS, ("--continue", "resume"), strict=True)])
def test_an_agent_goes_on_with_its_conversation_where_it_has_one(agent: str, word: str) -> None:
    assert word not in launch(agent, model="m", prompt="x", goes_on=False).argv
    assert word in launch(agent, model="m", prompt="x", goes_on=True).argv


def test_claude_code_asks_one_model_and_waits_for_its_tools() -> None:
    start = launch("claude-code", model="m-1", prompt="x", goes_on=False)
    assert {value for name, value in start.env.items() if name.endswith("_MODEL")} == {"m-1"}
    assert (start.env["MCP_CONNECTION_NONBLOCKING"], start.env["ENABLE_TOOL_SEARCH"]) == ("false", "false")
    assert start.argv[list(start.argv).index("--disallowed-tools") + 1] == "WebSearch,WebFetch"


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("agent", ["claude-code", "codex"])
def test_a_brief_that_looks_like_an_option_is_none(agent: str, goes_on: bool) -> None:
    argv = launch(agent, model="m", prompt="--help", goes_on=goes_on).argv
    assert list(argv[-2:]) == ["--", "--help"]


def test_codex_has_its_settings_in_a_file_that_is_toml() -> None:
    ((path, data),) = launch("codex", model='m"1', prompt="x", goes_on=False).files.items()
    settings = tomllib.loads(data.decode())
    assert path == "/tmp/agent/config.toml"
    assert (settings["model"], settings["web_search"]) == ('m"1', "disabled")
    assert settings["mcp_servers"][SERVER]["required"] is True


def test_an_agent_is_told_whose_tools_are_whose_and_that_it_began_anew() -> None:
    assert f'MCP server "{SERVER}"' in TOOLS
    assert "began anew" in ANEW


class Metered:
    """A model that says the same each time, in a call of a tool or without one."""

    def __init__(self, *, calls: bool = True) -> None:
        self.asked, self._calls = 0, calls

    async def generate(self, *_words: object) -> ModelOutput:
        self.asked += 1
        output = ModelOutput.from_content("m", "text")
        output.usage = ModelUsage(input_tokens=9, output_tokens=1)
        if self._calls:
            output.choices[0].message.tool_calls = [ToolCall(id="1", function="f", arguments={})]
        return output


def talk_in(directory: Path, standing: str = "", max_turns: int = 9) -> BridgedTalk:
    seat: Any = SimpleNamespace(
        standing=lambda: Standing(standing),
        files={"notebook.md": b"n"},
        keep=lambda: "",
        copy_forum=lambda: None,
        place=SimpleNamespace(agent="codex"),
    )
    return BridgedTalk(
        seat=seat,
        kept=KeptWork(directory / "kept"),
        brief="Begin.",
        max_turns=max_turns,
        compact_at_tokens=9_999,
        fresh=False,
        say=lambda _line: None,
        is_stopping=lambda: False,
    )


def ask(talk: BridgedTalk, model: Any, times: int = 1) -> list[ModelOutput]:
    """Let an agent ask so often, one after the other, until it is ended; what it got."""

    async def asking() -> list[ModelOutput]:
        got = []
        with anyio.fail_after(20), anyio.CancelScope() as talk._scope:
            for _time in range(times):
                messages = [ChatMessageUser(content="x")]
                got.append(await talk._answer(model, messages, [], None, GenerateConfig()))
        return got

    return anyio.run(asking)


def test_a_call_is_answered_and_what_there_was_before_it_is_kept(tmp_path: Path) -> None:
    talk, model = talk_in(tmp_path), Metered()
    (output,) = ask(talk, model)
    assert (output.message.text, talk.turns, talk.ending) == ("text", 1, None)
    moment = talk.kept.load()
    assert moment is not None
    assert (moment.files, moment.messages[0]["content"], moment.turns) == ({"notebook.md": b"n"}, "x", 0)


def test_each_answer_is_heard_whether_or_not_it_is_ever_said_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_bridge, "MAX_SAME", 2)
    talk, heard = talk_in(tmp_path), list[list[str]]()
    talk.heard = lambda messages: heard.append([f"{one.role} {one.text}" for one in messages])
    # The second is kept from the agent.
    assert len(ask(talk, Metered(), 2)) == 1
    assert heard == [["user x"], ["user x", "assistant text"]] * 2


@pytest.mark.parametrize(
    ("standing", "ending"),
    [
        ("tokens", Ending("budget", "its limit on tokens was reached")),
        ("stopped", Ending("stopped", "it was stopped")),
    ],
)
def test_who_must_stop_ends_its_agent_before_its_model_is_asked(
    tmp_path: Path, standing: str, ending: Ending
) -> None:
    talk, model = talk_in(tmp_path, standing), Metered()
    assert ask(talk, model, 3) == []
    assert (model.asked, talk.ending) == (0, ending)


def test_an_agent_takes_so_many_turns(tmp_path: Path) -> None:
    talk, model = talk_in(tmp_path, max_turns=2), Metered()
    assert len(ask(talk, model, 5)) == 2
    assert (model.asked, talk.ending) == (2, Ending("failed", "it took 2 turns"))


def test_an_agent_that_makes_the_same_calls_for_ever_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_bridge, "MAX_SAME", 3)
    talk = talk_in(tmp_path)
    assert len(ask(talk, Metered(), 5)) == 2
    assert talk.ending == Ending("failed", "it made the same calls 3 turns in a row")


def test_an_agent_that_asks_too_much_at_once_is_ended(tmp_path: Path) -> None:
    talk, model = talk_in(tmp_path), Metered()
    talk._at_once = MAX_AT_ONCE
    assert ask(talk, model) == []
    assert talk.ending == Ending("failed", f"it asked its model {MAX_AT_ONCE + 1} times at once")


def test_what_nobody_thought_of_ends_the_agent_and_is_raised_where_it_is_seen(tmp_path: Path) -> None:
    talk, model = talk_in(tmp_path), Metered()
    talk.seat.copy_forum = functools.partial(int, "no number")  # type: ignore[method-assign]
    assert ask(talk, model) == []
    assert model.asked == 0
    assert [type(one) for one in talk._errors] == [ValueError]


def test_an_agent_that_breaks_down_without_a_turn_between_is_given_up(tmp_path: Path) -> None:
    talk = talk_in(tmp_path)
    for _time in range(MAX_BREAKDOWNS - 1):
        talk._broke_down("it fell")
    ask(talk, Metered())
    for _time in range(MAX_BREAKDOWNS - 1):
        talk._broke_down("it fell")
    assert talk.ending is None
    talk._broke_down("it fell")
    assert talk.ending == Ending("failed", "it fell")


def test_a_limit_ends_an_agent_that_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspect_bridge, "LOOK_S", 0.01)
    monkeypatch.setattr(inspect_bridge, "WAITING_LOOK_S", 0.02)
    talk = talk_in(tmp_path, "seconds")

    async def computing() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                talk._scope = group.cancel_scope
                group.start_soon(talk._look_on, SimpleNamespace(asked=0, characters=0))
                await anyio.sleep_forever()

    anyio.run(computing)
    assert talk.ending == Ending("budget", "the study's time was over")


@pytest.mark.parametrize(
    ("more", "characters", "reason"),
    [
        (inspect_bridge.MAX_ASKED_A_MINUTE + 1, 0, "it asked its bridge 900 times in a minute"),
        (1, inspect_bridge.MAX_CHARACTERS + 1, "it asked its bridge 1073741824 characters in all"),
    ],
)
def test_a_flood_at_the_bridge_ends_its_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int, characters: int, reason: str
) -> None:
    monkeypatch.setattr(inspect_bridge, "LOOK_S", 0.01)
    talk, environment = talk_in(tmp_path), SimpleNamespace(asked=7, characters=0)

    async def flooding() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                talk._scope = group.cancel_scope
                group.start_soon(talk._look_on, environment)
                await anyio.sleep(0.05)
                assert talk.ending is None
                environment.asked += more
                environment.characters += characters
                await anyio.sleep_forever()

    anyio.run(flooding)
    assert talk.ending == Ending("failed", reason)


def test_an_agent_whose_worker_ended_again_and_again_before_a_turn_is_given_up(tmp_path: Path) -> None:
    talk = talk_in(tmp_path)

    async def lives() -> None:
        for _life in range(inspect_talk.MAX_LIVES_WITHOUT_TURN + 1):
            talk._lives_without_turn += 1
            await talk._keep(AgentState(messages=[]))
        await talk.run(AgentState(messages=[]))

    anyio.run(lives)
    assert talk.ending is not None
    assert talk.ending.reason.startswith("its worker ended")


def test_tools_of_the_study_are_used_one_by_one_however_many_are_asked_for() -> None:
    now, most = [0], [0]

    def use(_name: str, _arguments: object) -> SimpleNamespace:
        now[0] += 1
        most[0] = max(most[0], now[0])
        time.sleep(0.01)
        now[0] -= 1
        return SimpleNamespace(is_error=False, text="told")

    async def asking() -> None:
        seat: Any = SimpleNamespace(use=use)
        first, second, *_others = study_tools(seat)
        async with anyio.create_task_group() as group:
            for tool in (first, second) * 4:
                group.start_soon(tool.tool)

    anyio.run(asking)
    assert most == [1]


def test_a_last_word_does_not_undo_what_had_ended_it_before(tmp_path: Path) -> None:
    talk = talk_in(tmp_path)
    finish = talk._finish_tool().tool
    anyio.run(functools.partial(finish, reason="all is well"))
    assert talk.ending == Ending("done", "all is well")
    talk.ending = Ending("interrupted", "a call could not be charged")
    anyio.run(functools.partial(finish, reason="all is well"))
    assert talk.ending == Ending("interrupted", "a call could not be charged")


def test_a_call_is_waited_for_and_counted_where_its_sandbox_ends_meanwhile(tmp_path: Path) -> None:
    talk, model, has_begun = talk_in(tmp_path), Metered(), anyio.Event()

    async def slowly(*words: object) -> ModelOutput:
        has_begun.set()
        await anyio.sleep(0.05)
        return await Metered.generate(model, *words)

    async def asking() -> None:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                slow: Any = SimpleNamespace(generate=slowly)
                group.start_soon(
                    talk._answer, slow, [ChatMessageUser(content="x")], [], None, GenerateConfig()
                )
                await has_begun.wait()
                group.cancel_scope.cancel()

    anyio.run(asking)
    assert (model.asked, talk.turns) == (1, 1)


def test_calls_that_end_with_their_sandbox_are_not_at_once_with_those_of_the_next(tmp_path: Path) -> None:
    talk = talk_in(tmp_path)
    talk.seat.copy_forum = lambda: time.sleep(0.05)  # type: ignore[method-assign]

    async def asking() -> None:
        with anyio.move_on_after(0.01):
            await talk._answer(Metered(), [ChatMessageUser(content="x")], [], None, GenerateConfig())  # type: ignore[arg-type]

    anyio.run(asking)
    assert (talk.turns, talk._at_once) == (0, 0)


@pytest.mark.parametrize("is_alive", [True, False])
def test_a_record_that_contradicts_itself_is_heard_of_whatever_else_ended_the_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_alive: bool
) -> None:
    talk = talk_in(tmp_path)

    async def sit_down() -> None:
        pass

    @contextlib.asynccontextmanager
    async def bridge(*_words: object, **_named: object) -> AsyncIterator[None]:
        talk._errors.append(ValueError("it is broken"))
        talk.ending = Ending("done", "all is well") if is_alive else None
        raise RecordMisbehaved("two roots for one size", {})
        yield

    session = SimpleNamespace(is_alive=lambda: is_alive)
    environment = SimpleNamespace(sit_down=sit_down, session=session, asked=0, characters=0)
    given = SimpleNamespace(as_type=lambda _kind: environment)
    monkeypatch.setattr(inspect_bridge, "sandbox", lambda: given)
    monkeypatch.setattr(inspect_bridge, "sandbox_agent_bridge", bridge)
    monkeypatch.setattr(BridgedTalk, "_served", lambda _self: None)
    with pytest.raises(RecordMisbehaved, match="two roots"):
        anyio.run(talk._sit, AgentState(messages=[]), "begin")
