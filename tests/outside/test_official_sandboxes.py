"""Sandboxes that wait for a submission: one each, nothing in them before, and nothing of them after."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from aar.outside.evaluation import official_sandboxes
from aar.outside.evaluation.bench import Prepared
from aar.outside.evaluation.official_run import predicted
from aar.outside.evaluation.official_sandboxes import OfficialSandboxes
from aar.outside.sandbox import processes
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient, Running
from aar.outside.sandbox.identity import slot_uid
from aar.outside.sandbox.spec import Exit, MalformedSpec, SandboxSpec

pytestmark = pytest.mark.sandbox

TESTED = 12
HEAD = "import os, time\ndef predict(instance, rng):\n    n = len(instance.test_x)\n"
HONEST = HEAD + "    return rng.random(n)\n"
ENDURING = HEAD + "    if os.fork() == 0:\n        while True:\n            os.read(0, 1); time.sleep(0.01)\n"
# Ones if there is anything that another run left, or that was meant for one; else zeros.
CURIOUS = (
    HEAD
    + """
    found = [os.read(0, 1)]
    for other in range(3, 64):
        try: found.append(os.read(other, 1))
        except OSError: pass
    found += [name for folder in ("/workspace", "/tmp", "/dev/shm") for name in os.listdir(folder)]
    found += [name for name in os.listdir("/submission") if name != "method.py"]
    found += [name for name in os.listdir("/instance") if name not in ("features.npy", "splits.json")]
    found += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid())]
    return [float(any(found))] * n
"""
)
LEAVING = HEAD + (
    "    for folder in ('/workspace', '/tmp', '/dev/shm'):\n        open(folder + '/left', 'w').write('x')\n"
    "    return [1.0] * n\n"
)


def prepared() -> Prepared:
    rng = np.random.default_rng(5)
    file = io.BytesIO()
    np.save(file, rng.normal(size=(20, 3)).astype(np.float32))
    split = {
        "train": list(range(8)),
        "test": list(range(8, 8 + TESTED)),
        "weak": ["0.5"] * 8,
        "class_prior": "0.5",
        "rng": 3,
    }
    splits = json.dumps({"splits": [split], "student_l2": "0.01"}).encode()
    files = {"features.npy": file.getvalue(), "splits.json": splits}
    return Prepared(files=files, kept=[{"truth": "0" * TESTED}])


PREPARED = prepared()


def answer(sandboxes: OfficialSandboxes, method: str) -> tuple[list[str] | None, str]:
    snapshot = json.dumps({"files": {"method.py": method}}).encode()
    return predicted(snapshot=snapshot, prepared=PREPARED, sandboxes=sandboxes)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Launcher]:
    missing = missing_backend()
    if missing is not None:
        pytest.skip(missing)
    with Launcher.spawn({"official-run"}) as launcher:
        yield launcher


@pytest.fixture(scope="module")
def client(launcher: Launcher) -> LauncherClient:
    return LauncherClient(launcher.sockets[0])


@pytest.fixture
def warm(client: LauncherClient) -> Iterator[OfficialSandboxes]:
    sandboxes = OfficialSandboxes(client, ahead=1)
    sandboxes.fill()
    yield sandboxes
    sandboxes.close()


def programs(launcher: Launcher) -> list[int]:
    """Our numbers of the processes that run, or wait for, a submission in a sandbox of this launcher."""
    found, waiting = [], [launcher.process.pid]
    while waiting:
        pid = waiting.pop()
        waiting += processes.children_of(pid)
        with suppress(OSError):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/opt/py/"):
                found.append(pid)
    return found


def soon(launcher: Launcher) -> int:
    """The one that waits, as soon as it is there."""
    until = time.monotonic() + 20
    while not programs(launcher):
        assert time.monotonic() < until
        time.sleep(0.01)
    (pid,) = programs(launcher)
    return pid


def test_a_sandbox_that_waited_gives_the_answers_of_one_that_was_started_for_the_run(
    client: LauncherClient, warm: OfficialSandboxes
) -> None:
    lines, reason = answer(OfficialSandboxes(client), HONEST)
    assert reason == ""
    expected = np.random.default_rng(3).random(TESTED)
    assert lines == ["".join("01"[int(value > 0.5)] for value in expected)]
    assert answer(warm, HONEST) == (lines, reason)


def test_one_that_waits_holds_nothing(launcher: Launcher, warm: OfficialSandboxes) -> None:
    pid = soon(launcher)
    root = Path(f"/proc/{pid}/root")
    for folder in ("submission", "instance", "workspace", "tmp", "dev/shm"):
        assert list((root / folder).iterdir()) == []
    names = {word.partition("=")[0] for word in Path(f"/proc/{pid}/environ").read_text().split("\0")}
    threads = {f"{library}_NUM_THREADS" for library in ("OMP", "OPENBLAS", "MKL")}
    python = {"LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}
    assert names - {"PWD", ""} == {"PATH", "HOME", "TMPDIR", "LANG"} | python | threads
    warm.close()
    assert programs(launcher) == []


def test_one_that_died_while_it_waited_is_replaced(launcher: Launcher, warm: OfficialSandboxes) -> None:
    dead = soon(launcher)
    os.kill(dead, signal.SIGKILL)
    assert answer(warm, HONEST)[1] == ""
    warm.fill()
    dead = soon(launcher)
    os.kill(dead, signal.SIGKILL)
    until = time.monotonic() + 20
    while not set(programs(launcher)) - {dead}:
        assert time.monotonic() < until
        warm.fill()
        time.sleep(0.01)


def test_at_most_so_many_wait_and_none_is_made_ready_while_a_run_is_on(
    launcher: Launcher, client: LauncherClient
) -> None:
    sandboxes = OfficialSandboxes(client, ahead=1)
    with sandboxes.handed({"/submission/method.py": b"import time\ntime.sleep(60)\n"}):
        sandboxes.fill()
        assert len(processes.children_of(launcher.process.pid)) == 1
    sandboxes.fill()
    sandboxes.fill()
    assert len(processes.children_of(launcher.process.pid)) == 1
    sandboxes.close()
    assert processes.children_of(launcher.process.pid) == []


def test_a_method_that_stays_for_a_second_submission_gets_none(
    launcher: Launcher, warm: OfficialSandboxes
) -> None:
    assert answer(warm, ENDURING + "    return [0.0] * n\n") == (["0" * TESTED], "")
    assert programs(launcher) == []
    warm.fill()
    assert answer(warm, CURIOUS) == (["0" * TESTED], "")


def test_a_method_finds_nothing_that_was_meant_for_another(warm: OfficialSandboxes) -> None:
    assert answer(warm, LEAVING) == (["1" * TESTED], "")
    warm.fill()
    assert answer(warm, CURIOUS) == (["0" * TESTED], "")


def test_a_method_that_never_answers_ends_by_its_own_clock_and_the_next_is_as_ever(
    client: LauncherClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official_sandboxes, "WALL_S", 1.0)
    sandboxes = OfficialSandboxes(client, ahead=1)
    sandboxes.fill()
    # Longer than a run may take: that it waited is not held against it.
    time.sleep(1.2)
    assert answer(sandboxes, HONEST)[1] == ""
    sandboxes.fill()
    assert answer(sandboxes, HEAD + "    time.sleep(60)\n") == (None, "wall")
    monkeypatch.undo()
    sandboxes.fill()
    assert answer(sandboxes, HONEST)[1] == ""
    sandboxes.close()


def test_a_run_that_was_cut_off_is_repeated_and_not_repeated_differently(warm: OfficialSandboxes) -> None:
    first = answer(warm, HONEST)
    warm.fill()
    files = {"/submission/method.py": HONEST.encode()}
    files |= {f"/instance/{name}": data for name, data in PREPARED.files.items()}
    with warm.handed(files):
        pass  # as when the evaluator is killed: the sandbox goes with it
    warm.fill()
    assert answer(warm, HONEST) == first


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every sandbox has our uid")
def test_those_that_are_there_at_the_same_time_have_uids_of_their_own(
    launcher: Launcher, client: LauncherClient
) -> None:
    sandboxes = OfficialSandboxes(client)
    files = {"/submission/method.py": b"import time\ntime.sleep(60)\n"}
    with sandboxes.handed(files), sandboxes.handed(files):
        uids = {os.stat(f"/proc/{pid}").st_uid for pid in programs(launcher)}
    assert uids == {slot_uid(100), slot_uid(101)}


def test_a_uid_is_not_given_again_while_something_of_its_last_sandbox_may_be_left(
    client: LauncherClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait = Running.wait
    names: list[str] = []
    start = client.start

    def noted(spec: SandboxSpec) -> Running:
        names.append(spec.name)
        return start(spec)

    def never(_running: Running, _timeout_s: float | None = None) -> Exit:
        raise TimeoutError

    monkeypatch.setattr(client, "start", noted)
    sandboxes = OfficialSandboxes(client)
    monkeypatch.setattr(Running, "wait", never)
    with sandboxes.handed({"/submission/method.py": b""}):
        pass
    monkeypatch.setattr(Running, "wait", wait)
    for _ in range(2):
        with sandboxes.handed({"/submission/method.py": b""}):
            pass
    assert names == ["official-100", "official-101", "official-101"]


def test_only_a_submission_and_its_instance_are_handed_over(client: LauncherClient) -> None:
    for path in ("/workspace/x", "/submission/../etc/x", "submission/x", "/submission/.x"):
        with pytest.raises(MalformedSpec, match="destination"), OfficialSandboxes(client).handed({path: b""}):
            pass
