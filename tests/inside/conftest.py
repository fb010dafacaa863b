"""A gateway of a test's own on a socket of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from inside.gateway_double import GatewayDouble


@pytest.fixture
def gateway() -> Iterator[GatewayDouble]:
    # A Unix socket's path has room for about a hundred characters: pytest's own directories are longer.
    with tempfile.TemporaryDirectory(prefix="gw-") as directory:
        double = GatewayDouble(Path(directory) / "gw.sock")
        yield double
        double.close()
