"""Specimens for the laboratory: a small forged study that holds, and a long one with full bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from aar.outside.redteam.specimen import Specimen, read_specimen
from forge import LOG, WITNESS, Forge, honest, with_comments


def specimen_of(forge: Forge, directory: Path) -> Specimen:
    """A forged study, written down and read back, with every key there is."""
    return read_specimen(forge.write(directory), [LOG, WITNESS, *forge.keys.values()])


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return specimen_of(honest(), tmp_path_factory.mktemp("small") / "study")


@pytest.fixture(scope="session")
def long(tmp_path_factory: pytest.TempPathFactory) -> Specimen:
    return specimen_of(with_comments(560), tmp_path_factory.mktemp("long") / "study")
