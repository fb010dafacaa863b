"""Programs of the user's: researchers that are not the scripted one, read once and kept with the study.

A study lives on its own copies, so that it goes on where the user's file is gone or changed; the digest of
each is in `study-opened`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aar.outside.keyring import write_durably
from aar.outside.study_file import OVER_MCP, StudyFile, StudyFileError

MAX_PROGRAM_BYTES = 200_000
MCP_SDK = "mcp"


def researcher_names(count: int) -> list[str]:
    """The names of a study's researchers, in the order of the study file's [[researcher]] tables."""
    return [f"researcher-{number}" for number in range(1, count + 1)]


def over_mcp(researchers: Sequence[str], study_file: StudyFile) -> list[str]:
    """Those whose tools come as MCP, too; `StudyFileError` where the server of that is not installed."""
    specs = zip(researchers, study_file.team, strict=False)
    names = [name for name, spec in specs if spec.tools == OVER_MCP]
    if names and importlib.util.find_spec(MCP_SDK) is None:
        raise StudyFileError(
            f'tools = "mcp" of {names[0]} wants the extra llm: pip install "aar[llm]", or leave it out'
        )
    return names


def read_programs(study_file: StudyFile) -> dict[str, bytes]:
    """The program of each researcher that has one, by its name; `StudyFileError` says which is unusable."""
    names = researcher_names(study_file.researchers)
    specs = zip(names, study_file.team, strict=False)
    return {name: _read(Path(spec.program), name) for name, spec in specs if spec.program}


def _read(path: Path, name: str) -> bytes:
    where = f"the program of {name}, {path}"
    try:
        # Not blocking: a pipe in the place of a file would keep us waiting for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise StudyFileError(f"{where}, is not a file: want a single .py file")
            data = file.read(MAX_PROGRAM_BYTES + 1)
    except OSError as error:
        raise StudyFileError(f"{where}, cannot be read: {error.strerror}") from error
    if len(data) > MAX_PROGRAM_BYTES:
        raise StudyFileError(f"{where}, has more than {MAX_PROGRAM_BYTES} bytes: want one small file")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyFileError(f"{where}, is not UTF-8 text: {error}") from error
    if not text.strip() or "\0" in text:
        raise StudyFileError(f"{where}, is empty or not plain text: want a Python program")
    try:
        compile(text, str(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise StudyFileError(f"{where}, is not a Python program: {error}") from error
    return data


def keep_programs(directory: Path, programs: Mapping[str, bytes]) -> None:
    """Copy the programs into the study; what was kept before stays as it is."""
    if programs:
        directory.mkdir(mode=0o755, exist_ok=True)
    for name, data in programs.items():
        path = directory / f"{name}.py"
        if not path.exists():
            write_durably(path, data, mode=0o644)


def kept_programs(directory: Path) -> dict[str, bytes]:
    """The programs that a study keeps, by researcher."""
    return {path.stem: path.read_bytes() for path in sorted(directory.glob("*.py"))}


def digests_of(programs: Mapping[str, bytes]) -> list[dict[str, str]]:
    """What `study-opened` says of them."""
    return [
        {"researcher": name, "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(programs.items())
    ]


def check_programs(programs: Mapping[str, bytes], opened: Mapping[str, Any]) -> None:
    """Raise `StudyFileError` unless these are the programs that a study was opened with."""
    told, mine = (
        {one["researcher"]: one["sha256"] for one in listed}
        for listed in (opened["programs"], digests_of(programs))
    )
    for name in sorted({*told, *mine}):
        if told.get(name) != mine.get(name):
            raise StudyFileError(
                f"{name} was another program when the study was opened (SHA-256 "
                f"{told.get(name, 'none')[:16]}, here {mine.get(name, 'none')[:16]}): put back what was "
                "changed, or name a new --dir"
            )
