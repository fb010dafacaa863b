"""The view with a shell: what is in it, that it runs, and that no attack gains by it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aar.outside.sandbox import client as clients
from aar.outside.sandbox import shell
from aar.outside.sandbox.bubblewrap import Bubblewrap
from aar.outside.sandbox.client import LauncherClient, Output
from aar.outside.sandbox.doctor import attestation, doctor
from aar.outside.sandbox.runtime import layout_for
from aar.outside.sandbox.shell import SHELL_PROGRAMS, is_plain_program, with_shell
from aar.outside.sandbox.spec import MalformedSpec, SandboxRefused, SandboxSpec, SandboxUnavailable

pytestmark = pytest.mark.sandbox

SPEAK_TO_A_NETWORK = {"curl", "wget", "ssh", "scp", "nc", "telnet", "rsync", "git", "openssl", "socat", "ftp"}
RUN_AS_SOMEONE_ELSE = {"su", "sudo", "mount", "umount", "passwd", "newgrp", "chsh", "chfn", "gpasswd", "ping"}
INTERPRETERS = {"perl", "python3", "ruby", "lua", "tclsh", "node", "gdb", "gcc", "cc", "make", "ld", "vim"}


def run(client: LauncherClient, script: str) -> Output:
    spec = SandboxSpec(
        name="shell", profile="researcher", argv=("/usr/bin/bash", "-c", script), has_shell=True, uid_slot=290
    )
    with client.start(spec, stdin=b"") as running:
        return running.collect(timeout_s=60)


def test_the_doctor_holds_against_it_and_attests_another_wall(backend: None) -> None:
    report = doctor(has_shell=True)
    assert [probe for probe in report.probes if probe.fires_within] == []
    assert (report.verdict, report.detail) == ("ok", "")
    names = [probe.name for probe in report.probes]
    assert report.attestation == attestation(names, report.limits, has_shell=True)
    assert report.attestation != attestation(names, report.limits)


def test_the_view_holds_programs_of_the_list_and_room_in_var_tmp_and_no_more(client: LauncherClient) -> None:
    script = "for at in / /usr /var /var/tmp /usr/bin; do ls -A $at | tr '\\n' ' '; echo; done"
    output = run(client, f"{script}; touch /var/tmp/x /usr/bin/y")
    root, usr, var, room, found = (set(line.split()) for line in output.stdout.decode().splitlines())
    assert root == {"bin", "dev", "etc", "lib", "lib64", "opt", "proc", "tmp", "usr", "var", "workspace"}
    assert (usr, var, room) == ({"bin", "lib", "lib64"}, {"tmp"}, set())
    assert {"bash", "sh", "ls", "grep", "sed", "awk", "find", "diff", "tar", "gzip", "prlimit"} <= found
    assert found <= {*SHELL_PROGRAMS, "prlimit"}
    assert output.stderr.count(b"\n") == 1
    assert b"/usr/bin/y" in output.stderr


def test_every_program_finds_its_libraries(client: LauncherClient) -> None:
    script = """
for program in /usr/bin/*; do
    read -rn 4 magic < $program
    [ "$magic" = $'\\x7fELF' ] || continue
    /lib64/ld-linux-*.so.* --list $program > /tmp/list 2>&1 || { echo $program; cat /tmp/list; }
    grep -H 'not found' /tmp/list
done
"""
    output = run(client, script)
    assert (output.stdout, output.stderr, output.exit.reason) == (b"", b"", "exited")


def test_the_list_has_nothing_for_a_network_or_another_user_and_no_interpreter() -> None:
    assert set(SHELL_PROGRAMS).isdisjoint(SPEAK_TO_A_NETWORK | RUN_AS_SOMEONE_ELSE | INTERPRETERS)


def test_a_program_that_runs_as_its_owner_never_gets_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bash", "sh", "ls", "cat", "tar"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod({"ls": 0o4755, "cat": 0o2755, "tar": 0o750}.get(name, 0o755))
    (tmp_path / "grep").mkdir()
    monkeypatch.setattr(shell, "_FOLDER", tmp_path)
    ours = with_shell(layout_for("researcher")).binds[len(layout_for("researcher").binds) :]
    assert [Path(bind.dest).name for bind in ours] == ["bash", "sh"]


def test_without_bash_there_is_a_line_to_type_and_everything_else_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell, "_FOLDER", tmp_path)
    with pytest.raises(SandboxUnavailable, match="apt-get install bash"):
        with_shell(layout_for("researcher"))
    nothing = dict.fromkeys(field.name for field in dataclasses.fields(Bubblewrap))
    without = Bubblewrap(**{**nothing, "layouts": {("researcher", False): layout_for("researcher")}})
    spec = SandboxSpec(name="x", profile="researcher", argv=("bash",))
    assert without._layout(spec, 0, []) == layout_for("researcher")
    shelled = SandboxSpec(name="x", profile="researcher", argv=("bash",), has_shell=True)
    with pytest.raises(SandboxRefused, match="apt-get install bash"):
        without._layout(shelled, 0, [])


@pytest.mark.parametrize("profile", ["official-run", "bench"])
def test_neither_official_runs_nor_the_bench_have_one(profile: str) -> None:
    with pytest.raises(MalformedSpec, match="shell"):
        SandboxSpec(name="x", profile=profile, argv=("bash",), has_shell=True)  # type: ignore[arg-type]


def test_a_plain_program_is_a_file_that_all_may_run() -> None:
    assert is_plain_program(os.path.realpath("/usr/bin/env"))
    assert not is_plain_program("/usr/bin")
    assert not is_plain_program("/usr/bin/no-such-program")


def test_sandbox_exec_opens_it_on_request_alone(backend: None) -> None:
    def execute(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "aar", "sandbox", "exec", *words],
            capture_output=True,
            text=True,
            env={"PYTHONPATH": str(Path(clients.__file__).parents[3]), "PATH": os.environ["PATH"]},
            timeout=60,
            check=False,
        )

    told = execute("--shell", "--", "bash", "-c", "seq 3 | awk '{ s += $1 } END { print s }'")
    assert (told.stdout, told.returncode) == ("6\n", 0)
    assert execute("--", "bash", "-c", "true").returncode == 127
