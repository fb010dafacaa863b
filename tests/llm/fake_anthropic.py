"""The Anthropic Messages API for tests: whole answers and streams, tools, cache tokens, faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm.fake_model import FakeModel, Policy, Protocol, Reply, Request, Turn, Usage, researcher_in

_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "api_error",
    529: "overloaded_error",
}


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(block.get("text", "") for block in content if block.get("type") == "text")


def _turns_of(message: Mapping[str, Any]) -> list[Turn]:
    content = message["content"]
    if isinstance(content, str):
        return [Turn(message["role"], content)]
    calls = tuple((one["name"], one["input"]) for one in content if one["type"] == "tool_use")
    results = [
        Turn("tool", result=_text_of(one.get("content") or ""))
        for one in content
        if one["type"] == "tool_result"
    ]
    text = _text_of(content)
    if message["role"] == "assistant":
        return [Turn("assistant", text, calls)]
    return [*results, *([Turn("user", text)] if text or not results else [])]


class Anthropic(Protocol):
    """POST /v1/messages."""

    paths = ("/v1/messages",)

    @staticmethod
    def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        system = _text_of(body.get("system", ""))
        turns = tuple(turn for message in body["messages"] for turn in _turns_of(message))
        said = [system, *(one.text for one in turns if one.role == "user")]
        return Request(
            model=body["model"],
            key=headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer "),
            researcher=researcher_in("\n".join(said)),
            system=system,
            turns=turns,
            tools={one["name"]: one.get("input_schema", {}) for one in body.get("tools", [])},
            characters=len(json.dumps(body)),
        )

    @staticmethod
    def _blocks(reply: Reply, number: int) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = [{"type": "text", "text": reply.text}] if reply.text else []
        blocks += [
            {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": name, "input": arguments}
            for place, (name, arguments) in enumerate(reply.calls)
        ]
        return blocks

    @staticmethod
    def _usage(usage: Usage) -> dict[str, int]:
        return {
            "input_tokens": usage.input,
            "output_tokens": usage.output,
            "cache_read_input_tokens": usage.cache_read,
            "cache_creation_input_tokens": usage.cache_write,
        }

    @staticmethod
    def _stop(reply: Reply) -> str:
        return reply.stop or ("tool_use" if reply.calls else "end_turn")

    @classmethod
    def whole(cls, body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> dict[str, Any]:
        return {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": cls._blocks(reply, number),
            "stop_reason": cls._stop(reply),
            "stop_sequence": None,
            "usage": cls._usage(usage),
        }

    @classmethod
    def events(cls, body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> list[str]:
        message = cls.whole(body, Reply(), usage, number) | {"stop_reason": None}
        message["usage"] = cls._usage(usage) | {"output_tokens": 1}
        found: list[dict[str, Any]] = [{"type": "message_start", "message": message}]
        for place, block in enumerate(cls._blocks(reply, number)):
            if block["type"] == "text":
                empty, key = {"type": "text", "text": ""}, "text"
                kind, whole = "text_delta", block["text"]
            else:
                empty, key = block | {"input": {}}, "partial_json"
                kind, whole = "input_json_delta", json.dumps(block["input"])
            found.append({"type": "content_block_start", "index": place, "content_block": empty})
            step = max(64, len(whole) // 16)
            found += [
                {
                    "type": "content_block_delta",
                    "index": place,
                    "delta": {"type": kind, key: whole[start : start + step]},
                }
                for start in range(0, len(whole), step)
            ]
            found.append({"type": "content_block_stop", "index": place})
        found.append(
            {
                "type": "message_delta",
                "delta": {"stop_reason": cls._stop(reply), "stop_sequence": None},
                "usage": cls._usage(usage),
            }
        )
        found.append({"type": "message_stop"})
        return [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in found]

    @staticmethod
    def error(status: int) -> dict[str, Any]:
        return {"type": "error", "error": {"type": _ERRORS[status], "message": f"injected {status}"}}


def fake_anthropic(policy: Policy) -> FakeModel:
    return FakeModel(policy, Anthropic)
