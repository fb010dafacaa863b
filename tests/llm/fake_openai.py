"""An OpenAI-compatible endpoint for tests: chat completions, whole and streamed, with tools and usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llm.fake_model import FakeModel, Policy, Protocol, Reply, Request, Turn, Usage, researcher_in


def _text_of(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.get("text", "") for part in content)


def _turn_of(message: Mapping[str, Any]) -> Turn:
    text = _text_of(message.get("content"))
    if message["role"] == "tool":
        return Turn("tool", result=text)
    calls = tuple(
        (one["function"]["name"], json.loads(one["function"]["arguments"]))
        for one in message.get("tool_calls") or []
    )
    return Turn(message["role"], text, calls)


class OpenAi(Protocol):
    """POST /v1/chat/completions."""

    paths = ("/chat/completions",)

    @staticmethod
    def read(body: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
        every = [_turn_of(one) for one in body["messages"]]
        system = "\n".join(one.text for one in every if one.role in ("system", "developer"))
        said = [system, *(one.text for one in every if one.role == "user")]
        return Request(
            model=body["model"],
            key=headers.get("authorization", "").removeprefix("Bearer "),
            researcher=researcher_in("\n".join(said)),
            system=system,
            turns=tuple(one for one in every if one.role not in ("system", "developer")),
            tools={
                one["function"]["name"]: one["function"].get("parameters", {})
                for one in body.get("tools", [])
            },
            characters=len(json.dumps(body)),
        )

    @staticmethod
    def _calls(reply: Reply, number: int) -> list[dict[str, Any]]:
        return [
            {
                "index": place,
                "id": f"call_{number}_{place}",
                "type": "function",
                "function": {"name": name, "arguments": json.dumps(arguments)},
            }
            for place, (name, arguments) in enumerate(reply.calls)
        ]

    @staticmethod
    def _usage(usage: Usage) -> dict[str, Any]:
        prompt = usage.input + usage.cache_read + usage.cache_write
        return {
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt + usage.output,
            "prompt_tokens_details": {
                "cached_tokens": usage.cache_read,
                "cache_write_tokens": usage.cache_write,
            },
        }

    @staticmethod
    def _finish(reply: Reply) -> str:
        return reply.stop or ("tool_calls" if reply.calls else "stop")

    @classmethod
    def whole(cls, body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
        if reply.calls:
            message["tool_calls"] = cls._calls(reply, number)
        return {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": cls._finish(reply)}],
            "usage": cls._usage(usage),
        }

    @classmethod
    def events(cls, body: Mapping[str, Any], reply: Reply, usage: Usage, number: int) -> list[str]:
        def chunk(delta: Mapping[str, Any], finish: str | None = None) -> dict[str, Any]:
            return {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion.chunk",
                "created": 0,
                "model": body["model"],
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            }

        found = [chunk({"role": "assistant", "content": reply.text})]
        found += [chunk({"tool_calls": [one]}) for one in cls._calls(reply, number)]
        found.append(chunk({}, cls._finish(reply)))
        found.append(chunk({}) | {"choices": [], "usage": cls._usage(usage)})
        return [f"data: {json.dumps(one)}\n\n" for one in found] + ["data: [DONE]\n\n"]

    @staticmethod
    def error(status: int) -> dict[str, Any]:
        return {"error": {"type": "error", "code": status, "message": f"injected {status}"}}


def fake_openai(policy: Policy) -> FakeModel:
    return FakeModel(policy, OpenAi)
