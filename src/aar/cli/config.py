"""The user's own directory: the reviewer's key, and what was seen of each study, outside any study."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
from pathlib import Path

from aar.cli.failures import CommandFailed
from aar.formats.bookmark import parse_bookmark
from aar.formats.checkpoint import parse_checkpoint_text
from aar.formats.errors import FormatError
from aar.formats.keys import Signer, parse_skey
from aar.formats.note import parse_note
from aar.formats.policy import Policy, parse_policy
from aar.outside.keyring import load_or_create_key, write_durably


def config_directory() -> Path:
    """``$XDG_CONFIG_HOME/aar``, by default ``~/.config/aar``."""
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "aar"


def make_private(directory: Path) -> None:
    """Make a directory of the user's own config, closed to others."""
    config_directory().mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)


def reviewer_signer(path: str | None) -> Signer:
    """The reviewer's key: the file at `path`, else the user's own, made on first use with mode 0600."""
    if path is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = str(os.getuid())
        name = "reviewer-" + (re.sub("[^A-Za-z0-9_.-]", "-", user)[:40] or "user")
        return _load(config_directory() / "reviewer.key", name)
    return load_key(Path(path))


def load_key(file: Path) -> Signer:
    """The private key in a file that must be there, closed to others."""
    if not file.is_file():
        raise CommandFailed(f"--key {file}: there is no such file; a key is one line, PRIVATE+KEY+...")
    return _load(file, "")


def _load(path: Path, name: str) -> Signer:
    try:
        if path.exists():
            if path.stat().st_mode & 0o077:
                raise CommandFailed(f"{path} can be read by others; a key has mode 0600: chmod 600 {path}")
            return parse_skey(path.read_text("ascii").rstrip("\n"))
        make_private(path.parent)
        return load_or_create_key(path, name, os.urandom)
    except (FormatError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{path} is not a private key: {error}") from error


def parse_policy_file(path: Path, data: bytes) -> Policy:
    """A policy from a file's bytes; `CommandFailed` names the file."""
    try:
        return parse_policy(data.decode("utf-8"))
    except (UnicodeDecodeError, FormatError) as error:
        raise CommandFailed(f"{path} is not a policy: {error}") from error


class Pins:
    """What this user saw of a study before: its policy, and the largest checkpoint that verified."""

    def __init__(self, origin: str) -> None:
        name = hashlib.sha256(origin.encode()).hexdigest()[:32]
        self._policy = config_directory() / "pins" / f"{name}.policy"
        self._checkpoint = config_directory() / "pins" / f"{name}.checkpoint"
        self._bookmark = config_directory() / "pins" / f"{name}.bookmark"

    @property
    def policy(self) -> bytes | None:
        """The pinned policy's bytes; `CommandFailed` when the pin itself is damaged: it accuses nobody."""
        if not self._policy.exists():
            return None
        data = self._policy.read_bytes()
        parse_policy_file(self._policy, data)
        return data

    @property
    def checkpoints(self) -> list[bytes]:
        """The pinned checkpoint's note, as a list of none or one; `CommandFailed` when it is damaged."""
        if not self._checkpoint.exists():
            return []
        data = self._checkpoint.read_bytes()
        try:
            parse_checkpoint_text(parse_note(data).text)
        except FormatError as error:
            raise CommandFailed(
                f"the pin {self._checkpoint} is damaged ({error}): restore it, or remove it to pin anew"
            ) from error
        return [data]

    @property
    def bookmark(self) -> bytes | None:
        """Where the last verification ended; `CommandFailed` when it is damaged: it accuses nobody."""
        if not self._bookmark.exists():
            return None
        data = self._bookmark.read_bytes()
        try:
            parse_bookmark(data)
        except FormatError as error:
            raise CommandFailed(
                f"{self._bookmark} is damaged ({error}): remove it to verify everything"
            ) from error
        return data

    def remember(self, *, policy: bytes, checkpoint: bytes, bookmark: bytes) -> None:
        """Keep them; call it only after the record verified."""
        make_private(self._policy.parent)
        write_durably(self._policy, policy, mode=0o600)
        write_durably(self._checkpoint, checkpoint, mode=0o600)
        write_durably(self._bookmark, bookmark, mode=0o600)
