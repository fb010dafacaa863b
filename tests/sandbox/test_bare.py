"""The backend bare: researchers and nothing else, and what they leave behind ends with the last of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox import bare
from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.choice import missing_backend, prepared
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.spec import SandboxRefused, SandboxSpec, SandboxUnavailable

pytestmark = pytest.mark.skipif(bare.missing() is not None, reason="no setpriv here")


@pytest.fixture(scope="module")
def client() -> Iterator[LauncherClient]:
    with Launcher.spawn(backend="bare") as launcher:
        yield LauncherClient(launcher.sockets[0])


def spec(code: str, **changes: object) -> SandboxSpec:
    given = {"name": "bare", "profile": "researcher", "cpu_s": 20, "wall_s": 20.0, **changes}
    return SandboxSpec(argv=(*sandbox_python(), "-c", code), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("profile", ["official-run", "bench", "probe"])
def test_no_official_run_and_no_bench_without_a_wall(client: LauncherClient, profile: str) -> None:
    with pytest.raises(SandboxRefused, match=f"profile '{profile}' wants a sandbox"):
        client.start(spec("pass", profile=profile), stdin=b"")


def test_no_shell_for_a_model_without_a_wall(client: LauncherClient) -> None:
    with pytest.raises(SandboxRefused, match="a shell for a language model wants a sandbox"):
        client.start(spec("pass", has_shell=True), stdin=b"")


def test_a_program_ends_with_its_own_status_and_a_signal_as_a_shell_would_tell(
    client: LauncherClient,
) -> None:
    for code, status in (("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137)):
        with client.start(spec(code), stdin=b"") as running:
            ended = running.collect(timeout_s=20).exit
        assert (ended.reason, ended.code) == ("exited", status)


def test_clocks_and_processor_time_end_it_as_they_end_a_sandbox(client: LauncherClient) -> None:
    for code, limits, reason in (
        ("import time; time.sleep(30)", {"wall_s": 0.5}, "wall"),
        ("while True: pass", {"cpu_s": 1}, "cpu"),
    ):
        with client.start(spec(code, **limits), stdin=b"") as running:
            assert running.collect(timeout_s=20).exit.reason == reason


def test_files_are_handed_in_below_a_directory_of_its_own_that_goes_with_it(client: LauncherClient) -> None:
    code = "import sys; print(sys.argv[1], open(sys.argv[1]).read())"
    told = SandboxSpec(
        name="files",
        profile="researcher",
        argv=(*sandbox_python(), "-c", code, "/brief/a.txt"),
        files={"/brief/a.txt": b"inside"},
    )
    with client.start(told, stdin=b"") as running:
        path, content = running.collect(timeout_s=20).stdout.decode().split()
    assert content == "inside"
    assert path.endswith("/brief/a.txt")
    assert not Path(path).exists()


def test_a_daemon_that_is_left_dies_with_the_last_program(client: LauncherClient) -> None:
    code = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.close(1); os.close(2)
        time.sleep(60)
    os._exit(0)
os.wait()
print(os.getpid())
"""
    with client.start(spec(code), stdin=b"") as running:
        running.collect(timeout_s=20)
    until = time.monotonic() + 5
    while time.monotonic() < until and _sleepers(code):
        time.sleep(0.05)
    assert not _sleepers(code)


def _sleepers(code: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if code.encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_what_a_killed_launcher_left_is_swept_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, alive = (tmp_path / f"aar-bare-{pid}-1-x" for pid in (ended.pid, os.getpid()))
    left.mkdir()
    alive.mkdir()
    # Another user's, to trip over.
    (tmp_path / f"aar-bare-{ended.pid}-2-x").symlink_to(tmp_path / "nowhere")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    prepared("bare")
    assert (left.exists(), alive.exists()) == (False, True)


def test_nothing_stands_in_for_a_backend_that_there_is_not() -> None:
    assert "there is no backend 'docker-in-docker'" in (missing_backend("docker-in-docker") or "")
    with pytest.raises(SandboxUnavailable, match="there is no backend"):
        prepared("docker-in-docker")
