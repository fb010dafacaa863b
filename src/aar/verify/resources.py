"""Files of a directory that nobody vouches for: links are not followed, pipes not waited for."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOB_NAME = re.compile("[0-9a-f]{64}", re.ASCII)


def walk(directory: Path) -> Iterator[tuple[str, str]]:
    """Every path below a directory and what it is: "file", "blob" or what stands in its place.

    Raises `PermissionError`, as `plain_bytes` does.
    """
    todo = [""]
    while todo:
        folder = todo.pop()
        try:
            found = os.scandir(directory / folder)
            items = [(item.name, item.stat(follow_symlinks=False).st_mode) for item in found]
        except PermissionError:
            raise
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


def open_plain(file: Path, *, is_link_followed: bool = False) -> BinaryIO:
    """A plain file, opened; `OSError` for anything else. Never waits for the other end of a pipe.

    What it is, is asked of the open file: between a look at a name and its opening it may change.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if is_link_followed else os.O_NOFOLLOW)
    try:
        descriptor = os.open(file, flags)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OSError(error.errno, "not a plain file", str(file)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a plain file", str(file))
    return os.fdopen(descriptor, "rb")


def read_plain(file: Path, most: int, *, is_link_followed: bool = False) -> bytes:
    """The bytes of a plain file of at most that size; raises `OSError`."""
    with open_plain(file, is_link_followed=is_link_followed) as opened:
        size = os.fstat(opened.fileno()).st_size
        if size > most:
            raise OSError(errno.EFBIG, f"{size} bytes, at most {most}", str(file))
        data = opened.read(size + 1)
    if len(data) > size:
        raise OSError(errno.EAGAIN, "grows while it is read", str(file))
    return data


def plain_bytes(directory: Path, path: str, most: int) -> bytes | str:
    """The bytes of a plain file, or why there are none.

    Raises `PermissionError`: what this user may not read is for somebody else to judge.
    """
    try:
        return read_plain(directory / path, most)
    except PermissionError:
        raise
    except OSError as error:
        return error.strerror or str(error)
