"""Requests: what a caller may say to the gateway, checked before anything else looks at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aar.lab.protocol.injection import texts_of
from aar.lab.protocol.operations import FILE_NAME_PATTERN, MAX_FILES, MAX_METHOD_BYTES
from aar.outside.admission import Refused

FILE_NAME = re.compile(FILE_NAME_PATTERN, re.ASCII)


def fields(payload: object, **wanted: type) -> Mapping[str, Any]:
    """The payload, if it has exactly these fields of these types; an `author` is a forgery, not a mistake."""
    if not isinstance(payload, dict):
        raise Refused("bad-request", f"got {type(payload).__name__}, want a JSON object")
    if "author" in payload and "author" not in wanted:
        raise Refused(
            "forged-author",
            f"the socket says who speaks: a request naming its author is refused ({payload['author']!r:.60})",
            is_alarm=True,
        )
    if set(payload) != set(wanted):
        raise Refused("bad-request", f"got {sorted(payload)}, want exactly {sorted(wanted)}")
    for name, kind in wanted.items():
        if not isinstance(payload[name], kind) or isinstance(payload[name], bool):
            raise Refused("bad-request", f"{name}: got {type(payload[name]).__name__}, want {kind.__name__}")
    # No text has a use for it, and whatever is written in C ends a text there.
    if any("\0" in text for text in texts_of(payload)):
        raise Refused("bad-request", "a text has a NUL in it: want text without")
    return payload


def method_files(files: Mapping[str, Any]) -> dict[str, str]:
    """A method directory as handed in: flat, text only, small, with a `method.py`."""
    if "method.py" not in files:
        raise Refused("bad-method", f"no method.py among {sorted(files)!r:.120}")
    return flat_files(files, "bad-method", most=MAX_FILES, most_bytes=MAX_METHOD_BYTES)


def flat_files(files: Mapping[str, Any], code: str, *, most: int, most_bytes: int) -> dict[str, str]:
    """Texts by plain names, at most so many and so large together; `Refused` with that code otherwise."""
    if len(files) > most:
        raise Refused(code, f"{len(files)} files, at most {most}")
    for name, text in files.items():
        if not FILE_NAME.fullmatch(name) or not isinstance(text, str):
            raise Refused(code, f"file {name!r:.80}: want a plain name and text")
    try:
        size_bytes = sum(len(text.encode()) for text in files.values())
    except UnicodeEncodeError as error:
        raise Refused(code, f"a file is not Unicode text: {error}") from error
    if size_bytes > most_bytes:
        raise Refused(code, f"{size_bytes} bytes, at most {most_bytes}")
    return dict(files)


def whole_number(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A non-negative integer from a query string."""
    text = query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch("0|[1-9][0-9]{0,15}", text, re.ASCII):
        raise Refused("bad-request", f"{name}: got {text!r:.40}, want a whole number")
    return int(text)
