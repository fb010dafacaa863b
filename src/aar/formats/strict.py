"""Strict scalars: the one accepted spelling of a number, a hash and base64."""

from __future__ import annotations

import binascii
import re

from aar.formats.errors import FormatError

_DECIMAL = re.compile("0|[1-9][0-9]{0,18}", re.ASCII)
_SHA256_HEX = re.compile("[0-9a-f]{64}", re.ASCII)


def parse_decimal(text: str) -> int:
    """ASCII decimal, no sign, no leading zero, below 10^19."""
    if not _DECIMAL.fullmatch(text):
        raise FormatError(f"number {text!r:.40}: want ASCII digits, no sign, no leading zero")
    return int(text)


def encode_base64(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648 section 4)."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(text: str) -> bytes:
    """Standard base64; anything that does not encode back to itself is refused."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise FormatError(f"base64 {text!r:.60}: {error}") from error
    if encode_base64(data) != text:
        raise FormatError(f"base64 {text!r:.60}: not the one spelling of its bytes")
    return data


def parse_sha256_hex(text: str) -> str:
    """64 lower-case hex digits."""
    if not _SHA256_HEX.fullmatch(text):
        raise FormatError(f"SHA-256 {text!r:.80}: want 64 lower-case hex digits")
    return text
