"""What a model may say, whatever it says: bounded, whole, and in one line where a line is wanted."""

from __future__ import annotations

import json

import pytest
from inspect_ai.model import ChatMessageAssistant, ModelOutput
from inspect_ai.tool import ToolCall

from aar.llm.inspect_talk import MAX_CALLS_AT_ONCE, MAX_TEXT_CHARACTERS, bounded, one_line, status_of, whole
from aar.llm.inspect_tools import described


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
