"""The fuzzer: a thousand inputs in every run of the tests, and the wrongs that it must see."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from every_format import FORMATS, Format

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fuzz_formats.py"


@pytest.fixture
def fuzzer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [*sys.path])
    specification = importlib.util.spec_from_file_location("fuzz_formats", TOOL)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    monkeypatch.setitem(sys.modules, "fuzz_formats", module)
    specification.loader.exec_module(module)
    return module


def test_a_thousand_inputs_over_every_parser_meet_only_our_errors():
    done = subprocess.run(
        [sys.executable, TOOL, "--inputs", "1000", "--seed", "everyday"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(FORMATS)
    assert " 0 of them wrong" in lines[-1]


def test_the_same_seed_tries_the_same_inputs(fuzzer: ModuleType):
    once, again, other = (fuzzer.fuzz("entry", 60, seed) for seed in ("a", "a", "b"))
    assert once.kept == again.kept != other.kept
    assert once.counts == again.counts


def wrong(fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch, one: Format) -> list[str]:
    monkeypatch.setitem(FORMATS, "broken", one)  # type: ignore[arg-type]
    return list(fuzzer.fuzz("broken", 40, "a").wrong)


def test_an_error_that_is_not_ours_is_wrong(fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch):
    said = wrong(fuzzer, monkeypatch, Format((b"1",), lambda data: str(int(data)).encode()))
    assert any(one.startswith("WRONG ValueError") for one in said)


def test_bytes_that_are_written_again_otherwise_are_wrong(
    fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    said = wrong(fuzzer, monkeypatch, Format((b"ab ",), bytes.strip))
    assert said
    assert all(one.startswith("WRONG AssertionError: accepted, and written again as") for one in said)


def test_an_input_that_takes_too_long_is_wrong(fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzzer, "HANG_S", 0.02)

    def slow(data: bytes) -> bytes:
        if len(data) > 4:
            time.sleep(0.2)
        return data

    assert wrong(fuzzer, monkeypatch, Format((b"abcd",), slow)) == ["WRONG Hang: took longer than 0.02 s"]
