"""One held receipt, checked offline: this entry is in the log, under a checkpoint that enough witnesses saw.

A receipt is a C2SP tlog-proof with the entry's leaf in its `extra` line. C2SP leaves that line
unauthenticated; here its hash must be the one that the proof leads from.
"""

from __future__ import annotations

from dataclasses import dataclass

from aar.formats.checkpoint import Checkpoint, open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import Leaf, parse_leaf
from aar.formats.errors import FormatError
from aar.formats.policy import Policy, is_quorum_met
from aar.formats.proof import parse_proof
from aar.verify.merkle import InvalidProof, check_inclusion, leaf_hash


class ReceiptRefused(ValueError):
    """The receipt does not show what it is kept for; `code` is one of the verifier's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Receipt:
    """An entry shown to be in a log: `cosigned_s` has the Unix seconds of each witness's cosignature."""

    leaf: Leaf
    leaf_hash: bytes
    checkpoint: Checkpoint
    note: bytes
    cosigned_s: dict[str, int]


def check_receipt(data: bytes, policy: Policy) -> Receipt:
    """The receipt, if `policy`'s log signed it, its quorum cosigned it, and the proof leads from the leaf.

    Raises `FormatError` when these bytes are no receipt at all, and `ReceiptRefused` when they are one that
    shows nothing: CHECKPOINT_SIG, POLICY, REPLAY (the leaf says another place) or ENTRY_HASH.
    """
    proof = parse_proof(data)
    if proof.extra is None:
        raise ReceiptRefused("ENTRY_HASH", "the receipt does not hold its entry: there is no line 'extra'")
    leaf = parse_leaf(proof.extra)
    try:
        checkpoint, note = open_checkpoint(proof.checkpoint, policy.log)
        times = {name: cosigned_at(note, key) for name, key in policy.witnesses}
    except FormatError as error:
        raise ReceiptRefused("CHECKPOINT_SIG", f"its checkpoint: {error}") from error
    cosigned_s = {name: unix_s for name, unix_s in times.items() if unix_s is not None}
    if not is_quorum_met(policy, set(cosigned_s)):
        raise ReceiptRefused(
            "POLICY", f"cosigned by {sorted(cosigned_s) or 'nobody'}, want the quorum {policy.quorum!r}"
        )
    if (leaf.index, leaf.signed.entry.origin) != (proof.index, policy.log.name):
        raise ReceiptRefused(
            "REPLAY",
            f"the proof is for entry {proof.index} of {policy.log.name}, the leaf is entry {leaf.index} of "
            f"{leaf.signed.entry.origin}",
        )
    hashed = leaf_hash(proof.extra)
    try:
        check_inclusion(hashed, proof.index, checkpoint.size, proof.hashes, checkpoint.root)
    except InvalidProof as error:
        raise ReceiptRefused(
            "ENTRY_HASH", f"entry {proof.index} is not shown to be in it: {error}"
        ) from error
    return Receipt(leaf, hashed, checkpoint, proof.checkpoint, cosigned_s)
