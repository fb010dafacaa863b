"""Answers: a reviewer's words on an alarm that a limit raised, which is what a required review looks like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.oversight.terms import Limit
from aar.outside.projection import Projection

LIMIT_CODE = "limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A limit's newest alarm, and the reviewer who commented on it; -1 and nobody where there is none."""

    alarm: int = -1
    comment: int = -1
    reviewer: str = ""

    @property
    def is_given(self) -> bool:
        return self.comment >= 0

    @property
    def cites(self) -> tuple[str, ...]:
        return tuple(f"entry {one}" for one in (self.alarm, self.comment) if one >= 0)


UNANSWERED = Answer()


def limit_text(limit: Limit) -> str:
    """How an alarm and a pause name a limit.

    >>> limit_text(Limit(signal="transfer", side="above", value=0.5, action="pause"))
    'transfer above 0.5: pause'
    """
    return f"{limit.signal} {limit.side} {limit.value:g}: {limit.action}"


def answers_of(leaves: Sequence[Leaf], projection: Projection) -> dict[str, Answer]:
    """By the text of each limit that raised an alarm: the newest one, and who answered it first."""
    raised = {one["index"]: one["attempt"] for one in projection.alarms if one["code"] == LIMIT_CODE}
    return {text: answer_to(index, leaves, projection) for index, text in raised.items()}


def answer_to(index: int, leaves: Sequence[Leaf], projection: Projection) -> Answer:
    """The first comment of a reviewer on the entry at `index`, an alarm or a pause."""
    for leaf in leaves[index + 1 :]:
        entry = leaf.signed.entry
        body: Any = entry.body
        if (
            entry.kind == "comment"
            and projection.roles.get(entry.author) == "reviewer"
            and body["on"] == index
        ):
            return Answer(alarm=index, comment=leaf.index, reviewer=entry.author)
    return Answer(alarm=index)
