"""Limits: which signals are beyond what the study file allows, and what that asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from aar.outside.oversight.signals import Signal
from aar.outside.oversight.terms import Limit

# "unclear": the value is within, its interval is not.
State = Literal["within", "unclear", "passed", "not estimable"]

# For a study file that sets none: they tell and hold nothing up.
DEFAULT_LIMITS = (
    Limit(signal="steps-without-human", side="above", value=0.99, action="notify"),
    Limit(signal="cost-per-pgr", side="below", value=1.0, action="notify"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One limit and where its signal stands; `key` is the limit's place in the study file."""

    limit: Limit
    signal: Signal
    state: State
    key: str

    @property
    def calls_for_review(self) -> bool:
        """Only a value that is shown to be within lets a limit of this action rest."""
        return self.limit.action == "require-review" and self.state != "within"

    def says(self) -> str:
        """In a sentence."""
        limit, signal = self.limit, self.signal
        bound = f"{limit.side} {limit.value:g}: {limit.action}"
        if signal.value is None:
            return f"{signal.name} {bound}; not estimable: {signal.reason.removeprefix('not estimable: ')}"
        return f"{signal.name} {bound}; it is {interval_text(signal)}: {self.state}"

    def as_json(self) -> dict[str, Any]:
        return {
            "signal": self.limit.signal,
            self.limit.side: self.limit.value,
            "action": self.limit.action,
            "state": self.state,
            "key": self.key,
        }


def interval_text(signal: Signal) -> str:
    """A signal's value with its interval, where it has them."""
    if signal.value is None:
        return "not estimable"
    if signal.low is None:
        return f"{signal.value:.4g}, no interval"
    high = "unbounded" if signal.high is None else f"{signal.high:.4g}"
    return f"{signal.value:.4g} [{signal.low:.4g}, {high}]"


def judge_limits(signals: Iterable[Signal], limits: tuple[Limit, ...]) -> list[Judged]:
    """Each limit of the study file, or each default where it sets none."""
    by_name = {signal.name: signal for signal in signals}
    place = "key oversight.limit" if limits else "key oversight.limit (default)"
    return [
        Judged(
            limit=limit,
            signal=by_name[limit.signal],
            state=_state(by_name[limit.signal], limit),
            key=f"{place} {number}",
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
