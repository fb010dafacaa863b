"""Strict scalars: each value has one spelling."""

from __future__ import annotations

import pytest

from aar.formats.errors import FormatError
from aar.formats.strict import decode_base64, encode_base64, parse_decimal, parse_sha256_hex


@pytest.mark.parametrize("text", ["0", "7", "10", "9999999999999999999"])
def test_a_plain_decimal_is_read(text: str):
    assert str(parse_decimal(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "007",
        "+7",
        "-7",
        " 7",
        "7 ",
        "7\n",
        "1_000",
        "1.0",
        "0x1",
        "٣",
        "²",
        "1" * 20,
        pytest.param("9" * 5000, id="huge"),
    ],
)
def test_any_other_spelling_of_a_number_is_refused(text: str):
    with pytest.raises(FormatError, match="want ASCII digits"):
        parse_decimal(text)


@pytest.mark.parametrize(
    ("text", "data"), [("", b""), ("QQ==", b"A"), ("QUI=", b"AB"), ("+/+/", b"\xfb\xff\xbf")]
)
def test_base64_is_read_and_written_in_one_way(text: str, data: bytes):
    assert decode_base64(text) == data
    assert encode_base64(data) == text


@pytest.mark.parametrize("text", ["QUI", "QU I=", "QUI=\n", "-_-_", "é", "QQ==QQ==Q"])
def test_what_is_not_base64_is_refused(text: str):
    with pytest.raises(FormatError, match=r"base64 '[^']*': (?!not the one spelling)"):
        decode_base64(text)


@pytest.mark.parametrize("text", ["QR==", "QUJ=", "QUJD===="])
def test_a_second_spelling_of_base64_is_refused(text: str):
    with pytest.raises(FormatError, match="base64"):
        decode_base64(text)


def test_stray_pad_bits_are_refused():
    with pytest.raises(FormatError, match="not the one spelling"):
        decode_base64("QR==")


def test_a_sha256_is_64_lower_case_hex_digits():
    assert parse_sha256_hex("0a" * 32) == "0a" * 32


@pytest.mark.parametrize("text", ["", "0a" * 31, "0A" * 32, "0a" * 33, "0g" * 32, "0a" * 32 + "\n", "٣" * 64])
def test_any_other_spelling_of_a_sha256_is_refused(text: str):
    with pytest.raises(FormatError, match="want 64 lower-case hex digits"):
        parse_sha256_hex(text)
