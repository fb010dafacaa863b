"""What it costs to work in a sandbox by commands: opening one, a command, files, many at once.

    PYTHONPATH=src python3 benchmarks/session.py [--rounds N]

One JSON object a line; times are medians in ms. What is compared is measured in turn, one round without a
sandbox and one within, so that both see the same load: read the differences, and the absolute times only on a
machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.session import AT_ONCE, Session
from aar.outside.sandbox.spec import SandboxSpec

PYTHON = (sys.executable, "-S", "-P", "-B", "-c", "pass")
MIB = 1 << 20


def say(name: str, **fields: float) -> None:
    print(
        json.dumps({"measured": name, **{key: round(value, 3) for key, value in fields.items()}}), flush=True
    )


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return (time.perf_counter() - began) * 1000


def opened(client: LauncherClient, *, has_shell: bool) -> Session:
    spec = SandboxSpec(
        name="bench", profile="researcher", argv=("-",), memory_mib=1024, cpu_s=600, wall_s=600.0,
        has_shell=has_shell,
    )  # fmt: skip
    return Session.open(client, spec)


def opening(client: LauncherClient, rounds: int) -> None:
    """From nothing to a sandbox that has answered, beside the start of a Python that does nothing."""
    times: dict[str, list[float]] = {"python": [], "without_shell": [], "with_shell": []}
    for _ in range(rounds):
        times["python"].append(timed(lambda: subprocess.run(PYTHON, check=True)))
        for name, has_shell in (("without_shell", False), ("with_shell", True)):
            times[name].append(timed(lambda shell=has_shell: opened(client, has_shell=shell).close()))  # type: ignore[misc]
    say("open and close", **{name: statistics.median(those) for name, those in times.items()})


def commands(session: Session, rounds: int) -> None:
    outside, within = [], []
    for _ in range(rounds):
        outside.append(timed(lambda: subprocess.run(["/usr/bin/true"], check=True)))
        within.append(timed(lambda: session.exec(["true"])))
    say("command", without=statistics.median(outside), within=statistics.median(within),
        more=statistics.median(within) - statistics.median(outside))  # fmt: skip


def files(session: Session, rounds: int) -> None:
    data = bytes(MIB)
    for size in (100, MIB):
        part = data[:size]
        wrote = statistics.median(timed(lambda: session.write_file("f", part)) for _ in range(rounds))  # noqa: B023
        read = statistics.median(timed(lambda: session.read_file("f")) for _ in range(rounds))
        say(f"file of {size} bytes", write=wrote, read=read)
    session.exec(["sh", "-c", "mkdir s; for n in $(seq 1000); do echo $n > s/$n; done"])
    say("snapshot of 1000 files", within=timed(lambda: session.snapshot("s")))


def crowd(session: Session) -> None:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        took = timed(lambda: list(pool.map(lambda _: session.exec(["true"]), range(AT_ONCE))))
    say(f"{AT_ONCE} commands at once", all_of_them=took)


def main() -> None:
    parser = argparse.ArgumentParser(description=Path(__file__).name)
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with Launcher.spawn({"researcher"}) as launcher:
        client = LauncherClient(launcher.sockets[0])
        opening(client, rounds)
        with opened(client, has_shell=True) as session:
            commands(session, rounds)
            files(session, rounds)
            crowd(session)


if __name__ == "__main__":
    main()
