"""Records of other versions: one line that says so, from whatever folds a record, and no fault of ours."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aar.cli.failures import CommandFailed
from aar.cli.read import check_shapes
from aar.outside.study_directory import StudyDirectory


def leaf(index: int, kind: str, body: dict[str, Any]) -> Any:
    entry = SimpleNamespace(kind=kind, body=body)
    return SimpleNamespace(index=index, signed=SimpleNamespace(entry=entry))


def test_an_entry_of_another_version_is_told_from_a_fault_of_this_one(tmp_path: Path) -> None:
    study = StudyDirectory(tmp_path)
    comment = leaf(0, "comment", {"on": 3, "text": "so it is"})
    check_shapes(study, [comment])
    later = leaf(1, "comment", {"on": 3, "text": "so it is", "mood": 1})
    with pytest.raises(CommandFailed, match="entry 1 is none that this version of aar writes") as told:
        check_shapes(study, [comment, later])
    assert "comment: got 'mood' beside, want" in str(told.value)
    unknown = leaf(1, "gossip", {})
    with pytest.raises(CommandFailed, match="kind 'gossip' is not one of"):
        check_shapes(study, [unknown])
