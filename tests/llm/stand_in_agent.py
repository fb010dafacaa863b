#!/opt/py/bin/python3 -SPB
"""A command-line agent as small as can be, for sandboxes: started as Claude Code is, it speaks as that does.

It asks the Messages API at `ANTHROPIC_BASE_URL`, runs what its model asks for in bash, and calls the tools of
the MCP server that it is told of. A conversation is kept for `--continue`.
"""

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

BASH = {
    "name": "Bash",
    "description": "Run a command.",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command"],
    },
}


def post(url, body, **headers):
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers},
    )
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.strip() else {}


def of_server(url, method, **params):
    return post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


def done(call, servers):
    if call["name"] == "Bash":
        ran = subprocess.run(
            ["bash", "-c", call["input"]["command"]], capture_output=True, text=True, check=False
        )
        return ran.stdout + ran.stderr, ran.returncode != 0
    _mcp, server, tool = call["name"].split("__", 2)
    told = of_server(servers[server]["url"], "tools/call", name=tool, arguments=call["input"])
    if "error" in told:
        return json.dumps(told["error"]), True
    return "".join(one.get("text", "") for one in told["result"]["content"]), bool(
        told["result"].get("isError")
    )


def main():
    parser = argparse.ArgumentParser()
    for word in ("--continue", "--print", "--dangerously-skip-permissions", "--strict-mcp-config"):
        parser.add_argument(word, action="store_true")
    for word in ("--model", "--mcp-config", "--disallowed-tools", "--output-format"):
        parser.add_argument(word)
    parser.add_argument("prompt")
    told = vars(parser.parse_args())
    kept = Path(os.environ["CLAUDE_CONFIG_DIR"], "conversation.json")
    kept.parent.mkdir(parents=True, exist_ok=True)
    messages = json.loads(kept.read_text()) if told["continue"] else []
    messages.append({"role": "user", "content": told["prompt"]})
    servers = json.loads(told["mcp_config"])["mcpServers"]
    tools = [BASH]
    for name, server in servers.items():
        of_server(server["url"], "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={})
        for tool in of_server(server["url"], "tools/list")["result"]["tools"]:
            schema = {"input_schema": tool["inputSchema"], "description": tool["description"]}
            tools.append({"name": f"mcp__{name}__{tool['name']}", **schema})
    while True:
        body = {"model": told["model"], "max_tokens": 8000, "messages": messages, "tools": tools}
        key = {
            "Authorization": f"Bearer {os.environ['ANTHROPIC_AUTH_TOKEN']}",
            "anthropic-version": "2023-06-01",
        }
        said = post(os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages", body, **key)
        messages.append({"role": "assistant", "content": said["content"]})
        calls = [one for one in said["content"] if one["type"] == "tool_use"]
        kept.write_text(json.dumps(messages))
        if not calls:
            print("".join(one.get("text", "") for one in said["content"]))
            return 0
        results = []
        for call in calls:
            text, is_error = done(call, servers)
            results.append(
                {"type": "tool_result", "tool_use_id": call["id"], "content": text, "is_error": is_error}
            )
        messages.append({"role": "user", "content": results})
        kept.write_text(json.dumps(messages))


if __name__ == "__main__":
    sys.exit(main())
