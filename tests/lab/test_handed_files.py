"""Files handed over as one stretch of bytes: all of them arrive, closed to writing, and nothing else."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from aar.lab.handed_files import format_files, receive_files

FILES = {
    "/submission/method.py": b"x = 1\n",
    # More than a pipe holds.
    "/instance/features.npy": bytes(range(256)) * 1000,
    "/instance/none": b"",
}


def handed(data: bytes, root: Path) -> tuple[list[Path], bytes]:
    """What was written, and what was left in the pipe."""
    reader, writer = os.pipe()

    def write() -> None:
        with os.fdopen(writer, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        try:
            written = receive_files(reader, root)
        finally:
            left = pipe.readall()
            thread.join()
    return written, left


def test_what_is_handed_over_is_what_arrives_and_nothing_beyond_it_is_read(tmp_path: Path) -> None:
    written, left = handed(format_files(FILES) + b"not mine", tmp_path)
    assert left == b"not mine"
    assert {f"/{path.relative_to(tmp_path)}": path.read_bytes() for path in written} == FILES
    assert {path.stat().st_mode & 0o777 for path in written} == {0o444}
    assert handed(format_files({}), tmp_path) == ([], b"")


@pytest.mark.parametrize("kept", [0, 3, 10, 200, -1])
def test_a_pipe_that_ends_early_is_no_submission(tmp_path: Path, kept: int) -> None:
    with pytest.raises(EOFError):
        handed(format_files(FILES)[:kept], tmp_path)


def test_a_file_that_is_there_already_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "submission").mkdir()
    (tmp_path / "submission/method.py").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        handed(format_files(FILES), tmp_path)
    assert (tmp_path / "submission/method.py").read_bytes() == b"mine"
