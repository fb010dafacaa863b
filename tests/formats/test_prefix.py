"""Prefix proofs as files: one spelling, and each way to miss it."""

from __future__ import annotations

import pytest

from aar.formats.errors import MalformedProof
from aar.formats.prefix import format_prefix, parse_prefix
from aar.formats.proof import MAX_HASHES

GOOD = format_prefix(3, b"r" * 32, [b"a" * 32, b"b" * 32])


def test_a_prefix_reads_back_as_it_was_written():
    assert parse_prefix(GOOD) == (3, b"r" * 32, [b"a" * 32, b"b" * 32])
    assert format_prefix(*parse_prefix(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "want a line"),
        (GOOD.replace(b"v1", b"v2"), "want a line"),
        (GOOD[:-1], "want a line"),
        (GOOD + b"\n", "prefix"),
        (b"aar-prefix/v1\n3\n", "want a line"),
        (GOOD.replace(b"\n3\n", b"\n03\n"), "prefix"),
        (GOOD.replace(b"\n3\n", b"\n\xff\n"), "prefix"),
        (format_prefix(3, b"r" * 31, []), "hashes of 32 bytes"),
        (format_prefix(3, b"r" * 32, [b"a" * 33]), "hashes of 32 bytes"),
        (format_prefix(3, b"r" * 32, [bytes(32)] * (MAX_HASHES + 3)), "at most"),
    ],
)
def test_what_is_no_prefix_is_refused(data: bytes, says: str):
    with pytest.raises(MalformedProof, match=says):
        parse_prefix(data)
