"""The tools over MCP: ``python -m aar.llm.mcp_server --serve JSON ...``, one process for each researcher.

Which socket a call comes through is who makes it: one process speaks for one researcher, listens on two
sockets in that researcher's sandbox (streamable HTTP, and JSON lines for a byte pump) and asks that
researcher's gateway socket. All framing is the SDK's. The processes are forked from one that imports the SDK
once and never reads a byte of a sandbox's; one that dies is started again, and harms no other.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import anyio
import anyio.to_thread
import uvicorn
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import CallToolResult, ListToolsResult, TextContent
from mcp_types import Tool as ToolTold

from aar.inside.gateway_client import GatewayClient, GatewayLost, RecordMisbehaved
from aar.inside.injection import CLAIMS
from aar.inside.tools import TOOLS, Toolbox
from aar.outside.service import enter

PATH = "/mcp"
MAX_BODY_BYTES = 4 << 20
MAX_CONCURRENT = 32
MAX_LINE_CONNECTIONS = 8
OPEN_FILES = 512
DATA_BYTES = 1 << 30
MAX_STARTS = 20
RESTART_PAUSE_S = 0.5
NICENESS = 10
MAX_LOG_RECORDS = 200
MAX_LOG_CHARACTERS = 4_000
INSTRUCTIONS = (
    "You are a researcher of a study. Start with next_task, declare a plan, submit methods, read their "
    f"receipts with score_status, tell the others what you found, and hand the task back. {CLAIMS}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One researcher's place: descriptors that listen, its gateway's socket, the uid to become (0: ours)."""

    name: str
    http_fd: int
    lines_fd: int
    gateway: str
    uid: int


class ResearcherTools:
    """One researcher's toolbox behind the SDK's two handlers; one call at a time."""

    def __init__(self, gateway: GatewayClient) -> None:
        self._box = Toolbox(gateway)
        self._turn = anyio.CapacityLimiter(1)
        self._misbehaved = ""
        self.server: Server[Any] = Server(
            "aar",
            instructions=INSTRUCTIONS,
            on_list_tools=self._list,
            on_call_tool=self._call,
        )

    async def _list(self, _context: Any, _parameters: Any) -> ListToolsResult:
        tools = [
            ToolTold(name=one.name, description=one.description, input_schema=dict(one.remote_parameters))
            for one in TOOLS
        ]
        return ListToolsResult(tools=tools)

    async def _call(self, _context: Any, parameters: Any) -> CallToolResult:
        text, is_error = await anyio.to_thread.run_sync(
            self._answer, parameters.name, parameters.arguments, limiter=self._turn
        )
        return CallToolResult(content=[TextContent(text=text)], is_error=is_error)

    def _answer(self, name: str, arguments: Any) -> tuple[str, bool]:
        if self._misbehaved:
            return self._misbehaved, True
        try:
            told = self._box.call(name, arguments)
        except GatewayLost as error:
            return f"the gateway does not answer; nothing may have been done: {error}", True
        except RecordMisbehaved as error:
            sys.stderr.write(f"{self._box.researcher}: {error}\n{error.evidence}\n")
            self._misbehaved = f"the record contradicts itself, stop working: {error}"
            return self._misbehaved, True
        if told.is_error:
            self._count(sum(self._box.refused.values()))
        return told

    def _count(self, refused: int) -> None:
        """A line for each tenfold: a flood of bad calls is no flood of lines."""
        if refused in (1, 10, 100) or (refused >= 1_000 and str(refused).rstrip("0") == "1"):
            sys.stderr.write(f"{self._box.researcher}: {refused} calls refused: {dict(self._box.refused)}\n")


class _Lines:
    """A connection as the SDK's line transport wants its files: lines to iterate over, text to write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def __aiter__(self) -> AsyncIterator[str]:
        return self._read()

    async def _read(self) -> AsyncIterator[str]:
        while True:
            try:
                line = await self._reader.readline()
            except ValueError:
                # Longer than the reader's limit: who writes that is no client.
                return
            if not line:
                return
            yield line.decode("utf-8", "replace")

    async def write(self, text: str) -> None:
        self._writer.write(text.encode("utf-8"))

    async def flush(self) -> None:
        await self._writer.drain()


def http_app(tools: ResearcherTools) -> Any:
    """The ASGI application of one researcher. A Unix socket has no host that could be rebound."""
    return tools.server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=MAX_BODY_BYTES,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )


async def _serve(served: Served) -> None:
    """Listen on both sockets until the process ends."""
    lines = ResearcherTools(GatewayClient(served.gateway, waits_for_resume=False))
    http = ResearcherTools(GatewayClient(served.gateway, waits_for_resume=False))
    places = asyncio.Semaphore(MAX_LINE_CONNECTIONS)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if not places.locked():
                async with places:
                    await _serve_lines(lines, reader, writer)
        except* OSError:
            pass
        finally:
            writer.close()

    listener = socket.socket(fileno=served.lines_fd)
    listening = await asyncio.start_unix_server(connected, sock=listener, limit=MAX_BODY_BYTES)
    async with listening:
        await uvicorn.Server(_config(http)).serve(sockets=[socket.socket(fileno=served.http_fd)])


async def _serve_lines(
    tools: ResearcherTools, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    files: Any = _Lines(reader, writer)
    async with stdio_server(files, files) as (read_stream, write_stream):
        await tools.server.run(read_stream, write_stream, tools.server.create_initialization_options())


def _config(tools: ResearcherTools) -> uvicorn.Config:
    return uvicorn.Config(
        http_app(tools),
        loop="asyncio",
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        limit_concurrency=MAX_CONCURRENT,
        timeout_keep_alive=120,
        server_header=False,
    )


async def _warm_up() -> None:
    """Have everything loaded that a first call loads: later the files may be out of reach."""
    tools = ResearcherTools(GatewayClient("/nowhere"))
    config = _config(tools)
    config.load()
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    body = json.dumps(message).encode()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(part: Any) -> None:
        sent.append(part)

    headers = [
        (b"content-type", b"application/json"),
        (b"accept", b"application/json, text/event-stream"),
        (b"mcp-protocol-version", b"2025-11-25"),
        (b"host", b"localhost"),
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": ("localhost", None),
    }
    async with tools.server.session_manager.run():
        await tools.server.session_manager.handle_request(scope, receive, send)
    if not any(part.get("status") == 200 for part in sent):
        raise RuntimeError(f"the MCP server does not list its tools: {sent!r:.300}")


class _Bounded(logging.Filter):
    """So many records and no more: what a sandbox sends must not fill a disk with complaints about it."""

    def __init__(self) -> None:
        super().__init__()
        self._left = MAX_LOG_RECORDS

    def filter(self, _record: logging.LogRecord) -> bool:
        self._left -= 1
        return self._left >= 0


class _Short(logging.Formatter):
    """A record with its traceback, cut: what a sandbox sent may be quoted in it."""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record)[:MAX_LOG_CHARACTERS]


def log_handler(stream: TextIO) -> logging.Handler:
    """What one researcher's process says of what goes wrong: so many records, each so long."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(_Bounded())
    handler.setFormatter(_Short())
    return handler


def _run(served: Served, lifeline_fd: int) -> None:
    """Body of one researcher's process."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    resource.setrlimit(resource.RLIMIT_DATA, (DATA_BYTES, DATA_BYTES))
    # A sandbox that calls without end takes what the services and the other sandboxes leave.
    os.nice(NICENESS)
    logging.basicConfig(level=logging.ERROR, handlers=[log_handler(sys.stderr)])
    enter(Path("/"), uid=served.uid, lifeline_fd=lifeline_fd)
    asyncio.run(_serve(served))


def _fork(served: Served, lifeline_fd: int, not_for_it: Sequence[int]) -> int:
    """Start one researcher's process; it holds none of the descriptors that are `not_for_it`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for descriptor in not_for_it:
            os.close(descriptor)
        _run(served, lifeline_fd)
    except BaseException as error:  # noqa: BLE001 - a child never runs the parent's code
        sys.stderr.write(f"the tools of {served.name}: {type(error).__name__}: {error!s:.300}\n")
        sys.stderr.flush()
    os._exit(1)


def _of_others(served: Served, everybody: Sequence[Served]) -> list[int]:
    return [fd for one in everybody if one is not served for fd in (one.http_fd, one.lines_fd)]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="aar.llm.mcp_server")
    parser.add_argument("--serve", action="append", default=[], metavar="JSON")
    parser.add_argument("--lifeline-fd", type=int, required=True)
    parser.add_argument("--ready-fd", type=int, required=True)
    options = parser.parse_args(arguments)
    everybody = [Served(**json.loads(one)) for one in options.serve]
    asyncio.run(_warm_up())
    lifeline_fd, ready_fd = options.lifeline_fd, options.ready_fd
    running = {_fork(one, lifeline_fd, [*_of_others(one, everybody), ready_fd]): one for one in everybody}
    starts = {one.name: 1 for one in everybody}
    # After the first forks: the thread that watches the lifeline is in no child, each has its own.
    enter(Path("/"), uid=0, lifeline_fd=lifeline_fd)
    with os.fdopen(ready_fd, "w") as ready:
        ready.write("ready\n")
    # Who asks for tools that were given up finds a closed door; the study goes on without them.
    while running:
        pid, status = os.wait()
        ended = running.pop(pid, None)
        if ended is None:
            continue
        sys.stderr.write(f"the tools of {ended.name} ended: {os.waitstatus_to_exitcode(status)}\n")
        sys.stderr.flush()
        if starts[ended.name] < MAX_STARTS:
            starts[ended.name] += 1
            time.sleep(RESTART_PAUSE_S)
            running[_fork(ended, lifeline_fd, _of_others(ended, everybody))] = ended
    signal.pause()


if __name__ == "__main__":
    main()
