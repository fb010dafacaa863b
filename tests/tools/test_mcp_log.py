"""The log of the MCP processes stays small, whatever a sandbox sends."""

from __future__ import annotations

import io
import logging

import pytest

pytest.importorskip("mcp", reason="comes with the extra llm")

from aar.llm.mcp_server import MAX_LOG_CHARACTERS, MAX_LOG_RECORDS, log_handler


def test_a_sandbox_fills_no_disk_with_complaints_about_it() -> None:
    written = io.StringIO()
    handler = log_handler(written)
    for _time in range(MAX_LOG_RECORDS + 9):
        handler.handle(logging.LogRecord("mcp", logging.ERROR, "f", 1, "bad: %s", ("x" * 10_000,), None))
    lines = written.getvalue().splitlines()
    assert len(lines) == MAX_LOG_RECORDS
    assert {len(one) for one in lines} == {MAX_LOG_CHARACTERS}
