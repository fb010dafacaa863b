"""What a sandbox's exec server says, parsed strictly; pure. Whatever does not fit is one error.

A frame is a line of JSON, {"id", "say", ..., "size"}, then `size` bytes. Everything in one is the sandbox's
claim, and a command in there can write frames of its own: the parser keeps to what fits the call.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

HEADER_BYTES = 1024
CHUNK = 65_536
_MAX_CALL = 2**53
# Why a file was not read, or left out of a snapshot.
REFUSALS = ("os", "not-a-file", "too-large", "too-many")
SKIPS = ("name", "symlink", "depth", "not-a-file", "unreadable")


class MalformedFrame(ValueError):
    """Bytes that no honest exec server sends."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One of "out", "err", "data", "file", "skipped" (with bytes), "done" or "failed" (without)."""

    call: int
    say: str
    body: bytes = b""
    fields: dict[str, Any] = field(default_factory=dict)


def _number(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in words


_FIELDS: dict[str, tuple[dict[str, Callable[[Any], bool]], ...]] = {
    "out": ({},),
    "err": ({},),
    "data": ({},),
    "file": ({},),
    "skipped": ({"why": _one_of(*SKIPS)},),
    "failed": ({"errno": _number(0, 4095), "why": _one_of(*REFUSALS)},),
    "done": (
        {},
        {
            "code": _number(0, 255),
            "truncated": lambda value: isinstance(value, bool),
            "reason": _one_of("exited", "wall", "output"),
        },
    ),
}
_WITHOUT_BYTES = ("done", "failed")


class FrameReader:
    """Bytes in, frames out; holds no more than one frame and what came with it."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._header: tuple[Frame, int] | None = None

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """The frames that are whole now. Raises `MalformedFrame`."""
        self._waiting += chunk
        while True:
            if self._header is None:
                end = self._waiting.find(b"\n", 0, HEADER_BYTES)
                if end < 0:
                    if len(self._waiting) >= HEADER_BYTES:
                        raise MalformedFrame(f"no end of a header in {HEADER_BYTES} bytes")
                    return
                self._header = parse_header(bytes(self._waiting[:end]))
                del self._waiting[: end + 1]
            frame, size = self._header
            if len(self._waiting) < size:
                return
            body = bytes(self._waiting[:size])
            del self._waiting[:size]
            self._header = None
            yield Frame(frame.call, frame.say, body, frame.fields)


def parse_header(line: bytes) -> tuple[Frame, int]:
    """A frame without its bytes, and how many of those follow. Raises `MalformedFrame`."""
    try:
        told = json.loads(
            line.decode("ascii"), object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse
        )
    except (ValueError, RecursionError) as error:
        raise MalformedFrame(f"header {line[:80]!r}: {error}") from None
    if not isinstance(told, dict):
        raise MalformedFrame(f"header {line[:80]!r}: want an object")
    call, say, size = (told.pop(name, None) for name in ("id", "say", "size"))
    if not isinstance(say, str) or say not in _FIELDS:
        raise MalformedFrame(f"header says {str(say)[:40]!r}: want one of {' '.join(_FIELDS)}")
    if not _number(0, _MAX_CALL)(call):
        raise MalformedFrame(f"header for call {str(call)[:40]}: want a number")
    low, high = (0, 0) if say in _WITHOUT_BYTES else (1, CHUNK)
    if type(size) is not int or not low <= size <= high:
        raise MalformedFrame(f"{say!r} of {str(size)[:40]} bytes: want {low} to {high}")
    for form in _FIELDS[say]:
        if told.keys() == form.keys() and all(is_good(told[name]) for name, is_good in form.items()):
            return Frame(call, say, fields=told), size
    raise MalformedFrame(f"{say!r} with {str(told)[:200]}: not what it goes with")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise MalformedFrame("a name twice")
    return told


def _refuse(text: str) -> None:
    raise MalformedFrame(f"{text}: want whole numbers")
