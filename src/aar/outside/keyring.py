"""The gateway's keys on disk: the log's, its own, the monitor's and one per researcher.

A researcher's key never enters its sandbox: the socket says who speaks, the gateway signs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from aar.formats.keys import Signer, format_skey, parse_skey

SEED_BYTES = 32


class Keyring:
    """Signers by name, each in a file of mode 0600 made once and never replaced."""

    def __init__(self, directory: Path, randomness: Callable[[int], bytes]) -> None:
        self._directory = directory
        self._randomness = randomness
        self._signers: dict[str, Signer] = {}

    def open(self, name: str, file_name: str | None = None) -> Signer:
        """The signer of that name; its key is made when there is none yet."""
        signer = self._signers.get(name)
        if signer is None:
            signer = load_or_create_key(self._directory / f"{file_name or name}.key", name, self._randomness)
            self._signers[name] = signer
        return signer

    @property
    def signers(self) -> Mapping[str, Signer]:
        return self._signers


def load_or_create_key(path: Path, name: str, randomness: Callable[[int], bytes]) -> Signer:
    """Read a private key file, or make one durably: what signed something must survive a crash."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(path, (format_skey(Signer(name, randomness(SEED_BYTES))) + "\n").encode(), mode=0o600)
    return parse_skey(path.read_text("ascii").rstrip("\n"))


def write_durably(path: Path, data: bytes, *, mode: int, scratch: Path | None = None) -> None:
    """Write a whole file or nothing: temporary file (in `scratch`), fsync, rename, fsync of the directory."""
    temporary = (scratch or path.parent) / f".{path.name}.{os.getpid()}.{threading.get_ident()}.tmp"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
