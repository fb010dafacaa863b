"""Canonical JSON: one line, sorted keys, no floats, so that a value has one spelling.

Objects (keys sorted by code point, each once), arrays, strings, and integers within 2^53; a decimal is a
string. There is no ``null`` and no boolean: what is absent is left out, what is yes or no is 1 or 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, TypeAlias

from aar.formats.errors import MalformedJSON

Value: TypeAlias = "dict[str, Value] | list[Value] | str | int"

MAX_INTEGER = 2**53 - 1
MAX_DEPTH = 16


def format_canonical(value: Value) -> bytes:
    """The one spelling of `value`, without a newline at its end; `MalformedJSON` if it has none."""
    _check(value, MAX_DEPTH)
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedJSON(f"a string is not Unicode text: {error}") from error


def parse_canonical(data: bytes) -> Value:
    """The value whose one spelling is `data`."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"not canonical JSON: {error}") from error
    return parse_canonical_text(text)


def parse_canonical_text(text: str) -> Value:
    """The value whose one spelling is `text`, where that was decoded already."""
    try:
        # What follows the value, or stands before it, has no place in the spelling that is compared below.
        value, _end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise MalformedJSON(f"not canonical JSON: {error}") from error
    _check(value, MAX_DEPTH)
    if _ENCODER.encode(value) != text:
        raise MalformedJSON("not canonical JSON: another spelling, or a key twice")
    return value  # type: ignore[no-any-return]


def _refuse_number(text: str) -> Any:
    raise MalformedJSON(f"number {text!r:.40}: want an integer; decimals are strings")


# Made once: json.loads and json.dumps would make them again for each entry.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_DECODER = json.JSONDecoder(parse_float=_refuse_number, parse_constant=_refuse_number)


def _check(value: object, depth: int) -> None:
    if depth < 0:
        raise MalformedJSON(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise MalformedJSON(f"key {key!r:.40}: want a string")
        items: Iterable[object] = value.values()
    elif isinstance(value, (list, tuple)):
        items = value
    else:
        _check_scalar(value)
        return
    for item in items:
        # Most items are strings and small integers, and every entry comes through here.
        kind = type(item)
        if depth and (kind is str or (kind is int and -MAX_INTEGER <= item <= MAX_INTEGER)):  # type: ignore[operator]
            continue
        _check(item, depth - 1)


def _check_scalar(value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise MalformedJSON(f"{value!r:.40}: want an object, array, string or integer")
    if isinstance(value, int) and not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise MalformedJSON(f"integer of {value.bit_length()} bits: want one within 2^53")
