"""Requests: what a caller may say to the gateway, checked before anything else looks at it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aar.outside.admission import Refused

MAX_FILES = 32
MAX_METHOD_BYTES = 262_144
FILE_NAME = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)


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
    return payload


def method_files(files: Mapping[str, Any]) -> dict[str, str]:
    """A method directory as handed in: flat, text only, small, with a `method.py`."""
    if "method.py" not in files:
        raise Refused("bad-method", f"no method.py among {sorted(files)!r:.120}")
    if len(files) > MAX_FILES:
        raise Refused("bad-method", f"{len(files)} files, at most {MAX_FILES}")
    for name, text in files.items():
        if not FILE_NAME.fullmatch(name) or not isinstance(text, str):
            raise Refused("bad-method", f"file {name!r:.80}: want a plain name and text")
    try:
        size_bytes = sum(len(text.encode()) for text in files.values())
    except UnicodeEncodeError as error:
        raise Refused("bad-method", f"a file is not Unicode text: {error}") from error
    if size_bytes > MAX_METHOD_BYTES:
        raise Refused("bad-method", f"{size_bytes} bytes, at most {MAX_METHOD_BYTES}")
    return dict(files)


def whole_number(query: Mapping[str, str], name: str, default: int | None = None) -> int:
    """A non-negative integer from a query string."""
    text = query.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch("0|[1-9][0-9]{0,15}", text, re.ASCII):
        raise Refused("bad-request", f"{name}: got {text!r:.40}, want a whole number")
    return int(text)
