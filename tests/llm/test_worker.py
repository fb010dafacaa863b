"""The worker as a process: what it is told wrong, and what its uid can reach."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aar.llm.reach import closed_parent
from aar.llm.worker_config import WorkerConfigError, parse_worker_config
from llm.offline import is_permitted
from small_study import SOURCE

UID = 54_321


def worker(told: str, environment: dict[str, str] | None = None, *fds: int) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aar.llm.worker"],
        input=told,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        pass_fds=fds,
    )
    return done.returncode, done.stderr


def config(directory: Path, launcher: int, **change: Any) -> str:
    place = {
        "name": "researcher-1",
        "model": "openai-api/local/test-model",
        "gateway": str(directory / "gw.sock"),
        "gateway_dir": str(directory),
        "slot": 0,
    }
    told = {
        "study": "s",
        "origin": "aar.test/s",
        "researchers": [place | change],
        "worker_socket": str(directory / "worker.sock"),
        "launcher_fd": launcher,
        "directory": str(directory),
    }
    return json.dumps(told)


@pytest.mark.parametrize(
    ("told", "wanted"),
    [
        ("", "JSONDecodeError"),
        ("{}", "KeyError: 'researchers'"),
        ('{"researchers": [{"name": "r"}]}', "TypeError"),
        ('{"researchers": []}', "TypeError"),
    ],
)
def test_a_configuration_that_cannot_be_used_says_why(told: str, wanted: str) -> None:
    with pytest.raises(WorkerConfigError, match="configuration on standard input: ") as said:
        parse_worker_config(told)
    assert wanted in str(said.value)


def test_what_is_not_for_the_worker_is_left_alone(tmp_path: Path) -> None:
    told = json.loads(config(tmp_path, 7)) | {"something": "new"}
    told["researchers"][0]["prices"] = {}
    assert parse_worker_config(json.dumps(told)).researchers[0].name == "researcher-1"


def test_a_worker_that_is_to_drop_its_rights_and_would_not_does_not_start(tmp_path: Path) -> None:
    told = json.loads(config(tmp_path, 7)) | {"uid": UID}
    with pytest.raises(WorkerConfigError, match="uid without lifeline_fd"):
        parse_worker_config(json.dumps(told))
    assert parse_worker_config(json.dumps(told | {"lifeline_fd": 8})).uid == UID


def test_a_bad_configuration_ends_the_worker_with_one_line() -> None:
    code, said = worker("{}")
    assert code == 2
    assert said.startswith("worker: configuration on standard input: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("model", "environment", "wanted"),
    [
        ("openai-api/local/test-model", {"LOCAL_BASE_URL": "http://127.0.0.1:1/v1"}, "LOCAL_API_KEY"),
        ("nobody/test-model", {}, "nobody"),
    ],
)
def test_a_model_that_cannot_be_asked_is_one_line(
    tmp_path: Path, model: str, environment: dict[str, str], wanted: str
) -> None:
    near, far = socket.socketpair()
    with near, far:
        code, said = worker(config(tmp_path, far.fileno(), model=model), environment, far.fileno())
    assert code == 7, said
    assert said.startswith(f"worker: {model} cannot be asked: ")
    assert wanted in said
    assert "Traceback" not in said
    assert said.count("\n") == 1


def test_the_first_directory_that_is_closed_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "closed" / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / "closed").chmod(0o700)
    found = closed_parent(inner, UID)
    assert found is not None
    assert inner.is_relative_to(found)
    assert closed_parent(Path("/usr"), UID) is None


REACH = """
import os, sys
from pathlib import Path
from aar.llm.reach import bring_within_reach
top, uid = Path(sys.argv[1]), int(sys.argv[2])
bring_within_reach([top / "a" / "python", top / "a" / "python" / "lib"], uid)
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
print((top / "a" / "python" / "lib" / "x.py").read_text(), sorted(os.listdir(top)))
"""


def test_the_worker_finds_python_below_a_closed_directory_and_nothing_else_there(tmp_path: Path) -> None:
    if not is_permitted():
        pytest.skip("only root may make mounts of its own")
    top = tmp_path / "home"
    (top / "a" / "python" / "lib").mkdir(parents=True)
    (top / "a" / "python" / "lib" / "x.py").write_text("found")
    (top / "secret").write_text("secret")
    top.chmod(0o700)
    for one in (tmp_path, *tmp_path.parents[:2]):
        if one.is_relative_to("/tmp") and one != Path("/tmp"):
            one.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-P", "-c", REACH, str(top), str(UID)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "found ['a']", done.stderr
    assert sorted(os.listdir(top)) == ["a", "secret"]
