"""Attacks on history: an operator with the log's key, and mostly the witness's, tells another story."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from aar.formats.checkpoint import Checkpoint
from aar.formats.entry import format_leaf, parse_leaf
from aar.formats.keys import Signer, format_vkey
from aar.formats.note import Note, format_note, parse_note
from aar.formats.policy import Policy, format_policy
from aar.outside.record.tiles import filled_tiles
from aar.outside.record.tree import Tree, hash_leaf
from aar.outside.redteam.attack import CANNOT_BE_SEEN, attack
from aar.outside.redteam.forgery import Forgery, pick, with_body
from aar.outside.redteam.specimen import NoPlace, sign_checkpoint
from aar.verify.entry_check import MAX_CLOCK_SKEW_MS

NO_ENTRY = "none: no entry is meant"
PIN, STATE, RECEIPT = "a pinned checkpoint", "the witness's state", "a receipt"
SIZE = "the size of this copy"


def truncate(copy: Forgery, size: int) -> None:
    """The log as it was at an earlier size, with the checkpoint that was signed for it then."""
    copy.publish(copy.leaves[:size])
    copy.files["checkpoint"] = copy.specimen.note_at(size)


def edit_unseen(copy: Forgery, dice: Random, before: int) -> int:
    """Change what a researcher said, in one entry under `before`, so that nothing else contradicts it."""
    decided = {entry.body["finding"] for _index, entry in copy.entries("decision")}
    roles = copy.specimen.roles
    places = []
    for index, entry in copy.entries("finding", "plan-declared", "task-proposed", "comment"):
        later = {place for place, one in copy.entries() if one.author == entry.author and place >= index}
        is_free = not later & decided and copy.can_rewrite(index)
        if index < before and roles.get(entry.author) == "researcher" and is_free:
            places.append(index)
    chosen: int = pick(dice, places, "a researcher's entry that can be signed again there")
    entry = copy.entry(chosen)
    field = next(one for one in ("text", "reason", "steps") if one in entry.body)
    changed = f"changed {dice.randrange(1 << 20)}"
    if field == "steps":
        steps: Any = entry.body["steps"]
        copy.rewrite(chosen, with_body(steps=[{**step, "what": changed} for step in steps]))
    else:
        copy.rewrite(chosen, with_body(**{field: changed}))
    copy.publish()
    return chosen


def _sizes(copy: Forgery, least: int = 1) -> list[int]:
    """Earlier sizes at which the log may have stopped."""
    return [size for size in copy.specimen.publishable_sizes[:-1] if size >= least]


@attack(
    "old-checkpoint-pin",
    "ROLLBACK",
    "serve the log as it was at an earlier size",
    needs="log witness",
    holds=PIN,
    index=SIZE,
)
def old_checkpoint_pin(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy), "an earlier size"))
    truncate(copy, size)
    copy.pins = [
        copy.specimen.note_at(
            dice.choice([one for one in _sizes(copy) if one > size] or [len(copy.specimen.leaves)])
        )
    ]
    return size


@attack(
    "old-checkpoint-witness",
    "ROLLBACK",
    "serve the log as it was at an earlier size",
    needs="log witness",
    holds=STATE,
    index=SIZE,
)
def old_checkpoint_witness(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy), "an earlier size"))
    truncate(copy, size)
    copy.witness_state = copy.specimen.checkpoint
    return size


@attack(
    "old-checkpoint-only",
    "ROLLBACK",
    "serve an earlier checkpoint, and leave all tiles",
    needs="log witness",
    holds=PIN,
    index=SIZE,
)
def old_checkpoint_only(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy), "an earlier size"))
    truncate(copy, size)
    copy.files = {**copy.specimen.files, **copy.files}
    copy.pins = [copy.specimen.checkpoint]
    return size


@attack(
    "old-checkpoint-unheld",
    CANNOT_BE_SEEN,
    "serve the log as it was at an earlier size",
    needs="log witness",
    index="it is an honest log of that size; a pin, the witness's state or an anchor shows more",
)
def old_checkpoint_unheld(copy: Forgery, dice: Random) -> int:
    truncate(copy, int(pick(dice, _sizes(copy), "an earlier size")))
    return -1


@attack(
    "old-checkpoint-above-pin",
    CANNOT_BE_SEEN,
    "cut off only what came after the reader's pin",
    needs="log witness",
    holds=PIN,
    index="the reader saw nothing of what is cut off",
)
def old_checkpoint_above_pin(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy), "an earlier size"))
    copy.pins = [copy.specimen.note_at(dice.choice([one for one in _sizes(copy) if one <= size]))]
    truncate(copy, size)
    return -1


@attack(
    "rollback-and-regrow",
    "FORK",
    "cut the newest entries off and let others grow in their place",
    keys="log witness researcher",
    holds=PIN,
    index=NO_ENTRY,
)
def rollback_and_regrow(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy, 2), "an earlier size"))
    copy.leaves = copy.leaves[:size]
    pinned = dice.randrange(size + 1, len(copy.specimen.leaves) + 1)
    while len(copy) < pinned:
        copy.append(copy.signer("researcher", dice), "comment", {"on": 0, "text": f"grown {len(copy)}"})
    copy.publish()
    copy.pins = [copy.specimen.note_at(pinned)]
    return -1


@attack(
    "rollback-below-pin",
    "ROLLBACK",
    "cut entries off, let fewer grow in their place, sign again",
    keys="log witness researcher",
    holds=STATE,
    index=SIZE,
)
def rollback_below_pin(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, [one for one in _sizes(copy) if one + 1 < len(copy)], "an earlier size"))
    copy.leaves = copy.leaves[:size]
    for _number in range(dice.randrange(len(copy.specimen.leaves) - size)):
        copy.append(copy.signer("researcher", dice), "comment", {"on": 0, "text": f"grown {len(copy)}"})
    copy.publish()
    copy.witness_state = copy.specimen.checkpoint
    return len(copy)


@attack(
    "edit-before-pin",
    "FORK",
    "edit an entry that the reader's pin covers, sign everything again",
    keys="log witness researcher",
    holds=PIN,
    index=NO_ENTRY,
)
def edit_before_pin(copy: Forgery, dice: Random) -> int:
    index = edit_unseen(copy, dice, len(copy))
    copy.pins = [copy.specimen.note_at(dice.randrange(index + 1, len(copy) + 1))]
    return -1


@attack(
    "edit-before-cosignature",
    "FORK",
    "edit an entry that the witness cosigned, sign everything again",
    keys="log witness researcher",
    holds=STATE,
    index=NO_ENTRY,
)
def edit_before_cosignature(copy: Forgery, dice: Random) -> int:
    edit_unseen(copy, dice, len(copy))
    copy.witness_state = copy.specimen.checkpoint
    return -1


@attack(
    "edit-after-pin",
    CANNOT_BE_SEEN,
    "edit an entry newer than the reader's pin, sign everything again",
    keys="log witness researcher",
    holds=PIN,
    index="nothing that the reader holds covers the entry; an anchor or a later pin does",
)
def edit_after_pin(copy: Forgery, dice: Random) -> int:
    index = edit_unseen(copy, dice, len(copy))
    if index == 0:
        raise NoPlace("nothing is older than that entry")
    copy.pins = [copy.specimen.note_at(dice.randrange(1, index + 1))]
    return -1


@attack(
    "edit-unheld",
    CANNOT_BE_SEEN,
    "edit an entry and sign everything again, the witness's memory included",
    keys="log witness researcher",
    index="a single copy in which every key lies says nothing about another",
)
def edit_unheld(copy: Forgery, dice: Random) -> int:
    edit_unseen(copy, dice, len(copy))
    copy.witness_state = copy.files["checkpoint"]
    return -1


@attack(
    "edit-leaving-partials",
    "TILE_HASH",
    "edit an entry, sign everything again, forget the partial tiles of earlier sizes",
    keys="log witness researcher",
    index="the edited entry",
)
def edit_leaving_partials(copy: Forgery, dice: Random) -> int:
    index = edit_unseen(copy, dice, len(copy) // 256 * 256 + len(copy) % 256 - 1)
    size = len(copy)
    bundle = index // 256
    most = min(size - bundle * 256, 256)
    if index % 256 + 1 >= most:
        raise NoPlace("no earlier partial tile held that entry")
    width = dice.randrange(index % 256 + 1, most)
    hashes = copy.specimen.tree.subtrees(0, bundle * 256, width)
    copy.files[f"tile/0/{bundle:03d}.p/{width}"] = hashes
    return index


@attack(
    "edit-without-witness",
    "POLICY",
    "edit an entry and sign again without the witness's key",
    keys="log researcher",
    index=NO_ENTRY,
)
def edit_without_witness(copy: Forgery, dice: Random) -> int:
    if copy.specimen.policy.quorum == "none":
        raise NoPlace("no witness is required in this study")
    edit_unseen(copy, dice, len(copy))
    note = parse_note(copy.files["checkpoint"])
    copy.files["checkpoint"] = format_note(Note(note.text, note.signatures[:1]))
    return -1


@attack(
    "borrow-cosignature",
    "CHECKPOINT_SIG",
    "edit an entry, sign again, keep the cosignature of the true checkpoint",
    keys="log researcher",
    index=NO_ENTRY,
)
def borrow_cosignature(copy: Forgery, dice: Random) -> int:
    edit_unseen(copy, dice, len(copy))
    true = parse_note(copy.specimen.checkpoint)
    if len(true.signatures) < 2:
        raise NoPlace("no witness cosigned this study")
    note = parse_note(copy.files["checkpoint"])
    copy.files["checkpoint"] = format_note(Note(note.text, (note.signatures[0], *true.signatures[1:])))
    return -1


@attack(
    "split-view",
    "FORK",
    "show two readers two histories; they compare their checkpoints",
    keys="log witness researcher",
    holds="the other reader's checkpoint",
    index=NO_ENTRY,
)
def split_view(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy, 2), "an earlier size"))
    other = Forgery(copy.specimen)
    for one, word in ((copy, "one"), (other, "other")):
        one.leaves = one.leaves[:size]
        one.append(one.signer("researcher", dice), "comment", {"on": 0, "text": f"for the {word} reader"})
        one.publish()
    copy.pins = [other.files["checkpoint"]]
    return -1


@attack(
    "replay-entry",
    "REPLAY",
    "sequence an old entry a second time, sign again",
    keys="log witness",
    index="the second one",
)
def replay_entry(copy: Forgery, dice: Random) -> int:
    leaf = parse_leaf(dice.choice(copy.leaves))
    index, last = len(copy), parse_leaf(copy.leaves[-1])
    copy.publish([*copy.leaves, format_leaf(index, last.received_ms, leaf.signed.data)])
    return index


@attack(
    "replay-leaf",
    "REPLAY",
    "sequence an old leaf a second time, its index unchanged, sign again",
    keys="log witness",
    index="the second one",
)
def replay_leaf(copy: Forgery, dice: Random) -> int:
    copy.publish([*copy.leaves, dice.choice(copy.leaves)])
    return len(copy) - 1


@attack(
    "replay-from-another-log",
    "REPLAY",
    "bring an entry that its author signed for another log",
    keys="log witness researcher",
    index="that entry",
)
def replay_from_another_log(copy: Forgery, dice: Random) -> int:
    index = copy.append(
        copy.signer("researcher", dice),
        "comment",
        {"on": 0, "text": "said elsewhere"},
        change=lambda entry: replace(entry, origin=f"aar.local/study-{dice.randrange(1 << 64):016x}"),
    )
    copy.publish()
    return index


@attack(
    "resequence",
    "REPLAY",
    "swap two entries and sign again, each with the index it had",
    keys="log witness",
    index="the earlier of the two",
)
def resequence(copy: Forgery, dice: Random) -> int:
    if len(copy) < 3:
        raise NoPlace("there are too few entries to swap two")
    one, other = sorted(dice.sample(range(1, len(copy)), 2))
    copy.leaves[one], copy.leaves[other] = copy.leaves[other], copy.leaves[one]
    copy.publish()
    return one


@attack(
    "omit-entry",
    "AUTHOR_SEQ_GAP",
    "leave one entry out, number the rest anew, sign again",
    keys="log witness",
    index="the same author's next entry, one place earlier than it was",
)
def omit_entry(copy: Forgery, dice: Random) -> int:
    entries = copy.entries()
    places = []
    for index, entry in entries[1:]:
        following = next((at for at, one in entries[index + 1 :] if one.author == entry.author), -1)
        # An entry that refers to the one just before it would then refer to itself, and be named first.
        is_clear = all(at - 1 not in one.refs for at, one in entries[index + 1 : following + 1])
        if following > 0 and is_clear:
            places.append((index, following - 1))
    index, found = pick(dice, places, "an entry whose author goes on")
    _leave_out(copy, index)
    return int(found)


def _leave_out(copy: Forgery, index: int) -> None:
    """Take one entry out and number the rest anew."""
    rest = [parse_leaf(one) for one in copy.leaves[:index] + copy.leaves[index + 1 :]]
    copy.publish(
        [format_leaf(number, leaf.received_ms, leaf.signed.data) for number, leaf in enumerate(rest)]
    )


@attack(
    "omit-against-receipt",
    "OMISSION",
    "leave out an entry whose author holds the receipt",
    keys="log witness",
    holds=RECEIPT,
    index="the entry of the receipt",
)
def omit_against_receipt(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(1, len(copy))
    copy.receipts = [_receipt(copy, dice, index)]
    _leave_out(copy, index)
    return index


@attack(
    "edit-against-receipt",
    "OMISSION",
    "edit an entry whose author holds the receipt, sign everything again",
    keys="log witness researcher",
    holds=RECEIPT,
    index="the entry of the receipt",
)
def edit_against_receipt(copy: Forgery, dice: Random) -> int:
    index = edit_unseen(copy, dice, len(copy))
    copy.receipts = [_receipt(copy, dice, index)]
    return index


@attack(
    "rollback-against-receipt",
    "OMISSION",
    "serve the log as it was before the entry of a held receipt",
    needs="log witness",
    holds=RECEIPT,
    index="the entry of the receipt",
)
def rollback_against_receipt(copy: Forgery, dice: Random) -> int:
    size = int(pick(dice, _sizes(copy), "an earlier size"))
    index = dice.randrange(size, len(copy))
    copy.receipts = [_receipt(copy, dice, index)]
    truncate(copy, size)
    return index


@attack(
    "edit-under-receipt",
    "FORK",
    "edit an entry under the checkpoint of a receipt for an older one",
    keys="log witness researcher",
    holds=RECEIPT,
    index=NO_ENTRY,
)
def edit_under_receipt(copy: Forgery, dice: Random) -> int:
    index = edit_unseen(copy, dice, len(copy))
    if index == 0:
        raise NoPlace("nothing is older than that entry")
    size = dice.randrange(index + 1, len(copy) + 1)
    copy.receipts = [copy.specimen.receipt_of(dice.randrange(index), size)]
    return -1


def _receipt(copy: Forgery, dice: Random, index: int) -> bytes:
    """What was given for that entry, at once or later."""
    return copy.specimen.receipt_of(index, dice.randrange(index + 1, len(copy.specimen.leaves) + 1))


@attack(
    "clock-back",
    "CLOCK_REGRESSION",
    "say that an entry came before the one under it",
    keys="log witness",
    index="that entry",
)
def clock_back(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(1, len(copy))
    leaf, before = parse_leaf(copy.leaves[index]), parse_leaf(copy.leaves[index - 1])
    received = before.received_ms - dice.randrange(1, 10**6)
    copy.leaves[index] = format_leaf(index, received, leaf.signed.data)
    copy.publish()
    return index


@attack(
    "clock-ahead",
    "CLOCK_REGRESSION",
    "say that the newest entry comes from the future",
    keys="log witness",
    holds="a clock",
    index="that entry",
)
def clock_ahead(copy: Forgery, dice: Random) -> int:
    index = len(copy) - 1
    leaf = parse_leaf(copy.leaves[index])
    copy.now_ms = leaf.received_ms
    received = leaf.received_ms + MAX_CLOCK_SKEW_MS + dice.randrange(1, 10**9)
    copy.leaves[index] = format_leaf(index, received, leaf.signed.data)
    copy.publish()
    return index


@attack(
    "clock-between",
    CANNOT_BE_SEEN,
    "move an entry's time within the gap between its neighbours",
    keys="log witness",
    index="times are the log's own word; only their order is checked, and a cosignature's 'not later than'",
)
def clock_between(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(1, len(copy) - 1)
    before, leaf, after = (parse_leaf(copy.leaves[at]) for at in (index - 1, index, index + 1))
    received = dice.randrange(before.received_ms, after.received_ms + 1)
    copy.leaves[index] = format_leaf(index, received, leaf.signed.data)
    copy.publish()
    return -1


@attack(
    "claim-more",
    "MISSING",
    "sign a larger size than there are entries",
    keys="log witness",
    index="the first entry of the bundle that is not there",
)
def claim_more(copy: Forgery, dice: Random) -> int:
    size = len(copy) + dice.randrange(1, 200)
    copy.files["checkpoint"] = copy.sign(size=size)
    # The first bundle that a tree of that size has otherwise than this one.
    kept = {path for path in filled_tiles(0, len(copy)) if path.startswith("tile/entries/")}
    return len(kept) * 256


@attack(
    "sign-another-root",
    "FORK",
    "sign a root that is not that of the entries",
    keys="log witness",
    index=NO_ENTRY,
)
def sign_another_root(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    checkpoint = Checkpoint(copy.origin, len(copy), dice.randbytes(32))
    copy.files["checkpoint"] = sign_checkpoint(
        checkpoint, specimen.log, specimen.witnesses, specimen.published_s
    )
    return -1


def _made_up(copy: Forgery, dice: Random) -> tuple[Signer, Signer]:
    """A log's and a witness's key of the same names as the true ones."""
    witnesses = copy.specimen.policy.witnesses
    if not witnesses:
        raise NoPlace("no witness cosigned this study")
    true = witnesses[0][1]
    return Signer(copy.origin, dice.randbytes(32)), Signer(true.name, dice.randbytes(32), true.algorithm)


def _sign_as(copy: Forgery, log: Signer, witness: Signer) -> None:
    """Write the log down under these keys, with a policy that names them."""
    tree = Tree(map(hash_leaf, copy.leaves))
    copy.lay_out(tree)
    copy.files["checkpoint"] = sign_checkpoint(
        Checkpoint(copy.origin, len(tree), tree.root()), log, [witness], copy.specimen.published_s
    )
    name = copy.specimen.policy.witnesses[0][0]
    copy.study_policy = format_policy(Policy.with_one_witness(log.vkey, name, witness.vkey)).encode()


@attack(
    "new-keys-known-policy",
    "CHECKPOINT_SIG",
    "sign the log with keys of the same names, and replace the study's policy",
    holds="the policy",
    index=NO_ENTRY,
)
def new_keys_known_policy(copy: Forgery, dice: Random) -> int:
    _sign_as(copy, *_made_up(copy, dice))
    copy.policy = copy.specimen.policy_bytes
    return -1


@attack(
    "new-log-key",
    "AUTHOR_KEY",
    "sign the log with keys of the same names, replace the policy, keep the entries",
    index="the first entry: it names the log's key",
)
def new_log_key(copy: Forgery, dice: Random) -> int:
    _sign_as(copy, *_made_up(copy, dice))
    return 0


@attack(
    "new-keys-everywhere",
    CANNOT_BE_SEEN,
    "open the study anew under a log and a witness of the same names, and replace the policy",
    keys="operator reviewer",
    index="whoever trusts the keys in the directory trusts whoever wrote it: the report warns of that",
)
def new_keys_everywhere(copy: Forgery, dice: Random) -> int:
    log, witness = _made_up(copy, dice)
    copy.rewrite(0, with_body(log=format_vkey(log.vkey), witnesses=[format_vkey(witness.vkey)]))
    _sign_as(copy, log, witness)
    return -1
