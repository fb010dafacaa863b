"""What every format promises: accepted bytes re-encode to themselves; on any bytes, only our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from aar.formats.errors import FormatError
from aar.formats.keys import COSIGNATURE, Signer, format_skey, format_vkey, parse_skey, parse_vkey
from aar.formats.note import Note, format_note, parse_note, verified_by
from aar.formats.policy import Policy, format_policy, is_quorum_met, parse_policy
from aar.formats.proof import TlogProof, format_proof, parse_proof
from aar.formats.strict import decode_base64, encode_base64, parse_decimal, parse_sha256_hex
from aar.formats.tile import format_bundle, parse_bundle, parse_hashes, parse_tile_path

LOG = Signer("log.example/1", bytes(range(32)))
WITNESS = Signer("witness-local", bytes(range(32, 64)), COSIGNATURE)
AUTHOR = Signer("researcher-1", bytes(range(64, 96)))
CHECKPOINT_TEXT = format_checkpoint_text(Checkpoint(LOG.name, 3, bytes(32)))
CHECKPOINT = format_note(
    Note(CHECKPOINT_TEXT, (LOG.sign(CHECKPOINT_TEXT), WITNESS.cosign(CHECKPOINT_TEXT, 9)))
)
ENTRY = sign_entry(Entry(LOG.name, AUTHOR.name, 1, "0a" * 32, "comment", (0,), {"text": "é"}, 5), AUTHOR).data


class Format(NamedTuple):
    """One format: a sample, and what reads bytes and writes them again."""

    sample: bytes
    again: Callable[[bytes], bytes]


def of_text(again: Callable[[str], str]) -> Callable[[bytes], bytes]:
    """Formats of text also meet lone surrogates, which decoding with `surrogatepass` makes."""
    return lambda data: again(data.decode("utf-8", "surrogatepass")).encode("utf-8")


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


FORMATS = {
    "decimal": Format(b"120", of_text(lambda text: str(parse_decimal(text)))),
    "SHA-256": Format(b"0a" * 32, of_text(parse_sha256_hex)),
    "base64": Format(b"QUI=", of_text(lambda text: encode_base64(decode_base64(text)))),
    "canonical JSON": Format(b'{"a":[1,"b"],"c":{}}', lambda data: format_canonical(parse_canonical(data))),
    "verifier key": Format(
        format_vkey(LOG.vkey).encode(), of_text(lambda text: format_vkey(parse_vkey(text)))
    ),
    "private key": Format(format_skey(LOG).encode(), of_text(lambda text: format_skey(parse_skey(text)))),
    "note": Format(CHECKPOINT, note_again),
    "checkpoint text": Format(
        CHECKPOINT_TEXT.encode(), of_text(lambda text: format_checkpoint_text(parse_checkpoint_text(text)))
    ),
    "checkpoint": Format(CHECKPOINT, opened_checkpoint_again),
    "tile path": Format(b"tile/0/x001/067.p/8", of_text(lambda text: parse_tile_path(text).path)),
    "bundle": Format(b"\x00\x01a\x00\x00", lambda data: format_bundle(parse_bundle(data, 2))),
    "tile": Format(bytes(64), lambda data: b"".join(parse_hashes(data, 2))),
    "entry": Format(ENTRY, entry_again),
    "leaf": Format(format_leaf(7, 8, ENTRY), leaf_again),
    "proof": Format(
        format_proof(TlogProof(2, (bytes(32),), CHECKPOINT, b"x")),
        lambda data: format_proof(parse_proof(data)),
    ),
    "policy": Format(
        format_policy(Policy.with_one_witness(LOG.vkey, "local", WITNESS.vkey)).encode(),
        of_text(policy_again),
    ),
}

# Bytes that have fooled parsers: other line ends, spaces, signs, digits, pads, and lone surrogates.
SNIPPETS = [
    b"\n",
    b"\n\n",
    b"\r",
    b" ",
    b"0",
    b"-",
    b"+",
    b"=",
    b"_",
    b"/",
    b'"',
    b",",
    b"{}",
    b"\x00",
    b"\xff",
]
SNIPPETS += [text.encode() for text in ("٣", "\u2028", "\u00a0", "é", "— x aaaaaaaa\n", "9" * 4400)]
SNIPPETS += ["\ud800".encode("utf-8", "surrogatepass")]


@st.composite
def edited(draw: st.DrawFn, sample: bytes) -> bytes:
    """The sample after one to three small edits."""
    data = bytearray(sample)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 0, 1, 1, 4, 40])))
        piece = draw(
            st.one_of(st.sampled_from(SNIPPETS), st.binary(max_size=2), st.just(bytes(data[end : end + 40])))
        )
        data[start:end] = piece
    return bytes(data)


def check(one: Format, data: bytes) -> None:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        # Formats of text are never given these.
        if one.again.__qualname__.startswith("of_text"):
            return
    try:
        written = one.again(data)
    except FormatError:
        return
    assert written == data


@pytest.mark.parametrize("name", FORMATS)
def test_the_sample_of_each_format_is_accepted(name: str):
    assert FORMATS[name].again(FORMATS[name].sample) == FORMATS[name].sample


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100)
@given(data=st.data())
def test_edited_bytes_are_refused_or_re_encode_to_themselves(name: str, data: st.DataObject):
    one = FORMATS[name]
    check(one, data.draw(edited(one.sample)))


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=30)
@given(data=st.binary(max_size=200))
def test_on_any_bytes_there_are_only_our_errors(name: str, data: bytes):
    check(FORMATS[name], data)
