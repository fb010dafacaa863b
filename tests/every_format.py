"""Every format there is: samples, and what reads bytes and writes them again.

For the tests on any bytes and for tools/fuzz_formats.py. What an `again` is given it accepts whole, and then
gives back the same bytes, or it raises one of our errors.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from aar.formats.bookmark import Bookmark, format_bookmark, parse_bookmark
from aar.formats.canonical import format_canonical, parse_canonical
from aar.formats.checkpoint import Checkpoint, format_checkpoint_text, open_checkpoint, parse_checkpoint_text
from aar.formats.cosignature import cosigned_at
from aar.formats.entry import (
    Entry,
    check_entry_signatures,
    format_entry_text,
    format_leaf,
    parse_leaf,
    parse_signed_entry,
    sign_entry,
)
from aar.formats.errors import FormatError, MalformedBody
from aar.formats.keys import COSIGNATURE, Signer, format_skey, format_vkey, parse_skey, parse_vkey
from aar.formats.kinds import check_body
from aar.formats.note import Note, format_note, parse_note, verified_by
from aar.formats.policy import Group, Policy, format_policy, is_quorum_met, parse_policy
from aar.formats.prefix import format_prefix, parse_prefix
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.formats.strict import decode_base64, encode_base64, parse_decimal, parse_sha256_hex
from aar.formats.tile import format_bundle, parse_bundle, parse_hashes, parse_tile_path
from aar.verify.merkle import leaf_hash, root_of
from aar.verify.payload import Payload, SplitCounts, format_payload, parse_payload
from aar.verify.reader import NotARecord, RecordReader

LOG = Signer("log.example/1", bytes(range(32)))
WITNESS = Signer("witness-local", bytes(range(32, 64)), COSIGNATURE)
SECOND = Signer("witness-second", bytes(range(96, 128)), COSIGNATURE)
AUTHOR = Signer("researcher-1", bytes(range(64, 96)))
CHECKPOINT_TEXT = format_checkpoint_text(Checkpoint(LOG.name, 3, bytes(32)))
CHECKPOINT = format_note(
    Note(CHECKPOINT_TEXT, (LOG.sign(CHECKPOINT_TEXT), WITNESS.cosign(CHECKPOINT_TEXT, 9)))
)
ENTRY = sign_entry(Entry(LOG.name, AUTHOR.name, 1, "0a" * 32, "comment", (0,), {"text": "é"}, 5), AUTHOR).data
BOOKMARK = format_bookmark(
    Bookmark(
        CHECKPOINT,
        ((AUTHOR.name, "researcher", AUTHOR.vkey),),
        {AUTHOR.name: (2, "0a" * 32)},
        7,
        is_closed=False,
    )
)


class Format(NamedTuple):
    """One format: samples, what reads bytes and writes them again, and the errors that are ours."""

    samples: tuple[bytes, ...]
    again: Callable[[bytes], bytes]
    is_text: bool = False
    errors: tuple[type[Exception], ...] = (FormatError,)


def of_text(again: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Formats of text also meet lone surrogates, which decoding with `surrogatepass` makes."""
    return lambda data: again(data.decode("utf-8", "surrogatepass")).encode("utf-8", "surrogatepass")


def text_format(again: Callable[[str], str], *samples: bytes) -> Format:
    return Format(samples, of_text(again), True)


def opened_checkpoint_again(data: bytes) -> bytes:
    checkpoint, note = open_checkpoint(data, LOG.vkey)
    cosigned_at(note, WITNESS.vkey)
    return format_note(Note(format_checkpoint_text(checkpoint), note.signatures))


def note_again(data: bytes) -> bytes:
    note = parse_note(data)
    written = format_note(note)
    verified_by(note, [LOG.vkey, WITNESS.vkey])
    return written


def entry_again(data: bytes) -> bytes:
    signed = parse_signed_entry(data)
    assert signed.data == data
    written = format_note(Note(format_entry_text(signed.entry), signed.note.signatures))
    assert written == data
    check_entry_signatures(signed, [AUTHOR.vkey])
    return written


def leaf_again(data: bytes) -> bytes:
    leaf = parse_leaf(data)
    return format_leaf(leaf.index, leaf.received_ms, leaf.signed.data)


def policy_again(text: str) -> str:
    policy = parse_policy(text)
    is_quorum_met(policy, {"local"})
    return format_policy(policy)


def body_again(data: bytes) -> bytes:
    """`[kind, body]` as canonical JSON."""
    value = parse_canonical(data)
    if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
        raise MalformedBody("want a kind and a body")
    check_body(value[0], value[1])
    return format_canonical(value)


@cache
def _log_directory() -> tuple[Path, tempfile.TemporaryDirectory[str]]:
    # In memory where there is such a place: a fuzzer writes it a hundred thousand times.
    memory = Path("/dev/shm")
    held = tempfile.TemporaryDirectory(prefix="aar-log-", dir=memory if memory.is_dir() else None)
    (Path(held.name) / "tile/entries/000.p").mkdir(parents=True)
    return Path(held.name), held


LEAVES = tuple(format_leaf(number, 8 + number, ENTRY) for number in range(3))
LOG_TEXT = format_checkpoint_text(Checkpoint(LOG.name, 3, root_of(map(leaf_hash, LEAVES))))
LOG_FILES = format_note(Note(LOG_TEXT, (LOG.sign(LOG_TEXT),))) + b"\xff\xff" + format_bundle(LEAVES)


def log_again(data: bytes) -> bytes:
    """A directory of a log of three: checkpoint and bundle, the two files in one, apart by 0xffff."""
    checkpoint, _, bundle = data.partition(b"\xff\xff")
    directory, _held = _log_directory()
    (directory / "checkpoint").write_bytes(checkpoint)
    (directory / "tile/entries/000.p/3").write_bytes(bundle)
    reader = RecordReader(directory)
    if reader.size() != 3:
        raise NotARecord("another size: other files")
    list(reader.entries())
    return reader.checkpoint_bytes() + b"\xff\xff" + format_bundle(list(reader.leaves()))


PAYLOAD = Payload("public", 12, (SplitCounts(7, 0, 0b111100, 0b100100, 0b000100, 0b111000, 0b100000),))
RECEIPT = {
    "submission": 4,
    "digest": "0a" * 32,
    "researcher": "r1",
    "tier": "explore",
    "problem": "digits",
    "outcome": "scored",
    "reason": "",
    "seeds": [1, 2],
    "released": {"pgr": "0.5000", "low": "0.2500", "high": "0.7500", "improved": 1},
    "commitments": {"public": "0b" * 32, "sealed": "0c" * 32},
}
CONFIRMED = {
    **RECEIPT,
    "tier": "confirm",
    "released": {
        "pgr": "0.5000",
        "low": "0.2500",
        "high": "0.7500",
        "difference": "0.2000",
        "difference_low": "-0.1000",
        "difference_high": "0.5000",
    },
}
BODIES: tuple[tuple[str, dict[str, object]], ...] = (
    ("comment", {"on": 3, "text": "é"}),
    ("vote", {"on": 3, "value": -1}),
    ("redaction", {"sha256": "0a" * 32, "reason": "hazardous"}),
    (
        "submission-held",
        {"submission": 4, "alarm": 7, "reason": "look", "running": [{"submission": 4, "run": "explore"}]},
    ),
    ("submission-released", {"submission": 4, "released": 0, "reason": "it stays"}),
    ("score-receipt", RECEIPT),
    ("score-receipt", CONFIRMED),
    (
        "score-receipt",
        {**RECEIPT, "outcome": "failed", "reason": "wall", "released": {}, "commitments": {}},
    ),
    (
        "task-opened",
        {
            "task": "walk",
            "title": "Walk",
            "direction": "",
            "workflow": "fixed",
            "steps": [{"name": "s1", "what": "", "pipelines": ["[]"]}],
            "scope": {},
            "submissions": 3,
            "limits": {},
            "priority": 0,
            "risk": "low",
        },
    ),
    (
        "task-opened",
        {
            "task": "bounded",
            "title": "Within bounds",
            "direction": "",
            "workflow": "hybrid",
            "steps": [],
            "scope": {"families": ["confidence"], "programs": 1, "submissions": 2},
            "submissions": 3,
            "limits": {"tokens": 1, "dollars": "0.50", "seconds": 90, "sandbox_seconds": 60},
            "priority": 9,
            "risk": "medium",
        },
    ),
    (
        "plan-declared",
        {
            "task": "bounded",
            "steps": [{"name": "s1", "what": "", "families": ["confidence"], "submissions": 2}],
            "amends": -1,
        },
    ),
    (
        "task-leased",
        {"task": "walk", "researcher": "r1", "until_ms": 9, "epoch": 1, "direction": "north"},
    ),
    (
        "queue-paused",
        {
            "researcher": "",
            "signal": "transfer",
            "value": "0.9",
            "limit": "above 0.8",
            "reason": "x",
            "evidence": [3],
        },
    ),
    ("queue-resumed", {"pause": 7, "reason": "looked"}),
    (
        "budget-charged",
        {
            "researcher": "r1",
            "task": "",
            "what": "tokens",
            "amount": 1_111,
            "submission": -1,
            "usage": {
                "calls": 2,
                "input": 1_000,
                "output": 100,
                "cache_read": 10,
                "cache_write": 1,
                "dollars": "0.0045075",
                "total": {"calls": 3, "tokens": 2_222, "dollars": "0.01"},
                "limit": "study-dollars",
                "transcripts": [{"name": "a+1_b.eval", "sha256": "0a" * 32, "size": 5}],
            },
        },
    ),
    (
        "budget-charged",
        {
            "researcher": "r1",
            "task": "walk",
            "what": "confirmations",
            "amount": 1,
            "submission": 3,
            "usage": {},
        },
    ),
    (
        "budget-charged",
        {
            "researcher": "r1",
            "task": "",
            "what": "sandbox",
            "amount": 30_000,
            "submission": -1,
            "usage": {"total": 90_000, "limit": "task-minutes"},
        },
    ),
    (
        "budget-set",
        {
            "researcher": "",
            "task": "",
            "limits": {"tokens": 1, "dollars": "0.0000000001", "seconds": 9, "submissions": 2},
            "reason": "enough",
        },
    ),
    (
        "decision",
        {
            "decision": "publish",
            "finding": 7,
            "finding_digest": "0a" * 32,
            "checklist": [{"item": "verified", "outcome": "pass", "detail": ""}],
            "claimed": "0.50",
            "reproduced": "0.50",
            "sealed": "",
            "override": "",
            "note": "",
        },
    ),
)

FORMATS: Mapping[str, Format] = {
    "decimal": text_format(lambda text: str(parse_decimal(text)), b"0", b"120"),
    "sha256": text_format(parse_sha256_hex, b"0a" * 32),
    "base64": text_format(lambda text: encode_base64(decode_base64(text)), b"QUI=", b"AAAA"),
    "canonical": Format((b'{"a":[1,"b"],"c":{}}',), lambda data: format_canonical(parse_canonical(data))),
    "vkey": text_format(
        lambda text: format_vkey(parse_vkey(text)),
        format_vkey(LOG.vkey).encode(),
        format_vkey(WITNESS.vkey).encode(),
    ),
    "skey": text_format(lambda text: format_skey(parse_skey(text)), format_skey(LOG).encode()),
    "note": Format((CHECKPOINT,), note_again),
    "checkpoint-text": text_format(
        lambda text: format_checkpoint_text(parse_checkpoint_text(text)), CHECKPOINT_TEXT.encode()
    ),
    "checkpoint": Format((CHECKPOINT,), opened_checkpoint_again),
    "tile-path": text_format(
        lambda text: parse_tile_path(text).path, b"tile/0/x001/067.p/8", b"tile/entries/000"
    ),
    "bundle": Format((b"\x00\x01a\x00\x00",), lambda data: format_bundle(parse_bundle(data, 2))),
    "tile": Format((bytes(64),), lambda data: b"".join(parse_hashes(data, 2))),
    "entry": Format((ENTRY,), entry_again),
    "leaf": Format((format_leaf(7, 8, ENTRY),), leaf_again),
    "proof": Format(
        (
            format_proof(TlogProof(2, (bytes(32),), CHECKPOINT, b"x")),
            format_proof(TlogProof(0, (), CHECKPOINT)),
        ),
        lambda data: format_proof(parse_proof(data)),
    ),
    "bookmark": Format(
        (BOOKMARK,),
        lambda data: format_bookmark(parse_bookmark(data)),
    ),
    "prefix": Format(
        (format_prefix(3, bytes(32), [bytes(32)] * 2), format_prefix(1, bytes(32), [])),
        lambda data: format_prefix(*parse_prefix(data)),
    ),
    "policy": text_format(
        policy_again,
        format_policy(Policy.with_one_witness(LOG.vkey, "local", WITNESS.vkey)).encode(),
        format_policy(
            Policy(
                LOG.vkey,
                (("local", WITNESS.vkey), ("second", SECOND.vkey)),
                (Group("both", 2, ("local", "second")),),
                "both",
            )
        ).encode(),
    ),
    "body": Format(tuple(format_canonical([kind, body]) for kind, body in BODIES), body_again),  # type: ignore[list-item]
    "payload": Format(
        (format_payload(PAYLOAD), format_payload(Payload("sealed", 12, PAYLOAD.splits, is_fresh=True))),
        lambda data: format_payload(parse_payload(data)),
    ),
    "log": Format((LOG_FILES,), log_again, errors=(FormatError, NotARecord)),
}

# Bytes that have fooled parsers: other line ends, spaces, signs, digits, pads, and lone surrogates.
SNIPPETS: tuple[bytes, ...] = (
    *(b"\n", b"\n\n", b"\r", b" ", b"0", b"-", b"+", b"=", b"_", b"/", b'"', b",", b"{}", b"\x00", b"\xff"),
    *(text.encode() for text in ("٣", "\u2028", "\u00a0", "é", "— x aaaaaaaa\n", "9" * 4400)),
    "\ud800".encode("utf-8", "surrogatepass"),
)


def outcome(one: Format, data: bytes) -> str:
    """What becomes of these bytes: "accepted", "not text" or the name of our error; anything else travels."""
    if one.is_text:
        try:
            data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            # Formats of text are never given these.
            return "not text"
    try:
        written = one.again(data)
    except one.errors as error:
        return type(error).__name__
    assert written == data, f"accepted, and written again as {written[:200]!r}"
    return "accepted"
