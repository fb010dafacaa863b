"""Bombs end for the right reason, their neighbour works on, and what rests at a limit is left alone."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox.bombs import BOMBS, IN_THE_DOCTOR, bomb_spec
from aar.outside.sandbox.client import Launcher, LauncherClient, Running
from aar.outside.sandbox.pressure import LOOKS, MOST_FILES_ON_DISK, Pressure
from aar.outside.sandbox.processes import Use
from aar.outside.sandbox.spec import SandboxSpec

pytestmark = pytest.mark.sandbox

Build = Callable[..., SandboxSpec]

# One unit of work a line, about a millisecond of it.
NEIGHBOUR = """
import hashlib
while True:
    for _ in range(40): hashlib.sha256(b'x' * 8192).digest()
    print(flush=True)
"""
RESTING = """
import os, time
for _ in range(14):
    if os.fork() == 0: time.sleep(30); os._exit(0)
held = []
try:
    while True: held.append(os.open('/dev/null', os.O_RDONLY))
except OSError: pass
try:
    with open('/tmp/all', 'wb') as out:
        while True: out.write(bytes(1 << 20))
except OSError: pass
print('full', flush=True)
time.sleep(30)
"""


# The doctor has the others, in tests/e2e/test_command_line.py; here they are lit one by one.
@pytest.mark.parametrize(
    "name",
    [
        name if name in ("errors", "open files") else pytest.param(name, marks=pytest.mark.deep)
        for name in BOMBS
    ],
)
def test_a_bomb_ends_for_its_reason(client: LauncherClient, name: str) -> None:
    bomb = BOMBS[name]
    with client.start(bomb_spec(name, "probe", 0), stdin=b"") as running:
        ended = running.collect(timeout_s=90).exit
    assert (ended.reason, ended.code) == (bomb.reason, -1)


def test_the_doctor_has_a_bomb_for_each_limit_that_it_names() -> None:
    assert {BOMBS[name].reason for name in IN_THE_DOCTOR} == {
        *("output", "processes", "memory", "disk", "files", "wall")
    }


def test_what_rests_at_its_limits_is_left_alone(client: LauncherClient, python: Build) -> None:
    with client.start(python(RESTING, processes=16, memory_mib=64), stdin=b"") as running:
        assert running.stdout.readline() == b"full\n"
        with pytest.raises(TimeoutError):
            running.wait(0.25 * (LOOKS + 3))
        running.kill()
        assert running.wait(5).reason == "killed"


def test_pressure_is_a_second_of_work_at_a_limit(python: Build) -> None:
    spec = python("", processes=8)
    at_limit, below = Use(0, 0, threads=9, most_files=3), Use(0, 0, threads=8, most_files=3)
    told = [Pressure()]

    def looks(*uses: Use, busy: float) -> list[str]:
        told[0] = Pressure()
        found = [
            told[0].look(spec, use, None, cpu_s=busy * at * 0.25, now_s=100 + at * 0.25)
            for at, use in enumerate(uses)
        ]
        return [one[0] for one in found if one]

    assert looks(*[at_limit] * LOOKS, busy=1.0) == ["processes"]
    assert looks(*[at_limit] * (LOOKS - 1), below, *[at_limit] * (LOOKS - 1), busy=1.0) == []
    assert looks(*[at_limit] * 9, busy=0.01) == []
    assert looks(*[Use(0, 0, most_files=512)] * LOOKS, busy=1.0) == ["files"]
    assert MOST_FILES_ON_DISK < 3_000_000


def test_a_sandbox_of_many_sessions_goes_behind_the_others_and_the_launcher_does_not(
    client: LauncherClient, python: Build, launcher: Launcher
) -> None:
    own = Path(f"/proc/{launcher.process.pid}/autogroup")
    if not own.exists():
        pytest.skip("this kernel divides its time otherwise")
    code = """
import os, time
for _ in range(8):
    if os.fork() == 0: os.setsid(); time.sleep(30)
time.sleep(3)
for pid in filter(str.isdigit, os.listdir('/proc')):
    print(open(f'/proc/{pid}/autogroup').read().split()[-1])
"""
    before = own.read_text()
    with client.start(python(code), stdin=b"") as running:
        told = running.collect(timeout_s=30).stdout
    assert own.read_text() == before
    # Its first two processes are in the launcher's session.
    assert told.count(b"19\n") >= 8, told


def test_the_hosts_files_are_not_counted_while_a_sandbox_is_set_up(
    python: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.outside.sandbox.pressure.MOST_FILES_ON_DISK", 0)
    assert Pressure().look(python(""), Use(0, 0), os.getpid(), cpu_s=1.0, now_s=1.0) is None


def _rate(running: Running, seconds: float) -> float:
    """Lines a second, over so many."""
    until = time.monotonic() + seconds
    lines = 0
    while time.monotonic() < until:
        running.stdout.readline()
        lines += 1
    return lines / seconds


@pytest.mark.deep
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_takes_no_more_than_half_of_its_neighbour(
    client: LauncherClient, python: Build, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    bomb = BOMBS[name]
    kept = []
    with client.start(python(NEIGHBOUR, cpu_s=600, wall_s=600.0, uid_slot=1), stdin=b"") as neighbour:
        _rate(neighbour, 0.5)
        for _ in range(3):
            alone = _rate(neighbour, 1.0)
            with client.start(bomb_spec(name, "probe", 2), stdin=b"") as running:
                rates = [*_rates_until_the_end(neighbour, running, bomb.reason)]
            kept.append(statistics.mean(rates) / alone)
    told = f"neighbour of the {name} bomb keeps {statistics.median(kept):.2f} of its speed"
    with capsys.disabled():
        os.write(2, f"\n{told}\n".encode())
    # An ordinary user's launcher puts few sessions back before it ends them all: the page says so.
    is_root_needed = name == "fork in sessions of their own" and os.geteuid() != 0
    assert statistics.median(kept) >= (0.1 if is_root_needed else 0.5), told


def _rates_until_the_end(neighbour: Running, bomb: Running, reason: str) -> Iterator[float]:
    reader = threading.Thread(target=bomb.collect, kwargs={"timeout_s": 90})
    reader.start()
    while reader.is_alive():
        yield _rate(neighbour, 0.2)
    reader.join()
    assert bomb.wait(1).reason == reason
