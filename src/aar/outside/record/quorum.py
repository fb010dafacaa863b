"""The witnesses of a record: ask all at once, believe none of them unchecked, want enough.

Each is asked in a thread of its own, one request at a time, and the answers come back to the caller, who
alone reads the tree and keeps the sizes. When enough have cosigned, the others get a short grace and no more:
a slow witness is asked again at the next checkpoint, once it has done with this one.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aar.formats.cosignature import cosigned_at
from aar.formats.errors import FormatError
from aar.formats.note import Note, Signature, parse_note
from aar.outside.record.errors import QuorumNotMet, RecordHalted, WitnessConflict, WitnessError
from aar.outside.record.witness_client import Witness

# A witness names its size once; a second surprise within one request means that someone else asks it too.
_TRIES = 3
GRACE_S = 0.25
# Longer than a client waits for one answer: who is still out then hangs in a way that no time-out ends.
PATIENCE_S = 12.0

_Answer = tuple[str, bytes | BaseException]


@dataclass(slots=True)
class _Round:
    """One checkpoint on its way to all witnesses: who is out, what came back."""

    size: int
    note: bytes
    prove: Callable[[int], Sequence[bytes]]
    answers: queue.SimpleQueue[_Answer] = field(default_factory=queue.SimpleQueue)
    old: dict[str, int] = field(default_factory=dict)
    tries: dict[str, int] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    cosignatures: dict[str, Signature] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


class Quorum:
    """`needed` of `witnesses` must cosign; a name or a key counts once."""

    def __init__(self, witnesses: Sequence[Witness], needed: int, *, grace_s: float = GRACE_S) -> None:
        names = {one.vkey.name for one in witnesses}
        keys = {one.vkey.public_key for one in witnesses}
        if not len(names) == len(keys) == len(witnesses):
            raise ValueError("two witnesses share a name or a key: one cannot count twice towards the quorum")
        if not 0 <= needed <= len(witnesses):
            raise ValueError(f"quorum {needed} of {len(witnesses)} witnesses: want 0 to {len(witnesses)}")
        self._witnesses = {one.vkey.name: one for one in witnesses}
        self._needed = needed
        self._grace_s = grace_s
        # What each one cosigned last, as far as this process knows; a 409 corrects it.
        self._sizes: dict[str, int] = {}
        # Who has not answered yet. Not "whose thread is alive": one that answered takes a moment to end.
        self._asking: set[str] = set()

    def is_met(self, note: Note) -> bool:
        """Whether enough cosignatures are on `note`; raises `UnverifiedNote` when one is bad."""
        cosigned = (cosigned_at(note, one.vkey) is not None for one in self._witnesses.values())
        return sum(cosigned) >= self._needed

    def collect(
        self, size: int, note: bytes, prove: Callable[[int], Sequence[bytes]]
    ) -> tuple[Signature, ...]:
        """Cosignatures over a signed checkpoint of `size`, checked; all witnesses are asked, each time.

        `prove(old)` is the consistency proof from `old` to `size`. Raises `QuorumNotMet`, and `RecordHalted`
        when a witness has seen more of this log than its own disk holds.
        """
        asked = _Round(size, note, prove)
        for name in self._witnesses:
            if name in self._asking:
                asked.reasons[name] = "it has not answered about an earlier checkpoint yet"
            else:
                self._ask(asked, name, min(self._sizes.get(name, 0), size))
        deadline = time.monotonic() + PATIENCE_S
        is_enough = False
        while asked.out:
            if not is_enough and len(asked.cosignatures) >= self._needed:
                is_enough = True
                deadline = time.monotonic() + self._grace_s
            try:
                name, answer = asked.answers.get(timeout=max(deadline - time.monotonic(), 0.0))
            except queue.Empty:
                break
            self._take(asked, name, answer)
        if len(asked.cosignatures) < self._needed:
            asked.reasons |= dict.fromkeys(asked.out, f"it did not answer within {PATIENCE_S:.0f} s")
            reasons = "; ".join(
                f"{name}: {asked.reasons[name]}" for name in self._witnesses if name in asked.reasons
            )
            raise QuorumNotMet(
                f"size {size} has {len(asked.cosignatures)} cosignatures, want {self._needed}; {reasons}"
            )
        # In the order of the witnesses, whoever was first.
        return tuple(asked.cosignatures[name] for name in self._witnesses if name in asked.cosignatures)

    def _ask(self, asked: _Round, name: str, old: int) -> None:
        """Send one request; its answer arrives in `asked.answers`."""
        witness, proof = self._witnesses[name], asked.prove(old)
        asked.out.add(name)
        asked.old[name] = old
        asked.tries[name] = asked.tries.get(name, 0) + 1

        def ask() -> None:
            try:
                answer: bytes | BaseException = witness.add_checkpoint(old, proof, asked.note)
            except BaseException as error:  # noqa: BLE001 - it is raised again, or named, where it is taken
                answer = error
            self._asking.discard(name)
            asked.answers.put((name, answer))

        self._asking.add(name)
        threading.Thread(target=ask, name=f"witness {name}", daemon=True).start()

    def _take(self, asked: _Round, name: str, answer: bytes | BaseException) -> None:
        """Believe a cosignature that verifies; ask again after another size; keep any other reason."""
        asked.out.discard(name)
        try:
            if isinstance(answer, BaseException):
                raise answer
            # It stored what it answered for, even if its signature is bad.
            self._sizes[name] = asked.size
            asked.cosignatures[name] = _cosignature_in(asked.note, answer, self._witnesses[name])
        except WitnessConflict as conflict:
            old = conflict.size
            if old > asked.size:
                raise RecordHalted(
                    f"witness {name} cosigned size {old} of this log, which signed no more than "
                    f"{asked.size}: the disk is older than the record; restore the newer copy"
                ) from conflict
            if asked.tries[name] < _TRIES:
                self._ask(asked, name, old)
            else:
                asked.reasons[name] = (
                    f"it changed its mind {_TRIES} times about the size it saw, at last {old}"
                )
        except (WitnessError, FormatError, OSError) as error:
            asked.reasons[name] = str(error)


def _cosignature_in(note: bytes, answer: bytes, witness: Witness) -> Signature:
    """The line of this witness in its answer, which may hold others."""
    signed = parse_note(note + answer)
    if cosigned_at(signed, witness.vkey) is None:
        raise WitnessError(f"its answer {answer[:80]!r} has no cosignature of it")
    wanted = (witness.vkey.name, witness.vkey.key_id)
    return next(one for one in signed.signatures if (one.name, one.key_id) == wanted)
