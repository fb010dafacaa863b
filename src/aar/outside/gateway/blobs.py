"""Blobs: bytes too large for an entry, kept beside the log under the name of their SHA-256."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from aar.outside.keyring import write_durably

MAX_BLOB_BYTES = 1 << 20


class Blobs:
    """The blob folder of a public log directory; half-written ones are in `scratch`, which is private."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self._directory = directory
        self._scratch = scratch
        directory.mkdir(mode=0o755, exist_ok=True)
        # The folder is public whatever the umask of this process is.
        directory.chmod(0o755)

    def put(self, data: bytes) -> str:
        """Store durably, return the SHA-256 in hex; the same bytes twice are one blob."""
        digest = hashlib.sha256(data).hexdigest()
        path = self._directory / digest
        if not path.exists():
            write_durably(path, data, mode=0o644, scratch=self._scratch)
        return digest

    def get(self, digest: str) -> bytes:
        """The blob of that name; raises `FileNotFoundError`."""
        return (self._directory / digest).read_bytes()

    def find(self, digest: str) -> bytes | None:
        """The same, or `None`: a blob may have been taken out by a reviewer's redaction."""
        path = self._directory / digest
        return path.read_bytes() if path.exists() else None

    def sweep(self, wanted: set[str]) -> list[str]:
        """Remove what no entry names: a crash may leave a blob whose entry never came. Returns the names."""
        gone = []
        for path in sorted(self._directory.iterdir()):
            if re.fullmatch("[0-9a-f]{64}", path.name, re.ASCII) and path.name not in wanted:
                path.unlink()
                gone.append(path.name)
        return gone
