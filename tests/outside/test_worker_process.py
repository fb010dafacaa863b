"""The worker process: started again when it dies, not for ever; what a human has to mend is said."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aar.outside import worker_process
from aar.outside.worker_process import MAX_STARTS, WorkerProcess, WorkerRefused, WorkerSetting

Start = Callable[[str], WorkerProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    near, far = socket.socketpair()
    setting = WorkerSetting(
        worker_socket="/nowhere/worker.sock", places={}, launcher=far, directory=tmp_path, uid=0
    )
    started = []

    def run(line: str) -> WorkerProcess:
        one = WorkerProcess(
            setting,
            {"study": "s", "researchers": []},
            log=tmp_path / "worker.log",
            environment={"TEST_API_KEY": "k"},
            program=("-c", line),
        )
        started.append(one)
        one.start()
        return one

    yield run
    for one in started:
        one.stop()
    near.close()
    far.close()


def watched(one: WorkerProcess) -> bool:
    """Whether it was given up in the end."""
    deadline = time.monotonic() + 30
    while one.is_running:
        assert time.monotonic() < deadline
        if one.watch():
            return True
        time.sleep(0.01)
    return False


def test_it_is_told_its_configuration_and_has_an_environment_of_its_own(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    line = (
        "import json, os, sys; config = json.load(sys.stdin); os.fstat(config['launcher_fd']); "
        "os.fstat(config['lifeline_fd']); told = json.dumps([config, dict(os.environ)]); "
        f"open({str(told)!r}, 'w').write(told)"
    )
    assert not watched(start(line))
    config, environment = json.loads(told.read_text())
    assert config["worker_socket"] == "/nowhere/worker.sock"
    assert (config["directory"], config["uid"], config["study"]) == (str(tmp_path), 0, "s")
    assert environment["HOME"] == str(tmp_path)
    assert set(environment) - {"LC_CTYPE"} == {"TEST_API_KEY", "HOME", "PYTHONPATH", "OMP_NUM_THREADS"}


def test_one_that_dies_is_started_again_and_not_for_ever(start: Start, tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    line = f"import sys; open({str(lives)!r}, 'a').write('.'); sys.exit('no idea')"
    one = start(line)
    assert watched(one)
    assert one.state == "failed (exit 1): no idea"
    assert lives.read_text() == "." * MAX_STARTS


def test_one_that_was_well_for_long_has_all_its_lives_again(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "WELL_S", 0.0)
    lives = tmp_path / "lives"
    one = start(f"import sys; open({str(lives)!r}, 'a').write('.'); sys.exit(1)")
    deadline = time.monotonic() + 30
    while not lives.exists() or len(lives.read_text()) <= MAX_STARTS + 1:
        assert not one.watch()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_one_that_found_nothing_to_do_is_woken_for_what_is_new(start: Start, tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    one = start(f"open({str(lives)!r}, 'a').write('.')")
    # What is on offer while it runs may be what it is about to miss.
    one.wake({("t1", 0)}, ["researcher-1"])
    assert not watched(one)
    assert one.state == "finished"
    one.wake({("t1", 0)}, [])
    assert not one.is_running
    # A task, then another researcher may go on, then the task came back: each once.
    for offered, able in (
        (("t1", 0), ["researcher-1"]),
        (("t1", 0), ["researcher-2"]),
        (("t1", 1), ["researcher-1"]),
    ):
        one.wake({offered}, able)
        assert one.is_running
        assert not watched(one)
        one.wake({offered}, able)
        assert not one.is_running
    assert lives.read_text() == "...."


def test_one_whose_researcher_may_go_on_is_started_anew(start: Start, tmp_path: Path) -> None:
    one = start("import time; time.sleep(60)")
    first = one.pid
    for stop in ("", "paused", "", "tokens", "stopped"):
        one.let_go_on({"researcher-1": stop, "researcher-2": ""})
        assert one.pid == first
    one.let_go_on({"researcher-1": "", "researcher-2": ""})
    second = one.pid
    assert second not in (0, first)
    one.let_go_on({"researcher-1": "", "researcher-2": ""})
    assert one.pid == second


@pytest.mark.parametrize("code", worker_process.FOR_A_HUMAN)
def test_what_a_human_has_to_mend_is_said_at_once(start: Start, code: int) -> None:
    one = start(f"import sys; sys.stderr.write('worker: no such model\\n'); sys.exit({code})")
    with pytest.raises(WorkerRefused, match="^worker: no such model$"):
        watched(one)


def test_one_that_does_not_end_when_it_is_asked_to_is_killed(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_process, "STOP_TIMEOUT_S", 0.2)
    ready = tmp_path / "ready"
    one = start(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        f"open({str(ready)!r}, 'w'); time.sleep(60)"
    )
    while not ready.exists():
        time.sleep(0.01)
    one.stop()
    assert (one.state, one.pid) == ("stopped", 0)
    one.stop()
