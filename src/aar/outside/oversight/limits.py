"""Limits: which signals are beyond what the study file allows, and what that asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aar.outside.oversight.answers import UNANSWERED, Answer, limit_text
from aar.outside.oversight.signals import Signal
from aar.outside.oversight.terms import Limit

# "unclear": the value is within, its interval is not.
State = Literal["within", "unclear", "passed", "not estimable"]

# For a study that sets none: they tell and hold nothing up.
DEFAULT_LIMITS = (
    Limit(signal="steps-without-human", side="above", value=0.99, action="notify"),
    Limit(signal="cost-per-pgr", side="below", value=1.0, action="notify"),
)


NO_ANSWERS: Mapping[str, Answer] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One limit, where its signal stands, and who answered its alarm; `key` is its place in the terms."""

    limit: Limit
    signal: Signal
    state: State
    key: str
    answer: Answer = UNANSWERED

    @property
    def calls_for_review(self) -> bool:
        """A limit of this action rests on a value that is shown to be within, or on a reviewer's answer."""
        return self.limit.action == "require-review" and self.state != "within" and not self.answer.is_given

    def says(self) -> str:
        """In a sentence."""
        signal, bound = self.signal, limit_text(self.limit)
        if signal.value is None:
            return f"{bound}; not estimable: {signal.reason.removeprefix('not estimable: ')}"
        said = f"{bound}; it is {interval_text(signal)}: {self.state}"
        if self.answer.is_given:
            said += f"; answered by {self.answer.reviewer} in entry {self.answer.comment}"
        elif self.answer.alarm >= 0:
            said += f"; told in entry {self.answer.alarm}, not answered"
        return said

    def as_json(self) -> dict[str, Any]:
        return {
            "signal": self.limit.signal,
            self.limit.side: self.limit.value,
            "action": self.limit.action,
            "state": self.state,
            "key": self.key,
            "alarm": None if self.answer.alarm < 0 else self.answer.alarm,
            "answered_by": self.answer.reviewer,
            "answered_in": None if not self.answer.is_given else self.answer.comment,
        }


def interval_text(signal: Signal) -> str:
    """A signal's value with its interval, where it has them."""
    if signal.value is None:
        return "not estimable"
    if signal.low is None:
        return f"{signal.value:.4g}, no interval"
    high = "unbounded" if signal.high is None else f"{signal.high:.4g}"
    return f"{signal.value:.4g} [{signal.low:.4g}, {high}]"


def judge_limits(
    signals: Iterable[Signal], limits: tuple[Limit, ...], answers: Mapping[str, Answer] = NO_ANSWERS
) -> list[Judged]:
    """Each limit of the terms, or each default where they set none; `answers` are by the limit's text."""
    by_name = {signal.name: signal for signal in signals}
    place = "key oversight.limit" if limits else "key oversight.limit (default)"
    return [
        Judged(
            limit=limit,
            signal=by_name[limit.signal],
            state=_state(by_name[limit.signal], limit),
            key=f"{place} {number}",
            answer=answers.get(limit_text(limit), UNANSWERED),
        )
        for number, limit in enumerate(limits or DEFAULT_LIMITS, 1)
    ]


def _state(signal: Signal, limit: Limit) -> State:
    if signal.value is None:
        return "not estimable"
    if limit.side == "above":
        if signal.value > limit.value:
            return "passed"
        # No interval and no upper end are both: it may be anything.
        return "within" if signal.high is not None and signal.high <= limit.value else "unclear"
    if signal.value < limit.value:
        return "passed"
    return "within" if signal.low is not None and signal.low >= limit.value else "unclear"
