"""Our sandbox for anybody's Inspect task: `Task(sandbox="aar")`, found by an entry point.

Each sample gets a researcher's sandbox with a shell and without a gateway. Before the first of a process the
doctor attacks that very sandbox, and nothing starts when an attack gets through; there is no other backend to
fall back to. Built-in tools (bash, python, text_editor) work in it as they are.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, overload

import anyio
import anyio.to_thread
from inspect_ai.util import (
    ExecResult,
    OutputLimitExceededError,
    SandboxEnvironment,
    SandboxEnvironmentLimits,
    SandboxUnavailableError,
    SandboxUserUnsupportedError,
    sandboxenv,
)
from pydantic import BaseModel, ConfigDict, Field

from aar.outside.sandbox.client import Launcher, LauncherClient
from aar.outside.sandbox.doctor import doctor
from aar.outside.sandbox.session import (
    AT_ONCE,
    MAX_OUTPUT_BYTES,
    FileRefused,
    FileTooLarge,
    Session,
    SessionEnded,
)
from aar.outside.sandbox.spec import SandboxSpec, SandboxUnavailable

T = TypeVar("T")

# Apart from the slots of a study's researchers, the doctor and `aar sandbox exec`.
_FIRST_SLOT, _SLOTS = 20_000, 20_000
_COULD_NOT_RUN = 126
# What the sandbox calls its one account.
_OURS = ("agent", "1000")
_FOR_EVER_S = 900_000.0


class AarSandboxConfig(BaseModel):
    """What one sample's sandbox may use; the rest is as for every researcher."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mib: int = Field(default=1024, ge=64, le=1 << 20)
    processes: int = Field(default=64, ge=4, le=1024)
    cpu_s: int = Field(default=86_400, ge=1, le=1_000_000)
    wall_s: float = Field(default=86_400.0, gt=0, le=1_000_000)

    def spec(self, number: int) -> SandboxSpec:
        """The sandbox of the sample with this number."""
        return SandboxSpec(
            name=f"inspect-{number}",
            profile="researcher",
            argv=("-",),
            uid_slot=_FIRST_SLOT + number % _SLOTS,
            memory_mib=self.memory_mib,
            processes=self.processes,
            cpu_s=self.cpu_s,
            wall_s=self.wall_s,
            has_shell=True,
        )


@dataclass(slots=True)
class _Machine:
    """The launcher of this process, once the doctor has let it start; it ends with the last task."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    is_sound: bool = False
    tasks: int = 0
    launcher: Launcher | None = None

    def enter_task(self) -> None:
        """Raise `SandboxUnavailable` with the reason where no sandbox holds here."""
        with self.lock:
            if not self.is_sound:
                check_sandbox_holds()
                self.is_sound = True
            self.tasks += 1

    def leave_task(self) -> None:
        with self.lock:
            self.tasks = max(self.tasks - 1, 0)
            if self.tasks == 0 and self.launcher is not None:
                self.launcher.close()
                self.launcher = None

    def open(self, config: AarSandboxConfig) -> Session:
        """Raise `SandboxError`."""
        with self.lock:
            if not self.is_sound:
                check_sandbox_holds()
                self.is_sound = True
            if self.launcher is None:
                self.launcher = Launcher.spawn({"researcher"})
            client = LauncherClient(self.launcher.sockets[0])
        return Session.open(client, config.spec(next(self.numbers)))


_machine = _Machine()


def check_sandbox_holds() -> None:
    """Attack the sandbox that samples will get; raise `SandboxUnavailable` unless every attack is stopped."""
    report = doctor(has_shell=True)
    if report.verdict != "ok":
        through = [probe.name for probe in report.probes if probe.status in ("leak", "unproven")]
        raise SandboxUnavailable(
            f"no sandbox of aar's on this machine ({report.verdict}): "
            f"{report.detail or ', '.join(through)}; `aar doctor --shell` says more"
        )


@sandboxenv(name="aar")
class AarSandboxEnvironment(SandboxEnvironment):
    """One session as Inspect wants it; `session` may come from anywhere."""

    most_output_bytes = MAX_OUTPUT_BYTES

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self._threads = anyio.CapacityLimiter(AT_ONCE)

    async def exec(
        self,
        cmd: list[str],
        input: str | bytes | None = None,
        cwd: str | None = None,
        env: dict[str, str] | None = None,
        user: str | None = None,
        timeout: int | None = None,
        timeout_retry: bool = True,
        concurrency: bool = True,
    ) -> ExecResult[str]:
        """Run a command; raises as Inspect's interface has it, for another user than the sandbox's own too.

        One that is cancelled is ended in the sandbox, with all that it started.
        """
        if user is not None and user not in _OURS:
            raise SandboxUserUnsupportedError(
                f"no user {user!r} in an aar sandbox: there is only {_OURS[0]!r}"
            )
        limit = min(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE, self.most_output_bytes)
        given = input.encode() if isinstance(input, str) else input or b""
        stop = threading.Event()
        try:
            result = await self._in_thread(
                lambda: self.session.exec(
                    cmd,
                    stdin=given,
                    cwd=cwd or ".",
                    env=env,
                    timeout_s=float(timeout) if timeout else _FOR_EVER_S,
                    output_bytes=limit,
                    stop=stop,
                )
            )
        finally:
            stop.set()
        stdout, stderr = (one.decode(errors="replace") for one in (result.stdout, result.stderr))
        if result.reason == "sandbox-died":
            raise SandboxUnavailableError(
                "the sandbox has ended: a limit, or one of its own commands, ended it"
            )
        if result.truncated:
            raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, stdout + stderr)
        if result.reason == "wall":
            raise TimeoutError(f"{cmd[0]!r} was still running after {timeout} s, and was killed")
        if result.returncode == _COULD_NOT_RUN and not stdout and stderr.endswith("Permission denied\n"):
            raise PermissionError(errno.EACCES, "Permission denied", cmd[0])
        return ExecResult(result.returncode == 0, result.returncode, stdout, stderr)

    async def write_file(self, file: str, contents: str | bytes) -> None:
        """Write a file and the directories that it is in."""
        data = contents.encode() if isinstance(contents, str) else contents
        with _as_inspect_says(file):
            await self._in_thread(lambda: self.session.write_file(file, data))

    @overload
    async def read_file(self, file: str, text: Literal[True] = True) -> str: ...

    @overload
    async def read_file(self, file: str, text: Literal[False]) -> bytes: ...

    async def read_file(self, file: str, text: bool = True) -> str | bytes:
        """The content of a file; links lead where they do in the sandbox."""
        limit = SandboxEnvironmentLimits.MAX_READ_FILE_SIZE
        with _as_inspect_says(file):
            data = await self._in_thread(lambda: self.session.read_file(file, max_bytes=limit))
        return data.decode() if text else data

    def default_polling_interval(self) -> float:
        """Seconds; a look is a local round trip."""
        return 0.2

    async def _in_thread(self, call: Callable[[], T]) -> T:
        answer: T = await anyio.to_thread.run_sync(call, abandon_on_cancel=True, limiter=self._threads)
        return answer

    @classmethod
    def default_concurrency(cls) -> int | None:
        """Half of what one launcher takes."""
        return 64

    @classmethod
    async def task_init(cls, task_name: str, config: BaseModel | str | None) -> None:
        """Attack the sandbox, once in a process. Raises `SandboxUnavailable` when it does not hold."""
        await anyio.to_thread.run_sync(_machine.enter_task)

    @classmethod
    async def sample_init(
        cls, task_name: str, config: BaseModel | str | None, metadata: dict[str, str]
    ) -> dict[str, SandboxEnvironment]:
        """Start a sandbox of its own."""
        if isinstance(config, str):
            raise SandboxUnavailable(
                f'configuration file {config!r}: want sandbox="aar" or an AarSandboxConfig; files come with '
                "the sample"
            )
        wanted = config if isinstance(config, AarSandboxConfig) else AarSandboxConfig()
        return {"default": cls(await anyio.to_thread.run_sync(lambda: _machine.open(wanted)))}

    @classmethod
    async def sample_cleanup(
        cls,
        task_name: str,
        config: BaseModel | str | None,
        environments: dict[str, SandboxEnvironment],
        interrupted: bool,
    ) -> None:
        """End the sandboxes and everything in them, also when the sample was cut off."""
        with anyio.CancelScope(shield=True):
            for environment in environments.values():
                await anyio.to_thread.run_sync(environment.as_type(AarSandboxEnvironment).session.close)

    @classmethod
    async def task_cleanup(cls, task_name: str, config: BaseModel | str | None, cleanup: bool) -> None:
        """With the last task of this process the launcher ends, and with it whatever still runs."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_machine.leave_task)

    @classmethod
    def config_deserialize(cls, config: dict[str, Any]) -> BaseModel:
        """The configuration of a log; unknown names are refused."""
        return AarSandboxConfig(**config)


@contextlib.contextmanager
def _as_inspect_says(file: str) -> Iterator[None]:
    """Errors of a session by the names that Inspect's interface has for them."""
    try:
        yield
    except FileTooLarge:
        raise OutputLimitExceededError(SandboxEnvironmentLimits.MAX_READ_FILE_SIZE_STR, None) from None
    except FileRefused as error:
        raise PermissionError(errno.EACCES, str(error), file) from None
    except SessionEnded as error:
        raise SandboxUnavailableError(f"{error}") from error
