"""One launcher for all tests that start sandboxes, and how they say what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.backend import missing_backend
from aar.outside.sandbox.client import Launcher, LauncherClient, Output
from aar.outside.sandbox.spec import SandboxSpec


@pytest.fixture(scope="session")
def backend() -> None:
    """Skip, with the line to type, where no sandbox can run."""
    missing = missing_backend()
    if missing is not None:
        pytest.skip(missing)


@pytest.fixture(scope="session")
def launcher(backend: None) -> Iterator[Launcher]:
    with Launcher.spawn({"researcher", "probe"}, {"official-run", "bench"}) as launcher:
        yield launcher


@pytest.fixture(scope="session")
def client(launcher: Launcher) -> LauncherClient:
    """The supervisor's: researchers and probes."""
    return LauncherClient(launcher.sockets[0])


@pytest.fixture(scope="session")
def evaluator(launcher: Launcher) -> LauncherClient:
    """The evaluator's: official runs and the bench."""
    return LauncherClient(launcher.sockets[1])


@pytest.fixture(scope="session")
def python() -> Callable[..., SandboxSpec]:
    """A spec that runs a piece of Python as a probe, with small limits."""

    def build(code: str, **changes: Any) -> SandboxSpec:
        given = {
            "name": "test",
            "profile": "probe",
            "memory_mib": 256,
            "cpu_s": 20,
            "wall_s": 20.0,
            **changes,
        }
        return SandboxSpec(argv=(*sandbox_python(), "-c", code), **given)

    return build


@pytest.fixture(scope="session")
def run(client: LauncherClient, python: Callable[..., SandboxSpec]) -> Callable[..., Output]:
    """Run a piece of Python to its end."""

    def run_to_end(code: str, **changes: Any) -> Output:
        with client.start(python(code, **changes), stdin=b"") as running:
            return running.collect(timeout_s=25)

    return run_to_end
