"""The watch over limits while a study runs: an alarm once for each that is passed, a pause where it asks so.

What it did stands in the record, so a gateway that starts again goes on from there. A limit that paused the
queue does so again, after a reviewer lifted it, only when its signal is twice as far beyond as it was then:
who looked and said to go on is not asked the same again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.oversight.answers import LIMIT_CODE, limit_text
from aar.outside.oversight.limits import DEFAULT_LIMITS, Judged, interval_text, judge_limits
from aar.outside.oversight.signals import Signal, signals_in
from aar.outside.oversight.terms import Limit, terms_in
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

    @property
    def is_pause(self) -> bool:
        return self.kind == "queue-paused"


class LimitWatch:
    """Looks at the limits of a study's first entry when there is reason to."""

    def __init__(self) -> None:
        self._looked_at = 0
        self._read_to = 0
        self._is_due = False

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
        limits = terms.limits or DEFAULT_LIMITS
        signals = signals_in(leaves, projection, terms.human, {one.signal for one in limits})
        found: list[Passed] = []
        for one in judge_limits(signals, terms.limits):
            if one.state == "passed":
                found += _told(one, projection, is_pausing=any(told.is_pause for told in found))
        return found


def _told(judged: Judged, projection: Projection, *, is_pausing: bool) -> list[Passed]:
    text, evidence = limit_text(judged.limit), _evidence(judged.signal, projection)
    said = f"{judged.signal.name} is {interval_text(judged.signal)}"
    if judged.limit.action == "pause":
        if is_pausing or projection.paused >= 0 or not _is_farther(judged, projection, text):
            return []
        body: dict[str, Any] = {
            "signal": judged.signal.name,
            "value": f"{judged.signal.value:.4f}"[:32],
            "limit": text,
            "reason": f"{said}, the limit is {text}: a reviewer looks, and lifts it with aar resume",
            "evidence": list(evidence),
        }
        return [Passed(kind="queue-paused", body=body, refs=evidence)]
    if any(one["code"] == LIMIT_CODE and one["attempt"] == text for one in projection.alarms):
        return []
    asks = {"require-review": "a reviewer answers with a comment on this entry"}.get(
        judged.limit.action, "nothing is held up"
    )
    alarm = {
        "code": LIMIT_CODE,
        "who": "",
        "what": f"{said}, the limit is {text}: {asks}"[:2_000],
        "evidence": list(evidence),
        "attempt": text,
    }
    return [Passed(kind="alarm", body=alarm, refs=evidence)]


def _is_farther(judged: Judged, projection: Projection, text: str) -> bool:
    """Whether there was no pause by this limit, or the value is twice as far beyond it as at the last."""
    value = judged.signal.value
    before = [float(one["value"]) for one in projection.pauses.values() if one["limit"] == text]
    if not before or value is None:
        return True
    return beyond(judged.limit, value) > 2 * max(beyond(judged.limit, before[-1]), LEAST_BEYOND)


def beyond(limit: Limit, value: float) -> float:
    """How far a value is past a limit; below 0 where it is not."""
    return value - limit.value if limit.side == "above" else limit.value - value


def _evidence(signal: Signal, projection: Projection) -> tuple[int, ...]:
    indices = [int(cite.removeprefix("entry ")) for cite in signal.cites if cite.startswith("entry ")]
    named = sorted({one for one in indices if projection.kinds.get(one) in OF_THE_STUDY})
    return tuple(named[:MOST_EVIDENCE]) or (0,)
