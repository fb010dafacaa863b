"""Our sandbox as Inspect's: its own conformance tests, its built-in tools, and what it refuses."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai", reason="the extra `llm` is not installed")

import anyio
from inspect_ai import Task
from inspect_ai import eval as evaluate
from inspect_ai.agent import react
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog
from inspect_ai.model import ChatMessageTool, ModelOutput, ModelUsage, get_model
from inspect_ai.tool import bash, python, text_editor
from inspect_ai.util import SandboxEnvironmentSpec, SandboxUnavailableError, SandboxUserUnsupportedError
from inspect_ai.util._sandbox.self_check import *  # noqa: F403
from pydantic import ValidationError

from aar.llm import inspect_provider
from aar.llm.inspect_provider import AarSandboxConfig, AarSandboxEnvironment, check_sandbox_holds
from aar.outside.sandbox import client as clients
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.doctor import DoctorReport, ProbeResult
from aar.outside.sandbox.session import Session
from aar.outside.sandbox.spec import SandboxUnavailable

pytestmark = [pytest.mark.anyio, pytest.mark.sandbox, pytest.mark.slow]

ROOT = Path(clients.__file__).parents[4]
# There is one user in there, and never root.
CANNOT = {"test_exec_as_user": SandboxUserUnsupportedError}

_numbers = itertools.count(100)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def client() -> Iterator[LauncherClient]:
    missing = missing_backend()
    if missing is not None:
        pytest.skip(missing)
    with Launcher.spawn({"researcher"}) as launcher:
        yield LauncherClient(launcher.sockets[0])


@pytest.fixture(scope="module")
def session(client: LauncherClient) -> Iterator[Session]:
    with Session.open(client, AarSandboxConfig().spec(next(_numbers))) as session:
        yield session


@pytest.fixture
async def sandbox_env(session: Session, request: pytest.FixtureRequest) -> AarSandboxEnvironment:
    """As Inspect's conformance tests want it."""
    cannot = CANNOT.get(getattr(request.node, "originalname", ""))
    if cannot is not None:
        request.applymarker(pytest.mark.xfail(strict=True, raises=cannot))
    return AarSandboxEnvironment(session)


async def test_a_command_that_is_cancelled_is_ended_in_there(sandbox_env: AarSandboxEnvironment) -> None:
    with anyio.move_on_after(1.0):
        await sandbox_env.exec(["sh", "-c", "sleep 600; : unwanted-by-inspect"])
    for _ in range(100):
        if not (await sandbox_env.exec(["pgrep", "-f", "[u]nwanted-by-inspect"])).success:
            return
        await anyio.sleep(0.1)
    pytest.fail("it still runs")


@pytest.mark.parametrize("path", ["zero", "pipe"])
async def test_what_is_no_file_is_not_waited_for(sandbox_env: AarSandboxEnvironment, path: str) -> None:
    await sandbox_env.exec(["sh", "-c", "rm -f zero pipe; ln -s /dev/zero zero; mkfifo pipe"])
    with anyio.fail_after(30):
        with pytest.raises(PermissionError, match="regular file"):
            await sandbox_env.read_file(path)


async def test_a_sandbox_that_a_command_ends_is_unavailable_from_then_on(client: LauncherClient) -> None:
    session = Session.open(client, AarSandboxConfig().spec(next(_numbers)))
    environment = AarSandboxEnvironment(session)
    with pytest.raises(SandboxUnavailableError):
        await environment.exec(["sh", "-c", "kill -9 2; sleep 60"])
    with pytest.raises(SandboxUnavailableError):
        await environment.read_file("/etc/passwd")
    await AarSandboxEnvironment.sample_cleanup("t", None, {"default": environment}, interrupted=True)


def called(tool: str, **arguments: Any) -> ModelOutput:
    output = ModelOutput.for_tool_call("mockllm/model", tool, arguments)
    # Without it Inspect counts tokens, with a vocabulary that it downloads.
    output.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
    return output


CALLS = (
    called("bash", command="echo $HOME; seq 4 | awk '{ s += $1 } END { print s }'; ls /; env"),
    called("python", code="import numpy; print(numpy.arange(4).sum())"),
    called("text_editor", command="create", path="/workspace/a.py", file_text="x = 1\n"),
    called("text_editor", command="str_replace", path="/workspace/a.py", old_str="x = 1", new_str="x = 2"),
    called("bash", command="cat /workspace/a.py /workspace/given.txt"),
    called("submit", answer="done"),
)


@pytest.fixture(scope="module")
def log(client: LauncherClient, tmp_path_factory: pytest.TempPathFactory) -> EvalLog:
    """A whole task of Inspect's, with its tools as they are."""
    task = Task(
        dataset=[Sample(input="go", files={"given.txt": "handed in"})],
        solver=react(tools=[bash(timeout=60), python(timeout=60), text_editor(timeout=120)]),
        sandbox="aar",
    )
    model = get_model("mockllm/model", custom_outputs=CALLS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANTHROPIC_API_KEY", "canary-of-the-provider")
        folder = str(tmp_path_factory.mktemp("logs"))
        (log,) = evaluate(task, model=model, display="none", log_dir=folder, score=False)
    return log


def test_the_built_in_tools_work_in_it_unchanged_and_without_a_download(log: EvalLog) -> None:
    assert log.status == "success", log.error
    assert log.samples is not None
    told = [one for one in log.samples[0].messages if isinstance(one, ChatMessageTool)]
    assert [one.error for one in told] == [None] * len(told)
    shell, numbers, made, changed, shown = (one.text for one in told[:5])
    assert shell.startswith("/workspace\n10\nbin\ndev\n")
    assert "canary" not in shell
    assert numbers.strip() == "6"
    assert "created" in made
    assert "x = 2" in changed
    assert shown == "x = 2\nhanded in"


def test_the_launcher_ends_with_the_last_task(log: EvalLog) -> None:
    assert inspect_provider._machine.tasks == 0
    assert inspect_provider._machine.launcher is None


def test_inspect_finds_it_where_both_are_installed(tmp_path: Path) -> None:
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    installed = tmp_path / "aar-0.1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: aar\nVersion: 0.1.0\n")
    lines = [f"{name} = {module}" for name, module in points["inspect_ai"].items()]
    (installed / "entry_points.txt").write_text("\n".join(["[inspect_ai]", *lines, ""]))
    code = (
        "from inspect_ai.util._sandbox.registry import registry_find_sandboxenv as find; print(find('aar'))"
    )
    told = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={"PYTHONPATH": f"{ROOT / 'src'}:{tmp_path}", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "AarSandboxEnvironment" in told.stdout, told.stderr


def test_no_sample_starts_where_an_attack_gets_through(monkeypatch: pytest.MonkeyPatch) -> None:
    leak = ProbeResult("read-labels", "labels", True, True, ("mount view",), "leak", "there they are")
    report = DoctorReport("leak", (leak,), "bubblewrap", {}, {})
    monkeypatch.setattr(inspect_provider, "doctor", lambda **_: report)
    monkeypatch.setattr(inspect_provider, "_machine", inspect_provider._Machine())
    with pytest.raises(SandboxUnavailable, match=r"leak.*read-labels"):
        anyio.run(AarSandboxEnvironment.task_init, "t", None)
    with pytest.raises(SandboxUnavailable, match="read-labels"):
        anyio.run(AarSandboxEnvironment.sample_init, "t", None, {})
    assert inspect_provider._machine.launcher is None


def test_without_a_backend_the_line_to_type_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "aar.outside.sandbox.backend.missing_backend", lambda: "type `sudo apt-get install bubblewrap`"
    )
    with pytest.raises(SandboxUnavailable, match="apt-get install bubblewrap"):
        check_sandbox_holds()


def test_a_configuration_comes_back_from_a_log_and_unknown_names_are_refused() -> None:
    wanted = AarSandboxConfig(memory_mib=256)
    told = SandboxEnvironmentSpec("aar", wanted).model_dump()
    assert AarSandboxEnvironment.config_deserialize(told["config"] or wanted.model_dump()) == wanted
    with pytest.raises(ValidationError):
        AarSandboxEnvironment.config_deserialize({"network": True})
    with pytest.raises(SandboxUnavailable, match=r"compose\.yaml"):
        anyio.run(AarSandboxEnvironment.sample_init, "t", "compose.yaml", {})


def test_the_task_of_the_page_has_this_sandbox() -> None:
    page = (ROOT / "docs" / "sandbox.md").read_text("utf-8")
    (block,) = re.findall(r"^```python inspect\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["count"]().sandbox == SandboxEnvironmentSpec("aar")
