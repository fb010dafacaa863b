"""The command without torch, and what docs/students.md shows: its commands and its code."""

from __future__ import annotations

import ast
import importlib
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from aar.lab.students.__main__ import main, parser
from aar.lab.students.errors import LibraryMissing
from aar.lab.students.models import library
from aar.lab.students.texts import SPLITS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "students.md").read_text("utf-8")


def test_the_commands_of_the_page_are_commands() -> None:
    shown = re.findall(r"^\.venv-hf/bin/python -m aar\.lab\.students (.*)$", PAGE, re.MULTILINE)
    assert len(shown) == 4
    for arguments in shown:
        assert str(parser().parse_args(shlex.split(arguments)).directory) == "DATA"


def test_the_code_of_the_page_imports_what_there_is() -> None:
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    imported = [node for node in ast.parse(block).body if isinstance(node, ast.ImportFrom)]
    assert len(imported) == 5
    for node in imported:
        module = importlib.import_module(str(node.module))
        assert all(hasattr(module, name.name) for name in node.names)


def test_a_library_that_is_missing_is_named_with_what_to_do() -> None:
    with pytest.raises(LibraryMissing, match=r"no_such_library .*docs/students\.md"):
        library("no_such_library")


def test_without_torch_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in SPLITS:
        lines = [json.dumps({"question": "q", "choice": "c", "label": label}) for label in (True, False)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    for name in ("torch", "transformers", "huggingface_hub"):
        monkeypatch.setitem(sys.modules, name, None)
    given = [str(tmp_path), "--cache", str(tmp_path / "cache"), "--device", "cpu", "--weak", str(tmp_path)]
    assert main([*given, "--strong", str(tmp_path)]) == 2
    assert "LibraryMissing: torch cannot be imported" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
