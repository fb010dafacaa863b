"""The small data set of tools/example_data.py, for tests that spoil it in one way or another."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

_example = runpy.run_path(str(Path(__file__).resolve().parents[1] / "tools" / "example_data.py"))
Files = dict[str, list[dict[str, Any]]]

SIZES: dict[str, int] = _example["SIZES"]
FEW = dict.fromkeys(SIZES, 20)
questions = _example["questions"]
written = _example["write"]
