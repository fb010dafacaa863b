"""Signatures checked ahead, by processes of their own, while the one that verifies reads on.

Ed25519 is most of what a whole verification costs. What is asked here is answered by the very function that
is called without it, for that key, text and signature and no other; what was not asked, or what a process
that died left open, is answered on the spot. So a verdict does not depend on how many processes there are.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from types import TracebackType
from typing import Self

from aar.formats.entry import SignedEntry
from aar.formats.keys import VerifierKey

Question = tuple[VerifierKey, str, bytes]


class SignaturesAhead:
    """So many processes that check signatures; they are started when the first is asked for."""

    def __init__(self, jobs: int) -> None:
        if jobs < 2:
            raise ValueError(
                f"{jobs} processes that check signatures: want 2 or more, or none beside this one"
            )
        self._jobs = jobs
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    @property
    def most_open(self) -> int:
        """How many lists of questions are worth having open: for each process one, and one that waits."""
        return 2 * self._jobs

    def ask(self, questions: Sequence[Question]) -> Answers:
        """Have it checked whether each key's signature is over its text; does not wait for the answers."""
        if self._pool is None:
            # Not by fork: whoever calls this as a library may have threads.
            self._pool = ProcessPoolExecutor(self._jobs, get_context("spawn"), _ignore_interrupts)
        try:
            return Answers(questions, self._pool.submit(answer, questions))
        except (BrokenExecutor, OSError):
            return Answers((), ())


class Answers:
    """The answers to one list of questions."""

    def __init__(self, questions: Sequence[Question], given: Future[list[bool]] | Sequence[bool]) -> None:
        self._questions = questions
        self._future = given if isinstance(given, Future) else None
        self._known = {} if isinstance(given, Future) else dict(zip(questions, given, strict=True))

    def vouches(self, key: VerifierKey, text: str, signature: bytes) -> bool:
        """As `key.vouches_for(text, signature)`; waits for what was asked."""
        if self._future is not None:
            try:
                self._known = dict(zip(self._questions, self._future.result(), strict=True))
            except BrokenExecutor:
                self._known = {}
            self._future = None
        known = self._known.get((key, text, signature))
        return key.vouches_for(text, signature) if known is None else known


def questions_about(signed: SignedEntry, keys: Mapping[str, VerifierKey]) -> Iterator[Question]:
    """What `check_entry_signatures` will ask about this entry where these keys, by their names, are known."""
    for line in signed.note.signatures:
        key = keys.get(line.name)
        if key is not None and key.key_id == line.key_id:
            yield key, signed.note.text, line.signature


def answer(questions: Sequence[Question]) -> list[bool]:
    """Whether each key's signature is over its text."""
    return [key.vouches_for(text, signature) for key, text, signature in questions]


def _ignore_interrupts() -> None:
    # Ctrl-C reaches every process of a terminal; the one that verifies ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
