"""A researcher's sandbox as Inspect's, for agents that live in there: the seat's own, never a second one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
from inspect_ai.util import ExecResult, SandboxEnvironment, sandboxenv
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
# Of the researchers that work in this process, by the name of their Inspect task.
SEATS: dict[str, Seat] = {}


@sandboxenv(name=PROVIDER)
class SeatEnvironment(AarSandboxEnvironment):
    """The sandbox of a seat, from `sit_down` until it ends; another one is for whoever sits down again.

    `asked` counts what was read of the bridge's own queue: whatever runs in there may fill it.
    """

    # What an agent asks its model at once is read whole, and understood, in a process that others share.
    most_output_bytes = 16 << 20

    def __init__(self, seat: Seat) -> None:
        SandboxEnvironment.__init__(self)
        self.seat = seat
        self.asked = 0
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    async def sit_down(self) -> None:
        """Take the seat's sandbox, started when there is none. Raises `SandboxError`."""
        self.session = await in_thread(self.seat.session)

    async def exec(
        self, cmd: list[str], input: str | bytes | None = None, *words: Any, **named: Any
    ) -> ExecResult[str]:
        """As for any sandbox of ours; Inspect looks at its own proxy less often, its queue is counted."""
        if "cat" in cmd and cmd[-1].startswith(QUEUES):
            self.asked += 1
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
