"""Limits on the command line: what options say of tokens, dollars, minutes, sandboxes and submissions."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from typing import Any

from aar.cli.failures import CommandFailed
from aar.outside.study_file import (
    MAX_MINUTES,
    MAX_SANDBOX_SECONDS,
    MAX_SUBMISSIONS,
    MAX_TOKENS,
    dollars_of,
    seconds_of,
)
from aar.verify.spending import format_dollars

MOST = {"tokens": MAX_TOKENS, "sandbox_seconds": MAX_SANDBOX_SECONDS, "submissions": MAX_SUBMISSIONS}


def limits_given(options: argparse.Namespace, numbers: Collection[str]) -> dict[str, Any]:
    """What the options limit, as the record has it: those of `numbers`, of `MOST`, minutes and dollars.

    Raises `CommandFailed` for what cannot be.
    """
    limits: dict[str, Any] = {}
    for name in numbers:
        value = getattr(options, name)
        if value is not None and not 1 <= value <= MOST[name]:
            option = name.replace("_", "-")
            raise CommandFailed(f"--{option} {value}: want 1 to {MOST[name]}")
        limits |= {} if value is None else {name: value}
    if options.minutes is not None:
        if not 0 < options.minutes <= MAX_MINUTES:
            raise CommandFailed(f"--minutes {options.minutes:g}: want more than 0, at most {MAX_MINUTES}")
        limits["seconds"] = seconds_of(options.minutes)
    if options.dollars is not None:
        try:
            limits["dollars"] = format_dollars(dollars_of(options.dollars))
        except ValueError as error:
            raise CommandFailed(f"--dollars: {error}") from error
    return limits
