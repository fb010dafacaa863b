"""What is kept of a task between two lives of the worker: one moment, whole, whenever the end comes."""

from __future__ import annotations

import json
import threading
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


def test_a_moment_that_is_still_being_kept_does_not_lose_the_next_one_its_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that nobody waits for any more writes on, and would name a workspace that is gone."""
    write, is_writing, may_end = kept_work.write_durably, threading.Event(), threading.Event()

    def slowly(path: Path, data: bytes, *, mode: int) -> None:
        if path.name == kept_work.STATE and not is_writing.is_set():
            is_writing.set()
            may_end.wait(20)
        write(path, data, mode=mode)

    monkeypatch.setattr(kept_work, "write_durably", slowly)
    kept = KeptWork(tmp_path)
    left_alone = threading.Thread(target=kept.save, args=(FIRST,))
    left_alone.start()
    assert is_writing.wait(20)
    threading.Timer(0.2, may_end.set).start()
    kept.save(SECOND)
    left_alone.join(20)
    assert kept.load() == SECOND
