"""The other side: copies that look odd and are honest. None may raise an alarm."""

from __future__ import annotations

from random import Random

from aar.formats.tile import entries_path, format_bundle, tile_path
from aar.outside.redteam.forgery import Forgery, flipped
from aar.outside.redteam.on_anchors import anchor_of, mirror_of
from aar.outside.redteam.on_history import truncate
from aar.outside.redteam.specimen import LOG, WITNESS, Specimen


def vary(specimen: Specimen, dice: Random) -> tuple[Forgery, list[str]]:
    """An honest variant of the study, and what is odd about it in words."""
    copy, oddities = Forgery(specimen), []
    has_keys = {LOG, WITNESS} <= specimen.keys
    size = len(copy)
    if has_keys and dice.randrange(2):
        size = dice.choice(specimen.publishable_sizes)
        truncate(copy, size)
        oddities.append(f"stopped at {size} entries")
    elif "reviewer" in specimen.keys and has_keys and dice.randrange(2):
        oddities.append(f"{_redact(copy, dice)} blobs redacted")
    if dice.randrange(2):
        oddities.append(f"{_leave_partials(copy, dice)} partial tiles of earlier sizes left")
    if size < len(specimen.leaves) and dice.randrange(2):
        oddities.append(f"{_write_ahead(copy, dice, size)} entries written and not published")
    sizes = [one for one in specimen.publishable_sizes if one <= size] if has_keys else [size]
    if dice.randrange(2):
        copy.pins = [specimen.note_at(dice.choice(sizes)) for _number in range(1 + dice.randrange(3))]
        oddities.append(f"{len(copy.pins)} pins")
    if dice.randrange(2):
        copy.witness_state = specimen.note_at(dice.choice(sizes))
        oddities.append("the witness's state")
    if dice.randrange(2):
        held = [dice.choice(sizes) for _number in range(1 + dice.randrange(3))]
        copy.receipts = [specimen.receipt_of(dice.randrange(one), one) for one in held]
        if dice.randrange(3) == 0:
            # Whoever hands over a receipt that shows nothing accuses nobody.
            copy.receipts.append(_spoiled(copy.receipts[0], dice))
        oddities.append(f"{len(copy.receipts)} receipts")
    if has_keys and dice.randrange(2):
        anchored = dice.choice(sizes)
        copy.anchor = anchor_of(specimen, dice, anchored)
        oddities.append(f"an anchor of {anchored} entries")
    elif size == len(specimen.leaves) and dice.randrange(2):
        copy.anchor = mirror_of(specimen)
        oddities.append("a mirror")
    if dice.randrange(2):
        copy.policy = specimen.policy_bytes
        oddities.append("the policy given")
    if dice.randrange(2):
        copy.now_ms = specimen.entries[-1].received_ms + dice.randrange(10**12)
        oddities.append("read later")
    return copy, oddities


def _spoiled(receipt: bytes, dice: Random) -> bytes:
    """A receipt that holds no more: one bit of it is another, or its end is lost."""
    place = dice.randrange(len(receipt))
    return flipped(receipt, place, dice.randrange(8)) if dice.randrange(2) else receipt[:place]


def _redact(copy: Forgery, dice: Random) -> int:
    """Let the reviewer withdraw exact values that were opened."""
    blobs = sorted({path for path in copy.files if path.startswith("blobs/")})
    chosen = dice.sample(blobs, min(len(blobs), 1 + dice.randrange(4)))
    for path in chosen:
        body = {"sha256": path.removeprefix("blobs/"), "reason": "it says how to do harm"}
        copy.append(copy.signer("reviewer", dice), "redaction", body)
        if dice.randrange(4):
            del copy.files[path]
    copy.publish()
    return len(chosen)


def _leave_partials(copy: Forgery, dice: Random) -> int:
    """Partial tiles and bundles that an honest log wrote at earlier sizes."""
    count = 0
    for _number in range(dice.randrange(1, 12)):
        size = dice.randrange(1, len(copy) + 1)
        first, width = size // 256 * 256, size % 256
        if width:
            leaves = copy.leaves[first : first + width]
            copy.files[entries_path(first // 256, width)] = format_bundle(leaves)
            tile = copy.specimen.tree.subtrees(0, first, width) if size <= len(copy.specimen.leaves) else None
            if tile is not None:
                copy.files[tile_path(0, first // 256, width)] = tile
            count += 1
    return count


def _write_ahead(copy: Forgery, dice: Random, size: int) -> int:
    """What a sequencer had written when it was stopped before it published."""
    specimen = copy.specimen
    ahead = dice.choice([one for one in specimen.publishable_sizes if one > size])
    for bundle in range(size // 256, -(-ahead // 256)):
        first = bundle * 256
        width = min(ahead - first, 256)
        copy.files[entries_path(bundle, width)] = format_bundle(specimen.leaves[first : first + width])
        if dice.randrange(2):
            copy.files[tile_path(0, bundle, width)] = specimen.tree.subtrees(0, first, width)
    return ahead - size
