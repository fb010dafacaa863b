"""The witnesses of a record: ask each for its cosignature, believe none of them unchecked, want enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aar.formats.cosignature import cosigned_at
from aar.formats.errors import FormatError
from aar.formats.note import Note, Signature, parse_note
from aar.outside.record.errors import QuorumNotMet, RecordHalted, WitnessConflict, WitnessError
from aar.outside.record.witness_client import Witness

# A witness names its size once; a second surprise within one request means that someone else asks it too.
_TRIES = 3


class Quorum:
    """`needed` of `witnesses` must cosign; a name or a key counts once."""

    def __init__(self, witnesses: Sequence[Witness], needed: int) -> None:
        names = {one.vkey.name for one in witnesses}
        keys = {one.vkey.public_key for one in witnesses}
        if not len(names) == len(keys) == len(witnesses):
            raise ValueError("two witnesses share a name or a key: one cannot count twice towards the quorum")
        if not 0 <= needed <= len(witnesses):
            raise ValueError(f"quorum {needed} of {len(witnesses)} witnesses: want 0 to {len(witnesses)}")
        self._witnesses = tuple(witnesses)
        self._needed = needed
        # What each one cosigned last, as far as this process knows; a 409 corrects it.
        self._sizes: dict[str, int] = {}

    def is_met(self, note: Note) -> bool:
        """Whether enough cosignatures are on `note`; raises `UnverifiedNote` when one is bad."""
        return sum(cosigned_at(note, one.vkey) is not None for one in self._witnesses) >= self._needed

    def collect(
        self, size: int, note: bytes, prove: Callable[[int], Sequence[bytes]]
    ) -> tuple[Signature, ...]:
        """Cosignatures over a signed checkpoint of `size`, checked; all witnesses are asked, each time.

        `prove(old)` is the consistency proof from `old` to `size`. Raises `QuorumNotMet`, and `RecordHalted`
        when a witness has seen more of this log than its own disk holds.
        """
        cosignatures: list[Signature] = []
        reasons: list[str] = []
        for witness in self._witnesses:
            try:
                answer = self._ask(witness, size, note, prove)
                cosignatures.append(_cosignature_in(note, answer, witness))
            except RecordHalted:
                raise
            except (WitnessError, FormatError, OSError) as error:
                reasons.append(f"{witness.vkey.name}: {error}")
        if len(cosignatures) < self._needed:
            raise QuorumNotMet(
                f"size {size} has {len(cosignatures)} cosignatures, want {self._needed}; {'; '.join(reasons)}"
            )
        return tuple(cosignatures)

    def _ask(
        self, witness: Witness, size: int, note: bytes, prove: Callable[[int], Sequence[bytes]]
    ) -> bytes:
        name = witness.vkey.name
        old = min(self._sizes.get(name, 0), size)
        for _ in range(_TRIES):
            try:
                answer = witness.add_checkpoint(old, prove(old), note)
            except WitnessConflict as conflict:
                old = conflict.size
                if old > size:
                    raise RecordHalted(
                        f"witness {name} cosigned size {old} of this log, which signed no more than {size}: "
                        f"the disk is older than the record; restore the newer copy"
                    ) from conflict
                continue
            self._sizes[name] = size
            return answer
        raise WitnessError(f"it changed its mind {_TRIES} times about the size it saw, at last {old}")


def _cosignature_in(note: bytes, answer: bytes, witness: Witness) -> Signature:
    """The line of this witness in its answer, which may hold others."""
    signed = parse_note(note + answer)
    if cosigned_at(signed, witness.vkey) is None:
        raise WitnessError(f"its answer {answer[:80]!r} has no cosignature of it")
    wanted = (witness.vkey.name, witness.vkey.key_id)
    return next(one for one in signed.signatures if (one.name, one.key_id) == wanted)
