"""What a witness answers: it cosigns what extends the last it saw, and each refusal has its reason."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.formats.checkpoint import open_checkpoint
from aar.formats.cosignature import cosigned_at
from aar.formats.keys import COSIGNATURE, Signer
from aar.formats.note import Note, Signature, format_note, parse_note
from aar.formats.strict import encode_base64
from aar.verify.merkle import EMPTY_ROOT, node_hash, root_of
from aar.witness.witness import Answer, Seen, add_checkpoint
from witness.log_of_a_test import (
    FROM_2_TO_4,
    FROM_3_TO_4,
    FROM_4_TO_5,
    LEAVES,
    LOG,
    ORIGIN,
    OTHER,
    WITNESS,
    checkpoint,
    request,
)

NOW_S = 1_700_000_000
LOGS = {ORIGIN: LOG.vkey, OTHER.name: OTHER.vkey}


def add(body: bytes, seen: dict[str, Seen], now_s: int = NOW_S) -> Answer:
    """One request; what the answer says to store is stored."""
    answer = add_checkpoint(body, logs=LOGS, seen=seen, signer=WITNESS, now_s=now_s)
    assert (answer.seen is not None) == (answer.status == 200)
    if answer.seen is not None:
        seen[answer.origin] = answer.seen
    return answer


def seen_at(size: int) -> dict[str, Seen]:
    """A witness that has seen the true tree of that size."""
    seen: dict[str, Seen] = {}
    assert add(request(0, [], checkpoint(size)), seen).status == 200
    return seen


def test_a_first_checkpoint_is_cosigned_and_kept():
    seen: dict[str, Seen] = {}
    answer = add(request(0, [], checkpoint(3)), seen)
    assert answer.status == 200
    opened, note = open_checkpoint(checkpoint(3) + answer.body, LOG.vkey)
    assert cosigned_at(note, WITNESS.vkey) == NOW_S
    assert seen == {ORIGIN: Seen(3, opened.root, checkpoint(3) + answer.body)}


def test_the_golden_request_gets_the_golden_answer():
    body = (
        "old 0\n\n"
        "log.example/1\n3\nO2zM1+PgI/85MAbwMDFe562esRGwIrQfun5bejlz9og=\n\n"
        "— log.example/1 fXIdMwc6cj2wVBeb+hvxg2Hl+66Y+mXnh+xbyTh3xe07sTvfNd9Me"
        "zODnqQ2tDVP5atyRqygx76gNxMuWYSXO/VqkAo=\n"
    )
    assert body.encode() == request(0, [], checkpoint(3))
    answer = add(body.encode(), {})
    assert answer.body.decode() == (
        "— witness-local "
        "ss0hzAAAAABlU/EAmtSWqrc0G9sLSW4NjKB2hbw2/wPoAie1MUNmDPkXXCNU"
        "YOu6gNOgi5N9plpUHvbJvblvJz91udO7cZSFsqEoBA==\n"
    )


@pytest.mark.parametrize(
    ("old", "proof", "new"),
    [(2, FROM_2_TO_4, 4), (3, FROM_3_TO_4, 4), (4, FROM_4_TO_5, 5), (4, [], 4), (1, [LEAVES[1]], 2)],
)
def test_a_consistent_extension_is_cosigned(old: int, proof: list[bytes], new: int):
    seen = seen_at(old)
    answer = add(request(old, proof, checkpoint(new)), seen, NOW_S + 60)
    assert answer.status == 200
    assert seen[ORIGIN].size == new
    assert cosigned_at(parse_note(seen[ORIGIN].note), WITNESS.vkey) == NOW_S + 60


def test_an_empty_log_is_cosigned_and_may_grow():
    seen = seen_at(0)
    assert seen[ORIGIN].root == EMPTY_ROOT
    assert add(request(0, [], checkpoint(0)), seen).status == 200
    assert add(request(0, [], checkpoint(3)), seen).status == 200


def test_two_logs_do_not_know_of_each_other():
    seen = seen_at(4)
    other = checkpoint(2, origin=OTHER.name, signer=OTHER)
    assert add(request(0, [], other), seen).status == 200
    assert {origin: one.size for origin, one in seen.items()} == {ORIGIN: 4, OTHER.name: 2}


GOOD = request(4, FROM_4_TO_5, checkpoint(5))
REFUSED = {
    "no empty line before the checkpoint": (
        GOOD.replace(b"\n\n", b"\n", 1),
        400,
        "base64 'log.example/1'",
    ),
    "no old line": (GOOD.replace(b"old 4\n", b""), 400, "want 'old SIZE'"),
    "another first word": (GOOD.replace(b"old 4", b"new 4"), 400, "want 'old SIZE'"),
    "nothing but the proof": (b"old 4", 400, "want 'old SIZE', a proof, an empty line"),
    "an old size with a sign": (GOOD.replace(b"old 4", b"old +4"), 400, "want ASCII digits"),
    "an old size with a zero before it": (GOOD.replace(b"old 4", b"old 04"), 400, "want ASCII digits"),
    "an old size that is huge": (GOOD.replace(b"old 4", b"old " + b"4" * 5000), 400, "want ASCII digits"),
    "no old size": (GOOD.replace(b"old 4", b"old "), 400, "want ASCII digits"),
    "other line ends": (GOOD.replace(b"old 4\n", b"old 4\r\n"), 400, "want ASCII digits"),
    "a request that is not ASCII": (GOOD.replace(b"old 4\n", b"old 4\n\xff\n"), 400, "not ASCII"),
    "a hash that is not base64": (GOOD.replace(b"old 4\n", b"old 4\n!\n"), 400, "base64"),
    "a short hash": (GOOD.replace(b"old 4\n", b"old 4\nAAAA\n"), 400, "a hash is 32 bytes"),
    "64 hashes": (request(4, FROM_4_TO_5 * 64, checkpoint(5)), 400, "64 hashes, at most 63"),
    "no note": (b"old 4\n\nlog.example/1\n5\n", 400, "malformed checkpoint: no empty line"),
    "a note that is no checkpoint": (
        request(4, [], format_note(Note("a\n", (LOG.sign("a\n"),)))),
        400,
        "malformed checkpoint: 1 lines",
    ),
    "an extension line": (
        request(
            4, [], format_note(Note(checkpoint(5).decode().split("\n\n")[0] + "\nx\n", (LOG.sign("x"),)))
        ),
        400,
        "malformed checkpoint: 4 lines",
    ),
    "an unknown log": (
        request(4, [], checkpoint(5, origin="log.example/3")),
        404,
        "unknown log 'log.example/3'",
    ),
    "an unknown key": (
        request(4, [], checkpoint(5, signer=Signer(ORIGIN, bytes(32)))),
        403,
        "no signature of a known",
    ),
    "the key of another known log": (
        request(4, [], checkpoint(5, signer=OTHER)),
        403,
        "no signature of a known",
    ),
    "a signature over something else": (
        GOOD.replace(b"\n5\n", b"\n6\n"),
        403,
        "the signature of log.example/1 is not over this text",
    ),
    "a signature in another spelling of base64": (
        GOOD.replace(b"shwI=\n", b"shwJ=\n"),
        403,
        "no signature of a known key",
    ),
    "an old size above the new one": (
        request(4, [], checkpoint(3)),
        400,
        "old size 4 is larger than the checkpoint's 3",
    ),
    "no proof": (request(4, [], checkpoint(5)), 422, "0 hashes, from 4 to 5 it takes 1"),
    "a proof too long": (request(4, FROM_4_TO_5 * 2, checkpoint(5)), 422, "2 hashes, from 4 to 5"),
    "a proof of something else": (
        request(4, LEAVES[:1], checkpoint(5)),
        422,
        "does not lead to the root of size 5",
    ),
    "a rewritten tree": (
        request(4, FROM_4_TO_5, checkpoint(5, root=node_hash(root_of(LEAVES[1:5]), LEAVES[4]))),
        422,
        "does not lead to the root of size 5",
    ),
    "the same size with another root": (
        request(4, [], checkpoint(4, root=bytes(32))),
        422,
        "two roots for size 4",
    ),
    "the same size with a proof": (
        request(4, FROM_4_TO_5, checkpoint(4)),
        422,
        "between equal sizes is empty",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_says_why_and_changes_nothing(name: str):
    body, status, why = REFUSED[name]
    seen = seen_at(4)
    before = dict(seen)
    answer = add(body, seen)
    assert answer.status == status
    assert re.search(why, answer.body.decode())
    assert seen == before


def test_63_hashes_are_read():
    answer = add(request(4, FROM_4_TO_5 * 63, checkpoint(5)), seen_at(4))
    assert (answer.status, answer.body) == (422, b"63 hashes, from 4 to 5 it takes 1\n")


@pytest.mark.parametrize("old", [0, 3, 5])
def test_another_old_size_is_answered_with_the_size_it_saw(old: int):
    seen = seen_at(4)
    assert add(request(old, [], checkpoint(5)), seen) == Answer(409, b"4\n", "text/x.tlog.size")
    assert add(request(1, [], checkpoint(5)), {}) == Answer(409, b"0\n", "text/x.tlog.size")
    assert seen[ORIGIN].size == 4


def test_a_rollback_is_not_cosigned_whatever_is_asked():
    seen = seen_at(4)
    for old in range(6):
        for proof in ([], FROM_2_TO_4, FROM_3_TO_4):
            assert add(request(old, proof, checkpoint(3)), seen).status in (400, 409)
    assert seen[ORIGIN].size == 4


def test_a_proof_from_nothing_is_empty():
    answer = add(request(0, LEAVES[:1], checkpoint(3)), {})
    assert (answer.status, answer.body) == (422, b"a proof from size 0 is empty\n")


def test_an_empty_log_has_the_empty_root():
    answer = add(request(0, [], checkpoint(0, root=bytes(32))), {})
    assert (answer.status, answer.body) == (422, b"size 0 with a root that is not the empty tree's\n")


def test_the_checks_come_in_the_order_of_the_specification():
    """Each request has one fault more than the one before; the answer is that of the fault found first."""
    stranger = Signer(ORIGIN, bytes(32))
    bodies = [
        (request(4, [], checkpoint(5)), 422),
        (request(5, [], checkpoint(5)), 409),
        (request(6, [], checkpoint(5)), 400),
        (request(6, [], checkpoint(5, signer=stranger)), 403),
        (request(6, [], checkpoint(5, signer=stranger, origin="log.example/3")), 404),
        (request("06", [], checkpoint(5, signer=stranger, origin="log.example/3")), 400),
    ]
    assert [add(body, seen_at(4)).status for body, _status in bodies] == [status for _body, status in bodies]


def test_a_signature_line_that_was_not_verified_is_not_kept():
    """A forged line of another witness, or of this one, does not get into the state."""
    other = Signer("witness-2", bytes(32), COSIGNATURE)
    forged = [
        Signature(other.name, other.vkey.key_id, bytes(72)),
        Signature(WITNESS.name, WITNESS.vkey.key_id, bytes(72)),
    ]
    seen: dict[str, Seen] = {}
    assert add(request(0, [], checkpoint(3, more=forged)), seen).status == 200
    kept = parse_note(seen[ORIGIN].note)
    assert [one.name for one in kept.signatures] == [ORIGIN, WITNESS.name]
    assert cosigned_at(kept, WITNESS.vkey) == NOW_S


def test_a_split_view_is_cosigned_on_one_side_only():
    seen = seen_at(4)
    one = request(4, FROM_4_TO_5, checkpoint(5))
    other_root = node_hash(root_of(LEAVES[:4]), LEAVES[7])
    other = request(4, [LEAVES[7]], checkpoint(5, root=other_root))
    assert add(one, seen).status == 200
    assert add(other, seen).status == 409
    assert add(request(5, [], checkpoint(5, root=other_root)), seen).status == 422


@given(st.binary(max_size=300))
def test_any_bytes_are_answered(body: bytes):
    assert add(body, {}).status == 400


@given(st.integers(0, len(GOOD)), st.integers(0, 3), st.binary(max_size=3))
def test_an_edited_request_is_answered_and_never_cosigns_another_tree(start: int, cut: int, piece: bytes):
    seen = seen_at(4)
    answer = add(GOOD[:start] + piece + GOOD[start + cut :], seen)
    assert answer.status in (200, 400, 403, 404, 409, 422)
    if answer.status == 200:
        assert seen[ORIGIN].root == root_of(LEAVES[:5])


def test_hashes_are_32_bytes_in_base64():
    assert request(4, FROM_4_TO_5, b"").split(b"\n")[1].decode() == encode_base64(LEAVES[4])
