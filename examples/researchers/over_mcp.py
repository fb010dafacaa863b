"""A researcher that speaks MCP (streamable HTTP over the socket in its sandbox) with the standard library.

The study file gives it the socket: `tools = "mcp"`. One POST is one JSON-RPC message, and this server answers
each with JSON. A client library does the same and more; what is here is what is needed.
"""

import http.client
import json
import socket
from itertools import count

VERSION = "2025-11-25"
NUMBERS = count(1)
METHOD = '''import numpy as np


def predict(instance, rng):
    """Each test item gets the mean of what the weak teacher says of its nearest training items."""
    train, test = (x - instance.train_x.mean(axis=0) for x in (instance.train_x, instance.test_x))
    train, test = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-9) for x in (train, test))
    nearest = np.argpartition(-(test @ train.T), {neighbours}, axis=1)[:, : {neighbours}]
    return instance.weak[nearest].mean(axis=1)
'''


def send(message):
    line = http.client.HTTPConnection("localhost")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect("/run/gw/mcp.sock")
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    headers["MCP-Protocol-Version"] = VERSION
    line.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), headers)
    data = line.getresponse().read()
    line.close()
    return json.loads(data) if data else None


def request(method, **parameters):
    answer = send({"id": next(NUMBERS), "method": method, "params": parameters})
    if "error" in answer:
        raise SystemExit(f"{method}: {answer['error']['message']}")
    return answer["result"]


def tool(called, /, **arguments):
    """What a tool answers, as JSON; an error is one line, for a model to read and for us to end on."""
    result = request("tools/call", name=called, arguments=arguments)
    text = result["content"][0]["text"]
    if result.get("isError"):
        raise RuntimeError(text)
    return json.loads(text)


request(
    "initialize", protocolVersion=VERSION, capabilities={}, clientInfo={"name": "over_mcp", "version": "1"}
)
send({"method": "notifications/initialized"})
left = [20, 5]
while task := tool("next_task")["task"]:
    name = task["task"]
    tool("declare_plan", task=name, steps=[{"name": "s1", "what": "the teacher's word on nearest items"}])
    try:
        while left:
            neighbours = left[-1]
            what = f"mean of {neighbours} nearest"
            files = {"method.py": METHOD.replace("{neighbours}", str(neighbours))}
            submission = tool("submit_method", task=name, step="s1", name=what, files=files)["submission"]
            left.pop()
            while (told := tool("score_status", submission=submission, wait_s=20))["status"] == "waiting":
                pass
            receipt = told["receipt"]
            if not tool("verify_receipt", entry=receipt["index"])["holds"]:
                raise SystemExit("the record does not hold its receipt")
            text = f"Its receipt says {receipt['released'] or receipt['reason']}."
            tool(
                "post_finding",
                type="insight",
                title=what,
                text=text,
                method=what,
                receipts=[receipt["index"]],
            )
        for finding in tool("search_forum", query="ridge", limit=1)["findings"]:
            tool("comment", on=finding["index"], text="Compared with means of nearest items.")
    except RuntimeError as refused:
        tool("put_snapshot", files={"notes.md": f"ended early: {refused}"})
    tool("finish_task", task=name, reason="both numbers of neighbours were tried")
