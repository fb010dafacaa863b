"""No sandbox at all: a researcher's program as a plain process of the caller, to debug one's own.

It reads and writes what the caller may, and reaches the network. Nothing of it counts: its study says
`isolation: none` in every entry, gets no score, and publishes nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aar.outside.sandbox.argv import ENVIRONMENT, PYTHON
from aar.outside.sandbox.interface import Started
from aar.outside.sandbox.runtime import package_root
from aar.outside.sandbox.spec import SandboxRefused, SandboxSpec, SandboxUnavailable

BANNER = (
    "NO ISOLATION: researchers run as plain processes with your rights (--backend bare). "
    "Nothing is scored or published; every entry of the record says so."
)
SETPRIV = "/usr/bin/setpriv"


def missing() -> str | None:
    """What a plain process needs here and lacks; None when nothing."""
    return None if os.path.exists(SETPRIV) else f"no {SETPRIV}: type `sudo apt-get install util-linux`"


@dataclass(frozen=True, slots=True)
class Bare:
    """Starts programs as processes of the caller, with the environment that a sandbox would give them."""

    prefix: str

    @classmethod
    def prepare(cls) -> Self:
        """Remove what launchers that are no more left behind."""
        lacking = missing()
        if lacking is not None:
            raise SandboxUnavailable(lacking)
        for path in Path(tempfile.gettempdir()).glob("aar-bare-*-*"):
            pid = path.name.split("-")[2]
            # Anybody may put something there by such a name, a link that leads nowhere too.
            with contextlib.suppress(FileNotFoundError):
                if pid.isdigit() and not Path(f"/proc/{pid}").exists() and path.lstat().st_uid == os.getuid():
                    shutil.rmtree(path, ignore_errors=True)
        return cls(f"aar-bare-{os.getpid()}-")

    def start(self, spec: SandboxSpec, number: int, stdio: Sequence[int], files: Sequence[int]) -> Started:
        """Start it in a directory of its own, which holds its workspace and the files that it is handed.

        A word of the command line that names such a file names it there. Raises `SandboxRefused` for all but
        researchers: no labels, no official run and no bench without a wall.
        """
        if spec.profile != "researcher":
            raise SandboxRefused(
                f"profile {spec.profile!r} wants a sandbox: backend bare runs researchers and nothing else"
            )
        if spec.has_shell:
            raise SandboxRefused(
                "a shell for a language model wants a sandbox: backend bare has none to give"
            )
        base = tempfile.mkdtemp(prefix=f"{self.prefix}{number}-")
        # It never says anything, and is at its end at once.
        status_fd, status_out = os.pipe()
        os.close(status_out)
        try:
            for place in ("workspace", "tmp"):
                os.mkdir(os.path.join(base, place))
            for dest, descriptor in zip(spec.files, files, strict=True):
                _lay(base + dest, descriptor)
            process = subprocess.Popen(
                [SETPRIV, "--pdeathsig", "KILL", "--", *(_moved(word, spec, base) for word in spec.argv)],
                stdin=stdio[0],
                stdout=stdio[1],
                stderr=stdio[2],
                env=_environment(spec, base),
                cwd=f"{base}/workspace",
                start_new_session=True,
            )
        except BaseException:
            os.close(status_fd)
            shutil.rmtree(base, ignore_errors=True)
            raise
        # The caller waits for it with wait4; Popen must not reap it first.
        process.returncode = 0
        os.set_blocking(status_fd, False)
        return Started(process.pid, status_fd, (base,), is_program=True)

    def cpu_s(self, _started: Started) -> float:
        """Nobody counts it but the processes themselves."""
        return 0.0

    def named(self, started: Started) -> None:
        """Nothing is mounted for it."""

    def ended(self, started: Started) -> None:
        """End what is left in its session's first group: while it is not reaped that number is its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(started.pid, signal.SIGKILL)

    def release(self, started: Started) -> None:
        """Remove its directory."""
        for base in started.staged:
            shutil.rmtree(base, ignore_errors=True)


def attested() -> dict[str, str]:
    """What a record may keep of it: that there was no wall, and that none was probed."""
    return {"backend": "bare", "identity": "none", "isolation": "none"}


def _moved(word: str, spec: SandboxSpec, base: str) -> str:
    if word == PYTHON:
        return sys.executable
    return base + word if word in spec.files else word


def _environment(spec: SandboxSpec, base: str) -> dict[str, str]:
    """A sandbox's, in terms of this machine: nothing of the caller's own, so no key either."""
    ours = [str(package_root().parent), *(path for path in sys.path if path.endswith("-packages"))]
    gateway = {} if spec.gateway_dir is None else {"AAR_GATEWAY": os.path.join(spec.gateway_dir, "gw.sock")}
    own = {
        "PATH": os.pathsep.join((os.path.dirname(sys.executable), "/usr/bin", "/bin")),
        "HOME": f"{base}/workspace",
        "TMPDIR": f"{base}/tmp",
        "PYTHONPATH": os.pathsep.join(ours),
    }
    kept = {name: value for name, value in ENVIRONMENT.items() if name != "LD_LIBRARY_PATH"}
    return {**kept, **own, **gateway, **spec.env}


def _lay(path: str, descriptor: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with os.fdopen(os.dup(descriptor), "rb") as content, open(path, "xb") as out:
        shutil.copyfileobj(content, out)
