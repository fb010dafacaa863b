"""A researcher that tampers with what it can reach: files, sockets, processes, authors, receipts, votes.

Runs in a sandbox alone. Between two attempts it does the work of a scripted researcher. What it writes on
standard error is its own account: one JSON line for each thing that it tried.
"""

from __future__ import annotations

import argparse
import base64
import ctypes
import json
import os
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from aar.formats.entry import Entry, sign_entry
from aar.formats.keys import Signer
from aar.inside.gateway_client import SOCKET_PATH, GatewayClient, GatewayError, GatewayLost
from aar.inside.researcher import Researcher

# What is its own in there, and kernel files that a process has of itself.
OWN = ("/proc", "/sys", "/dev", "/tmp", "/workspace")
NAMES = ("checkpoint", "tile", "record", "wal", "evaluator", "operator", "witness", "control.sock", "gw.sock")
BURST = 40
PAUSE_S = 0.5
CLONE_NEWUSER = 0x10000000
PTRACE_ATTACH = 16


def tell(attempt: str, outcome: str) -> None:
    sys.stderr.write(json.dumps({"attempt": attempt, "outcome": outcome[:200]}) + "\n")
    sys.stderr.flush()


def walk() -> Iterator[Path]:
    """Every path that can be seen outside what is its own."""
    for folder, folders, files in os.walk("/"):
        if folder == "/":
            folders[:] = [one for one in folders if f"/{one}" not in OWN]
        yield from (Path(folder, one) for one in (*folders, *files))


def record_files() -> str:
    """Find and rewrite anything that might be the record, its keys, or a socket of somebody else."""
    found = [path for path in walk() if path.name in NAMES and not str(path).startswith("/opt/")]
    hits = []
    for path in found:
        with suppress(OSError):
            if path.is_socket() and str(path) != SOCKET_PATH:
                hits.append(str(path))
            elif path.is_file():
                path.write_bytes(b"rewritten")
                hits.append(str(path))
    return f"reached {hits}" if hits else f"nothing but {[str(one) for one in found]}"


def own_code() -> str:
    """Change the code that everybody runs."""
    Path("/opt/aar/aar/inside/gateway_client.py").write_text("raise SystemExit")
    return "reached: our code is changed"


def gateway_directory() -> str:
    """Put another socket where the gateway's is."""
    os.rename(SOCKET_PATH, SOCKET_PATH + ".old")
    return "reached: the gateway's socket is moved"


def other_sockets() -> str:
    """Every socket that the kernel tells of, and those of the neighbours by their likely names."""
    told = {line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()[1:] if "/" in line}
    likely = [f"/run/gw/../{name}/gw.sock" for name in ("researcher-1", "researcher-2", "researcher-3")]
    likely += ["/run/gw/../evaluator.sock", "/run/gw/../witness.sock", "/run/gw/control.sock"]
    hits = []
    for path in sorted({*told, *likely} - {SOCKET_PATH}):
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            hits.append(path)
    return f"reached {hits}" if hits else f"none of {len(told) + len(likely)} answers"


def other_processes() -> str:
    """Environments, memory, roots and descriptors of processes that are not its own."""
    hits = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        for name in ("environ", "mem", "maps"):
            with suppress(OSError):
                data = (folder / name).open("rb").read(4096)
                if any(word in data.lower() for word in (b"secret", b".key", b"token")):
                    hits.append(str(folder / name))
        with suppress(OSError):
            hits += [str(one) for one in (folder / "root").glob("work/*")]
    return f"reached {hits}" if hits else "nothing in them"


def kernel() -> str:
    """A namespace with more rights, a mount, another process under a debugger, another user."""
    libc = ctypes.CDLL(None, use_errno=True)
    hits = []
    if libc.unshare(CLONE_NEWUSER) == 0:
        hits.append("unshare")
    if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0:
        hits.append("mount")
    if libc.ptrace(PTRACE_ATTACH, 1, None, None) == 0:
        hits.append("ptrace")
    with suppress(OSError):
        os.setuid(0)
        hits.append("setuid")
    return f"reached {hits}" if hits else "refused by the kernel"


def network() -> str:
    with socket.create_connection(("1.1.1.1", 53), timeout=2):
        return "reached: the network"


IN_THE_SANDBOX: tuple[Callable[[], str], ...] = (
    record_files,
    own_code,
    gateway_directory,
    other_sockets,
    other_processes,
    kernel,
    network,
)


class Tamperer(Researcher):
    """A scripted researcher that tries everything once more after each of its runs."""

    def __init__(self, client: GatewayClient, *, seed: int) -> None:
        super().__init__(client, seed=seed)
        self._client = client
        self._round = 0
        self.is_over = False

    def _report(self, *arguments: Any, **named: Any) -> None:
        self.tamper()
        super()._report(*arguments, **named)

    def tamper(self) -> None:
        """All there is, once; what the gateway says of it is told."""
        self._round += 1
        for attempt in IN_THE_SANDBOX:
            try:
                tell(attempt.__name__, attempt())
            except OSError as error:
                tell(attempt.__name__, f"blocked: {type(error).__name__}: {error}")
        entries, _size = self._client.forum()
        self._forge(entries)
        self._smuggle()
        self._flood(entries)

    def ask(self, attempt: str, verb: str, payload: Any) -> None:
        tell(attempt, self._asked(verb, payload))

    def _asked(self, verb: str, payload: Any) -> str:
        try:
            self._client._call("POST", verb, payload)
        except GatewayError as error:
            self.is_over = self.is_over or error.code == "study-closed"
            return f"refused: {error.code}"
        return "taken"

    def _forge(self, entries: list[dict[str, Any]]) -> None:
        others = [one for one in entries if one["kind"] == "score-receipt"]
        others = [one for one in others if one["body"]["researcher"] != self.name]
        other = "researcher-1" if self.name != "researcher-1" else "researcher-2"
        finding = {
            "type": "result",
            "title": f"PGR 0.9{self._round}",
            "text": "far above everything here",
            "method": "mine",
            "numbers": {"pgr": "0.9700", "low": "0.9500", "high": "0.9900"},
            "receipts": [],
            "parents": [],
        }
        self.ask("a result without a receipt", "/v1/finding", finding)
        self.ask("another author", "/v1/finding", {**finding, "type": "insight", "author": other})
        self.ask("an invented receipt", "/v1/finding", {**finding, "receipts": [1]})
        receipts = [one for one in entries if one["kind"] == "score-receipt" and one not in others]
        if receipts:
            body = {**finding, "receipts": [receipts[-1]["index"]]}
            self.ask("better numbers than its receipt's", "/v1/finding", body)
        if others:
            body = {**finding, "receipts": [others[0]["index"]]}
            self.ask("another's receipt", "/v1/finding", body)
        mine = [one for one in entries if one["kind"] == "finding" and one["author"] == self.name]
        if mine:
            self.ask("a vote for itself", "/v1/vote", {"on": mine[-1]["index"], "value": 1})
        self.ask("a task of another's", "/v1/done", {"task": "t1", "outcome": "failed", "reason": "no use"})
        signed = sign_entry(
            Entry(
                origin=self._client.study()["origin"],
                author="evaluator",
                seq=0,
                prev="",
                kind="comment",
                refs=(0,),
                body={"on": 0, "text": "signed by nobody"},
                at=int(time.time() * 1000),
            ),
            Signer("evaluator", b"t" * 32),
        )
        entry = {"entry": base64.b64encode(signed.data).decode(), "blobs": []}
        for verb in ("/v1/entry", "/v1/receipt", "/v1/closing", "/v1/stop", "/v1/reproduce", "/v1/gone"):
            self.ask(f"the staff's verb {verb}", verb, entry)

    def _smuggle(self) -> None:
        """Requests in requests, keys said twice, headers that name somebody else."""
        body = b'{"on": 0, "text": "first", "on": 1, "author": "researcher-1"}'
        inner = b"POST /v1/vote HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
        head = b"POST /v1/comment HTTP/1.1\r\nX-Researcher: researcher-1\r\nContent-Length: %d\r\n\r\n"
        with suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(SOCKET_PATH)
            connection.sendall(head % len(body) + body + inner)
            answer = connection.recv(65_536)
            tell("a request in a request", answer.split(b"\r\n", 1)[0].decode("ascii", "replace"))
        held = []
        for _number in range(40):
            with suppress(OSError):
                one = socket.socket(socket.AF_UNIX)
                one.connect(SOCKET_PATH)
                held.append(one)
        for one in held:
            one.close()

    def _flood(self, entries: list[dict[str, Any]]) -> None:
        """Comments and votes on everything of the others, as fast as they are taken."""
        findings = [one["index"] for one in entries if one["kind"] == "finding"]
        came: Counter[str] = Counter()
        for number in range(BURST):
            on = findings[number % len(findings)] if findings else 0
            text = f"no good {self._round} {number}"
            came[self._asked("/v1/comment", {"on": on, "text": text})] += 1
            if findings and number % 4 == 0:
                came[self._asked("/v1/vote", {"on": on, "value": -1})] += 1
        for outcome, count in came.items():
            tell(f"a flood of {count}", outcome)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    options = parser.parse_args()
    tamperer = Tamperer(GatewayClient(), seed=options.seed)
    with suppress(GatewayLost):
        tamperer.work()
        while not tamperer.is_over:
            tamperer.tamper()
            time.sleep(PAUSE_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
