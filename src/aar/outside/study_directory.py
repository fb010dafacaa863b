"""A study's directory: where each part lies, its marker, its lock, who owns what."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from aar.outside.keyring import write_durably
from aar.outside.sandbox.identity import slot_uid

# The study's copy of its data set.
DATA = "data"
MARKER = "aar-study.json"
FORMAT = "aar-study/v1"
# Ids of the services lie above those of every sandbox.
FIRST_SERVICE_SLOT = 50_000


class NotAStudy(Exception):
    """The directory is not a study, or not one that can be used; the message is one line."""


class StudyInUse(Exception):
    """Another process works on this study."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uids:
    """Host uids of the services; 0 keeps the caller's (an ordinary user has only one)."""

    gateway: int = 0
    evaluator: int = 0
    witness: int = 0
    worker: int = 0


class StudyDirectory:
    """Paths and ownership of one study."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.record = self.path / "record"
        self.gateway = self.path / "gateway"
        self.evaluator = self.path / "evaluator"
        self.data = self.path / DATA
        self.witness = self.path / "witness"
        self.operator = self.path / "operator"
        self.log = self.path / "log"
        self.programs = self.path / "programs"
        # What the worker keeps, where a researcher is a model: transcripts, notebooks.
        self.worker = self.path / "worker"
        # The study's copy of a template of the user's.
        self.brief = self.path / "brief.md"
        # What its monitor is told, where that is a model.
        self.instructions = self.path / "monitor.md"
        self.policy = self.path / "policy"
        self.study_file = self.path / "study.toml"
        self._lock_fd = -1

    @property
    def origin(self) -> str:
        """The log's origin, from the marker; raises `NotAStudy`."""
        marker = self.path / MARKER
        try:
            value = json.loads(marker.read_bytes())
            origin = value["origin"]
            known = value["format"] == FORMAT
        except FileNotFoundError as error:
            raise NotAStudy(f"{self.path} is not a study: there is no {MARKER} in it") from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotAStudy(f"{marker} cannot be read as the marker of a study: {error}") from error
        if not known or not isinstance(origin, str):
            raise NotAStudy(f"{marker}: want format {FORMAT!r}")
        if not re.fullmatch("aar\\.local/study-[0-9a-f]{16}", origin, re.ASCII):
            raise NotAStudy(f"{marker}: origin {origin!r:.80} is not the origin of a study")
        return origin

    @property
    def is_study(self) -> bool:
        return (self.path / MARKER).exists()

    def create(self, study_text: str, uids: Uids, *, origin: str = "", witness: Path | None = None) -> None:
        """Make the directory of a new study, or finish making it where a crash cut that short.

        `origin` and the directory of the local `witness` are the study's own unless they are given: a
        comparison has one witness for all its runs.
        """
        try:
            str(self.path).encode("utf-8")
        except UnicodeEncodeError as error:
            raise NotAStudy(f"{self.path!s:.200}: a study's path is UTF-8 text: {error}") from error
        if self.path.exists() and not self.path.is_dir():
            raise NotAStudy(f"{self.path} is a file; name a directory for the study")
        if self.path.is_dir() and not self.is_study and any(self.path.iterdir()):
            raise NotAStudy(f"{self.path} is not empty and not a study; name a new directory")
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
        self.path.chmod(0o755)
        if not self.is_study:
            origin = origin or f"aar.local/study-{secrets.token_hex(8)}"
            marker = json.dumps({"format": FORMAT, "origin": origin}) + "\n"
            write_durably(self.path / MARKER, marker.encode(), mode=0o644)
        if not self.study_file.exists():
            write_durably(self.study_file, study_text.encode(), mode=0o644)
        if witness is not None and not self.witness.is_symlink():
            self.witness.symlink_to(os.path.relpath(witness, self.path), target_is_directory=True)
        for path, mode, uid in (
            (self.record, 0o755, uids.gateway),
            (self.gateway, 0o700, uids.gateway),
            (self.evaluator, 0o700, uids.evaluator),
            (self.witness, 0o755, uids.witness),
            (self.operator, 0o700, 0),
            (self.log, 0o700, 0),
        ):
            if not path.exists():
                path.mkdir(mode=mode)
                path.chmod(mode)
                if uid:
                    os.chown(path, uid, uid)

    def lock(self) -> None:
        """Hold this study until the process ends; raises `StudyInUse`."""
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StudyInUse(
                f"{self.path} is in use by process {holder or '(unknown)'}; wait for it or stop it"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock_fd = descriptor

    def unlock(self) -> None:
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def service_uids() -> Uids:
    """Uids of the services: ids of nobody's account when we are root and may use them, else the caller's."""
    gateway, evaluator, witness, worker = (slot_uid(FIRST_SERVICE_SLOT + number) or 0 for number in range(4))
    return Uids(gateway=gateway, evaluator=evaluator, witness=witness, worker=worker)
