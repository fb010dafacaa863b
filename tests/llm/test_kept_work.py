"""What is kept of a task between two lives of the worker: one moment, whole, whenever the end comes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aar.llm import kept_work
from aar.llm.kept_work import KeptWork, Moment

FIRST = Moment(messages=[{"role": "user", "content": "begin"}], turns=0, files={"a/x.py": b"\x00one"})
SECOND = Moment(messages=[{"role": "user", "content": "go on"}], turns=1, life=2, files={"x.py": b"two"})


def test_what_was_kept_is_what_is_loaded(tmp_path: Path) -> None:
    assert KeptWork(tmp_path / "t").load() is None
    for moment in (FIRST, SECOND):
        KeptWork(tmp_path / "t").save(moment)
        assert KeptWork(tmp_path / "t").load() == moment
    assert len(list((tmp_path / "t").iterdir())) == 2


def test_an_end_in_the_middle_leaves_the_moment_before_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversation and the workspace are of one moment, also when the second of two writes is lost."""
    KeptWork(tmp_path).save(FIRST)
    write = kept_work.write_durably

    def cut_off(path: Path, data: bytes, *, mode: int) -> None:
        if path.name == kept_work.STATE:
            raise KeyboardInterrupt
        write(path, data, mode=mode)

    with monkeypatch.context() as patch:
        patch.setattr(kept_work, "write_durably", cut_off)
        with pytest.raises(KeyboardInterrupt):
            KeptWork(tmp_path).save(SECOND)
    assert KeptWork(tmp_path).load() == FIRST


def test_nothing_is_left_of_a_task_that_is_over(tmp_path: Path) -> None:
    kept = KeptWork(tmp_path / "t")
    kept.save(FIRST)
    kept.forget()
    assert not (tmp_path / "t").exists()
    assert json.dumps(FIRST.messages)
