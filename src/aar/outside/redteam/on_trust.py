"""Attacks on what a reader goes by: the study's policy, clocks, look-alike names, who wrote to an anchor."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text
from aar.formats.entry import format_leaf, parse_leaf
from aar.formats.keys import Signer
from aar.formats.note import Note, format_note
from aar.formats.policy import NO_QUORUM, Policy, format_policy
from aar.formats.tile import format_bundle
from aar.outside.redteam.attack import attack
from aar.outside.redteam.forgery import Forgery, pick
from aar.outside.redteam.on_anchors import ANCHOR, anchor_of, checkpoint_path
from aar.outside.redteam.on_authors import COMMENT, THAT
from aar.outside.redteam.on_history import NO_ENTRY, edit_unseen
from aar.outside.redteam.specimen import NoPlace, sign_checkpoint
from aar.verify.entry_check import MAX_CLOCK_SKEW_MS

OPENING = "the first entry: it names the witnesses"
CLOCK = "a clock"
# Letters of other alphabets that look like those of ours.
ALIKE = {
    "a": "\u0430",
    "c": "\u0441",
    "e": "\u0435",
    "i": "\u0456",
    "o": "\u043e",
    "p": "\u0440",
    "s": "\u0455",
    "x": "\u0445",
    "-": "\u2010",
}


@attack(
    "drop-the-witness",
    "POLICY",
    "edit an entry, sign without the witness, and take the witness out of the study's policy",
    keys="log researcher",
    needs="witness",
    index=OPENING,
)
def drop_the_witness(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    if specimen.policy.quorum == NO_QUORUM:
        raise NoPlace("no witness cosigned this study")
    edit_unseen(copy, dice, len(copy))
    whole = Checkpoint(copy.origin, len(copy), copy.tree_root())
    copy.files["checkpoint"] = sign_checkpoint(whole, specimen.log, (), specimen.published_s)
    kept = specimen.policy.witnesses if dice.randrange(2) else ()
    copy.study_policy = format_policy(Policy(specimen.policy.log, kept)).encode()
    return 0


@attack(
    "bring-another-witness",
    "POLICY",
    "edit an entry, have it cosigned by a witness of one's own, and name that one in the study's policy",
    keys="log researcher",
    needs="witness",
    index=OPENING,
)
def bring_another_witness(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    name, true = pick(dice, specimen.policy.witnesses, "a witness")
    own = Signer(true.name, dice.randbytes(32), true.algorithm)
    edit_unseen(copy, dice, len(copy))
    whole = Checkpoint(copy.origin, len(copy), copy.tree_root())
    copy.files["checkpoint"] = sign_checkpoint(whole, specimen.log, [own], specimen.published_s)
    policy = Policy.with_one_witness(specimen.policy.log, str(name), own.vkey)
    copy.study_policy = format_policy(policy).encode()
    return 0


@attack(
    "revoked-witness",
    "CHECKPOINT_SIG",
    "have the record cosigned under a witness's key that the reader no longer trusts",
    keys="log witness",
    holds="the policy",
    index=NO_ENTRY,
)
def revoked_witness(copy: Forgery, dice: Random) -> int:
    trusted = copy.specimen.policy
    revoked = int(pick(dice, range(len(trusted.witnesses)), "a witness"))
    name, key = trusted.witnesses[revoked]
    witnesses = list(trusted.witnesses)
    witnesses[revoked] = (name, Signer(key.name, dice.randbytes(32), key.algorithm).vkey)
    copy.policy = format_policy(replace(trusted, witnesses=tuple(witnesses))).encode()
    return -1


@attack(
    "extend-checkpoint",
    "CHECKPOINT_SIG",
    "sign a checkpoint with a line more, which readers may take for something",
    keys="log witness",
    index=NO_ENTRY,
)
def extend_checkpoint(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    assert specimen.log is not None
    text = format_checkpoint_text(Checkpoint(copy.origin, len(copy), copy.tree_root()))
    text += dice.choice(["note that this is final\n", f"{dice.randrange(10**6)}\n", f"{copy.origin}\n"])
    cosigned = (one.cosign(text, specimen.published_s) for one in specimen.witnesses)
    copy.files["checkpoint"] = format_note(Note(text, (specimen.log.sign(text), *cosigned)))
    return -1


@attack(
    "clock-after-cosignature",
    "CLOCK_REGRESSION",
    "say that the newest entry came after the witness had seen it",
    keys="log witness",
    index=THAT,
)
def clock_after_cosignature(copy: Forgery, dice: Random) -> int:
    index = len(copy) - 1
    leaf = parse_leaf(copy.leaves[index])
    received = (copy.specimen.published_s + 1) * 1000 + MAX_CLOCK_SKEW_MS + dice.randrange(10**9)
    copy.leaves[index] = format_leaf(index, received, leaf.signed.data)
    copy.publish()
    return index


@attack(
    "cosign-ahead",
    "CLOCK_REGRESSION",
    "date a cosignature in the future, so that the record looks fresh until then",
    keys="log witness",
    holds=CLOCK,
    index=NO_ENTRY,
)
def cosign_ahead(copy: Forgery, dice: Random) -> int:
    specimen = copy.specimen
    copy.now_ms = specimen.published_s * 1000
    ahead = specimen.published_s + MAX_CLOCK_SKEW_MS // 1000 + dice.randrange(1, 10**8)
    whole = Checkpoint(copy.origin, len(copy), copy.tree_root())
    copy.files["checkpoint"] = sign_checkpoint(whole, specimen.log, specimen.witnesses, ahead)
    return -1


@attack(
    "lookalike-author",
    "AUTHOR_KEY",
    "write under a name that looks like an enrolled author's",
    keys="log witness",
    index=THAT,
)
def lookalike_author(copy: Forgery, dice: Random) -> int:
    names = [name for name in sorted(copy.specimen.roles) if ALIKE.keys() & set(name)]
    name = str(pick(dice, names, "an author's name with a letter that has a double"))
    letter = dice.choice([one for one in name if one in ALIKE])
    stranger = Signer(name.replace(letter, ALIKE[letter], 1), dice.randbytes(32))
    index = copy.append(stranger, "comment", COMMENT)
    copy.publish()
    return index


@attack(
    "move-tiles",
    "MISSING",
    "move all tiles elsewhere and leave a link to them",
    index="the first entry under what is missing first",
)
def move_tiles(copy: Forgery, dice: Random) -> int:
    name = f"elsewhere-{dice.randrange(1 << 16):04x}"
    tiles = [path for path in copy.files if path.startswith("tile/")]
    for path in tiles:
        copy.files[name + path.removeprefix("tile")] = copy.files.pop(path)
    copy.links["tile"] = name
    return 0


@attack(
    "anchor-second-segment",
    "WORM_DIVERGENCE",
    "add a segment to a store that holds another entry where the first one holds the true one",
    holds=ANCHOR,
    index="the entry",
)
def anchor_second_segment(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    first = dice.randrange(len(copy))
    end = dice.randrange(first, len(copy)) + 1
    index = dice.randrange(first, end)
    leaves = [*copy.specimen.leaves[first:end]]
    leaves[index - first] = dice.randbytes(dice.randrange(1, 500))
    root = copy.specimen.tree.root(end).hex()[:16]
    # Under the same name as an honest one it would be that one, written again.
    path = f"segment/{first:020d}-{end:020d}-{root}"
    if path in copy.anchor:
        raise NoPlace("the anchor has a segment of just these entries")
    copy.anchor[path] = format_bundle(leaves)
    return index


@attack(
    "anchor-foreign-checkpoint",
    "WORM_DIVERGENCE",
    "add another log's checkpoint to a store, so that it is set aside as that log's",
    holds=ANCHOR,
    index=NO_ENTRY,
)
def anchor_foreign_checkpoint(copy: Forgery, dice: Random) -> int:
    copy.anchor = anchor_of(copy.specimen, dice)
    other = Signer(f"log.example/{dice.randrange(10**6)}", dice.randbytes(32))
    size = dice.randrange(1, 10**6)
    note = sign_checkpoint(Checkpoint(other.name, size, dice.randbytes(32)), other, (), 1)
    copy.anchor[checkpoint_path(size, note)] = note
    return -1
