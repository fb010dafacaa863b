"""Fixtures of the tests with other people's implementations."""

from __future__ import annotations

import pytest

from programs import Sumdb, build_sumdb


@pytest.fixture(scope="session")
def sumdb(tmp_path_factory: pytest.TempPathFactory) -> Sumdb:
    """Go's golang.org/x/mod/sumdb behind our driver."""
    return build_sumdb(tmp_path_factory.mktemp("sumdb"))
