"""What a witness keeps: its key, and per log the last checkpoint it cosigned, durable before it answers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aar.formats.checkpoint import open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.errors import FormatError
from aar.formats.keys import COSIGNATURE, KEY_BYTES, Signer, VerifierKey, format_skey, format_vkey, parse_skey
from aar.witness.witness import Seen

LOCK_TIMEOUT_S = 5.0


class WitnessHalted(Exception):
    """The stored state cannot be trusted: a person looks before this witness cosigns again."""


class WitnessStore:
    """A directory: ``witness.key``, ``witness.vkey`` and ``state/<hex SHA-256 of the origin>/checkpoint``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def lock(self, timeout_s: float = LOCK_TIMEOUT_S) -> int:
        """Hold the directory until the returned descriptor is closed: two witnesses on one state could
        cosign two histories. A predecessor that is just ending is waited for; then `WitnessHalted`.
        """
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    raise WitnessHalted("another witness uses this state; end it first") from error
                time.sleep(0.02)
            else:
                return descriptor

    def load_or_create_key(self, name: str, randomness: Callable[[int], bytes]) -> Signer:
        """The cosignature key, made on first use with mode 0600; its public half is written beside it."""
        path = self._directory / "witness.key"
        if not path.exists():
            signer = Signer(name, randomness(KEY_BYTES), COSIGNATURE)
            replace_durably(path, (format_skey(signer) + "\n").encode(), mode=0o600)
        try:
            signer = parse_skey(path.read_bytes().decode("ascii").removesuffix("\n"))
        except UnicodeDecodeError:
            # The cause would hold the key's bytes.
            raise WitnessHalted(f"{path}: not ASCII, want one line PRIVATE+KEY+...") from None
        except FormatError as error:
            raise WitnessHalted(f"{path}: {error}") from error
        if signer.algorithm != COSIGNATURE:
            raise WitnessHalted(f"{path}: not a cosignature key")
        replace_durably(
            self._directory / "witness.vkey", (format_vkey(signer.vkey) + "\n").encode(), mode=0o644
        )
        return signer

    def load(self, logs: Mapping[str, VerifierKey], own: VerifierKey) -> dict[str, Seen]:
        """What was seen of each log; `WitnessHalted` when a stored checkpoint is not one we cosigned."""
        seen = {}
        for origin, key in logs.items():
            path = self.path_of(origin)
            if not path.exists():
                continue
            data = path.read_bytes()
            try:
                checkpoint, note = open_checkpoint(data, key)
                when = cosigned_at(note, own)
            except FormatError as error:
                raise WitnessHalted(f"{path}: {error}") from error
            if when is None:
                raise WitnessHalted(f"{path}: not cosigned by {own.name}")
            seen[origin] = Seen(checkpoint.size, checkpoint.root, data)
        return seen

    def save(self, origin: str, seen: Seen) -> None:
        """Durable when it returns."""
        path = self.path_of(origin)
        for folder in (path.parent.parent, path.parent):
            if not folder.exists():
                folder.mkdir(mode=0o755)
                _sync_directory(folder.parent)
        replace_durably(path, seen.note, mode=0o644)

    def path_of(self, origin: str) -> Path:
        """Where the last checkpoint of that log lies."""
        return self._directory / "state" / hashlib.sha256(origin.encode()).hexdigest() / "checkpoint"


def replace_durably(path: Path, data: bytes, *, mode: int) -> None:
    """The old content or the new one, never a part: temporary file, fsync, rename, fsync of the directory."""
    temporary = path.with_name(f".{path.name}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
