"""Output: the one place that writes to standard output and standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import Any


def prepare_streams() -> None:
    """Make both streams able to take any text: whatever is missing or narrow there ends no command.

    A stream that was closed by whoever started us becomes the null device; a character that its encoding
    lacks is written as an escape.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str = "") -> None:
    """One line for a person, on standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_json(value: Any, *, indent: int | None = None) -> None:
    """One JSON value, on standard output; what would act on a terminal is escaped, and means the same."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    if not text.replace("\n", "").isprintable():
        text = "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """One line about what is wrong, on standard error."""
    sys.stderr.write(f"aar: {text}\n")
    sys.stderr.flush()


def pass_on(descriptor: int, data: bytes) -> None:
    """All of these bytes, as they are, to an open descriptor."""
    while data:
        data = data[os.write(descriptor, data) :]


def leave_output() -> None:
    """Nobody reads our standard output any more: what follows goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
