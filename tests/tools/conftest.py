"""One gateway process for all tests of the tools, with MCP beside it where the extra llm is installed."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from real_gateway import RESEARCHERS, RealGateway


@pytest.fixture(scope="session")
def real_gateway() -> Iterator[RealGateway]:
    over_mcp = RESEARCHERS if importlib.util.find_spec("mcp") else ()
    with (
        tempfile.TemporaryDirectory(prefix="aar-") as directory,
        RealGateway(Path(directory), over_mcp=over_mcp) as gateway,
    ):
        yield gateway
