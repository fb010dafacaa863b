"""Words for a reader's machine: characters that nobody sees, and orders to whoever reads with a model.

Whatever we print writes hidden characters out (`aar.cli.safe_text`), and what a researcher's model is shown
is quoted and flagged (`aar.lab.protocol.injection`, whose rules these are). Here the same rules tell a human
who wrote what. They know wordings, not intentions: who quotes an attempt, to warn of it, is told as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aar.lab.protocol.injection import HIDDEN, HIDDEN_TEXT, flags_of, texts_of
from aar.outside.monitor.sighting import Sighting, shown

MOST_TOLD = 8


def hidden_in(index: int, who: str, body: Mapping[str, Any]) -> Iterator[Sighting]:
    """An entry of a researcher's, or a submission of its, if any of its texts has such characters."""
    found = {one for text in texts_of(body) for one in HIDDEN.findall(text)}
    if found:
        told = ", ".join(f"U+{ord(one):04X}" for one in sorted(found)[:MOST_TOLD])
        yield Sighting(
            code="hidden-text",
            who=who,
            what=f"entry {index} has characters that act on a terminal or are not seen: {told}",
            evidence=shown([index]),
        )


def orders_in(index: int, who: str, body: Mapping[str, Any]) -> Iterator[Sighting]:
    """The same, if any of its texts reads like an attempt to steer a reader's model."""
    flags = [one for one in flags_of(*texts_of(body)) if one != HIDDEN_TEXT]
    if flags:
        yield Sighting(
            code="prompt-injection",
            who=who,
            what=f"entry {index} has words that would steer a reader's model, by rule {', '.join(flags)}",
            evidence=shown([index]),
        )
