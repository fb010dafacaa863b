"""A study's data set: read once and whole, kept for the evaluator's uid alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from aar.lab.problems import JSONL_FILES
from aar.outside import study_data
from aar.outside.study_data import DataUnusable, keep_data, read_data
from aar.outside.study_directory import service_uids


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in JSONL_FILES:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


@pytest.mark.parametrize("name", JSONL_FILES)
def test_what_is_kept_is_what_was_read(directory: Path, tmp_path: Path, name: str) -> None:
    files = read_data(directory)
    assert files[name] == name.encode()
    keep_data(tmp_path / "kept", files, 0)
    assert read_data(tmp_path / "kept") == files


@pytest.mark.parametrize("name", JSONL_FILES)
def test_a_file_that_is_not_there_is_named(directory: Path, name: str) -> None:
    (directory / name).unlink()
    with pytest.raises(
        DataUnusable, match=f"{name} cannot be read: No such file.*; a data set is train_label"
    ):
        read_data(directory)


def test_a_pipe_or_a_directory_in_the_place_of_a_file_is_refused_at_once(directory: Path) -> None:
    path = directory / "test.jsonl"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataUnusable, match="test.jsonl is not a file"):
        read_data(directory)
    path.unlink()
    path.mkdir()
    with pytest.raises(DataUnusable, match="test.jsonl is not a file|test.jsonl cannot be read"):
        read_data(directory)


def test_the_files_together_are_not_too_large(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sum(map(len, JSONL_FILES))
    monkeypatch.setattr(study_data, "MAX_DATA_BYTES", whole)
    read_data(directory)
    monkeypatch.setattr(study_data, "MAX_DATA_BYTES", whole - 1)
    with pytest.raises(DataUnusable, match=f"more than {whole - 1} bytes; take fewer rows"):
        read_data(directory)


def test_nobody_but_the_evaluator_may_read_what_is_kept_nor_may_it_write(directory: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("an ordinary user has one identity: the mount view is the wall")
    uids = service_uids()
    with TemporaryDirectory() as reachable:
        Path(reachable).chmod(0o755)
        place = Path(reachable) / "kept"
        keep_data(place, read_data(directory), uids.evaluator)
        for name in JSONL_FILES:
            with acting_as(uids.evaluator):
                assert (place / name).read_bytes() == name.encode()
                with pytest.raises(PermissionError):
                    (place / name).write_bytes(b"another label")
                with pytest.raises(PermissionError):
                    (place / name).unlink()
            for other in (uids.gateway, uids.witness, 65_534):
                with acting_as(other), pytest.raises(PermissionError):
                    (place / name).read_bytes()


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
