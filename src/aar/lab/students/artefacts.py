"""Predictions kept in files: what a teacher or a ceiling said, once per model, data, seed and settings.

A file is NAME.npz in the cache directory, NAME the SHA-256 of its key. It holds the key's text and
arrays, and no pickle. Write-then-rename: a reader sees all of it or nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aar.lab.students.errors import DamagedCache

Arrays = Mapping[str, NDArray[np.float64]]


def key_text(key: Mapping[str, Any]) -> str:
    """The one JSON text of a key."""
    return json.dumps(dict(key), sort_keys=True, separators=(",", ":"))


class Artefacts:
    """A directory of arrays by their key; made when something is kept in it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, key: Mapping[str, Any]) -> Path:
        """Where the arrays of a key are, or would be."""
        return self._directory / f"{hashlib.sha256(key_text(key).encode()).hexdigest()}.npz"

    def of(self, key: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """The arrays of a key, computed and kept where they were not yet; or `DamagedCache`."""
        path = self.path(key)
        if not path.exists():
            self._keep(path, key, compute())
        return self._read(path, key)

    def _keep(self, path: Path, key: Mapping[str, Any], arrays: Arrays) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            named: dict[str, Any] = {**arrays, "key": np.frombuffer(key_text(key).encode(), np.uint8)}
            np.savez_compressed(file, **named)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)

    def _read(self, path: Path, key: Mapping[str, Any]) -> Arrays:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            text = arrays.pop("key").tobytes().decode()
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DamagedCache(
                f"{path} is no kept artefact ({error}): delete it, it will be made again"
            ) from error
        if text != key_text(key):
            raise DamagedCache(f"{path} was kept for {text:.200}, want {key_text(key):.200}: delete it")
        return arrays
