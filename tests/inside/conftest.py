"""A gateway of a test's own on a socket of its own, and one thread of linear algebra."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits

from inside.gateway_double import GatewayDouble


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    """As in a sandbox: on small matrices more threads only wait for each other."""
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            patch.setenv(name, "1")
        yield


@pytest.fixture
def gateway() -> Iterator[GatewayDouble]:
    # A Unix socket's path has room for about a hundred characters: pytest's own directories are longer.
    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        double = GatewayDouble(Path(directory) / "gw.sock")
        yield double
        double.close()
