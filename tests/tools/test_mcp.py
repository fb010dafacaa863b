"""The tools over MCP: what REST answers, through every transport, and no harm to others by what one sends."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aar.inside.gateway_client import GatewayClient
from aar.inside.tools import TOOLS, Toolbox
from aar.lab.protocol.operations import OPERATIONS
from inside.gateway_double import GatewayDouble
from real_gateway import METHOD, RealGateway

pytest.importorskip("mcp", reason="comes with the extra llm")
import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from aar.llm.mcp_server import ResearcherTools

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
PUMP = [sys.executable, "-m", "aar.inside.mcp_pump"]
STEPS = [{"name": "s1", "what": "halves"}]


@asynccontextmanager
async def over_socket(path: Path, mode: str = "auto") -> AsyncIterator[Any]:
    transport = httpx2.AsyncHTTPTransport(uds=str(path))
    async with (
        httpx2.AsyncClient(transport=transport, timeout=60) as http,
        Client(streamable_http_client("http://localhost/mcp", http_client=http), mode=mode) as client,  # type: ignore[arg-type]
    ):
        yield client


def asked(path: Path, ask: Callable[[Any], Awaitable[Any]], mode: str = "auto") -> Any:
    async def run() -> Any:
        async with over_socket(path, mode) as client:
            return await ask(client)

    return asyncio.run(run())


async def told(client: Any, tool: str, arguments: Any) -> tuple[str, bool]:
    answer = await client.call_tool(tool, arguments)
    (content,) = answer.content
    return content.text, answer.is_error


@pytest.fixture(scope="module")
def cases(real_gateway: RealGateway) -> list[tuple[str, Any]]:
    """Calls of every tool, in an order that works; the same words again get the same answer."""
    box = Toolbox(real_gateway.client())
    task = json.loads(box.call("next_task", {}).text)["task"]["task"]
    box.call("declare_plan", {"task": task, "steps": STEPS})
    handed_in = {"task": task, "step": "s1", "name": "over mcp", "files": {**METHOD, "why.md": "mcp"}}
    submission = json.loads(box.call("submit_method", handed_in).text)["submission"]
    receipt = real_gateway.score(submission)
    numbers = {"pgr": "0.4000", "low": "0.3000", "high": "0.5000"}
    finding = {"type": "result", "title": "over mcp", "text": "t", "numbers": numbers, "receipts": [receipt]}
    said = json.loads(box.call("post_finding", finding).text)["entry"]
    return [
        ("next_task", {}),
        ("declare_plan", {"task": task, "steps": STEPS}),
        ("submit_method", handed_in),
        ("score_status", {"submission": submission, "wait_s": 1}),
        ("score_status", {}),
        ("confirm_method", {"submission": submission}),
        ("post_finding", finding),
        ("comment", {"on": said, "text": "n\u00e4mlich \u4e2d \U0001f468"}),
        ("vote", {"on": said, "value": 1}),
        ("read_forum", {"finding": said}),
        ("read_forum", None),
        ("search_forum", {"query": "mcp"}),
        ("get_snapshot", {"submission": submission}),
        ("verify_receipt", {"receipt": "x"}),
        ("propose_task", {"title": "t", "direction": "d", "reason": "r"}),
        ("finish_task", {"task": "t9"}),
        ("nope", {}),
        ("comment", {"on": True, "text": "x"}),
        ("comment", {"on": 0, "text": "a\0b"}),
        ("comment", {"on": 0, "text": "x" * 8_001}),
        ("comment", {"on": 0, "text": "x", "author": "researcher-2"}),
        ("comment", {"on": 10**9, "text": "x"}),
        ("comment", {"on": 2**60, "text": "x"}),
        ("put_snapshot", {"files": {"../x": ""}}),
        ("submit_method", {**handed_in, "directory": "/workspace"}),
        ("vote", {"on": 0, "value": 7.5}),
    ]


@pytest.mark.parametrize("mode", ["legacy", "auto"])
def test_mcp_answers_what_rest_answers_in_every_case(
    mode: str, cases: list[tuple[str, Any]], real_gateway: RealGateway
) -> None:
    async def ask(client: Any) -> list[tuple[str, bool]]:
        return [await told(client, tool, arguments) for tool, arguments in cases]

    box = Toolbox(real_gateway.client())
    over_rest = [tuple(box.call(tool, arguments)) for tool, arguments in cases]
    over_mcp = asked(real_gateway.socket(name="mcp.sock"), ask, mode)
    assert [(case[0], *answer) for case, answer in zip(cases, over_mcp, strict=True)] == [
        (case[0], *answer) for case, answer in zip(cases, over_rest, strict=True)
    ]
    assert {is_error for _text, is_error in over_rest} == {True, False}


def test_the_listed_tools_have_the_bounds_of_the_operations(real_gateway: RealGateway) -> None:
    async def ask(client: Any) -> Any:
        return (await client.list_tools()).tools

    listed = {one.name: one for one in asked(real_gateway.socket(name="mcp.sock"), ask)}
    assert list(listed) == [one.name for one in TOOLS]
    operations = {(one.method, one.path): one for one in OPERATIONS}
    for tool in TOOLS:
        schema = listed[tool.name].input_schema
        assert schema == json.loads(json.dumps(tool.remote_parameters))
        operation = operations[tool.verb]
        bounds: Mapping[str, Any] = operation.body["properties"] if operation.body else operation.query
        for key in set(schema["properties"]) & set(bounds):
            if key not in ("since", "wait_s", "submission"):
                assert schema["properties"][key] == bounds[key], (tool.name, key)


def test_a_client_that_starts_its_server_or_wants_a_url_gets_there_by_pumping_bytes(
    real_gateway: RealGateway,
) -> None:
    environment = {"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]}
    stdio = StdioServerParameters(
        command=PUMP[0],
        args=[*PUMP[1:], "--socket", str(real_gateway.socket(name="mcp-stdio.sock"))],
        env=environment,
    )

    async def over(server: Any, mode: Any) -> tuple[str, int, float]:
        async with Client(server, mode=mode) as client:
            started = time.monotonic()
            text, _is_error = await told(client, "budget", {})
            count = len((await client.list_tools()).tools)
            return text, count, time.monotonic() - started

    with subprocess.Popen(
        [*PUMP, "--port", "0", "--socket", str(real_gateway.socket(name="mcp.sock"))],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as pump:
        assert pump.stdout is not None
        url = pump.stdout.readline().strip()
        try:
            for server in (stdio, url):
                for mode in ("legacy", "auto"):
                    text, count, took_s = asyncio.run(over(server, mode))
                    assert "submissions" in json.loads(text)["left"]
                    assert count == len(TOOLS)
                    # A pump that waited for a stream's end would take half a minute.
                    assert took_s < 10
        finally:
            pump.kill()


def test_a_pump_without_a_socket_says_so_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*PUMP, "--socket", str(tmp_path / "absent")],
        env={"PYTHONPATH": SOURCE},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert 'tools = "mcp"' in done.stderr


def raw(path: Path, data: bytes, timeout_s: float = 5) -> bytes:
    """What comes back for these bytes: a whole answer, or what there is when the other side closes."""
    answer = b""
    with socket.socket(socket.AF_UNIX) as connection, suppress(ConnectionError, TimeoutError):
        connection.settimeout(timeout_s)
        connection.connect(str(path))
        connection.sendall(data)
        while chunk := connection.recv(1 << 16):
            answer += chunk
            head, _, body = answer.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if length and len(body) >= int(length[1]):
                break
    return answer


def post(body: bytes, length: int | None = None) -> bytes:
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\n"
        f"Content-Length: {len(body) if length is None else length}\r\n\r\n"
    )
    return head.encode() + body


def call(arguments: str, name: str = '"comment"') -> bytes:
    message = (
        f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{name},"arguments":{arguments}}}}}'
    )
    return post(message.encode())


def processes(real_gateway: RealGateway) -> dict[str, int]:
    """The process of each researcher's tools: the children of the one that forked them."""
    parent = real_gateway.plane.pids()["mcp"]
    found = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                sockets = os.readlink(folder / "cwd")
            except OSError:
                continue
            if int(fields[1]) == parent and sockets:
                found[folder.name] = int(folder.name)
    return found


def test_garbage_is_refused_and_the_next_call_is_served(real_gateway: RealGateway) -> None:
    before = processes(real_gateway)
    assert len(before) == 2
    http, lines = (real_gateway.socket(name=one) for one in ("mcp.sock", "mcp-stdio.sock"))
    size = real_gateway.client().forum()[1]
    deep = "[" * 100_000 + "]" * 100_000
    for data in (
        b"\0\xff" * 5_000,
        b"GET / HTTP/1.1\r\n\r\n",
        post(b"{}", length=10**9),
        post(b"\xff\xfe"),
        post(b"{" * 10_000),
        call("[]"),
        call('"x"'),
        call("null", name="7"),
        call('{"on": 0, "text": "\\ud800"}'),
        call('{"on": NaN, "text": ""}'),
        call('{"on": 1e999, "text": "x"}'),
        call('{"on": ' + "9" * 5_000 + ', "text": "x"}'),
        call('{"on": 0, "on": 0, "text": ' + deep + "}"),
    ):
        answer = raw(http, data)
        is_refused = re.match(rb"HTTP/1.1 4\d\d ", answer)
        assert is_refused or b'"isError":true' in answer or b'"error":' in answer, (data[:200], answer)
    for data in (b"\0" * 5_000 + b"\n", b"{}\n", b"[" * 10**5 + b"\n", b"x" * (5 << 20)):
        raw(lines, data, timeout_s=0.5)
    assert real_gateway.client().forum()[1] == size
    text, is_error = asked(http, lambda client: told(client, "budget", {}))
    assert (is_error, "left" in text) == (False, True)
    assert processes(real_gateway) == before


def test_who_opens_connections_without_end_shuts_out_nobody_but_itself(real_gateway: RealGateway) -> None:
    held = []
    try:
        for name in ("mcp.sock", "mcp-stdio.sock"):
            for _number in range(300):
                one = socket.socket(socket.AF_UNIX)
                one.settimeout(1)
                one.connect(str(real_gateway.socket(name=name)))
                held.append(one)
    except OSError:
        pass
    try:
        other = real_gateway.socket("researcher-2", "mcp.sock")
        _text, is_error = asked(other, lambda client: told(client, "budget", {}))
        assert not is_error
    finally:
        for one in held:
            one.close()
    _text, is_error = asked(real_gateway.socket(name="mcp.sock"), lambda client: told(client, "budget", {}))
    assert not is_error


def test_a_process_that_dies_is_started_again_and_the_other_never_stopped(real_gateway: RealGateway) -> None:
    before = processes(real_gateway)
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    for researcher in ("researcher-1", "researcher-2"):
        text, _is_error = asked(
            real_gateway.socket(researcher, "mcp.sock"),
            lambda client: told(client, "score_status", {}),
        )
        assert "submissions" in text
    deadline = time.monotonic() + 20
    while len(now := processes(real_gateway)) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert not set(now) & set(before)
    real_gateway.plane.check()


def test_a_record_that_contradicts_itself_ends_the_tools_and_its_evidence_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        double = GatewayDouble(Path(directory) / "gw.sock")
        double.lies.append(
            lambda verb, told: {**told, "index": told["index"] + 1} if verb == "comment" else None
        )
        tools = ResearcherTools(GatewayClient(double.path, first_pause_s=0.001))
        for number in range(2):
            text, is_error = tools._answer("comment", {"on": 0, "text": f"{number}"})
            assert is_error
            assert "stop working" in text
        assert double.calls["comment"] == 1
        double.close()
    assert '"told"' in capsys.readouterr().err


def test_a_gateway_that_is_gone_is_said_to_the_model(tmp_path: Path) -> None:
    tools = ResearcherTools(GatewayClient(str(tmp_path / "absent"), first_pause_s=0.001))
    text, is_error = tools._answer("budget", {})
    assert (is_error, "does not answer" in text) == (True, True)


def test_all_of_its_processes_end_with_their_supervisor() -> None:
    lifeline, far_end = os.pipe()
    ready, ready_far_end = os.pipe()
    # Nobody connects, so that they need no name.
    listeners = [socket.socket(socket.AF_UNIX) for _name in ("http", "lines")]
    for one in listeners:
        one.bind("")
        one.listen()
    http, lines = (one.fileno() for one in listeners)
    place = {"name": "r", "gateway": "/nowhere", "uid": 0, "http_fd": http, "lines_fd": lines}
    words = ["--serve", json.dumps(place), "--lifeline-fd", str(lifeline), "--ready-fd", str(ready_far_end)]
    with subprocess.Popen(
        [sys.executable, "-m", "aar.llm.mcp_server", *words],
        env={"PYTHONPATH": SOURCE, "PATH": os.environ["PATH"]},
        pass_fds=[lifeline, ready_far_end, http, lines],
    ) as process:
        os.close(lifeline)
        os.close(ready_far_end)
        assert os.read(ready, 10) == b"ready\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        os.close(far_end)
        assert process.wait(10) == 0
        deadline = time.monotonic() + 10
        while Path(f"/proc/{children[0]}/cmdline").exists() and _is_alive(children[0]):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    for one in listeners:
        one.close()


def _is_alive(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="without root every process has the same uid")
def test_the_tools_of_one_researcher_cannot_speak_on_the_socket_of_another(real_gateway: RealGateway) -> None:
    uids = {Path(f"/proc/{pid}").stat().st_uid for pid in processes(real_gateway).values()}
    for pid in processes(real_gateway).values():
        status = Path(f"/proc/{pid}/status").read_text()
        (line,) = (one for one in status.splitlines() if one.startswith("Uid:"))
        uids.add(int(line.split()[1]))
    uids.discard(0)
    assert len(uids) == 2
    program = (
        "import os, socket, sys\n"
        "uid = int(sys.argv[1])\n"
        "os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)\n"
        "def reach(path):\n"
        "    try: socket.socket(socket.AF_UNIX).connect(path)\n"
        "    except OSError as error: return type(error).__name__\n"
        "    return 'reached'\n"
        "print(*map(reach, sys.argv[2:]))\n"
    )
    names = [("researcher-1", "gw.sock"), ("researcher-2", "gw.sock"), ("researcher-1", "mcp.sock")]
    paths = [str(real_gateway.socket(*one)) for one in names]
    answers = {
        subprocess.run(
            [sys.executable, "-S", "-c", program, str(uid), *paths],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for uid in uids
    }
    denied = "PermissionError"
    assert answers == {f"reached {denied} {denied}", f"{denied} reached {denied}"}
