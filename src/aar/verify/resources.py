"""Files of a directory that nobody vouches for: links are not followed, pipes not waited for."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

BLOB_NAME = re.compile("[0-9a-f]{64}", re.ASCII)


def walk(directory: Path) -> Iterator[tuple[str, str]]:
    """Every path below a directory and what it is: "file", "blob" or what stands in its place."""
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            found = os.scandir(directory / folder)
            items = [(item.name, item.stat(follow_symlinks=False).st_mode) for item in found]
        except OSError as error:
            yield folder, f"folder that cannot be read: {error.strerror}"
            continue
        for name, mode in items:
            path = f"{folder}{name}"
            if stat.S_ISDIR(mode):
                todo.append(f"{path}/")
            elif not stat.S_ISREG(mode):
                yield path, "link, pipe or device"
            else:
                yield path, "blob" if path.startswith("blobs/") and BLOB_NAME.fullmatch(name) else "file"


def plain_bytes(directory: Path, path: str, most: int) -> bytes | str:
    """The bytes of a plain file, or why there are none."""
    file = directory / path
    try:
        about = file.lstat()
        if not stat.S_ISREG(about.st_mode):
            return "not a plain file"
        if about.st_size > most:
            return f"{about.st_size} bytes, at most {most}"
        return file.read_bytes()
    except OSError as error:
        return error.strerror or str(error)
