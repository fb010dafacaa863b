"""Entries: what an author signed, framed by what the sequencer adds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aar.formats.entry import (
    LEAF_LINE_BYTES,
    Entry,
    Leaf,
    check_entry_signatures,
    format_entry_text,
    format_leaf,
    parse_leaf,
    parse_signed_entry,
    sign_entry,
)
from aar.formats.errors import MalformedEntry, UnverifiedNote
from aar.formats.keys import Signer
from aar.formats.note import Note, format_note
from aar.formats.tile import MAX_ENTRY_BYTES

ORIGIN = "log.example/1"
AUTHOR = Signer("researcher-1", bytes(range(64, 96)))
REVIEWER = Signer("reviewer-ada", bytes(range(96, 128)))
ENTRY = Entry(
    ORIGIN,
    "researcher-1",
    0,
    "",
    "comment",
    (0, 2),
    {"text": 'é "q"', "n": -1, "list": ["a"]},
    1_700_000_000_123,
)
HEADER = (
    '{"at":1700000000123,"author":"researcher-1","body":{"list":["a"],"n":-1,"text":"é \\"q\\""},'
    '"kind":"comment","prev":"","refs":[0,2],"seq":0}'
)
TEXT = f"aar-entry/v1 log.example/1\n{HEADER}\n"
SIGNATURE = "YxfECvfgy4t9hbfkbNTXIvrHWgZ/s5EXJniwlTL7rW8oYYW4M8JsGducOgoJP9SnyIyeCMx6FSrXoTiaCsviYcawzwo="
GOLDEN = f"{TEXT}\n— researcher-1 {SIGNATURE}\n".encode()
DIGEST = "3e61f291891c143a9456e888ad561ad8d513b7347db5f57aacc25bec5801cca6"


def signed(text: str) -> bytes:
    return format_note(Note(text, (AUTHOR.sign(text),)))


def with_field(old: str, new: str) -> bytes:
    assert HEADER.count(old) == 1
    return signed(TEXT.replace(old, new))


def test_the_golden_entry_is_written_and_read():
    assert format_entry_text(ENTRY) == TEXT
    assert sign_entry(ENTRY, AUTHOR).data == GOLDEN
    read = parse_signed_entry(GOLDEN)
    assert read.entry == ENTRY
    assert read.text_digest == DIGEST
    assert check_entry_signatures(read, [AUTHOR.vkey]) == (AUTHOR.vkey,)


def test_an_entry_of_a_study_without_sandboxes_says_so_in_what_is_signed():
    text = TEXT.replace('"kind"', '"isolation":"none","kind"')
    assert format_entry_text(replace(ENTRY, isolation="none")) == text
    assert parse_signed_entry(signed(text)).entry == replace(ENTRY, isolation="none")


def test_the_second_entry_of_an_author_points_at_the_first():
    second = sign_entry(replace(ENTRY, seq=1, prev=DIGEST), AUTHOR)
    assert parse_signed_entry(second.data) == second
    assert second.entry.prev == parse_signed_entry(GOLDEN).text_digest


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (GOLDEN[:-1], "not a signed note: the last signature line does not end"),
        (TEXT.encode(), "not a signed note"),
        (signed(HEADER + "\n"), "want a line 'aar-entry/v1 ' and one line of JSON"),
        (signed(TEXT + "more\n"), "want a line 'aar-entry/v1 ' and one line of JSON"),
        (signed(TEXT + "\n"), "want a line 'aar-entry/v1 ' and one line of JSON"),
        (signed(TEXT.replace("aar-entry/v1 ", "aar-entry/v2 ")), "want a line 'aar-entry/v1 ' and one line"),
        (signed(TEXT.replace("aar-entry/v1 ", "aar-entry/v1")), "want a line 'aar-entry/v1 ' and one line"),
        (signed(TEXT.replace(ORIGIN, "")), "key name ''"),
        (signed(TEXT.replace(ORIGIN, "a log")), "key name 'a log'"),
        (signed(TEXT.replace('"seq":0', '"seq": 0')), "another spelling, or a key twice"),
        (signed(TEXT.replace('"seq":0', '"seq":0,"seq":0')), "another spelling, or a key twice"),
        (signed(TEXT.replace('"n":-1', '"n":-1.0')), "decimals are strings"),
        (signed("aar-entry/v1 log.example/1\n[]\n"), "want exactly the fields at, author, body"),
        (signed(TEXT.replace(',"seq":0', "")), "want exactly the fields"),
        (signed(TEXT.replace('"seq":0', '"seq":0,"v":1')), "want exactly the fields"),
        (with_field('"at":1700000000123', '"at":-1'), "at: -1, want Unix milliseconds"),
        (
            with_field('"at":1700000000123', '"at":"1700000000123"'),
            "at: '1700000000123', want Unix milliseconds",
        ),
        (with_field('"seq":0', '"seq":-1'), "seq: -1, want a count from 0"),
        (with_field('"seq":0', '"seq":"0"'), "seq: '0', want a count from 0"),
        (
            with_field('"author":"researcher-1"', '"author":1'),
            "author and kind are strings, body is an object",
        ),
        (
            with_field('"kind":"comment"', '"kind":["comment"]'),
            "author and kind are strings, body is an object",
        ),
        (
            with_field('{"list":["a"],"n":-1,"text":"é \\"q\\""}', "[]"),
            "author and kind are strings, body is an",
        ),
        (with_field('"refs":[0,2]', '"refs":0'), "refs: 0, want a list"),
        (with_field('"refs":[0,2]', '"refs":{}'), "refs: {}, want a list"),
        (with_field('"refs":[0,2]', '"refs":[0,-2]'), r"refs: \[0, -2\], want indices"),
        (with_field('"refs":[0,2]', '"refs":[0,"2"]'), r"refs: \[0, '2'\], want indices"),
        (with_field('"prev":""', '"prev":0'), "prev: empty for seq 0 and only there"),
        (with_field('"prev":""', f'"prev":"{DIGEST}"'), "prev: empty for seq 0 and only there"),
        (with_field('"seq":0', '"seq":1'), "prev: empty for seq 0 and only there"),
        (
            signed(TEXT.replace('"prev":"","refs":[0,2],"seq":0', '"prev":"ab","refs":[],"seq":1')),
            "SHA-256 'ab'",
        ),
        (with_field('"author":"researcher-1"', '"author":""'), "key name ''"),
        (with_field('"author":"researcher-1"', '"author":"a b"'), "key name 'a b'"),
        (with_field('"kind"', '"isolation":"","kind"'), "isolation: '', want 'none' or no such field"),
        (with_field('"kind"', '"isolation":"full","kind"'), "isolation: 'full', want 'none' or no such"),
        (with_field('"kind"', '"isolation":1,"kind"'), "isolation: 1, want 'none' or no such field"),
    ],
)
def test_a_malformed_entry_is_refused(data: bytes, why: str):
    with pytest.raises(MalformedEntry, match=why):
        parse_signed_entry(data)
    with pytest.raises(MalformedEntry, match=why):
        parse_leaf(format_leaf(0, 0, data))


def test_the_longest_entry_still_fits_a_bundle_behind_its_leaf_line():
    spare = (
        MAX_ENTRY_BYTES - LEAF_LINE_BYTES - len(sign_entry(replace(ENTRY, body={"text": ""}), AUTHOR).data)
    )
    longest = sign_entry(replace(ENTRY, body={"text": "x" * spare}), AUTHOR).data
    assert len(format_leaf(10**19 - 1, 10**19 - 1, longest)) <= MAX_ENTRY_BYTES
    with pytest.raises(MalformedEntry, match="entry of 65472 bytes, at most 65471"):
        sign_entry(replace(ENTRY, body={"text": "x" * (spare + 1)}), AUTHOR)


def test_the_author_signs_first():
    with pytest.raises(MalformedEntry, match="the first signer is the author, 'researcher-1'"):
        sign_entry(ENTRY, REVIEWER, AUTHOR)
    with pytest.raises(MalformedEntry, match="the first signer is the author"):
        sign_entry(ENTRY)


def test_what_would_not_be_read_is_not_signed():
    with pytest.raises(MalformedEntry, match="prev: empty for seq 0"):
        sign_entry(replace(ENTRY, seq=1), AUTHOR)


def test_a_second_signer_signs_the_same_text():
    both = sign_entry(ENTRY, AUTHOR, REVIEWER)
    assert both.note.text == TEXT
    assert check_entry_signatures(both, [REVIEWER.vkey, AUTHOR.vkey]) == (AUTHOR.vkey, REVIEWER.vkey)


def test_a_signature_line_of_an_unknown_key_is_refused():
    both = sign_entry(ENTRY, AUTHOR, REVIEWER)
    with pytest.raises(UnverifiedNote, match="a signature line of a key that is not enrolled"):
        check_entry_signatures(both, [AUTHOR.vkey])


def test_an_entry_whose_author_did_not_sign_is_refused():
    stranger = parse_signed_entry(format_note(Note(TEXT, (REVIEWER.sign(TEXT),))))
    with pytest.raises(UnverifiedNote, match="first signed by reviewer-ada, the author is 'researcher-1'"):
        check_entry_signatures(stranger, [AUTHOR.vkey, REVIEWER.vkey])


def test_an_entry_whose_author_did_not_sign_first_is_refused():
    swapped = parse_signed_entry(format_note(Note(TEXT, (REVIEWER.sign(TEXT), AUTHOR.sign(TEXT)))))
    with pytest.raises(UnverifiedNote, match="first signed by reviewer-ada"):
        check_entry_signatures(swapped, [AUTHOR.vkey, REVIEWER.vkey])


def test_a_changed_entry_is_refused():
    changed = parse_signed_entry(GOLDEN.replace(b'"n":-1', b'"n":-2'))
    with pytest.raises(UnverifiedNote, match="not over this text"):
        check_entry_signatures(changed, [AUTHOR.vkey])


def test_the_golden_leaf_is_written_and_read():
    data = b"aar-leaf/v1 7 1700000000456\n" + GOLDEN
    assert format_leaf(7, 1_700_000_000_456, GOLDEN) == data
    assert parse_leaf(data) == Leaf(7, 1_700_000_000_456, parse_signed_entry(GOLDEN))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"", "want 'aar-leaf/v1 INDEX RECEIVED_MS'"),
        (b"7 1700000000456\n", "want 'aar-leaf/v1 INDEX"),
        (b"aar-leaf/v2 7 1700000000456\n", "want 'aar-leaf/v1 INDEX"),
        (b"aar-leaf/v1 7\n", "want 'aar-leaf/v1 INDEX"),
        (b"aar-leaf/v1 7 8 9\n", "want 'aar-leaf/v1 INDEX"),
        (b"aar-leaf/v1 07 8\n", "two ASCII decimals"),
        (b"aar-leaf/v1 7 +8\n", "two ASCII decimals"),
        (b"aar-leaf/v1 7 \n", "two ASCII decimals"),
        (b"aar-leaf/v1 7 8\r\n", "two ASCII decimals"),
        (b"aar-leaf/v1 7 \xff\n", "two ASCII decimals"),
        ("aar-leaf/v1 7 \u0668\n".encode(), "two ASCII decimals"),
        (b"aar-leaf/v1 7 12345678901234567890\n", "two ASCII decimals"),
    ],
)
def test_a_malformed_leaf_line_is_refused(line: bytes, why: str):
    with pytest.raises(MalformedEntry, match=why):
        parse_leaf(line + GOLDEN)


def test_a_leaf_line_without_an_end_is_refused():
    with pytest.raises(MalformedEntry, match="leaf begins with b'aar-leaf/v1 7 8'"):
        parse_leaf(b"aar-leaf/v1 7 8")
