"""The distribution's Python with our packages, and an ordinary user, nobody, for tests that run as root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aar.outside.sandbox import client as clients

NOBODY = 65534
SOURCE = Path(clients.__file__).parents[3]


@contextlib.contextmanager
def python_of_the_distribution() -> Iterator[str]:
    """/usr/bin/python3 in an environment that has our packages; skips where there is none."""
    program = shutil.which("python3", path="/usr/bin")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    if program is None or subprocess.check_output([program, "-I", "-c", asked], text=True).strip() != ours:
        pytest.skip(f"no /usr/bin/python3 of version {ours}: our compiled packages would not load")
    import numpy

    packages = Path(numpy.__file__).parents[1]
    # Not below pytest's own directory, which is closed to others.
    home = Path("/tmp") / f"aar-ordinary-user-{os.getpid()}"
    try:
        made = subprocess.run(
            [program, "-m", "venv", "--without-pip", str(home)], capture_output=True, check=False
        )
        if made.returncode != 0:
            pytest.skip("the distribution's python has no venv")
        (home / "lib" / f"python{ours}" / "site-packages" / "ours.pth").write_text(f"{packages}\n")
        yield str(home / "bin" / "python")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def skip_unless_nobody_reads_us() -> None:
    """Our sources or packages may lie below a home of mode 0700."""
    import numpy

    packages = Path(numpy.__file__).parents[1]
    readable = ["/usr/bin/test", "-r", clients.__file__, "-a", "-r", str(packages / "numpy")]
    if subprocess.run(readable, user=NOBODY, check=False).returncode:
        pytest.skip("an ordinary user cannot read our files here")


@contextlib.contextmanager
def python_of_an_ordinary_user() -> Iterator[tuple[str, int | None]]:
    """A Python that imports ours, and the uid to run it as: None where we are no root; skips without one."""
    if os.geteuid() != 0:
        yield sys.executable, None
        return
    skip_unless_nobody_reads_us()
    with python_of_the_distribution() as python:
        yield python, NOBODY


def run_as(uid: int | None, words: Sequence[str], *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program of ours as that user, None for ourselves, with nothing of our environment."""
    return subprocess.run(
        words,
        env={"PYTHONPATH": str(SOURCE), "PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=timeout_s,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        check=False,
    )
