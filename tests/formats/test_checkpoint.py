"""Checkpoints and cosignatures: three lines, the log's signature, a witness's time."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from aar.formats.checkpoint import Checkpoint, format_checkpoint_text, open_checkpoint, parse_checkpoint_text
from aar.formats.cosignature import cosigned_at
from aar.formats.errors import MalformedCheckpoint, MalformedKey, MalformedNote, UnverifiedNote
from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.note import Note, format_note, parse_note

LOG = Signer("log.example/1", bytes(range(32)))
WITNESS = Signer("witness-local", bytes(range(32, 64)), COSIGNATURE)
CHECKPOINT = Checkpoint("log.example/1", 3, hashlib.sha256(b"three").digest())
TEXT = "log.example/1\n3\ni1udsME9skJWyCmqNkqpDG0uujGLkjKkq5MTuVTTVV8=\n"
SIGNATURE = "fXIdM26LCAN5kP7USyb/qhgwn1YYL8lKc1nAbTfMnJzjksAwqIc98TAPbRwfxCFYAO83Tghkqip9mv/7+97pSIIaAwM="
COSIGNED = (
    "ss0hzAAAAABlU/EAJtnEKZDOVWedu4ni7XZtteVNN0qHLgEeGE8cG43kXGXu+GACIC4Foj4HEVwczrhuPQn/t5nqFg2KDIaPER2mDg=="
)
GOLDEN = f"{TEXT}\n— log.example/1 {SIGNATURE}\n— witness-local {COSIGNED}\n".encode()


def signed(text: str) -> bytes:
    return format_note(Note(text, (LOG.sign(text),)))


def test_the_golden_checkpoint_is_written_and_read():
    assert format_checkpoint_text(CHECKPOINT) == TEXT
    assert parse_checkpoint_text(TEXT) == CHECKPOINT
    assert format_note(Note(TEXT, (LOG.sign(TEXT), WITNESS.cosign(TEXT, 1_700_000_000)))) == GOLDEN
    assert open_checkpoint(GOLDEN, LOG.vkey) == (CHECKPOINT, parse_note(GOLDEN))
    assert cosigned_at(parse_note(GOLDEN), WITNESS.vkey) == 1_700_000_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 lines, want origin, size and root"),
        (TEXT[:-1], "2 lines, want origin, size and root"),
        (TEXT + "extension\n", "4 lines, want"),
        (TEXT + "\n", "4 lines, want"),
        (TEXT + "x", "3 lines, want"),
        (TEXT.replace("log.example/1", ""), "want no space"),
        (TEXT.replace("log.example/1", "a log"), "want no space"),
        (TEXT.replace("log.example/1", "a\ud800"), "want no space"),
        (TEXT.replace("\n3\n", "\n03\n"), "want ASCII digits"),
        (TEXT.replace("\n3\n", "\n-3\n"), "want ASCII digits"),
        (TEXT.replace("\n3\n", "\n3 \n"), "want ASCII digits"),
        (TEXT.replace("\n3\n", "\n\n"), "want ASCII digits"),
        (TEXT.replace("V8=", "V9="), "not the one spelling"),
        (TEXT.replace("i1ud", ""), "root of 29 bytes, want 32"),
        (TEXT.replace("i1ud", "AAAAi1ud"), "root of 35 bytes, want 32"),
    ],
)
def test_a_malformed_checkpoint_is_refused(text: str, why: str):
    with pytest.raises(MalformedCheckpoint, match=why):
        parse_checkpoint_text(text)
    if text.endswith("\n") and "\ud800" not in text:
        with pytest.raises(MalformedCheckpoint, match=why):
            open_checkpoint(signed(text), LOG.vkey)


def test_a_checkpoint_of_an_unknown_key_is_not_opened():
    with pytest.raises(UnverifiedNote, match="no signature of a known key"):
        open_checkpoint(GOLDEN, Signer(LOG.name, bytes(32)).vkey)


def test_a_checkpoint_of_another_log_is_not_opened():
    text = format_checkpoint_text(replace(CHECKPOINT, origin="log.example/2"))
    with pytest.raises(
        MalformedCheckpoint, match=r"origin 'log.example/2', the log's key is of 'log.example/1'"
    ):
        open_checkpoint(signed(text), LOG.vkey)


def test_a_changed_checkpoint_is_not_opened():
    with pytest.raises(UnverifiedNote, match="not over this text"):
        open_checkpoint(GOLDEN.replace(b"\n3\n", b"\n4\n"), LOG.vkey)


def test_what_is_no_note_is_no_checkpoint():
    with pytest.raises(MalformedNote):
        open_checkpoint(TEXT.encode(), LOG.vkey)


def test_a_checkpoint_that_a_witness_did_not_sign_has_no_time():
    assert cosigned_at(parse_note(signed(TEXT)), WITNESS.vkey) is None
    other = Signer(WITNESS.name, bytes(32), COSIGNATURE)
    assert cosigned_at(parse_note(GOLDEN), other.vkey) is None


def test_a_cosignature_of_another_text_is_bad():
    note = Note(TEXT, (LOG.sign(TEXT), WITNESS.cosign(TEXT.replace("3", "4"), 1)))
    with pytest.raises(UnverifiedNote, match="not over this text"):
        cosigned_at(note, WITNESS.vkey)


def test_a_cosignature_with_another_time_is_bad():
    line = WITNESS.cosign(TEXT, 1_700_000_000)
    moved = replace(line, signature=(1_700_000_001).to_bytes(8, "big") + line.signature[8:])
    with pytest.raises(UnverifiedNote, match="not over this text"):
        cosigned_at(Note(TEXT, (moved,)), WITNESS.vkey)


def test_two_cosignatures_of_one_witness_have_no_time():
    note = Note(TEXT, (WITNESS.cosign(TEXT, 1), WITNESS.cosign(TEXT, 2)))
    with pytest.raises(UnverifiedNote, match="two signatures of witness-local"):
        cosigned_at(note, WITNESS.vkey)


def test_a_cosignature_without_a_time_is_refused():
    with pytest.raises(UnverifiedNote, match="the cosignature of witness-local has no time"):
        cosigned_at(Note(TEXT, (WITNESS.cosign(TEXT, 0),)), WITNESS.vkey)


def test_a_plain_signature_is_not_read_as_a_time():
    with pytest.raises(MalformedKey, match="log.example/1 is not a cosignature key"):
        cosigned_at(parse_note(GOLDEN), LOG.vkey)
