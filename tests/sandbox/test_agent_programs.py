"""Agents in sandboxes: which file may be one, and that a sandbox sees the one that it was given, no other."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox import agent_programs
from aar.outside.sandbox.agent_programs import find_agent
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.doctor import attestation, doctor
from aar.outside.sandbox.researcher import researcher_spec
from aar.outside.sandbox.spec import MalformedSpec, SandboxRefused, SandboxSpec, SandboxUnavailable

AGENT = "claude-code"


def program(folder: Path, first: str = "#!/bin/sh", mode: int = 0o755) -> Path:
    path = folder / "claude"
    path.write_text(f"{first}\necho an agent\n", "utf-8")
    path.chmod(mode)
    return path


def test_an_agent_is_found_on_the_path_and_known_by_its_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_agent(AGENT)
    assert (found.path, found.sha256) == (str(path.resolve()), hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_link_to_an_agent_stands_for_the_program(tmp_path: Path) -> None:
    path = program(tmp_path)
    (tmp_path / "link").symlink_to(path)
    assert find_agent(AGENT, str(tmp_path / "link")).path == str(path.resolve())
    assert find_agent(AGENT, "/usr/bin/env").path == os.path.realpath("/usr/bin/env")


def test_an_agent_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="there is no claude on your PATH; install it, or name"):
        find_agent(AGENT)


@pytest.mark.parametrize("mode", [0o644, 0o700, 0o4755])
def test_an_agent_that_not_everybody_may_run_as_himself_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SandboxUnavailable, match="no program that everybody may run"):
        find_agent(AGENT, str(program(tmp_path, mode=mode)))


@pytest.mark.parametrize(
    ("first", "says"),
    [("#!/usr/bin/env node", "wants '/usr/bin/env node'"), ("// text", "is neither ELF nor a script")],
)
def test_an_agent_that_wants_what_no_sandbox_has_is_refused(tmp_path: Path, first: str, says: str) -> None:
    with pytest.raises(SandboxUnavailable, match=f"{says}.* name a program that stands alone"):
        find_agent(AGENT, str(program(tmp_path, first)))


def test_an_agent_wants_a_shell() -> None:
    with pytest.raises(MalformedSpec, match="a name, and a shell beside it"):
        SandboxSpec(name="x", profile="researcher", argv=("x",), agent=AGENT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("agents")
    (folder / "beside").write_text("not for a sandbox")
    program(folder)
    return folder


@pytest.fixture(scope="module")
def with_agent(backend: None, folder: Path) -> Iterator[LauncherClient]:
    with Launcher.spawn({"researcher"}, agents={AGENT: str(folder / "claude")}) as launcher:
        yield LauncherClient(launcher.sockets[0])


def spec(script: str, agent: str) -> SandboxSpec:
    argv = ("/usr/bin/bash", "-c", script)
    made = researcher_spec(name="agent", argv=argv, gateway_dir="", uid_slot=291, has_shell=True, agent=agent)
    return dataclasses.replace(made, gateway_dir=None)


@pytest.mark.sandbox
def test_a_sandbox_runs_its_agent_sees_nothing_beside_it_and_cannot_change_it(
    with_agent: LauncherClient,
) -> None:
    script = "ls -A /opt/agent; /opt/agent/claude-code; echo x >> /opt/agent/claude-code; rm -f /opt/agent/*"
    with with_agent.start(spec(f"{script}; /opt/agent/claude-code", AGENT), stdin=b"") as running:
        output = running.collect(timeout_s=60)
    assert output.stdout.decode().split("\n") == [AGENT, "an agent", "an agent", ""]
    assert output.stderr.count(b"Read-only file system") == 2


@pytest.mark.sandbox
def test_a_sandbox_that_was_given_none_has_none(with_agent: LauncherClient) -> None:
    with with_agent.start(spec("ls -A /opt", ""), stdin=b"") as running:
        assert b"agent" not in running.collect(timeout_s=60).stdout


@pytest.mark.sandbox
def test_nobody_gets_an_agent_that_the_launcher_was_not_started_with(with_agent: LauncherClient) -> None:
    with pytest.raises(SandboxRefused, match="not one of those that this launcher was started with"):
        with_agent.start(spec("true", "codex"), stdin=b"")


@pytest.mark.sandbox
@pytest.mark.slow
def test_the_doctor_holds_against_a_view_with_an_agent_and_attests_it(backend: None, folder: Path) -> None:
    agents = {AGENT: str(folder / "claude")}
    report = doctor(agents=agents)
    assert [probe.name for probe in report.probes if probe.fires_within] == []
    assert (report.verdict, report.detail) == ("ok", "")
    names = [probe.name for probe in report.probes]
    assert report.attestation == attestation(names, report.limits, agents=agents)
    assert report.attestation != attestation(names, report.limits, has_shell=True)


def test_a_program_that_may_be_run_and_not_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(*_words: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(agent_programs, "open", closed, raising=False)
    with pytest.raises(SandboxUnavailable, match="cannot be read .Permission denied.: its digest"):
        find_agent(AGENT, str(program(tmp_path)))
