"""What a model may say, whatever it says: bounded, whole, and in one line where a line is wanted."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest
from inspect_ai.agent import AgentState
from inspect_ai.model import (
    ChatMessageAssistant,
    ContentReasoning,
    ContentText,
    ModelOutput,
    ModelUsage,
    StopReason,
)
from inspect_ai.tool import ToolCall, ToolError

from aar.llm import inspect_talk
from aar.llm.ending import Ending
from aar.llm.inspect_talk import (
    MAX_ARGUMENTS_CHARACTERS,
    MAX_CALLS_AT_ONCE,
    MAX_LIVES_WITHOUT_TURN,
    MAX_TEXT_CHARACTERS,
    UNCOUNTED,
    Talk,
    bounded,
    is_uncounted,
    one_line,
    status_of,
    whole,
)
from aar.llm.inspect_tools import described, sandbox_tools
from aar.llm.kept_work import KeptWork
from aar.llm.worker_desk import Standing
from aar.outside.sandbox.asked import ExecResult


def calls(count: int) -> list[ToolCall]:
    return [ToolCall(id=str(one), function="bash", arguments={"command": "true"}) for one in range(count)]


def test_a_long_text_is_cut_and_says_so_and_calls_beyond_the_bound_are_not_made() -> None:
    message = ChatMessageAssistant(content="x" * (1 << 20), tool_calls=calls(100))
    found = bounded(message)
    assert len(found.text) < MAX_TEXT_CHARACTERS + 100
    assert found.text.endswith("[cut here: 1048576 characters in all]")
    assert [one.id for one in found.tool_calls or ()] == [str(one) for one in range(MAX_CALLS_AT_ONCE)]


def test_what_is_within_the_bounds_is_left_as_it_is() -> None:
    message = ChatMessageAssistant(content="x" * MAX_TEXT_CHARACTERS, tool_calls=calls(MAX_CALLS_AT_ONCE))
    assert bounded(message) is message


def test_a_call_that_is_too_long_is_not_made_and_the_model_is_told_why() -> None:
    long = ToolCall(id="1", function="text_editor", arguments={"file_text": "x" * MAX_ARGUMENTS_CHARACTERS})
    short = ToolCall(id="2", function="bash", arguments={"command": "true"})
    found = bounded(ChatMessageAssistant(content="", tool_calls=[long, short])).tool_calls or []
    assert (found[0].id, found[0].arguments, found[1]) == ("1", {}, short)
    assert f"want at most {MAX_ARGUMENTS_CHARACTERS}" in (found[0].parse_error or "")


@pytest.mark.parametrize(("length", "kept"), [(MAX_TEXT_CHARACTERS, 2), (MAX_TEXT_CHARACTERS + 1, 1)])
def test_thoughts_are_kept_whole_or_not_at_all(length: int, kept: int) -> None:
    thought = ContentReasoning(reasoning="x" * length, signature="s")
    message = ChatMessageAssistant(content=[thought, ContentText(text="so be it")])
    assert len(bounded(message).content) == kept
    assert bounded(message).text == "so be it"


@pytest.mark.parametrize("odd", ["half \ud800", "\udfff"])
def test_half_a_character_is_written_out_wherever_it_stands(odd: str) -> None:
    output = ModelOutput.from_content("m", odd)
    output.choices[0].message.tool_calls = [ToolCall(id="1", function="f", arguments={odd: [odd]})]
    found = whole(output)
    assert json.loads(found.model_dump_json())
    assert odd not in found.choices[0].message.text
    assert found.usage == output.usage


def test_whole_answers_and_errors_pass_as_they_are() -> None:
    output, error = ModelOutput.from_content("m", "ünïcode \U0001f600"), ValueError("no answer")
    assert whole(output) is output
    assert whole(error) is error


def test_one_line_has_nothing_that_acts_on_a_terminal_or_that_an_entry_refuses() -> None:
    assert one_line("a\x1b[2J\n b\x00\ud800") == "a\\x1b[2J b\\x00\\ud800"
    assert len(one_line("x" * 1_000)) == 300


def test_the_status_of_an_error_is_found_below_what_wraps_it() -> None:
    class Refused(Exception):
        status_code = 401

    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = Refused()
    assert status_of(wrapped) == 401
    assert status_of(ValueError()) == 0


def test_every_property_of_a_schema_gets_a_description() -> None:
    schema = {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": {"type": "object", "properties": {"a_b": {}}}}},
    }
    found = described(schema)["properties"]["steps"]
    assert found["description"] == "steps"
    assert found["items"]["properties"]["a_b"]["description"] == "a b"


@pytest.mark.parametrize(
    ("stop_reason", "usage", "expected"),
    [
        ("stop", None, True),
        ("tool_calls", ModelUsage(input_tokens=0, output_tokens=0), True),
        ("tool_calls", ModelUsage(input_tokens=0, output_tokens=1, input_tokens_cache_read=9), False),
        ("stop", ModelUsage(input_tokens=9, output_tokens=0), False),
        # A request that was refused cost nothing.
        ("model_length", None, False),
        ("content_filter", None, False),
    ],
)
def test_an_answer_that_no_limit_counts_is_told_from_one_that_cost_nothing(
    stop_reason: StopReason, usage: ModelUsage | None, expected: bool
) -> None:
    output = ModelOutput.from_content("m", "text", stop_reason=stop_reason)
    output.usage = usage
    assert is_uncounted(output) is expected


class Unmetered:
    """A model that answers, and does not say what that took."""

    def __init__(self) -> None:
        self.asked = 0

    async def generate(self, _messages: object, _tools: object) -> ModelOutput:
        self.asked += 1
        return ModelOutput.from_content("m", "text")


def test_a_provider_that_does_not_count_is_asked_once_and_a_human_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Unmetered()
    monkeypatch.setattr(inspect_talk, "get_model", lambda: model)
    talk = talk_in(tmp_path)
    assert anyio.run(talk._generate, [], []) is None
    assert model.asked == 1
    assert talk.ending == Ending("interrupted", UNCOUNTED)
    assert "provider" in UNCOUNTED


def test_lives_that_a_human_ended_before_a_turn_do_not_lose_the_task(tmp_path: Path) -> None:
    """As after a key that is refused: however often it is tried, the task stays as it is."""
    for _life in range(MAX_LIVES_WITHOUT_TURN + 3):
        talk = talk_in(tmp_path, is_stopping=True)
        anyio.run(talk.run, AgentState(messages=[]))
        assert talk.ending == Ending("interrupted", "the study is being stopped")


def test_who_is_stopped_while_its_conversation_is_summed_up_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def for_ever(*_words: object) -> None:
        await anyio.sleep_forever()

    async def turn() -> AgentState:
        with anyio.fail_after(20):
            return await talk._turn()(AgentState(messages=[]), [])

    model = Unmetered()
    monkeypatch.setattr(inspect_talk, "get_model", lambda: model)
    monkeypatch.setattr(inspect_talk.CompactionSummary, "compact", for_ever)
    monkeypatch.setattr(inspect_talk, "WAITING_LOOK_S", 0.01)
    talk = talk_in(tmp_path)
    talk.seat.standing = lambda: Standing("stopped")  # type: ignore[method-assign]
    talk.compact_at_tokens = 0
    anyio.run(turn)
    assert talk.ending == Ending("stopped", "it was stopped")
    assert model.asked == 0


def bash_of(talk: Talk, ran: list[float], *, takes_s: float) -> Any:
    """The tool `bash` of a conversation, with a sandbox in which every command takes so long."""

    def run(_argv: tuple[str, ...], **_options: object) -> ExecResult:
        ran.append(takes_s)
        time.sleep(takes_s)
        return ExecResult(returncode=0, stdout=b"done", stderr=b"", truncated=False, reason="exited")

    talk.seat.run = run  # type: ignore[method-assign]
    talk.seat.copy_forum = lambda: None  # type: ignore[method-assign]
    talk.seat.take_note = lambda: ""  # type: ignore[method-assign]
    return sandbox_tools(talk.seat, talk._watched)[0].tool


def test_a_command_is_not_waited_for_when_its_researcher_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_talk, "WAITING_LOOK_S", 0.01)
    talk, ran = talk_in(tmp_path), []
    looks = iter([Standing(""), Standing("paused"), Standing("stopped")])
    talk.seat.standing = lambda: next(looks)  # type: ignore[method-assign]
    bash = bash_of(talk, ran, takes_s=1.5)

    async def call() -> float:
        began = anyio.current_time()
        with pytest.raises(ToolError, match="is over"):
            await bash(command="sleep 600")
        return anyio.current_time() - began

    assert anyio.run(call) < 1.5
    assert talk.ending == Ending("stopped", "it was stopped")


def test_of_many_short_commands_in_a_turn_none_is_begun_after_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspect_talk, "WAITING_LOOK_S", 0.2)
    talk, ran = talk_in(tmp_path), []
    bash = bash_of(talk, ran, takes_s=0.05)

    async def call() -> None:
        await bash(command="true")
        talk.seat.standing = lambda: Standing("stopped")  # type: ignore[method-assign]
        for _ in range(40):
            with contextlib.suppress(ToolError):
                await bash(command="true")

    anyio.run(call)
    assert 1 <= len(ran) <= 7


def talk_in(directory: Path, *, is_stopping: bool = False) -> Talk:
    seat: Any = SimpleNamespace(standing=lambda: Standing(""), files={})
    return Talk(
        seat=seat,
        kept=KeptWork(directory / "kept"),
        brief="Begin.",
        max_turns=9,
        compact_at_tokens=9_999,
        fresh=False,
        say=lambda _line: None,
        is_stopping=lambda: is_stopping,
    )
