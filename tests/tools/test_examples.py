"""The example researchers in one real study, over REST and MCP, and what a sandbox has for other clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from small_study import Commands

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "researchers"
STUDY = f"""
[study]
name = "examples"
problem = "digits"
researchers = 3
minutes = 3
seeds = 2
replicates = 2
draws = 40
allocation = "round-robin"

[[researcher]]
program = "{EXAMPLES}/plain.py"

[[researcher]]
program = "{EXAMPLES}/over_mcp.py"
tools = "mcp"

[[researcher]]
program = "prober.py"
tools = "mcp"
"""
TASK = """
[[task]]
task = "t{number}"
title = "Search"
workflow = "free"
direction = "what helps"
submissions = 2
"""
# What is in every sandbox for clients of other kinds: the pump, both ways, and the copy of the forum.
PROBER = """
import json, subprocess, sys, time, urllib.request
from pathlib import Path
from aar.inside.gateway_client import GatewayClient

PYTHON = ["python3", "-m"]
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
client = GatewayClient()
client.study()
task = client.lease()["task"]
found = {}
call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "budget", "arguments": {}}}
listening = [*PYTHON, "aar.inside.mcp_pump", "--port", "0"]
with subprocess.Popen(listening, stdout=subprocess.PIPE, text=True) as pump:
    url = pump.stdout.readline().strip()
    request = urllib.request.Request(url, json.dumps(call).encode(), HEADERS)
    answer = json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request))
    found["port"] = json.loads(answer["result"]["content"][0]["text"])["left"]["confirmations"]
    pump.kill()
hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "p", "version": "1"}}
lines = [
    {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello},
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    call,
]
with subprocess.Popen(
    [*PYTHON, "aar.inside.mcp_pump"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
) as pump:
    for one in lines:
        print(json.dumps(one), file=pump.stdin, flush=True)
        if "id" in one:
            answer = json.loads(pump.stdout.readline())
    found["stdio"] = json.loads(answer["result"]["content"][0]["text"])["left"]["confirmations"]
    pump.stdin.close()
    found["ended"] = pump.wait(20)
deadline = time.monotonic() + 60
while time.monotonic() < deadline:
    if any(one["kind"] == "finding" and one["author"] == "researcher-2" for one in client.forum()[0]):
        break
    time.sleep(0.2)
subprocess.run([*PYTHON, "aar.inside.forum_copy", "--once"], check=True)
index = Path("/workspace/forum/INDEX.md").read_text()
found["copied"] = index.count("researcher-2") > 0
names = ("gw.sock", "mcp.sock", "mcp-stdio.sock", "worker.sock")
found["sockets"] = [one for one in names if Path("/run/gw", one).is_socket()]
client.finding(
    type="insight", title="probed", text=json.dumps(found), method="", numbers={}, receipts=[], parents=[]
)
client.done(task, "done", "")
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    pytest.importorskip("mcp", reason="comes with the extra llm")
    commands = Commands(tmp_path_factory.mktemp("examples"))
    (commands.directory / "prober.py").write_text(PROBER)
    file = commands.study_file(STUDY + "".join(TASK.format(number=number) for number in range(3)))
    done = commands.run("run", file, "--dir", "study", "--json")
    logs = "\n".join(
        path.read_text() for path in sorted((commands.directory / "study" / "log").glob("*.stderr"))
    )
    assert done.returncode == 0, done.stderr + logs
    return commands


def findings(study: Commands, researcher: str) -> list[dict[str, Any]]:
    return study.entries("study", "--kind", "finding", "--author", researcher)


@pytest.mark.slow
@pytest.mark.sandbox
class TestExamples:
    def test_both_researchers_hand_in_read_receipts_and_report_and_the_study_verifies(
        self, study: Commands
    ) -> None:
        assert study.run("verify", "study").returncode == 0
        for researcher, word in (("researcher-1", "ridge on"), ("researcher-2", "nearest")):
            mine = findings(study, researcher)
            assert len(mine) >= 2, researcher
            assert all(word in one["body"]["title"] for one in mine)
            assert all("'pgr': '" in one["body"]["text"] for one in mine), mine
        outcomes = [one["body"]["outcome"] for one in study.entries("study", "--kind", "score-receipt")]
        assert set(outcomes) == {"scored"}

    def test_the_pump_serves_clients_without_unix_sockets_inside_the_sandbox(self, study: Commands) -> None:
        (probed,) = findings(study, "researcher-3")
        found = json.loads(probed["body"]["text"])
        assert (found["port"], found["stdio"], found["ended"]) == (6, 6, 0)
        assert found["sockets"] == ["gw.sock", "mcp.sock", "mcp-stdio.sock"]

    def test_the_copy_of_the_forum_is_a_command_in_the_sandbox(self, study: Commands) -> None:
        (probed,) = findings(study, "researcher-3")
        assert json.loads(probed["body"]["text"])["copied"] is True

    def test_no_tool_was_refused_and_no_alarm_was_raised(self, study: Commands) -> None:
        assert study.entries("study", "--kind", "alarm") == []
        assert (study.directory / "study" / "log" / "mcp.log").read_text() == ""


def test_the_plain_example_is_forty_lines_and_imports_nothing_of_ours() -> None:
    text = (EXAMPLES / "plain.py").read_text("utf-8")
    assert len([line for line in text.splitlines() if line.strip()]) <= 40
    for name in ("plain.py", "over_mcp.py"):
        assert "import aar" not in (EXAMPLES / name).read_text("utf-8")
        assert "from aar" not in (EXAMPLES / name).read_text("utf-8")
