"""What a tool call costs by each way: PYTHONPATH=tests python benchmarks/tools.py [CALLS]

A gateway process with its witness and the MCP server beside it, all real; so many calls (default 200) one
after the other: `budget`, which only reads, and `post_finding` with 500 bytes, which is answered when the
entry is on disk and cosigned. Each way has a connection that is kept open. Prints p50 and p95 in ms.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

from aar.inside.tools import Toolbox
from real_gateway import RESEARCHERS, RealGateway

CALLS = 200
PUMP = [sys.executable, "-m", "aar.inside.mcp_pump"]
Call = Callable[[str, dict[str, Any]], str]


def plain_http(path: Path) -> Call:
    line = http.client.HTTPConnection("gateway")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(str(path))

    def call(tool: str, arguments: dict[str, Any]) -> str:
        if tool == "budget":
            line.request("GET", "/v1/study")
        else:
            whole = {"method": "", "numbers": {}, "receipts": [], "parents": [], **arguments}
            line.request("POST", "/v1/finding", json.dumps(whole))
        return line.getresponse().read().decode()

    return call


def _message(tool: str, arguments: dict[str, Any]) -> str:
    parameters = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": parameters})


def mcp_http(connected: socket.socket) -> Call:
    line = http.client.HTTPConnection("localhost")
    line.sock = connected
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def call(tool: str, arguments: dict[str, Any]) -> str:
        line.request("POST", "/mcp", _message(tool, arguments), headers)
        return line.getresponse().read().decode()

    return call


def mcp_lines(process: subprocess.Popen[str]) -> Call:
    def say(text: str) -> None:
        assert process.stdin is not None
        process.stdin.write(text + "\n")
        process.stdin.flush()

    def call(tool: str, arguments: dict[str, Any]) -> str:
        say(_message(tool, arguments))
        assert process.stdout is not None
        return process.stdout.readline()

    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
    say(json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}))
    assert process.stdout is not None
    process.stdout.readline()
    say(json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}))
    return call


@contextmanager
def pumping(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [*PUMP, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def timed(ways: dict[str, Call], calls: int) -> None:
    """A row for each way: p50 and p95 of both tools. The ways take turns: all have the same neighbours."""
    took_ms: dict[tuple[str, str], list[float]] = {}
    for number in range(calls):
        for (way, call), tool in product(ways.items(), ("budget", "post_finding")):
            said = {"type": "insight", "title": f"{way} {number}", "text": "x" * 500}
            started = time.perf_counter()
            answer = call(tool, said if tool == "post_finding" else {})
            took_ms.setdefault((way, tool), []).append((time.perf_counter() - started) * 1_000)
            assert "submissions" in answer or "index" in answer or "entry" in answer, answer
    for way in ways:
        rows = [took_ms[way, tool] for tool in ("budget", "post_finding")]
        ends = [(statistics.median(row), statistics.quantiles(row, n=20)[-1]) for row in rows]
        ends = [(statistics.median(row), statistics.quantiles(row, n=20)[-1]) for row in rows]
        cells = [f"{p50:7.1f} {p95:7.1f}" for p50, p95 in ends]
        print(f"{way:36s} {cells[0]}   {cells[1]}", flush=True)


def own_mib(pid: str) -> float:
    """Memory that a process shares with no other."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


def main() -> None:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    with (
        tempfile.TemporaryDirectory(prefix="aar-") as directory,
        RealGateway(Path(directory), over_mcp=RESEARCHERS) as gateway,
        pumping("--port", "0", "--socket", str(gateway.socket(name="mcp.sock"))) as listening,
        pumping("--socket", str(gateway.socket(name="mcp-stdio.sock"))) as on_stdio,
    ):
        print(f"{os.cpu_count()} processors, {calls} calls each; ms: p50 p95 of budget, of post_finding")
        box = Toolbox(gateway.client())
        connected = socket.socket(socket.AF_UNIX)
        connected.connect(str(gateway.socket(name="mcp.sock")))
        assert listening.stdout is not None
        port = int(listening.stdout.readline().rsplit(":", 1)[1].partition("/")[0])
        by_port = socket.create_connection(("127.0.0.1", port))
        # As http.client does where it connects itself: else a body waits for the head's acknowledgement.
        by_port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = {
            "REST, plain HTTP": plain_http(gateway.socket()),
            "REST, the registry (proofs checked)": lambda tool, said: box.call(tool, said).text,
            "MCP, streamable HTTP on the socket": mcp_http(connected),
            "MCP, the same by the pump's port": mcp_http(by_port),
            "MCP, stdio by the pump": mcp_lines(on_stdio),
        }
        timed(ways, calls)
        parent = gateway.plane.pids()["mcp"]
        pids = [folder.name for folder in Path("/proc").iterdir() if folder.name.isdigit()]
        children = [pid for pid in pids if f"PPid:\t{parent}\n" in Path(f"/proc/{pid}/status").read_text()]
        print(f"MCP processes of their own: {', '.join(f'{own_mib(pid):.0f} MiB' for pid in children)}")


if __name__ == "__main__":
    main()
