"""What holds for every test: no network beyond this machine, no writing in the user's own directories."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# One thread of linear algebra, as in a sandbox: on small matrices more of them only wait for each other. Read
# when numpy is loaded, here and in whatever a test starts.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

# The same examples every time: a failure in one run is a failure in the next.
settings.register_profile("check", derandomize=True, deadline=None, database=None)
settings.load_profile("check")

_LOOPBACK = ("127.", "::1", "localhost")


@pytest.fixture(autouse=True, scope="session")
def _no_network() -> Iterator[None]:
    """Refuse sockets beyond loopback; Unix sockets and what a test starts as a process are not touched."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any, /) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(_LOOPBACK):
            raise RuntimeError(f"a test tried to reach {address}: tests run without a network")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_config_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reviewer keys and pins of the tests lie apart from the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))
        yield
