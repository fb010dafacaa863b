"""One gateway process for all tests of the tools."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_gateway import RealGateway


@pytest.fixture(scope="session")
def real_gateway() -> Iterator[RealGateway]:
    with tempfile.TemporaryDirectory(prefix="aar-") as directory, RealGateway(Path(directory)) as gateway:
        yield gateway
