"""A small worker: a program in the place of `aar.llm.worker`, on the same sockets, without a model.

Its researchers' models say what they do: ``test/steady`` works through its tasks, a call for each turn;
``test/greedy`` calls until it is told to stop, and then tries whether anything else is taken of it. Call ids
count from 1 in every life of the process: a worker that was killed tells of its first calls again.

Until a file ``go`` lies in the worker's directory, the steady one hands nothing in or back, and the greedy
one makes one call beyond its first limit: so nothing that a test does to the study comes too late.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.service import enter
from aar.outside.staff_client import GatewayGone, GatewayRefused, StaffClient

METHOD = """
from aar.lab.pipeline import parse_pipeline, run_pipeline

def predict(instance, rng):
    return run_pipeline(parse_pipeline([["probe", {}]]), instance, rng)
"""
# Of the greedy one, within its first limit.
FIRST_CALLS = 5
USED = {"input": 900, "output": 100, "cache_read": 50, "cache_write": 10}
LOOK = (
    "import os, glob; from pathlib import Path; "
    "print(b'|'.join([Path('/proc/1/environ').read_bytes(), repr(dict(os.environ)).encode()]))"
)


class Researcher:
    """One researcher of the worker's: a thread."""

    def __init__(self, config: dict[str, Any], one: dict[str, Any], ended: threading.Event) -> None:
        self.config, self.told, self.name = config, one, one["name"]
        self.ended = ended
        self.desk = StaffClient(one["gateway"])
        self.worker = StaffClient(config["worker_socket"])
        self.calls = 0

    def turn(self) -> str:
        """Think once: one call; what stops the researcher, if anything does."""
        self.calls += 1
        usage = {"researcher": self.name, "call": f"{self.name}-{self.calls}", "model": self.told["model"]}
        stop: str = self.worker.post("/v1/usage", {**usage, **USED})["stop"]
        return stop

    def run(self) -> None:
        with contextlib.suppress(GatewayGone):
            if self.told["model"] == "test/greedy":
                self.spend()
            else:
                self.work()

    def may_go_on(self) -> bool:
        """Wait until it may, with what it has in hand; False where it has to stop before that."""
        while not Path("go").exists():
            limits = self.worker.get("/v1/limits", researcher=self.name)
            if limits["stop"] not in ("", "paused") or self.ended.wait(0.05):
                return False
        return True

    def spend(self) -> None:
        while not self.turn():
            self.desk.post("/v1/lease", {})
            if self.calls > FIRST_CALLS and not self.may_go_on():
                return
            if self.ended.wait(0.05):
                return
        # At a limit: nothing that it asks for is given.
        tried = {"lease": self.desk.post("/v1/lease", {})["task"]}
        held = next(iter(self.desk.get("/v1/forum", since=0)["entries"]))["body"].get("task", "")
        try:
            self.submit(held or "search", 0)
        except GatewayRefused as error:
            tried["submit"] = error.code
        tried["calls"] = self.calls
        told = Path(f"{self.name}.json")
        # In a later life it is told to stop at its first call.
        if not told.exists():
            told.write_text(json.dumps(tried))

    def work(self) -> None:
        self.look_around()
        while not self.ended.is_set():
            limits = self.worker.get("/v1/limits", researcher=self.name)
            if limits["stop"] == "paused":
                time.sleep(0.1)
                continue
            # At a limit of its task it may have another.
            if limits["stop"] and not limits["stop"].startswith("task-"):
                return
            task = self.desk.post("/v1/lease", {})["task"]
            if task is None:
                time.sleep(0.1)
                continue
            self.solve(task["task"])

    def solve(self, task: str) -> None:
        if self.turn() not in ("", "paused"):
            return
        steps = [{"name": "s1", "what": "look"}]
        plan = self.desk.post("/v1/plan", {"task": task, "steps": steps, "amends": -1})["index"]
        for _turn in range(3):
            if self.turn() not in ("", "paused") or self.ended.wait(0.05):
                return
        if not self.may_go_on():
            return
        with contextlib.suppress(GatewayRefused):
            submission = self.submit(task, plan)
            while self.desk.get("/v1/receipt", submission=submission, wait_s=1)["receipt"] is None:
                if self.ended.is_set():
                    return
            self.turn()
        data = f"{self.name} {task}".encode()
        Path(f"{self.name}-{task}.eval").write_bytes(data)
        told = {"researcher": self.name, "task": task, "file": f"{self.name}-{task}.eval"}
        digest = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        for _again in range(2):
            self.worker.post("/v1/transcript", {**told, **digest})
        self.desk.post("/v1/done", {"task": task, "outcome": "done", "reason": "said all"})

    def submit(self, task: str, plan: int) -> int:
        body = {"task": task, "plan": plan, "step": "s1", "name": "m", "files": {"method.py": METHOD}}
        index: int = self.desk.post("/v1/submit", {**body, "request": f"{task}-{plan}"})["index"]
        return index

    def look_around(self) -> None:
        """Ask the launcher for this researcher's sandbox, and keep what its environment is there."""
        client = LauncherClient(socket.socket(fileno=os.dup(self.config["launcher_fd"])))
        spec = researcher_spec(
            name=self.name,
            argv=(*sandbox_python(), "-c", LOOK),
            gateway_dir=self.told["gateway_dir"],
            uid_slot=self.told["slot"],
        )
        with client.start(spec, stdin=b"") as running:
            seen = running.collect(timeout_s=30)
        Path(f"{self.name}.seen").write_bytes(seen.stdout + seen.stderr)


def main() -> None:
    config = json.load(sys.stdin)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    enter(Path(config["directory"]), uid=config["uid"], lifeline_fd=config["lifeline_fd"])
    with Path("lives").open("a") as lives:
        lives.write(f"{os.getpid()}\n")
    researchers = [Researcher(config, one, ended) for one in config["researchers"]]
    threads = [threading.Thread(target=one.run, daemon=True) for one in researchers]
    for thread in threads:
        thread.start()
    while not ended.wait(0.05):
        pass
    for thread in threads:
        thread.join(5)
    Path("ended").write_text("in order")


if __name__ == "__main__":
    main()
