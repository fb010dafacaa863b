"""Signatures of entries that were handed in, checked before they get their turn at the record's lock.

libsodium runs without the interpreter's lock, so that one thread beside the caller's puts a second core to a
batch. Threads that only check signatures hand the interpreter over at each of them; a thread that ran other
Python meanwhile would be waited for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from aar.formats.entry import SignedEntry
from aar.formats.keys import VerifierKey
from aar.verify.signatures_ahead import Answers, answer, questions_about

# To hand over fewer costs more than it saves.
LEAST_SHARED = 8


class SignatureWorker:
    """One thread that takes half of the work off its callers, who may be many."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "signatures")

    def check(self, entries: Sequence[SignedEntry], keys: Mapping[str, VerifierKey]) -> Answers:
        """Which of these keys vouch for which entry: for `check_entry_signatures`, which judges it."""
        questions = [one for signed in entries for one in questions_about(signed, keys)]
        half = len(questions) // 2 if len(questions) >= LEAST_SHARED else 0
        theirs = self._thread.submit(answer, questions[:half]) if half else None
        mine = answer(questions[half:])
        return Answers(questions, [*(theirs.result() if theirs is not None else ()), *mine])
