"""Output: the one place that writes to standard output and standard error."""

from __future__ import annotations

import json
import sys
from typing import Any


def say(text: str = "") -> None:
    """One line for a person, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON value, on standard output."""
    sys.stdout.write(json.dumps(value, indent=indent, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line about what is wrong, on standard error."""
    sys.stderr.write(f"aar: {text}\n")
    sys.stderr.flush()
