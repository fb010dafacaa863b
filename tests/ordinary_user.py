"""An ordinary user for tests that run as root: nobody, with the distribution's Python and our packages."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aar.outside.sandbox import client as clients

NOBODY = 65534
SOURCE = Path(clients.__file__).parents[3]


@contextlib.contextmanager
def python_of_an_ordinary_user() -> Iterator[tuple[str, int | None]]:
    """A Python that imports ours, and the uid to run it as: None where we are no root; skips without one."""
    if os.geteuid() != 0:
        yield sys.executable, None
        return
    program = shutil.which("python3", path="/usr/bin")
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    asked = "import sys; print('%d.%d' % sys.version_info[:2])"
    if program is None or subprocess.check_output([program, "-I", "-c", asked], text=True).strip() != ours:
        pytest.skip(f"no /usr/bin/python3 of version {ours}: our compiled packages would not load")
    import numpy

    packages = Path(numpy.__file__).parents[1]
    readable = ["/usr/bin/test", "-r", clients.__file__, "-a", "-r", str(packages / "numpy")]
    if subprocess.run(readable, user=NOBODY, check=False).returncode:
        pytest.skip("an ordinary user cannot read our files here")
    # Not below pytest's own directory, which is closed to others.
    home = Path("/tmp") / f"aar-ordinary-user-{os.getpid()}"
    try:
        made = subprocess.run(
            [program, "-m", "venv", "--without-pip", str(home)], capture_output=True, check=False
        )
        if made.returncode != 0:
            pytest.skip("the distribution's python has no venv")
        (home / "lib" / f"python{ours}" / "site-packages" / "ours.pth").write_text(f"{packages}\n")
        yield str(home / "bin" / "python"), NOBODY
    finally:
        shutil.rmtree(home, ignore_errors=True)
