"""Machines on which no sandbox can be: refused with the reason and what to type, exit 3, and no traceback."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import nacl
import pytest

from aar.cli.main import EXIT_NO_BACKEND, main
from aar.outside.sandbox import backend, runtime
from aar.outside.sandbox.argv import PRLIMIT
from aar.outside.sandbox.identity import slot_uid
from aar.outside.study_directory import MARKER
from small_study import SOURCE, Commands


def refusal(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that is said, at the exit status that says so."""
    assert main(words) == EXIT_NO_BACKEND
    told = capsys.readouterr()
    assert told.out == ""
    (line,) = told.err.splitlines()
    assert line.startswith("aar: ")
    return line


@pytest.mark.parametrize("name", ["bubblewrap", "container"])
def test_without_a_filter_for_this_architecture_there_is_no_sandbox(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    line = refusal(capsys, "doctor", "--backend", name)
    assert "no system-call filter for 'riscv64': want one of x86_64, aarch64; run on such a machine" in line


def stand_in(path: Path, options: str, mode: int) -> Path:
    """A program in the place of bubblewrap that knows these options."""
    path.write_text(f"#!/bin/sh\necho usage: {options}\n")
    path.chmod(mode)
    return path


def test_a_set_uid_bubblewrap_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    every = " ".join(backend._NEEDED_FEATURES)
    bwrap = stand_in(tmp_path / "bwrap", every, 0o4755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(bwrap))
    line = refusal(capsys, "doctor")
    assert f"{bwrap} is set-uid, which is not needed here: type `sudo chmod u-s,g-s {bwrap}`" in line


def test_a_bubblewrap_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    bwrap = stand_in(tmp_path / "bwrap", "--args --perms --size --clearenv --json-status-fd", 0o755)
    monkeypatch.setattr(shutil, "which", lambda *_, **__: str(bwrap))
    line = refusal(capsys, "run", "--dir", str(tmp_path / "study"))
    assert "is too old, it lacks --add-seccomp-fd: install bubblewrap 0.6 or later" in line
    assert not (tmp_path / "study" / "record" / "checkpoint").exists()


@pytest.mark.skipif(slot_uid(0) is None, reason="only root gives sandboxes ids of their own")
@pytest.mark.parametrize("name", ["bubblewrap", "container"])
def test_a_runtime_that_the_sandboxes_ids_cannot_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str
) -> None:
    monkeypatch.setattr("aar.outside.sandbox.container.find_runtime", lambda: "/usr/sbin/runc")
    closed = tmp_path / "python3.11"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(runtime, "_stdlib", lambda: closed)
    line = refusal(capsys, "doctor", "--backend", name)
    assert f"to which {closed} is closed (a umask of 077?); type: chmod -R go+rX {closed}" in line


@pytest.mark.skipif(slot_uid(0) is None, reason="only root gives sandboxes ids of their own")
@pytest.mark.sandbox
def test_a_runtime_below_a_closed_home_is_read_all_the_same(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    shutil.copytree(SOURCE / "aar", home / "src" / "aar", ignore=shutil.ignore_patterns("__pycache__"))
    home.chmod(0o700)
    words = [sys.executable, "-P", "-m", "aar", "sandbox", "exec", "--", "python3", "-c"]
    done = subprocess.run(
        [*words, "import aar; print(aar.__file__)"],
        env={"PYTHONPATH": str(home / "src"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "/opt/aar/aar/__init__.py\n"), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="to become a user whose kernel gives no namespaces")
@pytest.mark.sandbox
def test_a_kernel_without_user_namespaces_is_refused_with_the_setting_to_change() -> None:
    # The setting holds below the namespace that it is made in: nobody else's is changed.
    code = "echo 0 >/proc/sys/user/max_user_namespaces; exec /usr/bin/python3 -P -m aar doctor"
    packages = Path(nacl.__file__).parents[1]
    done = subprocess.run(
        ["setpriv", "--reuid=4242", "--regid=4242", "--clear-groups", "unshare", "-Ur", "sh", "-c", code],
        env={"PYTHONPATH": f"{SOURCE}:{packages}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        check=False,
    )
    if "No module named" in done.stderr or "cannot import" in done.stderr:
        pytest.skip("another user's /usr/bin/python3 cannot read our packages here")
    assert done.returncode == EXIT_NO_BACKEND, done.stderr
    assert done.stderr == (
        "aar: no sandbox: user namespaces are off: type `sudo sysctl -w user.max_user_namespaces=10000`\n"
    )


@pytest.mark.parametrize("below", ["lab", "inside/mine"])
def test_a_study_within_what_sandboxes_read_is_refused(
    capsys: pytest.CaptureFixture[str], below: str
) -> None:
    place = runtime.package_root() / below / "study-of-a-test"
    line = refusal(capsys, "run", "--dir", str(place))
    assert f"every sandbox reads {runtime.package_root() / below.split('/')[0]}" in line
    assert "name a directory apart from aar, its Python and its packages" in line
    assert not place.exists()


def test_a_study_that_holds_what_sandboxes_read_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inside = tmp_path / "study" / "venv" / "lib"
    monkeypatch.setattr(runtime, "_stdlib", lambda: inside)
    line = refusal(capsys, "run", "--dir", str(tmp_path / "study"))
    assert f"every sandbox reads {inside}" in line


def test_a_study_that_is_reached_by_a_link_is_where_the_link_leads(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(runtime.package_root() / "lab")
    line = refusal(capsys, "run", "--dir", str(tmp_path / "link" / "study-of-a-test"))
    assert f"every sandbox reads {runtime.package_root() / 'lab'}" in line


def test_a_study_among_the_files_of_another_is_refused(
    capsys: pytest.CaptureFixture[str], commands: Commands
) -> None:
    outer = commands.directory / "outer"
    outer.mkdir()
    (outer / MARKER).write_text("{}")
    line = refusal(capsys, "run", "--dir", str(outer / "record" / "inner"))
    assert f"{outer} is a study, and this one would lie among its files" in line


def test_without_prlimit_no_sandbox_can_hold_a_limit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    there = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: path != PRLIMIT and there(path))
    line = refusal(capsys, "run", "--dir", str(tmp_path / "study"))
    assert f"no {PRLIMIT}: type `sudo apt-get install util-linux`" in line
