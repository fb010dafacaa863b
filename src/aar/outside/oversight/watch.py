"""The watch over limits while a study runs: an alarm once for each that is passed, a pause where it asks so.

What it did stands in the record, so a gateway that starts again goes on from there. A limit that paused the
queue does so again, after a reviewer lifted it, only when its signal is twice as far beyond as it was then:
who looked and said to go on is not asked the same again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.oversight.answers import LIMIT_CODE, limit_text
from aar.outside.oversight.limits import DEFAULT_LIMITS, Judged, interval_text, judge_limits
from aar.outside.oversight.signals import Signal, signals_in
from aar.outside.oversight.terms import HumanBaseline, Limit, Terms, terms_in
from aar.outside.projection import Projection

# Entries after which a signal may have changed, and those after which it is always looked at.
TELLING = ("task-closed", "finding", "score-receipt", "score-revealed", "plan-declared", "decision")
ALWAYS = ("task-closed", "decision")
# Signals are computed from the whole record: looked at each time that it has grown by so much, the cost of
# all looks stays in proportion to its length.
GROWTH = 1 / 32
# What an alarm about a limit may name without being about a finding that rests on it.
OF_THE_STUDY = ("study-opened", "task-opened", "plan-declared", "task-closed", "decision", "task-proposed")
MOST_EVIDENCE = 16
# A pause is entered with four digits: of what is nearer to the limit twice as much is nothing.
LEAST_BEYOND = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A limit that is passed and was not told yet, as the entry that tells it."""

    kind: str
    body: dict[str, Any]
    refs: tuple[int, ...]


class LimitWatch:
    """Looks at the limits of a study's first entry when there is reason to."""

    def __init__(self) -> None:
        self._looked_at = 0
        self._read_to = 0
        self._is_due = False
        # By entry that lifted a pause: the signals' values at that moment.
        self._at_resume: dict[int, dict[str, float | None]] = {}

    def look(self, leaves: Sequence[Leaf], projection: Projection) -> list[Passed]:
        """What the monitor has to enter now; `projection` is the fold of `leaves`."""
        kinds = [leaf.signed.entry.kind for leaf in leaves[self._read_to :]]
        self._read_to = len(leaves)
        self._is_due |= any(kind in TELLING for kind in kinds)
        grown = len(leaves) - self._looked_at > GROWTH * len(leaves)
        if not self._is_due or not (grown or any(kind in ALWAYS for kind in kinds)) or projection.closed:
            return []
        self._is_due, self._looked_at = False, len(leaves)
        terms = terms_in(projection.opened["oversight"])
        limits = tuple(one for one in terms.limits or DEFAULT_LIMITS if _is_estimable(one, terms))
        if not limits:
            return []
        names = {one.signal for one in limits}
        judged = judge_limits(signals_in(leaves, projection, terms.human, names), limits)
        passed = [one for one in judged if one.state == "passed"]
        found = [told for one in passed if one.limit.action != "pause" for told in _alarm(one, projection)]
        pausing = (one for one in passed if one.limit.action == "pause" and projection.paused < 0)
        first = next((one for one in pausing if self._is_news(one, leaves, terms.human, names)), None)
        return found if first is None else [*found, _pause(first, projection)]

    def _is_news(
        self, judged: Judged, leaves: Sequence[Leaf], human: HumanBaseline | None, names: Collection[str]
    ) -> bool:
        """Whether this limit made no pause, or its signal is twice as far beyond as when that was lifted."""
        text, value = limit_text(judged.limit), judged.signal.value
        lifted = _lifted(leaves, text)
        if lifted < 0 or value is None:
            return True
        if lifted not in self._at_resume:
            then = leaves[: lifted + 1]
            signals = signals_in(then, Projection.of(then), human, names)
            self._at_resume[lifted] = {one.name: one.value for one in signals}
        before = self._at_resume[lifted][judged.signal.name]
        least = LEAST_BEYOND if before is None else max(beyond(judged.limit, before), LEAST_BEYOND)
        return beyond(judged.limit, value) > 2 * least


def _is_estimable(limit: Limit, terms: Terms) -> bool:
    """A cost is of no use without the people's to compare it with, and takes a walk over the whole record."""
    return limit.signal != "cost-per-pgr" or terms.human is not None


def _lifted(leaves: Sequence[Leaf], text: str) -> int:
    """The entry that lifted the last pause by this limit, or -1 where none was."""
    pause = lifted = -1
    for leaf in leaves:
        body: Any = leaf.signed.entry.body
        if leaf.signed.entry.kind == "queue-paused" and body["limit"] == text:
            pause = leaf.index
        elif leaf.signed.entry.kind == "queue-resumed" and body["pause"] == pause:
            lifted = leaf.index
    return lifted


def _pause(judged: Judged, projection: Projection) -> Passed:
    text, evidence = limit_text(judged.limit), _evidence(judged.signal, projection)
    body: dict[str, Any] = {
        "researcher": "",
        "signal": judged.signal.name,
        "value": f"{judged.signal.value:.4f}"[:32],
        "limit": text,
        "reason": f"{_said(judged)}: a reviewer looks, and lifts it with aar resume",
        "evidence": list(evidence),
    }
    return Passed(kind="queue-paused", body=body, refs=evidence)


def _alarm(judged: Judged, projection: Projection) -> list[Passed]:
    """The alarm about a limit, unless the record has it."""
    text, evidence = limit_text(judged.limit), _evidence(judged.signal, projection)
    if any(one["code"] == LIMIT_CODE and one["attempt"] == text for one in projection.alarms):
        return []
    asks = "nothing is held up"
    if judged.limit.action == "require-review":
        asks = "a reviewer answers with a comment on this entry"
    body: dict[str, Any] = {
        "code": LIMIT_CODE,
        "who": "the study",
        "what": f"{_said(judged)}: {asks}"[:2_000],
        "evidence": list(evidence),
        "attempt": text,
    }
    return [Passed(kind="alarm", body=body, refs=evidence)]


def _said(judged: Judged) -> str:
    return f"{judged.signal.name} is {interval_text(judged.signal)}, the limit is {limit_text(judged.limit)}"


def beyond(limit: Limit, value: float) -> float:
    """How far a value is past a limit; below 0 where it is not."""
    return value - limit.value if limit.side == "above" else limit.value - value


def _evidence(signal: Signal, projection: Projection) -> tuple[int, ...]:
    indices = [int(cite.removeprefix("entry ")) for cite in signal.cites if cite.startswith("entry ")]
    named = sorted({one for one in indices if projection.kinds.get(one) in OF_THE_STUDY})
    return tuple(named[:MOST_EVIDENCE]) or (0,)
