"""What a researcher keeps for itself: one set of files at a time, charged, bounded, there after a restart."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from aar.outside.admission import Refused
from aar.outside.gateway import kept
from aar.outside.gateway.kept import Kept

FILES = {"notes.md": "n\u00e4chstes Mal: halves", "draft.py": "x = 1\n"}
SIZE = sum(len(name) + len(text.encode()) for name, text in FILES.items())


def test_what_is_kept_last_is_there_after_a_restart_with_what_it_was_charged(tmp_path: Path) -> None:
    mine = Kept(tmp_path / "kept", "researcher-1")
    assert mine.files() == {}
    before = mine.left_bytes
    assert mine.put({"old": "x"}) == 4
    assert mine.put(FILES) == SIZE
    again = Kept(tmp_path / "kept", "researcher-1")
    assert again.files() == FILES
    assert again.left_bytes == before - SIZE - 4
    assert Kept(tmp_path / "kept", "researcher-2").files() == {}


def test_the_same_again_costs_nothing(tmp_path: Path) -> None:
    mine = Kept(tmp_path / "kept", "researcher-1")
    mine.put(FILES)
    left = mine.left_bytes
    assert (mine.put(dict(FILES)), mine.left_bytes) == (0, left)


def test_what_is_beyond_the_budget_is_refused_and_what_was_kept_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MAX_KEPT_WRITTEN_BYTES", SIZE + 1)
    mine = Kept(tmp_path / "kept", "researcher-1")
    mine.put(FILES)
    with pytest.raises(Refused, match="2 bytes, 1 may still be written") as refused:
        mine.put({"a": "b"})
    assert refused.value.code == "kept-enough"
    assert Kept(tmp_path / "kept", "researcher-1").files() == FILES


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    Kept(tmp_path / "kept", "researcher-1").put(FILES)
    for path in (tmp_path / "kept", tmp_path / "kept" / "researcher-1.json"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
