"""The ledger of calls: what each call of a model used, on disk before it is answered.

One line of JSON for each call, in the order in which they came. The record sums them up in `budget-charged`
entries, each of which says how many calls of its researcher there were in all: whatever stands here behind
those is not charged yet. A line that was cut off was never answered, and is taken off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from aar.formats.kinds import TOKENS

LEDGER = "calls.jsonl"


class LedgerUnusable(Exception):
    """The ledger cannot be gone on with; the message is one line."""


class RepeatedCall(ValueError):
    """A call's id was used before, for another call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a model: whose, on which task ("" for none), and the tokens that are paid for."""

    call: str
    researcher: str
    task: str
    model: str
    input: int
    output: int
    cache_read: int
    cache_write: int
    at_ms: int

    @property
    def tokens(self) -> dict[str, int]:
        """By `TOKENS`."""
        return {one: getattr(self, one) for one in TOKENS}

    def is_same(self, other: Call) -> bool:
        """Whether that is this call told again; where and when it is told may differ."""
        return (self.call, self.researcher, self.model, self.tokens) == (
            other.call,
            other.researcher,
            other.model,
            other.tokens,
        )


class Ledger:
    """The calls of a study, in a file that only grows. One thread at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._by_id: dict[str, Call] = {}
        self._of: dict[str, list[Call]] = {}
        self._descriptor = -1
        for call in self._read():
            self._remember(call)

    def add(self, call: Call) -> bool:
        """Write it to disk; false when it was there already.

        Raises `RepeatedCall` when it was there with other numbers, and `OSError` of a disk.
        """
        known = self._by_id.get(call.call)
        if known is not None:
            if not call.is_same(known):
                raise RepeatedCall(f"call {call.call!r:.80} was told before, with other numbers")
            return False
        if self._descriptor < 0:
            self._descriptor = os.open(
                self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
            )
            # A new file is found again after a crash only when its directory says so.
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(directory)
            os.close(directory)
        line = json.dumps(asdict(call)).encode() + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"{self._path}: a line was not written whole")
        os.fsync(self._descriptor)
        self._remember(call)
        return True

    def calls_of(self, researcher: str) -> Sequence[Call]:
        """In the order in which they came."""
        return self._of.get(researcher, ())

    def _remember(self, call: Call) -> None:
        self._by_id[call.call] = call
        self._of.setdefault(call.researcher, []).append(call)

    def _read(self) -> list[Call]:
        if not self._path.exists():
            return []
        data = self._path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.truncate(self._path, whole)
        try:
            return [Call(**json.loads(line)) for line in data[:whole].splitlines()]
        except (ValueError, TypeError) as error:
            raise LedgerUnusable(
                f"{self._path} is not a ledger of calls any more ({error}): put back the file that was there"
            ) from error
