"""Numbers in words: a PGR that a finding states in its title or text, against what receipts released.

The field `numbers` is checked at admission; the words beside it are anybody's. Only a number that stands next
to "PGR" is read, and only one that nothing released by a cited receipt rounds to is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_VALUE = r"(?P<value>[-\u2212]?\d{0,2}\.\d{1,6}(?!\d|\.\d)|[-\u2212]?\d{1,3}(?:\.\d{1,4})?\s?%)"
_BETWEEN = (
    r"(?:[\s:=|*_`~≈(\[]|\b(?:of|is|was|at|to|reach(?:es|ed|ing)?|about|around|equals|hits|gets|got|value|score|"
    r"improve[sd]|rises|rose|climb(?:s|ed)|jump(?:s|ed)|goes|went|a|an|the)\b){0,8}"
)
STATED = (
    re.compile(rf"\bpgr\b{_BETWEEN}{_VALUE}", re.IGNORECASE),
    re.compile(
        r"\b(?:reach(?:es|ed|ing)?|is|was|at|to|gets|got|scores?|scored|of|with)[\s:*_`~≈]{1,4}"
        rf"{_VALUE}[\s*_`]{{0,3}}(?:in\s|of\s)?pgr\b",
        re.IGNORECASE,
    ),
)
# What is hoped for is no statement of what was found, and a difference is no value.
HOPES = re.compile(
    r"\b(?:expect\w*|predict\w*|hypothes\w*|hop(?:es?|ed|ing)|target\w*|goals?|aim\w*|would|could|might|may|"
    r"should|maybe|perhaps|if|until|unless)\b",
    re.IGNORECASE,
)
DIFFERENCES = re.compile(
    r"\b(?:gain\w*|improve\w*|differ\w*|increase\w*|decrease\w*|drop\w*|los[st]\w*|delta|change\w*|spread|gap|"
    r"noise|deviation|error|by|not)\b",
    re.IGNORECASE,
)
MOST_STATED = 32
_MOST_READ = 8_200
_FUZZ = 1e-9


@dataclass(frozen=True, slots=True)
class Stated:
    """A PGR that words state; `digits` after the point are what it was rounded to."""

    text: str
    value: float
    digits: int

    def rounds(self, told: float) -> bool:
        """Whether `told` may have been written like this: rounded, or cut off."""
        unit = 10.0**-self.digits
        more = (told - self.value) * (-1 if self.value < 0 else 1)
        return -unit / 2 - _FUZZ <= more < unit - _FUZZ


def stated_in(title: str, text: str) -> list[Stated]:
    """The PGRs that a finding's words state as found, in their order."""
    found = []
    for part in (title, text):
        words = unicodedata.normalize("NFKC", part)[:_MOST_READ]
        for sentence in re.split(r"(?<=[.!?;])\s+|\n", words):
            found += list(_stated(sentence))
    return found[:MOST_STATED]


def _stated(sentence: str) -> Iterator[Stated]:
    # Once for a sentence: looking back from each of its numbers takes seconds where there are thousands.
    hoped, differing = (_first_end(one, sentence) for one in (HOPES, DIFFERENCES))
    for expression in STATED:
        for match in expression.finditer(sentence):
            # Up to its end: "PGR 0.4, if this holds" states 0.4.
            if hoped <= match.end() or differing <= match.start():
                break
            written = match["value"].replace("\N{MINUS SIGN}", "-").replace(" ", "")
            number = written.rstrip("%")
            digits = len(number.partition(".")[2])
            if written.endswith("%"):
                yield Stated(match["value"], float(number) / 100, digits + 2)
            else:
                yield Stated(match["value"], float(number), digits)


def _first_end(expression: re.Pattern[str], sentence: str) -> int:
    """Where the first match ends; beyond the sentence where there is none."""
    found = expression.search(sentence)
    return len(sentence) + 1 if found is None else found.end()


def decimals_of(released: Mapping[str, Any]) -> list[float]:
    """All that a receipt told."""
    return [float(value) for key, value in released.items() if key != "improved"]


def is_borne_out(stated: Stated, told: Collection[float]) -> bool:
    """Whether one of the values is what was stated."""
    return any(stated.rounds(one) for one in told)
