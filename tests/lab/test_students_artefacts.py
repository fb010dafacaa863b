"""Kept predictions: computed once, named by all that they depend on, and refused when damaged."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from aar.lab.students.artefacts import Arrays, Artefacts
from aar.lab.students.errors import DamagedCache

KEY = {"model": "m", "seed": 3}


def numbers() -> Arrays:
    return {"test": np.array([0.25, 0.5]), "unlabelled": np.array([1.0])}


def never() -> NoReturn:
    raise AssertionError("computed again")


def test_arrays_are_computed_once_per_key_and_come_back_exactly(tmp_path: Path) -> None:
    kept = Artefacts(tmp_path / "deep" / "cache")
    first = kept.of(KEY, numbers)
    again = Artefacts(tmp_path / "deep" / "cache").of({"seed": 3, "model": "m"}, never)
    assert set(again) == {"test", "unlabelled"}
    for name, array in numbers().items():
        np.testing.assert_array_equal(first[name], array)
        np.testing.assert_array_equal(again[name], array)


def test_another_key_is_another_file(tmp_path: Path) -> None:
    kept = Artefacts(tmp_path)
    kept.of(KEY, numbers)
    with pytest.raises(AssertionError, match="computed again"):
        kept.of({**KEY, "seed": 4}, never)


def test_a_computation_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Artefacts(tmp_path).of(KEY, never)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kept", [b"", b"PK\x03\x04 torn", "pickled", "without a key"])
def test_a_file_that_is_none_of_ours_is_refused_and_no_pickle_is_loaded(
    tmp_path: Path, kept: bytes | str
) -> None:
    artefacts = Artefacts(tmp_path)
    path = artefacts.path(KEY)
    if kept == "pickled":
        np.savez(path, test=np.array([{}], dtype=object), key=np.zeros(1, np.uint8))
    elif kept == "without a key":
        np.savez(path, test=np.zeros(2))
    else:
        assert isinstance(kept, bytes)
        path.write_bytes(kept)
    with pytest.raises(DamagedCache, match="delete it"):
        artefacts.of(KEY, never)


def test_a_file_under_another_keys_name_is_refused(tmp_path: Path) -> None:
    artefacts = Artefacts(tmp_path)
    other = {**KEY, "seed": 4}
    artefacts.of(other, numbers)
    artefacts.path(other).rename(artefacts.path(KEY))
    with pytest.raises(DamagedCache, match="was kept for"):
        artefacts.of(KEY, never)
