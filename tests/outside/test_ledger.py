"""The ledger of calls: what was answered is on disk, what was cut off is not, and nothing counts twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from aar.outside.gateway.ledger import Call, Ledger, LedgerUnusable, RepeatedCall


def call(number: int, **changes: Any) -> Call:
    told = {"call": f"c{number}", "researcher": "researcher-1", "task": "t1", "model": "test/one"}
    tokens = {"input": 1_000 + number, "output": 100, "cache_read": 0, "cache_write": 0}
    return Call(**{**told, **tokens, "at_ms": number, **changes})


def test_calls_are_there_again_in_their_order(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "calls.jsonl")
    for number in range(3):
        assert first.add(call(number))
    first.add(call(7, researcher="researcher-2"))
    again = Ledger(tmp_path / "calls.jsonl")
    assert list(again.calls_of("researcher-1")) == [call(number) for number in range(3)]
    assert list(again.calls_of("researcher-2")) == [call(7, researcher="researcher-2")]
    assert list(again.calls_of("researcher-3")) == []


def test_a_call_told_again_counts_once_also_after_a_restart(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "calls.jsonl")
    assert ledger.add(call(1))
    assert not ledger.add(call(1, at_ms=99, task="t2"))
    assert not Ledger(tmp_path / "calls.jsonl").add(call(1))
    assert len((tmp_path / "calls.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("change", [{"input": 5}, {"researcher": "researcher-2"}, {"model": "test/two"}])
def test_an_id_that_was_used_for_another_call_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "calls.jsonl")
    ledger.add(call(1))
    with pytest.raises(RepeatedCall, match="told before, with other numbers"):
        ledger.add(call(1, **change))


def test_a_line_is_on_disk_before_the_call_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, synced = Ledger(tmp_path / "calls.jsonl"), []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    ledger.add(call(1))
    assert synced == [str(tmp_path), str(tmp_path / "calls.jsonl")]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_that_was_cut_off_is_taken_off(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    ledger = Ledger(path)
    ledger.add(call(1))
    whole = path.read_bytes()
    ledger.add(call(2))
    path.write_bytes(path.read_bytes()[:-cut])
    again = Ledger(path)
    assert list(again.calls_of("researcher-1")) == [call(1)]
    assert path.read_bytes() == whole
    assert again.add(call(2))
    assert len(Ledger(path).calls_of("researcher-1")) == 2


@pytest.mark.parametrize("line", ["not JSON", json.dumps({"call": "c"}), "[]"])
def test_a_ledger_that_was_meddled_with_is_not_gone_on_with(line: str, tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text(line + "\n")
    with pytest.raises(LedgerUnusable, match="put back the file"):
        Ledger(tmp_path / "calls.jsonl")
