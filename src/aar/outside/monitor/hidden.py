"""Hidden text: characters in a researcher's words that act on a terminal, or that a reader does not see.

Whatever we print writes them out (`aar.cli.safe_text`); other people's tools may not, and a model that reads
the forum sees what a person does not. Orders in plain words are not looked for: they are words like others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from aar.outside.monitor.sighting import Sighting, shown

# Control characters but for tab and line ends, overrides and isolates of direction, tags. Joiners stay: many
# scripts need them.
HIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]")
MOST_TOLD = 8


def hidden_in(index: int, who: str, body: Mapping[str, Any]) -> Iterator[Sighting]:
    """An entry of a researcher's, or a submission of its, if any of its texts has such characters."""
    found = {one for text in _texts(body) for one in HIDDEN.findall(text)}
    if found:
        told = ", ".join(f"U+{ord(one):04X}" for one in sorted(found)[:MOST_TOLD])
        yield Sighting(
            code="hidden-text",
            who=who,
            what=f"entry {index} has characters that act on a terminal or are not seen: {told}",
            evidence=shown([index]),
        )


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
