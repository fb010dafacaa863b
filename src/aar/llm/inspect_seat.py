"""A researcher's sandbox as Inspect's, for agents that live in there: the seat's own, never a second one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironment, sandboxenv
from pydantic import BaseModel

from aar.llm.inspect_provider import AarSandboxEnvironment
from aar.llm.inspect_tools import in_thread
from aar.llm.seat import Seat
from aar.outside.sandbox.session import AT_ONCE

PROVIDER = "aar-seat"
# Where Inspect's services have their requests.
QUEUES = "/var/tmp/sandbox-services/"
# Inspect looks every five seconds whether its proxy still runs, by a program that takes 0.9 CPU-s of the
# sandbox to start. One that ended is noticed by its agent at once.
PROXY_LOOK_S = 30.0
_IS_LOOK = '"exec_remote_poll"'
# Inspect names the messages of a request one by one, each time against all others: 4,000 take it two seconds,
# in which nobody else in its process does anything; and it keeps each request. So long ones count more, and
# longer ones are not read.
MOST_MESSAGES = 4_000
_MESSAGES_AS_ONE = 100_000  # squared
_CHARACTERS_AS_ONE = 1 << 16
_HALF_A_CHARACTER = re.compile(r"\\u[dD][89a-fA-F]")
# Of the researchers that work in this process, by the name of their Inspect task.
SEATS: dict[str, Seat] = {}


@sandboxenv(name=PROVIDER)
class SeatEnvironment(AarSandboxEnvironment):
    """The sandbox of a seat, from `sit_down` until it ends; another one is for whoever sits down again.

    `asked` counts what was taken from the bridge's own queue, what is long more than once, and `characters`
    how much that was: whatever runs in there may fill it.
    """

    # What an agent asks its model at once is read whole, and understood, in a process that others share.
    most_output_bytes = 16 << 20

    def __init__(self, seat: Seat) -> None:
        SandboxEnvironment.__init__(self)
        self.seat = seat
        self.asked = self.characters = 0
        self._read: set[str] = set()
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    async def sit_down(self) -> None:
        """Take the seat's sandbox, started when there is none. Raises `SandboxError`."""
        self.session = await in_thread(self.seat.session)

    async def exec(
        self, cmd: list[str], input: str | bytes | None = None, *words: Any, **named: Any
    ) -> ExecResult[str]:
        """As for any sandbox of ours; Inspect looks at its own proxy less often, its queue is counted.

        Raises `OutputLimitExceededError` for what is asked there and is not to be read.
        """
        is_of_queue = cmd[-1].startswith(QUEUES)
        if is_of_queue and "rm" in cmd:
            # What it does not read, for its name, it removes.
            self.asked += cmd[-1] not in self._read
            self._read.discard(cmd[-1])
        if is_of_queue and "cat" in cmd:
            self.asked += 1
            self._read.add(cmd[-1])
            read = await AarSandboxEnvironment.exec(self, cmd, input, *words, **named)
            self.characters += len(read.stdout)
            text, messages = await self._in_thread(partial(readable, read.stdout))
            self.asked += messages**2 // _MESSAGES_AS_ONE + len(text) // _CHARACTERS_AS_ONE
            return replace(read, stdout=text)
        if cmd[-1] == "exec" and input is not None and _IS_LOOK in str(input):
            await anyio.sleep(PROXY_LOOK_S)
        return await AarSandboxEnvironment.exec(self, cmd, input, *words, **named)

    @classmethod
    async def task_init(cls, task_name: str, config: BaseModel | str | None) -> None:
        """The doctor has attacked these sandboxes before the study began."""

    @classmethod
    async def sample_init(
        cls, task_name: str, config: BaseModel | str | None, metadata: Mapping[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """The researcher's, which is not started yet: its files come first."""
        return {"default": cls(SEATS[task_name])}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: BaseModel | str | None,
        environments: Mapping[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """It is ended with the seat."""

    @classmethod
    async def task_cleanup(cls, task_name: str, config: BaseModel | str | None, cleanup: bool) -> None:
        """The launcher is the study's."""

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """There is nothing to configure."""
        raise ValueError(f"a seat takes no configuration, got {sorted(config)}")


def readable(text: str) -> tuple[str, int]:
    """A request as Inspect may read it, and how many messages it has; raises `OutputLimitExceededError`.

    Half a character in it would be in the transcript, which could then not be written: it becomes a question
    mark.
    """
    try:
        asked = json.loads(text)
    except RecursionError:
        raise OutputLimitExceededError("nesting", None) from None
    except ValueError:
        return text, 0  # still being written, which is Inspect's to see
    messages = _messages_in(asked)
    if messages > MOST_MESSAGES:
        raise OutputLimitExceededError(f"{MOST_MESSAGES} messages", None)
    if _HALF_A_CHARACTER.search(text):
        text = json.dumps(asked, ensure_ascii=False).encode("utf-8", "replace").decode()
    return text, messages


def _messages_in(asked: Any) -> int:
    """How many messages Inspect makes of a request at most, in whichever provider's words it is."""
    for key in ("params", "json_data"):
        asked = asked.get(key) if isinstance(asked, dict) else None
    if not isinstance(asked, dict):
        return 0
    count = 0
    for key, inner in (("messages", "content"), ("input", "content"), ("contents", "parts"), ("system", "")):
        found = asked.get(key)
        for one in found if isinstance(found, list) else ():
            parts = one.get(inner) if isinstance(one, dict) else None
            count += 1 + (sum(map(_is_message, parts)) if isinstance(parts, list) else 0)
    return count


def _is_message(part: Any) -> bool:
    """Whether a part of a message becomes one of its own."""
    return isinstance(part, dict) and (
        part.get("type") == "tool_result" or "functionResponse" in part or "function_response" in part
    )
