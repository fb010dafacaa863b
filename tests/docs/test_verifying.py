"""The page for auditors names every code that the verifier has, and every option."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "verifying.md").read_text("utf-8")
NO_CODES = {"FILE", "DIR", "SECONDS", "SHOWN", "REPORTED"}


def codes() -> set[str]:
    """Every text in the verifier that is written as a code is."""
    found = set()
    for path in (ROOT / "src" / "aar" / "verify").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                if re.fullmatch("[A-Z]{2,}(_[A-Z]+)*", node.value):
                    found.add(node.value)
    return found - NO_CODES


def test_each_code_is_explained() -> None:
    explained = set(re.findall(r"^\| `([A-Z_]+)` \|", PAGE, re.MULTILINE))
    assert explained == codes()


def test_each_option_is_named() -> None:
    command = [sys.executable, "-P", "-m", "aar.verify", "--help"]
    told = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")}
    ).stdout
    options = set(re.findall("--[a-z-]+", told)) - {"--help"}
    assert options == set(re.findall(r"^\| `(--[a-z-]+)", PAGE, re.MULTILINE))
