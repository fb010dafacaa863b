"""How sandboxes end that have something in them which does not want to."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from aar.outside.sandbox.argv import sandbox_python
from aar.outside.sandbox.client import LauncherClient, Running
from aar.outside.sandbox.plants import SLOT
from aar.outside.sandbox.probes.leftovers import TAGS
from aar.outside.sandbox.researcher import listen_as_gateway, researcher_spec
from aar.outside.sandbox.spec import SandboxError

_SCRIPT = Path(__file__).parent / "probes" / "leftovers.py"
_ALL = {"main", *TAGS}
# Less than the leftovers' own lives: one that died of age must not pass for ended.
_UP_S = 20.0
# A namespace dies in milliseconds, and later on a machine that is busy; one that is still there is not going.
_GONE_S = 5.0
_WALL_S = 60.0
_LOOK_S = 0.05


class Doors:
    """The open connections of leftovers: one that is at its end belongs to nobody any more."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._open: dict[str, socket.socket] = {}

    def await_all(self) -> None:
        """Until every one of them has said its name; `SandboxError` when one does not come."""
        until = time.monotonic() + _UP_S
        while set(self._open) != _ALL:
            self._listener.settimeout(max(0.01, until - time.monotonic()))
            try:
                door, _ = self._listener.accept()
                door.settimeout(_UP_S)
                name = door.recv(64).decode(errors="replace").strip()
            except TimeoutError:
                raise SandboxError(f"leftovers that never came: {sorted(_ALL - set(self._open))}") from None
            self._open[name] = door

    def release(self) -> None:
        """Tell the program that all are there."""
        try:
            self._open["main"].send(b"x")
        except OSError as error:
            raise SandboxError(f"a sandbox full of leftovers ended before it was told to: {error}") from None

    def left(self, within_s: float) -> set[str]:
        """Names of those that are still there after so many seconds, or none as soon as all are gone."""
        there = {name for name in self._open if name != "main"}
        until = time.monotonic() + within_s
        with selectors.DefaultSelector() as selector:
            for name in there:
                selector.register(self._open[name], selectors.EVENT_READ, name)
            while there and (left_s := until - time.monotonic()) > 0:
                for key, _ in selector.select(left_s):
                    if not _is_at_end(self._open[key.data]):
                        continue
                    selector.unregister(key.fileobj)
                    there.discard(key.data)
        return there

    def close(self) -> None:
        """Let go of them; one that is stopped cannot notice, and is killed where we can see it."""
        while self._open:
            name, door = self._open.popitem()
            if name == "stopped":
                peer = int.from_bytes(
                    door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder
                )
                if peer > 1 and not _is_at_end(door):
                    with contextlib.suppress(OSError):
                        os.kill(peer, signal.SIGKILL)
            door.close()


def _is_at_end(door: socket.socket) -> bool:
    door.setblocking(False)
    try:
        return door.recv(64) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def lazily_ended(folder: Path) -> set[str]:
    """Without a sandbox: kill the process that was started, as a lazy launcher does; who is left."""
    listener = listen_as_gateway(folder / "lazy", SLOT)
    with listener:
        doors = Doors(listener)
        words = [sys.executable, "-I", "-S", str(_SCRIPT), str(folder / "lazy" / "gw.sock"), "kill"]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(words, env={}, **streams) as process:  # type: ignore[call-overload]
            try:
                doors.await_all()
                doors.release()
                process.kill()
                process.wait()
                return doors.left(_LOOK_S)
            finally:
                process.kill()
                doors.close()


class Ending:
    """One sandbox full of leftovers, and what becomes of them at its end."""

    def __init__(self, client: LauncherClient, folder: Path, end: str) -> None:
        self._listener = listen_as_gateway(folder / f"end-{end}", SLOT)
        self._doors = Doors(self._listener)
        self._end = end
        self._running: Running = client.start(
            researcher_spec(
                name=f"doctor-{end}",
                argv=(*sandbox_python(), "/brief/leftovers.py", "/run/gw/gw.sock", end),
                files={"/brief/leftovers.py": _SCRIPT.read_bytes()},
                gateway_dir=str(folder / f"end-{end}"),
                uid_slot=SLOT,
                cpu_s=20,
                wall_s=_WALL_S,
            ),
            stdin=b"",
            discard_output=True,
        )

    def end(self, launcher: subprocess.Popen[bytes] | None = None) -> set[str]:
        """Have it ended in its way once all are there; who is left."""
        try:
            self._doors.await_all()
            self._doors.release()
            if self._end == "kill":
                self._running.kill()
            elif self._end == "launcher" and launcher is not None:
                launcher.kill()
            return self._doors.left(_GONE_S)
        finally:
            self.close()

    def close(self) -> None:
        """End it whatever happened."""
        self._doors.close()
        self._listener.close()
        self._running.close()
