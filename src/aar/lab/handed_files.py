"""Files as one stretch of bytes, as a program is handed them on its input: a JSON line, then contents."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import BinaryIO


def format_files(files: Mapping[str, bytes]) -> bytes:
    """A line that names each path and says its size, then the contents in that order."""
    line = json.dumps([[path, len(content)] for path, content in files.items()]).encode()
    return b"\n".join((line, b"".join(files.values())))


def read_files(stream: BinaryIO) -> dict[str, bytes]:
    """Invert `format_files`, and read nothing beyond; `EOFError` when the stream ends early."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise EOFError("no files were handed over: the input ended")
    files = {}
    for path, size in json.loads(line):
        content = stream.read(size)
        if len(content) != size:
            raise EOFError(f"{path}: {len(content)} of {size} bytes, then the input ended")
        files[path] = content
    return files
