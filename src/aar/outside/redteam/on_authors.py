"""Attacks on authors: entries in a name, an order or a role that is not the signer's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from aar.formats.entry import NO_ISOLATION, Entry, format_entry_text, format_leaf, parse_leaf
from aar.formats.keys import ED25519, Signer, VerifierKey, format_vkey, parse_vkey
from aar.formats.note import Note, format_note
from aar.outside.redteam.attack import attack
from aar.outside.redteam.forgery import Forgery, pick, signed_by
from aar.outside.redteam.specimen import NoPlace

THAT = "that entry"
COMMENT: dict[str, Any] = {"on": 0, "text": "well"}


def _set(copy: Forgery, index: int, signed: bytes) -> None:
    copy.leaves[index] = format_leaf(index, parse_leaf(copy.leaves[index]).received_ms, signed)
    copy.publish()


@attack(
    "forge-author",
    "AUTHOR_SIG",
    "change an entry under a made-up key of its author's name",
    keys="log witness",
    index=THAT,
)
def forge_author(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(1, len(copy))
    entry = replace(copy.entry(index), at=dice.randrange(1, 1 << 40))
    _set(copy, index, signed_by(entry, Signer(entry.author, dice.randbytes(32))))
    return index


@attack(
    "flip-author-signature",
    "AUTHOR_SIG",
    "flip one bit of an author's signature, sign the log again",
    keys="log witness",
    index=THAT,
)
def flip_author_signature(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(len(copy))
    note = parse_leaf(copy.leaves[index]).signed.note
    line = note.signatures[0]
    place = dice.randrange(len(line.signature))
    raw = bytearray(line.signature)
    raw[place] ^= 1 << dice.randrange(8)
    changed = replace(line, signature=bytes(raw))
    _set(copy, index, format_note(Note(note.text, (changed, *note.signatures[1:]))))
    return index


@attack(
    "borrow-author-signature",
    "AUTHOR_SIG",
    "change an entry and keep the author's old signature",
    keys="log witness",
    index=THAT,
)
def borrow_author_signature(copy: Forgery, dice: Random) -> int:
    index = dice.randrange(1, len(copy))
    signed = parse_leaf(copy.leaves[index]).signed
    text = format_entry_text(replace(signed.entry, at=dice.randrange(1, 1 << 40)))
    _set(copy, index, format_note(Note(text, signed.note.signatures)))
    return index


@attack(
    "sign-for-another",
    "AUTHOR_SIG",
    "speak in another researcher's name under one's own key",
    keys="log witness researcher",
    index=THAT,
)
def sign_for_another(copy: Forgery, dice: Random) -> int:
    signer = copy.signer("researcher", dice)
    roles = copy.specimen.roles
    others = sorted(name for name, role in roles.items() if role == "researcher" and name != signer.name)
    other = str(pick(dice, others, "a second researcher"))
    seq, prev = copy.chain(other)
    index = copy.append(
        signer, "comment", COMMENT, change=lambda entry: replace(entry, author=other, seq=seq, prev=prev)
    )
    copy.publish()
    return index


@attack(
    "misstate-isolation",
    "ISOLATION",
    "deny in one's own entry that there was no sandbox, or invent it",
    keys="log witness researcher",
    index=THAT,
)
def misstate_isolation(copy: Forgery, dice: Random) -> int:
    index = copy.append(
        copy.signer("researcher", dice),
        "comment",
        COMMENT,
        change=lambda entry: replace(entry, isolation="" if entry.isolation else NO_ISOLATION),
    )
    copy.publish()
    return index


@attack(
    "drop-cosigner",
    "AUTHOR_SIG",
    "take the reviewer's signature off the opening or the close",
    keys="log witness",
    index=THAT,
)
def drop_cosigner(copy: Forgery, dice: Random) -> int:
    index = pick(dice, [at for at, _entry in copy.entries("study-opened", "study-closed")], "an opening")
    note = parse_leaf(copy.leaves[index]).signed.note
    _set(copy, index, format_note(Note(note.text, note.signatures[:1])))
    return int(index)


@attack(
    "extra-cosigner",
    "AUTHOR_SIG",
    "let somebody else sign an entry that has one signer",
    keys="log witness researcher",
    index=THAT,
)
def extra_cosigner(copy: Forgery, dice: Random) -> int:
    signer = copy.signer("researcher", dice)
    alone = [
        at
        for at, entry in copy.entries()
        if entry.author != signer.name and len(parse_note_of(copy, at).signatures) == 1
    ]
    index = int(pick(dice, alone, "an entry of somebody else"))
    note = parse_note_of(copy, index)
    _set(copy, index, format_note(Note(note.text, (*note.signatures, signer.sign(note.text)))))
    return index


def parse_note_of(copy: Forgery, index: int) -> Note:
    """The note of an entry as it is in the copy."""
    return parse_leaf(copy.leaves[index]).signed.note


@attack(
    "unenrolled-author",
    "AUTHOR_KEY",
    "let somebody write whom the study never enrolled",
    keys="log witness",
    index=THAT,
)
def unenrolled_author(copy: Forgery, dice: Random) -> int:
    stranger = Signer(f"researcher-{dice.randrange(100, 10**6)}", dice.randbytes(32))
    index = copy.append(stranger, "comment", COMMENT)
    copy.publish()
    return index


@attack(
    "log-key-writes", "AUTHOR_KEY", "write an entry under the log's own key", keys="log witness", index=THAT
)
def log_key_writes(copy: Forgery, _dice: Random) -> int:
    assert copy.specimen.log is not None
    index = copy.append(copy.specimen.log, "comment", COMMENT)
    copy.publish()
    return index


@attack(
    "wrong-role",
    "AUTHOR_KEY",
    "write what is another role's to say, under a researcher's key",
    keys="log witness researcher",
    index=THAT,
)
def wrong_role(copy: Forgery, dice: Random) -> int:
    kinds = ("score-receipt", "score-revealed", "submission", "task-opened", "budget-charged", "task-leased")
    bodies = [(entry.kind, entry.body) for _index, entry in copy.entries(*kinds)]
    kind, body = pick(dice, bodies, "an entry of another role")
    index = copy.append(copy.signer("researcher", dice), kind, body)
    copy.publish()
    return index


@attack(
    "forge-redaction",
    "AUTHOR_KEY",
    "redact a blob without the reviewer, and delete it",
    keys="log witness operator",
    index="the redaction",
)
def forge_redaction(copy: Forgery, dice: Random) -> int:
    blobs = sorted(path for path in copy.files if path.startswith("blobs/"))
    path = str(pick(dice, blobs, "a blob"))
    body = {"sha256": path.removeprefix("blobs/"), "reason": "it was awkward"}
    index = copy.append(copy.signer("operator", dice), "redaction", body)
    del copy.files[path]
    copy.publish()
    return index


@attack(
    "skip-seq", "AUTHOR_SEQ_GAP", "let an author leave numbers out", keys="log witness researcher", index=THAT
)
def skip_seq(copy: Forgery, dice: Random) -> int:
    gap = dice.randrange(1, 10)
    return _appended(copy, dice, lambda entry: replace(entry, seq=entry.seq + gap))


@attack(
    "another-prev",
    "AUTHOR_SEQ_GAP",
    "let an author go on from another entry than its last",
    keys="log witness researcher",
    index=THAT,
)
def another_prev(copy: Forgery, dice: Random) -> int:
    digest = dice.randbytes(32).hex()
    signer = _spoken(copy, dice)
    index = copy.append(signer, "comment", COMMENT, change=lambda entry: replace(entry, prev=digest))
    copy.publish()
    return index


@attack("seq-again", "REPLAY", "let an author use a number twice", keys="log witness researcher", index=THAT)
def seq_again(copy: Forgery, dice: Random) -> int:
    signer = _spoken(copy, dice)
    said = [entry for _index, entry in copy.entries() if entry.author == signer.name]
    again = dice.choice(said)
    index = copy.append(
        signer, "comment", COMMENT, change=lambda entry: replace(entry, seq=again.seq, prev=again.prev)
    )
    copy.publish()
    return index


def _spoken(copy: Forgery, dice: Random) -> Signer:
    """The key of a researcher who has said something."""
    roles, authors = copy.specimen.roles, copy.specimen.authors
    spoken = {entry.author for _index, entry in copy.entries()}
    names = sorted(name for name in authors if roles[name] == "researcher" and name in spoken)
    return authors[pick(dice, names, "a researcher who said something and whose key is at hand")]


def _appended(copy: Forgery, dice: Random, change: Callable[[Entry], Entry]) -> int:
    index = copy.append(copy.signer("researcher", dice), "comment", COMMENT, change=change)
    copy.publish()
    return index


@attack(
    "unknown-kind",
    "UNKNOWN_KIND",
    "write an entry of a kind that does not exist",
    keys="log witness researcher",
    index=THAT,
)
def unknown_kind(copy: Forgery, dice: Random) -> int:
    kind = f"{dice.choice(['note', 'score-corrected', 'result'])}-{dice.randrange(1000)}"
    return _appended(copy, dice, lambda entry: replace(entry, kind=kind))


@attack(
    "odd-body",
    "BODY",
    "write an entry whose body has another shape",
    keys="log witness researcher",
    index=THAT,
)
def odd_body(copy: Forgery, dice: Random) -> int:
    body = dice.choice([{}, {**COMMENT, "more": 1}, {"on": -1, "text": "x"}, {"on": 0, "text": ""}])
    return _appended(copy, dice, lambda entry: replace(entry, body=body))


@attack(
    "refer-ahead",
    "REFS",
    "let an entry refer to itself or to a later one",
    keys="log witness researcher",
    index=THAT,
)
def refer_ahead(copy: Forgery, dice: Random) -> int:
    ahead = len(copy) + dice.randrange(3)
    return _appended(copy, dice, lambda entry: replace(entry, refs=(ahead,)))


@attack(
    "another-spelling",
    "ENTRY",
    "write an entry that could be spelled otherwise",
    keys="log witness researcher",
    index=THAT,
)
def another_spelling(copy: Forgery, dice: Random) -> int:
    signer = copy.signer("researcher", dice)
    copy.append(signer, "comment", COMMENT)
    last = parse_leaf(copy.leaves[-1])
    old, new = dice.choice([('"on":', '"on" :'), ('"kind":"comment"', '"kind": "comment"'), ("}", "} ")])
    text = last.signed.note.text.replace(old, new, 1)
    copy.leaves[-1] = format_leaf(last.index, last.received_ms, format_note(Note(text, (signer.sign(text),))))
    copy.publish()
    return len(copy) - 1


@attack(
    "second-opening",
    "ORDER",
    "open the study a second time, on other terms",
    keys="log witness operator reviewer",
    index=THAT,
)
def second_opening(copy: Forgery, dice: Random) -> int:
    opened = copy.entry(0)
    reviewer = _reviewer(copy)
    budget = {"submissions": dice.randrange(1, 999), "seconds": 1}
    body = {**opened.body, "budget": budget}
    index = copy.append(copy.specimen.authors[opened.author], opened.kind, body, cosigners=[reviewer])
    copy.publish()
    return index


def _reviewer(copy: Forgery) -> Signer:
    name = parse_note_of(copy, 0).signatures[1].name
    if name not in copy.specimen.authors:
        raise NoPlace(f"the key of {name} is not at hand")
    return copy.specimen.authors[name]


@attack(
    "enrol-weak-key",
    "AUTHOR_KEY",
    "enrol a key of small order, for which one signature fits many texts",
    keys="log witness operator reviewer",
    index="the first entry",
)
def enrol_weak_key(copy: Forgery, dice: Random) -> int:
    points = (bytes(32), b"\x01" + bytes(31), bytes.fromhex("ec" + "ff" * 30 + "7f"))
    return _enrolled_otherwise(copy, dice, lambda _keys, _one: dice.choice(points))


@attack(
    "enrol-twice",
    "AUTHOR_KEY",
    "enrol one key under two names",
    keys="log witness operator reviewer",
    index="the first entry",
)
def enrol_twice(copy: Forgery, dice: Random) -> int:
    return _enrolled_otherwise(copy, dice, lambda keys, one: dice.choice([key for key in keys if key != one]))


def _enrolled_otherwise(copy: Forgery, dice: Random, point: Callable[[list[bytes], bytes], bytes]) -> int:

    opened: Any = copy.entry(0).body
    keys = [parse_vkey(one["vkey"]) for one in opened["keys"]]
    place = dice.randrange(len(keys))
    chosen = point([key.public_key for key in keys], keys[place].public_key)
    changed: Any = [dict(one) for one in opened["keys"]]
    changed[place]["vkey"] = format_vkey(VerifierKey(keys[place].name, ED25519, chosen))
    entry = replace(copy.entry(0), body={**opened, "keys": changed})
    names = [line.name for line in parse_note_of(copy, 0).signatures]
    _set(copy, 0, signed_by(entry, *(copy.specimen.authors[name] for name in names)))
    return 0
