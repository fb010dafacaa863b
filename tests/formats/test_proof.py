"""Proofs to keep: their one spelling."""

from __future__ import annotations

import pytest

from aar.formats.errors import MalformedProof
from aar.formats.proof import MAX_HASHES, TlogProof, format_proof, parse_proof

CHECKPOINT = "log\n3\nroot\n\n— log signature\n".encode()
HASHES = (bytes(32), b"\xff" * 32)
GOLDEN = (
    b"c2sp.org/tlog-proof@v1\n"
    b"index 2\n"
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    b"//////////////////////////////////////////8=\n"
    b"\n" + CHECKPOINT
)
WITH_EXTRA = GOLDEN.replace(b"index", b"extra QUI=\nindex")


def test_the_golden_proof_is_written_and_read():
    proof = TlogProof(2, HASHES, CHECKPOINT)
    assert format_proof(proof) == GOLDEN
    assert parse_proof(GOLDEN) == proof


def test_a_proof_may_carry_something_extra():
    proof = TlogProof(2, HASHES, CHECKPOINT, b"AB")
    assert format_proof(proof) == WITH_EXTRA
    assert parse_proof(WITH_EXTRA) == proof
    empty = TlogProof(0, (), CHECKPOINT, b"")
    assert parse_proof(format_proof(empty)) == empty


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "want a first line 'c2sp.org/tlog-proof@v1' and a checkpoint"),
        (GOLDEN.replace(b"@v1", b"@v2"), "want a first line"),
        (GOLDEN.replace(b"@v1", b"@v1 "), "want a first line"),
        (GOLDEN.replace(b"\n\n", b"\n"), "not ASCII|want a first line"),
        (GOLDEN[: GOLDEN.index(b"\n\n")], "want a first line"),
        (GOLDEN[: GOLDEN.index(b"\n\n") + 2], "want a first line"),
        (GOLDEN.replace(b"index", b"ind\xffx"), "not ASCII before the checkpoint"),
        (GOLDEN.replace(b"index 2\n", b""), "want a line 'index N'"),
        (GOLDEN.replace(b"index 2", b"index\t2"), "want a line 'index N'"),
        (GOLDEN.replace(b"index", b"extra QUI=\nextra QUI=\nindex"), "want a line 'index N'"),
        (GOLDEN.replace(b"index 2\n", b"index 2\nextra QUI=\n"), "base64 'extra QUI='"),
        (b"c2sp.org/tlog-proof@v1\n\n" + CHECKPOINT, "want a line 'index N'"),
        (b"c2sp.org/tlog-proof@v1\nextra QUI=\n\n" + CHECKPOINT, "want a line 'index N'"),
        (GOLDEN.replace(b"index 2", b"index 02"), "want ASCII digits"),
        (GOLDEN.replace(b"index 2", b"index -2"), "want ASCII digits"),
        (WITH_EXTRA.replace(b"QUI=", b"QUJ="), "not the one spelling"),
        (GOLDEN.replace(b"8=\n", b"9=\n"), "not the one spelling"),
        (GOLDEN.replace(b"8=\n", b"8=\r\n"), "base64"),
        (GOLDEN.replace(b"AAAA=\n", b"\n"), "base64|hashes of 32 bytes"),
        (GOLDEN.replace(b"index 2\n", b"index 2\nAAAA\n"), "want at most 63 hashes of 32 bytes"),
    ],
)
def test_a_malformed_proof_is_refused(data: bytes, why: str):
    with pytest.raises(MalformedProof, match=why):
        parse_proof(data)


def test_a_proof_has_at_most_63_hashes():
    longest = format_proof(TlogProof(0, HASHES[:1] * MAX_HASHES, CHECKPOINT))
    assert len(parse_proof(longest).hashes) == MAX_HASHES
    with pytest.raises(MalformedProof, match="want at most 63 hashes"):
        parse_proof(format_proof(TlogProof(0, HASHES[:1] * (MAX_HASHES + 1), CHECKPOINT)))
