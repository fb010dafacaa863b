"""What can go wrong with the record, and which of it ends the process."""

from __future__ import annotations


class RecordError(Exception):
    """The record could not do what was asked."""


class RecordHalted(RecordError, OSError):
    """The record must not go on: the caller ends the process, and a person looks before it starts again."""


class RecordInUse(RecordError):
    """Another sequencer holds this record."""


class DiskFull(RecordError, OSError):
    """No space left: what was asked did not happen, what was acknowledged stays. Free space and ask again."""


class QuorumNotMet(RecordError):
    """Too few witnesses cosigned: the entries stay durable, the published checkpoint stays as it was."""


class AnchorsNotMet(QuorumNotMet):
    """Too few anchors took what was to be signed or published: the published checkpoint stays as it was."""


class RefusedEntry(RecordError, ValueError):
    """An entry that this record cannot hold; nothing of its batch was written."""


class NotPublished(RecordError, LookupError):
    """The index or size asked for is not under the published checkpoint."""


class WitnessError(RecordError):
    """A witness did not cosign."""


class WitnessConflict(WitnessError):
    """The witness last cosigned another size than the caller thought (tlog-witness, status 409)."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness last cosigned size {size}")
        self.size = size
