"""What a researcher keeps for itself: a few files, held by the gateway, that outlive its sandbox.

They are no part of the record and nobody else is given them: a notebook is not a way to talk. What may be
written over a study is bounded, so that keeping is no way to fill a disk either.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

from aar.lab.protocol.operations import MAX_KEPT_WRITTEN_BYTES
from aar.outside.admission import Refused
from aar.outside.keyring import write_durably


class Kept:
    """One researcher's files and how many bytes it has written, in one file that is replaced as a whole."""

    def __init__(self, directory: Path, researcher: str) -> None:
        self._path = directory / f"{researcher}.json"
        self._lock = threading.Lock()
        self._written_bytes = 0
        self._files: dict[str, str] = {}
        if self._path.exists():
            held = json.loads(self._path.read_bytes())
            self._written_bytes, self._files = held["written_bytes"], held["files"]

    @property
    def left_bytes(self) -> int:
        """How many bytes may still be written."""
        return MAX_KEPT_WRITTEN_BYTES - self._written_bytes

    def files(self) -> dict[str, str]:
        """What was kept last; nothing at first."""
        return dict(self._files)

    def put(self, files: Mapping[str, str]) -> int:
        """Keep these and nothing else, durably; the bytes that were charged. The same again costs nothing."""
        with self._lock:
            if files == self._files:
                return 0
            size = sum(len(name) + len(text.encode("utf-8")) for name, text in files.items())
            if size > self.left_bytes:
                raise Refused(
                    "kept-enough", f"{size} bytes, {self.left_bytes} may still be written over this study"
                )
            held = {"written_bytes": self._written_bytes + size, "files": dict(files)}
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            write_durably(self._path, json.dumps(held).encode("ascii"), mode=0o600)
            self._written_bytes, self._files = self._written_bytes + size, dict(files)
            return size
