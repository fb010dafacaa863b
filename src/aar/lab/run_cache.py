"""Marks kept between commands, by content: what made them decides the name of the file that they are in.

One file per split, ``CODE/PROBLEM-DIGEST/SEED-REPLICATE.json``: a line with the SHA-256 of the rest, then
``{"code": ..., "marks": {WHO: {"items": M, "right": BASE64}}}``. Files are replaced whole; one that does not
hold what it should is taken for absent. All of it may be deleted at any time.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from aar.lab.problems.problem import Marks
from aar.lab.runs import RunKey

MAX_FILE_BYTES = 64 << 20


@cache
def code_digest() -> str:
    """Hex SHA-256 over all that a run's outcome depends on beside problem, pipeline and seed.

    That is the source text of the lab and of the splits, and the versions of the numerical libraries.
    """
    libraries = " ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "scikit-learn"))
    digest = hashlib.sha256(f"{libraries}\n".encode())
    lab = Path(__file__).parent
    for path in (*sorted(lab.rglob("*.py")), lab.parent / "verify" / "splits.py"):
        digest.update(f"{path.relative_to(lab.parent)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


class RunCache:
    """Marks in a directory, for one version of the code."""

    def __init__(self, directory: Path, *, code: str | None = None) -> None:
        self._code = code or code_digest()
        self._directory = directory / self._code[:16]

    def load(self, problem: str, digest: str, splits: Iterable[tuple[int, int]]) -> dict[RunKey, Marks]:
        """All marks that are kept of these splits of a problem with that digest."""
        found: dict[RunKey, Marks] = {}
        for seed, replicate in splits:
            for who, marks in self._read(problem, digest, seed, replicate).items():
                found[RunKey(problem, who, seed, replicate)] = marks
        return found

    def store(self, problem: str, digest: str, marks: Mapping[RunKey, Marks]) -> None:
        """Keep marks of one split or more, beside what is kept of it already; `OSError` where that fails."""
        for seed, replicate in dict.fromkeys((key.seed, key.replicate) for key in marks):
            own = {
                key.who: value
                for key, value in marks.items()
                if (key.seed, key.replicate) == (seed, replicate)
            }
            self._write(problem, digest, seed, replicate, self._read(problem, digest, seed, replicate) | own)

    def _path(self, problem: str, digest: str, seed: int, replicate: int) -> Path:
        name = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in problem)[:40]
        return self._directory / f"{name}-{digest[:16]}" / f"{seed}-{replicate}.json"

    def _head(self, problem: str, digest: str, seed: int, replicate: int) -> dict[str, Any]:
        told = {"problem": problem, "digest": digest, "seed": seed, "replicate": replicate}
        return {"v": 1, "code": self._code, **told}

    def _read(self, problem: str, digest: str, seed: int, replicate: int) -> dict[str, Marks]:
        try:
            with self._path(problem, digest, seed, replicate).open("rb") as file:
                check, _line, body = file.read(MAX_FILE_BYTES).partition(b"\n")
            if hashlib.sha256(body).hexdigest().encode() != check:
                return {}
            value = json.loads(body)
            if {key: value[key] for key in value if key != "marks"} != self._head(
                problem, digest, seed, replicate
            ):
                return {}
            return {who: _unpacked(one["right"], one["items"]) for who, one in value["marks"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
            return {}

    def _write(
        self, problem: str, digest: str, seed: int, replicate: int, marks: Mapping[str, Marks]
    ) -> None:
        path = self._path(problem, digest, seed, replicate)
        told = {who: {"items": len(one), "right": _packed(one)} for who, one in sorted(marks.items())}
        body = json.dumps(self._head(problem, digest, seed, replicate) | {"marks": told}).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            # Without a sync: after a power cut the file may be empty, which the check notices.
            os.replace(name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(name)
            raise


def _packed(marks: Marks) -> str:
    return base64.b64encode(np.packbits(marks).tobytes()).decode()


def _unpacked(text: str, items: Any) -> Marks:
    bits = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if not isinstance(items, int) or len(bits) != (items + 7) // 8:
        raise ValueError(f"{len(bits)} bytes for {items!r:.20} items")
    return np.unpackbits(bits, count=items).astype(np.bool_)
