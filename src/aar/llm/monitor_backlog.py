"""What a monitor that is a model has still to read of each researcher, in files that a kill leaves whole.

One file of lines for each researcher, which only grows, and beside it how many of them were read. What is
heard again, as the same conversation grows or is taken up by another life of the worker, is there once.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from aar.llm.monitor_words import Item, is_submission, is_turn
from aar.outside.keyring import write_durably


class Backlog:
    """Of one researcher."""

    def __init__(self, directory: Path, researcher: str) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / f"{researcher}.jsonl"
        self._mark = directory / f"{researcher}.read"
        self.researcher = researcher
        self.readings = 0
        # Of its submissions, by their entries; those of them that are not read yet among `unread`.
        self.submissions: set[int] = set()
        self.unread: list[Item] = []
        self._read = int(self._mark.read_text()) if self._mark.exists() else 0
        self._seen: set[tuple[str, int]] = set()
        self._counts: Counter[str] = Counter()
        self._load()

    def _load(self) -> None:
        data = self._path.read_bytes() if self._path.exists() else b""
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            with self._path.open("r+b") as file:
                file.truncate(whole)
        lines = data[:whole].splitlines()
        if self._read > len(lines):
            # What a power cut took out of the file is heard again, and read then.
            self._read = len(lines)
            self._write_mark()
        for number, line in enumerate(lines):
            self._remember(line.decode(), is_read=number < self._read)

    def hear(self, items: Iterable[Item]) -> None:
        """Take in a conversation as it is now, from its first message on: what of it is new is kept."""
        counted: Counter[str] = Counter()
        new = []
        for one in items:
            line = json.dumps(one)
            digest = _digest(line)
            counted[digest] += 1
            if (digest, counted[digest]) not in self._seen:
                new.append(line)
        if new:
            self._write("".join(f"{line}\n" for line in new).encode("ascii"))
            for line in new:
                self._remember(line)

    def _write(self, data: bytes) -> None:
        """Add all of it to the file or, where that fails, nothing: half a line would spoil the next."""
        with self._path.open("ab", buffering=0) as file:
            before, left = file.seek(0, os.SEEK_END), memoryview(data)
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError:
                with suppress(OSError):
                    file.truncate(before)
                raise

    def has(self, item: Item) -> bool:
        """Whether it was heard before."""
        return (_digest(json.dumps(item)), 1) in self._seen

    def done(self, count: int) -> None:
        """The first `count` of what was unread were read: on disk before this returns."""
        self._read += count
        self._write_mark()
        del self.unread[:count]
        self.readings += 1

    def _write_mark(self) -> None:
        write_durably(self._mark, str(self._read).encode(), mode=0o600)

    @property
    def turns(self) -> int:
        """Turns of the researcher that were not read yet."""
        return sum(map(is_turn, self.unread))

    @property
    def has_submission(self) -> bool:
        return any(map(is_submission, self.unread))

    def _remember(self, line: str, *, is_read: bool = False) -> None:
        digest = _digest(line)
        self._counts[digest] += 1
        self._seen.add((digest, self._counts[digest]))
        item: Item = json.loads(line)
        if is_submission(item):
            self.submissions.add(item["entry"])
        if not is_read:
            self.unread.append(item)


def next_to_read(
    backlogs: Sequence[Backlog], *, every_turns: int, most_entries: int, is_last: bool
) -> Backlog | None:
    """Whose turn it is to be read, if anybody's: of those who are due, who was read least.

    So one who says a thousand things keeps the monitor from nobody else.
    """
    due = [
        one
        for one in backlogs
        if one.unread
        and (
            is_last
            or one.has_submission
            or one.turns >= every_turns
            or len(one.unread) - one.turns >= most_entries
        )
    ]
    return min(due, key=lambda one: one.readings, default=None)


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode()).hexdigest()[:32]
