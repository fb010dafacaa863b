"""Files as one stretch of bytes, as a program is handed them on a pipe: a list, then their contents."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

_LENGTH_BYTES = 4


def format_files(files: Mapping[str, bytes]) -> bytes:
    """Four bytes that say how long the list is, the list in JSON, then the contents in its order."""
    named = json.dumps([[path, len(content)] for path, content in files.items()]).encode()
    return b"".join((len(named).to_bytes(_LENGTH_BYTES, "big"), named, *files.values()))


def receive_files(pipe: int, root: Path = Path("/")) -> list[Path]:
    """Write what `format_files` made to its paths below `root`, which are new, and read nothing beyond.

    The contents go from the pipe to the files without coming by here. Raises `EOFError` when the pipe ends
    early; some files are then there, and not whole.
    """
    named = json.loads(_exactly(pipe, int.from_bytes(_exactly(pipe, _LENGTH_BYTES), "big")))
    written = []
    for name, size in named:
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
        try:
            while size > 0:
                moved = os.splice(pipe, file, size)
                if moved == 0:
                    raise EOFError(f"{name}: {size} bytes are missing")
                size -= moved
        finally:
            os.close(file)
        written.append(path)
    return written


def _exactly(pipe: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        chunk = os.read(pipe, size - len(data))
        if not chunk:
            raise EOFError(f"{len(data)} of {size} bytes came")
        data += chunk
    return data
