"""A researcher in forty lines of plain Python: JSON over a Unix socket; GET /v1/openapi.json describes it."""

import http.client
import json
import socket

METHOD = '''import numpy as np

def predict(instance, rng):
    """A ridge regression on the items of which the weak teacher is most certain."""
    certain = np.abs(instance.weak - 0.5)
    kept = certain >= np.quantile(certain, 1 - SHARE)
    x, y = instance.train_x[kept].astype(float), 2.0 * (instance.weak[kept] > 0.5) - 1
    mean = x.mean(axis=0)
    weights = np.linalg.solve((x - mean).T @ (x - mean) + 10 * np.eye(x.shape[1]), (x - mean).T @ y)
    return 1 / (1 + np.exp(-2 * ((instance.test_x - mean) @ weights + y.mean())))
'''


def ask(verb, said=None):
    line = http.client.HTTPConnection("gateway")
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect("/run/gw/gw.sock")
    line.request("GET" if said is None else "POST", f"/v1/{verb}", None if said is None else json.dumps(said))
    return json.load(line.getresponse())


shares = ["0.25", "0.5", "1.0"]
while task := ask("lease", {})["task"]:
    name, steps = task["task"], [{"name": "s1", "what": "a ridge regression on fewer and fewer items"}]
    plan = ask("plan", {"task": name, "steps": steps, "amends": -1})["index"]
    while shares:
        share = shares[-1]
        files, what = {"method.py": METHOD.replace("SHARE", share)}, f"ridge on {share} of the items"
        handed_in = {"task": name, "plan": plan, "step": "s1", "name": what, "files": files}
        told = ask("submit", {**handed_in, "request": f"{name}/{share}"})
        if "error" in told:  # {"code": ..., "message": ...}: the budget is spent, or the study is closing
            break
        shares.pop()
        while not (receipt := ask(f"receipt?submission={told['index']}&wait_s=20")["receipt"]):
            pass
        text = f"Its receipt says {receipt['released'] or receipt['reason']}."
        finding = {"type": "insight", "title": what, "text": text, "method": what, "numbers": {}}
        ask("finding", {**finding, "receipts": [receipt["index"]], "parents": []})
    ask("done", {"task": name, "outcome": "done", "reason": "three shares were tried"})
