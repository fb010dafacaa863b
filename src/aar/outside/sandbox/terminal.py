"""Text from a sandbox, made fit for a terminal: nothing in it moves the cursor, hides or reorders."""

from __future__ import annotations

import unicodedata

# Other (control, format, surrogate, private use, unassigned), and the two separators that break a line.
_NEVER_SHOWN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_MAX_MARKS = 3


def terminal_safe(text: str, limit: int | None = None) -> str:
    r"""One line that a terminal shows as it is; what could act on the terminal is written out, not dropped.

    Line breaks and tabs become spaces; escapes, bidirectional overrides, zero-width characters and
    unassigned code points become `\x1b`, `\u202e`. No more than three combining marks stay on one character.
    With `limit`, a longer text is cut to that many characters, the last of them an ellipsis.

    >>> terminal_safe("good\x1b[2J\nnews")
    'good\\x1b[2J news'
    """
    shown: list[str] = []
    marks = 0
    for character in text:
        if character in "\n\r\t":
            shown.append(" ")
            continue
        category = unicodedata.category(character)
        if category in _NEVER_SHOWN:
            shown.append(_written_out(character))
            continue
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= _MAX_MARKS:
            shown.append(character)
    line = "".join(shown)
    if limit is not None and len(line) > limit:
        return line[: max(limit - 1, 0)] + "…"
    return line


def _written_out(character: str) -> str:
    if ord(character) < 0x80:
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode()
