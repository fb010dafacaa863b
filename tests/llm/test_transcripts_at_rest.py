"""Transcripts as files: whole or not there, and what reads them cannot be led elsewhere."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from aar.cli.trace import trace_lines
from aar.llm import inspect_team, inspect_trace
from aar.llm.inspect_team import Member, Team


def put(location: str, data: bytes) -> None:
    Path(location).write_bytes(data)


def keep(directory: Path, told: list[str]) -> None:
    """Keep a sample's transcript, as the team does."""
    desk = SimpleNamespace(transcript=lambda **told_of: told.append(told_of["sha256"]))
    seat: Any = SimpleNamespace(place=SimpleNamespace(name="researcher-1"), desk=desk)
    config: Any = SimpleNamespace(directory=str(directory))
    spec: Any = object()
    sample: Any = SimpleNamespace(error=None)
    team = Team(config=config, seats=[], template="", say=lambda _line: None)
    anyio.run(team._keep_transcript, Member(seat, spec), "task-1", sample)


def test_a_transcript_is_in_its_place_only_when_it_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / inspect_team.SCRATCH).mkdir()
    told: list[str] = []

    async def cut_off(_log: object, location: str) -> None:
        put(location, b"half")
        raise KeyboardInterrupt

    async def whole(_log: object, location: str) -> None:
        put(location, b"whole")

    monkeypatch.setattr(inspect_team, "EvalLog", lambda **_fields: None)
    monkeypatch.setattr(inspect_team, "write_eval_log_async", cut_off)
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, told)
    assert inspect_trace.transcript_files(tmp_path, "researcher-1") == []
    monkeypatch.setattr(inspect_team, "write_eval_log_async", whole)
    keep(tmp_path, told)
    (path,) = inspect_trace.transcript_files(tmp_path, "researcher-1")
    assert (path.name, path.read_bytes()) == ("researcher-1.task-1.1.eval", b"whole")
    assert len(told) == 1
    assert list((tmp_path / inspect_team.SCRATCH).iterdir()) == []


def test_a_transcript_whose_digest_was_not_told_is_told_by_the_next_worker(tmp_path: Path) -> None:
    folder = tmp_path / "transcripts" / "researcher-1"
    folder.mkdir(parents=True)
    (folder / "researcher-1.task-1.5.2.eval").write_bytes(b"whole")
    told: list[dict[str, Any]] = []
    desk = SimpleNamespace(transcript=lambda **told_of: told.append(told_of))
    seat: Any = SimpleNamespace(place=SimpleNamespace(name="researcher-1"), desk=desk)
    config: Any = SimpleNamespace(directory=str(tmp_path))
    team = Team(config=config, seats=[], template="", say=lambda _line: None)
    team.members["researcher-1"] = Member(seat)
    anyio.run(team._enter_digests_of_earlier_lives)
    (one,) = told
    assert (one["task"], one["file"], one["size_bytes"]) == ("task-1.5", "researcher-1.task-1.5.2.eval", 5)
    assert one["sha256"] == hashlib.sha256(b"whole").hexdigest()


def test_what_is_no_file_in_the_workers_directory_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "transcripts" / "researcher-1"
    kept = tmp_path / "kept" / "researcher-1" / "task-1"
    folder.mkdir(parents=True)
    kept.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("{}")
    (folder / "a.eval").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "b.eval")
    os.mkfifo(kept / "state.json")
    (folder / "c.eval").write_bytes(b"")
    assert [one.name for one in inspect_trace.transcript_files(tmp_path, "researcher-1")] == ["c.eval"]
    assert inspect_trace.read_unfinished(tmp_path, "researcher-1") == []


def test_the_viewer_has_copies_on_loopback_and_renders_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "a.eval").write_bytes(b"whole")
    words: list[str] = []

    def run(argv: list[str], **_options: object) -> Any:
        words.extend(argv)
        (tmp_path / "scratch" / "transcripts" / "a.eval").unlink()
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    (copy,) = inspect_trace.copies_of([tmp_path / "a.eval"], tmp_path / "scratch")
    assert inspect_trace.view(copy.parent, port=7575, scratch=tmp_path / "scratch") == 0
    assert (tmp_path / "a.eval").read_bytes() == b"whole"
    assert words[words.index("--log-dir") + 1] == str(tmp_path / "scratch" / "transcripts")
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert "--no-trust-content" in words


def test_names_that_the_worker_gave_do_not_act_on_a_terminal() -> None:
    told = {"file": "\x1b[2J.eval", "model": "m\x9b2J", "calls": [], "recorded": False, "messages": []}
    assert list(trace_lines([told], [])) == ["== \\x1b[2J.eval: m\\x9b2J, 0 calls, digest NOT in the record"]
