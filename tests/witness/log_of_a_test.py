"""A log to be witnessed: it signs any tree, true or not."""

from __future__ import annotations

from collections.abc import Sequence

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.note import Note, Signature, format_note
from aar.formats.strict import encode_base64
from aar.verify.merkle import leaf_hash, node_hash, root_of

ORIGIN = "log.example/1"
LOG = Signer(ORIGIN, bytes(range(32)))
OTHER = Signer("log.example/2", bytes(range(1, 33)))
WITNESS = Signer("witness-local", bytes(range(32, 64)), COSIGNATURE)
LEAVES = [leaf_hash(bytes([number])) for number in range(8)]


def checkpoint(
    size: int,
    *,
    root: bytes | None = None,
    origin: str = ORIGIN,
    signer: Signer = LOG,
    more: Sequence[Signature] = (),
) -> bytes:
    """A signed checkpoint; of the true tree unless another root is given."""
    text = format_checkpoint_text(Checkpoint(origin, size, root_of(LEAVES[:size]) if root is None else root))
    return format_note(Note(text, (signer.sign(text), *more)))


def request(old: int | str, proof: Sequence[bytes], note: bytes) -> bytes:
    """The body of an add-checkpoint request."""
    lines = [f"old {old}", *(encode_base64(one) for one in proof)]
    return ("\n".join(lines) + "\n\n").encode() + note


# Consistency proofs of the true tree, by hand (RFC 6962 section 2.1.2).
FROM_2_TO_4 = [node_hash(LEAVES[2], LEAVES[3])]
FROM_3_TO_4 = [LEAVES[2], LEAVES[3], node_hash(LEAVES[0], LEAVES[1])]
FROM_4_TO_5 = [LEAVES[4]]
