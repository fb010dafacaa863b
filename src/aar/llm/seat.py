"""A researcher's seat: its line to the gateway, its sandbox and its limits, held outside for a model to use.

Whatever happens in the sandbox, the seat is there: one that died is started again with the files of the last
turn. Nothing of the model provider's is here; its key is in this process's environment and in no sandbox.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aar.inside.gateway_client import GatewayClient, GatewayError, GatewayLost
from aar.inside.tools import Told, Toolbox
from aar.llm.worker_config import Place
from aar.llm.worker_desk import Standing, WorkerDesk
from aar.outside.sandbox.session import (
    CallRefused,
    ExecResult,
    FileRefused,
    Session,
    SessionEnded,
    SnapshotCaps,
)
from aar.outside.sandbox.spec import SandboxError
from aar.outside.staff_client import GatewayGone

WORKSPACE = "/workspace"
# The copy of the forum, and where a researcher finds it: a link, so that what is kept of the workspace every
# turn does not grow with the forum.
FORUM, FORUM_NAME = "/tmp/forum", "forum"
FORUM_LINK = f"{WORKSPACE}/{FORUM_NAME}"
# The copy is made anew by who needs it; it is not the researcher's work.
NOT_KEPT = ("forum/", ".cache/", "__pycache__/")
KEPT_CAPS = SnapshotCaps(max_files=500, max_bytes=8 << 20, max_depth=8)
OUTPUT_BYTES = 64 << 10
# Of what is left out, so many are named.
MAX_NAMED = 8
OpenSession = Callable[[Place], Session]


@dataclass(slots=True)
class Seat:
    """One researcher's. `files` are those of its workspace as last kept."""

    place: Place
    desk: WorkerDesk
    open_session: OpenSession
    gateway: GatewayClient = field(init=False)
    box: Toolbox = field(init=False)
    files: dict[str, bytes] = field(default_factory=dict)
    note: str = ""
    _told_left_out: set[str] = field(default_factory=set)
    _session: Session | None = None
    _copied_to: Session | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _opening: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.gateway = GatewayClient(self.place.gateway, waits_for_resume=False)
        self.box = Toolbox(self.gateway, self._read_directory, self._left)

    # The gateway.

    def use(self, tool: str, arguments: Mapping[str, Any]) -> Told:
        """One tool of the registry; raises `GatewayLost` and `RecordMisbehaved`."""
        with self._lock:
            return self.box.call(tool, dict(arguments))

    def study(self) -> dict[str, Any]:
        with self._lock:
            return self.gateway.study()

    def lease(self) -> dict[str, Any] | None:
        """The task to work on; `None` when there is none, or the queue is paused."""
        with self._lock:
            try:
                return self.gateway.lease()
            except GatewayError as error:
                if error.code == "paused":
                    return None
                raise

    def done(self, task: str, outcome: str, reason: str) -> None:
        """Hand a task back. One that was taken from us (at a limit, by a human) is handed back already."""
        with self._lock:
            try:
                self.gateway.done(task, outcome, reason[:2_000])
            except GatewayError as error:
                if error.code not in ("not-leased", "study-closed", "study-closing", "paused"):
                    raise

    def findings_of_others(self) -> list[dict[str, Any]]:
        """Findings in the forum that are not ours, oldest first."""
        with self._lock:
            entries, _size = self.gateway.forum()
        return [one for one in entries if one["kind"] == "finding" and one["author"] != self.place.name]

    def standing(self) -> Standing:
        return self.desk.standing(self.place.name)

    def _left(self) -> Mapping[str, Any]:
        try:
            left = dict(self.standing().left)
        except GatewayGone as error:
            raise GatewayLost(str(error)) from error
        return {key: left[key] for key in ("tokens", "dollars") if key in left}

    # The sandbox.

    def session(self) -> Session:
        """The sandbox, started when first needed, and again, with the files of the last turn, if it died."""
        with self._opening:
            if self._session is not None:
                if self._session.is_alive():
                    return self._session
                ended = self._session.close()
                self.note = (
                    f"[the sandbox had ended ({ended.reason}) and was started again; /workspace is as it was "
                    "after your last turn, background processes are gone]\n"
                )
            self._session = session = self.open_session(self.place)
            for name, data in self.files.items():
                session.write_file(f"{WORKSPACE}/{name}", data)
            return session

    def copy_forum(self) -> None:
        """Bring the copy of the forum in the sandbox up to date, whole in one that has none yet.

        A gateway that does not answer is for whoever asks it something to say. What cannot be written (a full
        disk, a file in the way) is written as a whole the next time.
        """
        session = self.session()
        with self._lock:
            forum, is_first = self.box.forum, self._copied_to is not session
            try:
                forum.refresh(self.gateway)
            except (GatewayError, GatewayLost):
                return
            pages = forum.everything() if is_first else forum.changed()
            self._copied_to = session
        try:
            for name, text in pages.items():
                session.write_file(f"{FORUM}/{name}", text.encode())
            if is_first:
                session.exec(("/bin/ln", "-sfn", FORUM, FORUM_LINK))
        except (CallRefused, FileRefused, SessionEnded, OSError, SandboxError):
            self._copied_to = None

    def run(self, argv: tuple[str, ...], *, stdin: bytes = b"", timeout_s: float) -> ExecResult:
        return self.session().exec(argv, stdin=stdin, timeout_s=timeout_s, output_bytes=OUTPUT_BYTES)

    def take_note(self) -> str:
        """What the model must be told of its sandbox, once."""
        note, self.note = self.note, ""
        return note

    def keep(self) -> str:
        """Take the workspace's files as they are now; a line for the model where some are not, else ""."""
        if self._session is None:
            return ""
        try:
            found = self._session.snapshot(WORKSPACE, caps=KEPT_CAPS)
        except (FileRefused, SessionEnded, OSError) as error:
            return f"[/workspace is not kept as it is now: {error}]"
        self.files = {name: data for name, data in found.items() if _is_kept(name)}
        left_out = {name: why for name, why in found.skipped.items() if _is_kept(name) and name != FORUM_NAME}
        new = sorted(set(left_out) - self._told_left_out)
        self._told_left_out |= set(new)
        shown = ", ".join(f"{name} ({left_out[name]})" for name in new[:MAX_NAMED])
        more = f" and {len(new) - MAX_NAMED} more" if len(new) > MAX_NAMED else ""
        return f"[not kept if your sandbox has to be started again: {shown}{more}]" if new else ""

    def close(self) -> None:
        """End the sandbox. The files of the last turn stay in `files`."""
        with self._opening:
            if self._session is not None:
                self._session.close()
                self._session = None

    def _read_directory(self, directory: str) -> Mapping[str, bytes]:
        """Files of a directory of the workspace, one level deep, for `submit_method` and `put_snapshot`."""
        path = directory if directory.startswith("/") else f"{WORKSPACE}/{directory}"
        try:
            found = self.session().snapshot(
                path.rstrip("/"), caps=SnapshotCaps(max_bytes=4 << 20, max_depth=1)
            )
        except SandboxError as error:
            raise ValueError(str(error)) from error
        return {name: data for name, data in found.items() if "/" not in name}


def _is_kept(name: str) -> bool:
    return not name.startswith(NOT_KEPT) and "/__pycache__/" not in name
