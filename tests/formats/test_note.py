"""Signed notes: parsing says what stands there, verifying says who vouches for it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aar.formats.errors import MalformedNote, UnverifiedNote
from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.note import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURES,
    Note,
    Signature,
    check_key_name,
    check_note_text,
    format_note,
    parse_note,
    verified_by,
)

ALICE = Signer("alice.example/1", bytes(range(32)))
BOB = Signer("bob", bytes(range(32, 64)))
WITNESS = Signer("witness", bytes(range(64, 96)), COSIGNATURE)
TEXT = "one\n\ntwo é\n"
# Written down once: alice's signature over TEXT.
GOLDEN = (
    "one\n\ntwo é\n\n— alice.example/1 "
    "dEoYSpJfowh0LUYy9ryDZlbJyBCCXw2EOYcBP8gXh9k3kUbZweKG5NCIvsLxGJVRCXQwfMdJso+Dum2S6KMWg2P0yw4=\n"
).encode()


def signed(text: str = TEXT, *signers: Signer) -> Note:
    return Note(text, tuple(one.sign(text) for one in signers or (ALICE,)))


def test_the_golden_note_is_written_and_read():
    assert format_note(signed()) == GOLDEN
    assert parse_note(GOLDEN) == signed()
    assert verified_by(parse_note(GOLDEN), [ALICE.vkey]) == (ALICE.vkey,)


def test_the_last_empty_line_ends_the_text():
    assert parse_note(GOLDEN).text == TEXT
    assert parse_note("a\n\n— x aaaaaaaa\n\n— y bbbbbbbb\n".encode()).text == "a\n\n— x aaaaaaaa\n"
    assert parse_note("\n\n— x aaaaaaaa\n".encode()).text == "\n"
    assert parse_note("a\n\n\n— x aaaaaaaa\n".encode()).text == "a\n\n"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param(b"a" * (MAX_NOTE_BYTES + 1), "at most 1048576", id="too long"),
        (GOLDEN.replace(b"two", b"tw\xff"), "not UTF-8"),
        (GOLDEN.replace(b"two", b"tw\t"), "control character"),
        (GOLDEN.replace(b"two", b"tw\r"), "control character"),
        (GOLDEN.replace(b"two", b"tw\x00"), "control character"),
        ("a\n— x aaaaaaaa\n".encode(), "no empty line before the signatures"),
        (b"", "no empty line before the signatures"),
        (GOLDEN[:-1], "does not end"),
        (b"a\n\n", "does not end"),
        (b"a\n\n- x aaaaaaaa\n", "want '— NAME BASE64'"),
        ("a\n\n—  x aaaaaaaa\n".encode(), "want '— NAME BASE64'"),
        ("a\n\n— x aaaaaaaa \n".encode(), "want '— NAME BASE64'"),
        ("a\n\n— x\n".encode(), "want '— NAME BASE64'"),
        ("a\n\n— x+y aaaaaaaa\n".encode(), r"want no space, no control character, no '\+'"),
        ("a\n\n— x\u00a0y aaaaaaaa\n".encode(), "want no space"),
        ("a\n\n—  aaaaaaaa\n".encode(), "want no space"),
        ("a\n\n— x aaaaaaa\n".encode(), "signature of x: base64"),
        ("a\n\n— x aaaaaaaaab==\n".encode(), "not the one spelling"),
        ("a\n\n— x aaaaaQ==\n".encode(), "4 bytes, want a key id and a signature"),
        ("a\n\n— x \n".encode(), "0 bytes, want a key id and a signature"),
    ],
)
def test_a_malformed_note_is_refused(data: bytes, why: str):
    with pytest.raises(MalformedNote, match=why):
        parse_note(data)


def test_a_note_may_have_a_hundred_signatures_and_no_more():
    line = "— x aaaaaaaa\n"
    assert len(parse_note(("a\n\n" + line * MAX_SIGNATURES).encode()).signatures) == MAX_SIGNATURES
    with pytest.raises(MalformedNote, match="101 signatures, at most 100"):
        parse_note(("a\n\n" + line * (MAX_SIGNATURES + 1)).encode())


def test_a_text_without_a_last_newline_is_not_written():
    with pytest.raises(MalformedNote, match="ends with a newline"):
        format_note(Note("a", (ALICE.sign("a"),)))


def test_a_note_without_a_signature_is_not_written():
    with pytest.raises(MalformedNote, match="at least one signature"):
        format_note(Note("a\n", ()))


@pytest.mark.parametrize(
    "name", ["", "a b", "a+b", "a\tb", "a\x1fb", "a\x00b", "a\u2003b", "a\u0085b", "a\ud800b"]
)
def test_a_key_name_holds_nothing_that_a_note_could_misread(name: str):
    with pytest.raises(MalformedNote, match="want no space"):
        check_key_name(name)


@pytest.mark.parametrize("name", ["a", "a.example/log-1", "é", "\U0001f512"])
def test_a_key_name_may_be_any_other_text(name: str):
    check_key_name(name)


def test_keys_are_named_in_the_order_of_the_lines():
    note = signed(TEXT, BOB, ALICE)
    assert verified_by(note, [ALICE.vkey, BOB.vkey]) == (BOB.vkey, ALICE.vkey)


def test_an_unknown_signature_is_ignored():
    note = signed(TEXT, BOB, ALICE)
    assert verified_by(note, [ALICE.vkey]) == (ALICE.vkey,)


def test_a_known_name_with_another_key_id_is_unknown():
    impostor = Signer(ALICE.name, bytes(32))
    assert verified_by(signed(TEXT, impostor, ALICE), [ALICE.vkey]) == (ALICE.vkey,)


def test_a_note_of_strangers_is_not_verified():
    with pytest.raises(UnverifiedNote, match="no signature of a known key; signed by bob"):
        verified_by(signed(TEXT, BOB), [ALICE.vkey])
    with pytest.raises(UnverifiedNote, match="no signature of a known key"):
        verified_by(signed(TEXT, BOB), [])


def test_one_bad_signature_of_a_known_key_spoils_the_note():
    note = Note(TEXT, (*signed(TEXT, ALICE).signatures, BOB.sign("another\n")))
    with pytest.raises(UnverifiedNote, match="the signature of bob is not over this text"):
        verified_by(note, [ALICE.vkey, BOB.vkey])


def test_a_key_that_signs_twice_does_not_count_twice():
    with pytest.raises(UnverifiedNote, match="two signatures of alice"):
        verified_by(signed(TEXT, ALICE, ALICE), [ALICE.vkey])


def test_a_key_given_twice_is_one_key():
    assert verified_by(signed(), [ALICE.vkey, ALICE.vkey]) == (ALICE.vkey,)


def test_two_known_keys_with_one_key_id_are_refused():
    # Found by search: these two seeds give the same four bytes.
    one, other = (Signer("x", number.to_bytes(32, "big")) for number in (4776, 105722))
    assert one.vkey.key_id == other.vkey.key_id
    with pytest.raises(UnverifiedNote, match="two known keys named x"):
        verified_by(signed(TEXT, other), [one.vkey, other.vkey])


def test_a_cosignature_counts_as_a_signature_of_its_key():
    note = Note(TEXT, (WITNESS.cosign(TEXT, 1_700_000_000),))
    assert verified_by(note, [WITNESS.vkey]) == (WITNESS.vkey,)


@pytest.mark.parametrize("length", [0, 1, 7, 8, 63, 71, 73])
def test_a_cosignature_of_another_length_is_bad(length: int):
    signature = replace(WITNESS.cosign(TEXT, 1), signature=(b"\0" * 8 + b"\1" * 65)[:length])
    with pytest.raises(UnverifiedNote, match="is not over this text"):
        verified_by(Note(TEXT, (signature,)), [WITNESS.vkey])


@pytest.mark.parametrize("length", [1, 63, 65])
def test_a_signature_of_another_length_is_bad(length: int):
    line = Signature(ALICE.name, ALICE.vkey.key_id, (ALICE.sign(TEXT).signature + b"\0")[:length])
    with pytest.raises(UnverifiedNote, match="is not over this text"):
        verified_by(Note(TEXT, (line,)), [ALICE.vkey])


def test_of_all_characters_a_key_name_refuses_spaces_controls_surrogates_and_plus():
    for point in range(0x110000):
        character = chr(point)
        wanted = not (character.isspace() or point < 0x20 or 0xD800 <= point <= 0xDFFF or character == "+")
        try:
            check_key_name(f"a{character}b")
            assert wanted, hex(point)
        except MalformedNote:
            assert not wanted, hex(point)


def test_of_all_characters_a_note_refuses_the_controls_but_newline():
    for point in range(0x110000):
        try:
            check_note_text(f"a{chr(point)}b")
            assert point >= 0x20 or point == 0x0A, hex(point)
        except MalformedNote:
            assert point < 0x20, hex(point)
