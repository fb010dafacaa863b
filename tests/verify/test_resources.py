"""Files of a directory that nobody vouches for: what is read, and what is said of all else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from aar.verify.resources import open_plain, plain_bytes, read_plain, walk


def test_a_plain_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    assert plain_bytes(tmp_path, "file", 5) == b"bytes"
    assert plain_bytes(tmp_path, "file", 4) == "5 bytes, at most 4"
    assert plain_bytes(tmp_path, "absent", 4) == "No such file or directory"


@pytest.mark.timeout(20)
@pytest.mark.parametrize("what", ["link", "loop", "pipe", "folder", "device"])
def test_anything_else_is_said_to_be_no_plain_file(tmp_path: Path, what: str) -> None:
    odd = tmp_path / "odd"
    if what == "pipe":
        os.mkfifo(odd)
    elif what == "folder":
        odd.mkdir()
    else:
        (tmp_path / "file").write_bytes(b"bytes")
        odd.symlink_to({"link": "file", "loop": "odd", "device": "/dev/zero"}[what])
    assert plain_bytes(tmp_path, "odd", 100) == "not a plain file"


@pytest.mark.timeout(20)
def test_a_link_is_followed_by_who_wants_it_and_only_to_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert read_plain(tmp_path / "link", 5, is_link_followed=True) == b"bytes"
    with pytest.raises(OSError, match="not a plain file"):
        read_plain(tmp_path / "zero", 5, is_link_followed=True)


@pytest.mark.timeout(20)
def test_a_file_that_becomes_a_pipe_behind_our_back_is_not_waited_for(tmp_path: Path) -> None:
    """`walk` saw a file; when it is opened there is something else."""
    (tmp_path / "file").write_bytes(b"bytes")
    assert list(walk(tmp_path)) == [("file", "file")]
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    with pytest.raises(OSError, match="not a plain file"):
        open_plain(tmp_path / "file")


def test_a_file_that_grows_while_it_is_read_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    seen = os.fstat

    def smaller(descriptor: int) -> os.stat_result:
        held = seen(descriptor)
        return os.stat_result([*held[:6], 4, *held[7:]])

    monkeypatch.setattr(os, "fstat", smaller)
    assert plain_bytes(tmp_path, "file", 100) == "grows while it is read"


def test_what_may_not_be_read_is_for_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError):
        plain_bytes(tmp_path, "file", 100)
    with pytest.raises(PermissionError):
        list(walk(tmp_path))


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    assert list(walk(tmp_path / "absent")) == [("", "folder that cannot be read: No such file or directory")]
