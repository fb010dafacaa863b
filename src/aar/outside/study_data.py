"""A study's data set: files with labels, read once, kept where the evaluator alone may read them.

The operator's directory is read when the study is made; the study lives on its own copy, so that it goes on
where the operator's is gone. The evaluator reads that copy once, and hands these very bytes to its bench,
which makes the digest that `study-opened` commits to.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from aar.lab.problems import JSONL_FILES
from aar.outside.keyring import write_durably

MAX_DATA_BYTES = 1 << 26


class DataUnusable(ValueError):
    """A data set's files cannot be used; the message is one line that says which and why."""


def read_data(directory: Path) -> dict[str, bytes]:
    """The bytes of the data set's files by name; `DataUnusable` names the first that cannot be had."""
    files: dict[str, bytes] = {}
    room = MAX_DATA_BYTES
    for name in JSONL_FILES:
        files[name] = _read(directory / name, room)
        room -= len(files[name])
    return files


def _read(path: Path, room: int) -> bytes:
    try:
        # Not blocking: a pipe in the place of a file would keep us waiting for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DataUnusable(f"{path} is not a file; a data set is {', '.join(JSONL_FILES)}")
            data = file.read(room + 1)
    except OSError as error:
        raise DataUnusable(
            f"{path} cannot be read: {error.strerror}; a data set is {', '.join(JSONL_FILES)}"
        ) from error
    if len(data) > room:
        raise DataUnusable(f"{path}: the data set has more than {MAX_DATA_BYTES} bytes; take fewer rows")
    return data


def keep_data(directory: Path, files: Mapping[str, bytes], uid: int) -> None:
    """Write the files for the evaluator's `uid` (0: the caller's) alone to read.

    They stay the caller's: root does not write where another uid could have put a link.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    for name, data in files.items():
        write_durably(directory / name, data, mode=0o640 if uid else 0o600)
    if uid:
        for path in (directory, *(directory / name for name in files)):
            os.chown(path, -1, uid)
        directory.chmod(0o750)
