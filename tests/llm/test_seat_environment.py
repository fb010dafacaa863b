"""What is read of the bridge's queue, which whatever runs in a researcher's sandbox may fill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra `llm` is not installed")

import anyio
from inspect_ai.util._sandbox.service import SandboxService

from aar.llm.inspect_seat import MOST_MESSAGES, QUEUES, SeatEnvironment, readable
from aar.outside.sandbox.session import ExecResult

REQUEST = f"{QUEUES}bridge/requests/r1.json"


class Queue:
    """A sandbox's session of which only the one request can be read."""

    def __init__(self, request: str) -> None:
        self.request = request

    def exec(self, argv: list[str], **_limits: object) -> ExecResult:
        out = self.request.encode() if argv[-1] == REQUEST and "cat" in argv else b""
        return ExecResult(returncode=0, stdout=out, stderr=b"", truncated=False, reason="exited")


def request(**data: object) -> str:
    return json.dumps({"id": "r1", "method": "generate", "params": {"json_data": data}})


def served(text: str, path: str = REQUEST) -> tuple[list[Mapping[str, Any]], SeatEnvironment, str]:
    """What Inspect's own service makes of a request: what it asks for, how it is counted, what it answers."""
    environment, asked, answered = SeatEnvironment(None), [], []  # type: ignore[arg-type]
    environment.session = Queue(text)  # type: ignore[assignment]
    service = SandboxService("bridge", environment)
    service._requests_dir = str(PurePosixPath(REQUEST).parent)
    service._responses_dir = f"{QUEUES}bridge/responses"

    async def generate(json_data: Mapping[str, Any]) -> str:
        asked.append(json_data)
        return "said"

    async def answer(_folder: str, _name: str, contents: str) -> None:
        answered.append(contents)

    service.add_method("generate", generate)
    service._write_text_file = answer  # type: ignore[method-assign]
    anyio.run(service._handle_request, path)
    return asked, environment, "".join(answered)


def test_each_request_that_is_read_is_counted() -> None:
    asked, environment, answered = served(request(messages=[{"role": "user", "content": "x"}]))
    assert (len(asked), environment.asked) == (1, 1)
    assert "said" in answered


@pytest.mark.parametrize(
    "data",
    [
        {"messages": [{"role": "user", "content": "x"}] * 1_000},
        {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}] * 999}]},
        {"input": [{"type": "function_call_output", "call_id": "1", "output": ""}] * 1_000},
        {"contents": [{"parts": [{"functionResponse": {}}] * 499 + [{"function_response": {}}] * 500}]},
        {"system": [{"type": "text", "text": "x"}] * 1_000, "messages": "none"},
    ],
)
def test_a_request_of_many_messages_counts_as_many_requests(data: Mapping[str, object]) -> None:
    _asked, environment, _answered = served(request(**data))
    assert environment.asked == 1 + 10


def test_a_large_request_counts_as_many_requests() -> None:
    _asked, environment, _answered = served(request(messages=[{"role": "user", "content": "x" * (1 << 20)}]))
    assert environment.asked == 1 + 16
    assert environment.characters > 1 << 20


def test_a_request_that_is_thrown_away_unread_is_counted() -> None:
    asked, environment, answered = served("", REQUEST.replace("r1", "not a name"))
    assert (asked, environment.asked, answered) == ([], 1, "")


def test_a_request_of_too_many_messages_is_refused_unasked() -> None:
    many = [{"role": "user", "content": "x"}] * (MOST_MESSAGES + 1)
    asked, environment, answered = served(request(messages=many))
    assert (asked, environment.asked) == ([], 1)
    assert f"exceeded the {MOST_MESSAGES} messages" in answered


def test_a_request_that_nests_without_end_is_refused_unasked() -> None:
    asked, _environment, answered = served("[" * 100_000)
    assert asked == []
    assert "exceeded the nesting" in answered


def test_half_a_character_is_not_read_and_a_whole_one_is() -> None:
    told = (
        r'{"id": "r1", "method": "generate", "params": {"json_data": {"a": "\ud800", "b": "\ud83d\ude00"}}}'
    )
    asked, _environment, _answered = served(told)
    assert asked == [{"a": "?", "b": "\U0001f600"}]
    assert readable(r'{"a": "\\ud800"}') == (r'{"a": "\\ud800"}', 0)


def test_what_is_still_being_written_is_left_to_be_read_again() -> None:
    assert readable('{"id": "r1", "par') == ('{"id": "r1", "par', 0)
    assert readable('["params"]') == ('["params"]', 0)
