"""Signals of a study: how much of it ran without a human, at what cost, and where that is going.

Each is computed from the verified record alone, with an interval or the reason why there is none. None of
them is a threshold: docs/oversight.md says what each leaves out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from aar.formats.entry import Leaf
from aar.outside.oversight.terms import SIGNALS, HumanBaseline
from aar.outside.projection import Projection
from aar.verify.leaderboard import Row, leaderboard
from aar.verify.statistics import binomial_interval, t_quantile

# The steps of a research pipeline; leases, charges and reveals are bookkeeping and count for nobody.
STEPS = frozenset(
    (
        "task-opened",
        "task-proposed",
        "task-approved",
        "task-refused",
        "plan-declared",
        "submission",
        "score-receipt",
        "finding",
        "comment",
        "vote",
        "decision",
        "redaction",
    )
)
HUMAN_ROLES = ("reviewer", "operator")
# Half of a record with fewer observations than this shows no trend.
LEAST_OF_A_HALF = 3
_MS_PER_HOUR = 3_600_000
_CITED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """The first half of a record's observations against the second; `low` to `high` is 95 % of the change."""

    earlier: float
    later: float
    change: float
    low: float
    high: float

    @property
    def direction(self) -> str:
        """In a word; an interval that holds 0 shows nothing."""
        if self.low > 0:
            return "rising"
        return "falling" if self.high < 0 else "no change shown"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "direction": self.direction}


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One reading. Without a `value` there is a `reason`; `high` is `None` where nothing bounds it.

    `cites` are the entries or configuration keys that it was computed from, the first ones of many.
    """

    name: str
    definition: str
    source: str
    cites: tuple[str, ...]
    count: int = 0
    value: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    trend: Trend | None = None
    no_trend: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        told = {key: value for key, value in asdict(self).items() if key != "trend"}
        return {
            **told,
            "cites": list(self.cites),
            "trend": None if self.trend is None else self.trend.as_json(),
        }


def signals_of(leaves: Sequence[Leaf], human: HumanBaseline | None) -> tuple[Signal, ...]:
    """All signals of a record that was verified."""
    return signals_in(leaves, Projection.of(leaves), human)


def signals_in(
    leaves: Sequence[Leaf],
    projection: Projection,
    human: HumanBaseline | None,
    names: Collection[str] = SIGNALS,
) -> tuple[Signal, ...]:
    """The named ones, where the leaves were folded already: some cost a walk over the whole record."""
    of: Mapping[str, Callable[[], Signal]] = {
        "steps-without-human": lambda: _steps_without_human(leaves, projection),
        "autonomous-subtasks": lambda: _autonomous_subtasks(leaves, projection),
        "task-complexity": lambda: _task_complexity(projection),
        "transfer": lambda: _transfer(projection),
        "cost-per-pgr": lambda: _cost_per_pgr(leaderboard(leaves), projection, human),
        "time-horizon": lambda: _time_horizon(projection),
    }
    return tuple(of[name]() for name in SIGNALS if name in names)


def cited(indices: Sequence[int]) -> tuple[str, ...]:
    """Entries as citations: the first few of many, and the last."""
    shown = [*indices] if len(indices) <= _CITED else [*indices[: _CITED - 1], indices[-1]]
    return tuple(f"entry {one}" for one in shown)


def _steps_without_human(leaves: Sequence[Leaf], projection: Projection) -> Signal:
    steps = [leaf for leaf in leaves if leaf.signed.entry.kind in STEPS]
    by_human = [leaf for leaf in steps if projection.roles.get(leaf.signed.entry.author) in HUMAN_ROLES]
    indices = {leaf.index for leaf in by_human}
    flags = [leaf.index not in indices for leaf in steps]
    kinds = sorted({leaf.signed.entry.kind for leaf in by_human})
    return _share(
        "steps-without-human",
        "share of the pipeline's steps that no reviewer's or operator's key signed",
        "entries of the kinds of research, by the role of their author; what a key of a human signs may be "
        "signed by a program that holds it",
        flags,
        cites=cited([leaf.index for leaf in by_human]) or cited([leaf.index for leaf in steps]),
        nothing="the record has no step yet",
        detail=f"humans signed {len(by_human)} of {len(steps)} steps: {', '.join(kinds) or 'none'}",
    )


def _autonomous_subtasks(leaves: Sequence[Leaf], projection: Projection) -> Signal:
    """Per task that a reviewer opened: what a researcher made of it by itself."""
    plans = {
        leaf.index: leaf.signed.entry.body for leaf in leaves if leaf.signed.entry.kind == "plan-declared"
    }
    worked = [task for task in projection.tasks.values() if task.plan_entries]
    made = []
    for task in worked:
        body: Any = plans[task.plan_entries[-1]]
        made.append(float(len(body["steps"])) if task.workflow == "free" else 0.0)
    proposals = projection.proposals
    approved = sum(one["state"] == "approved" for one in proposals.values())
    return _mean(
        "autonomous-subtasks",
        "steps that a researcher gave itself, in the newest plan of each task; a fixed task's steps are a "
        "human's",
        "plan-declared, by task",
        made,
        cites=(*cited([task.plan_entries[-1] for task in worked]), *cited(list(proposals))) or ("entry 0",),
        nothing="no researcher has declared a plan yet",
        detail=f"{len(proposals)} follow-up tasks proposed, {approved} of them opened by a reviewer",
    )


def _task_complexity(projection: Projection) -> Signal:
    """A change by itself: how many doublings larger the later half of the methods is."""
    sizes = [(one.index, math.log2(int(one.body["size"]))) for one in projection.submissions.values()]
    base = Signal(
        name="task-complexity",
        definition="doublings of the size of a method's snapshot, from the first half of the submissions to "
        "the second; a weak stand-in: long is not hard",
        source="submission: size, in bytes, which the gateway counted",
        cites=cited([index for index, _size in sizes]) or ("entry 0",),
        count=len(sizes),
        no_trend="the value is a change by itself",
    )
    found = _change([size for _index, size in sizes])
    if found is None:
        return replace(base, reason=f"{len(sizes)} submissions: want {2 * LEAST_OF_A_HALF} or more")
    return replace(base, value=found.change, low=found.low, high=found.high)


def _transfer(projection: Projection) -> Signal:
    """Methods on problems that no researcher saw."""
    opened = [
        (receipt, body)
        for (receipt, half), body in projection.revealed.items()
        if half == "public" and projection.receipts[receipt]["tier"] == "heldout" and body["difference_low"]
    ]
    better = [float(body["difference_low"]) > 0 for _receipt, body in opened]
    return _share(
        "transfer",
        "share of runs on problems held out that beat the plain student there, their interval above 0",
        "score-receipt of tier heldout, and its score-revealed",
        better,
        cites=cited([receipt for receipt, _body in opened]) or ("entry 0",),
        nothing="no method was run on a problem held out, or its values are not open",
    )


def _cost_per_pgr(rows: Sequence[Row], projection: Projection, human: HumanBaseline | None) -> Signal:
    """Hours of researchers for a unit of PGR, over the hours of people for one."""
    base = Signal(
        name="cost-per-pgr",
        definition="hours of all researchers for a unit of the best held-out PGR, divided by the human "
        "baseline's hours for one; the best of many tries flatters",
        source="received times of the entries, score-revealed of the sealed half, [oversight.human]",
        cites=("entry 0",),
        no_trend="a study has one best value: compare studies",
    )
    hours = projection.active_ms * len(projection.researchers) / _MS_PER_HOUR
    best = next((row for row in rows if row.heldout_pgr and row.decision != "retract"), None)
    if best is None:
        return replace(
            base, reason="no held-out value is open: what is explored is what a search was fitted to"
        )
    pgr, low, high = (float(one) for one in (best.heldout_pgr or "nan", best.low, best.high))
    told = f"{hours:.3f} hours for a held-out PGR of {pgr:.2f} [{low:.2f}, {high:.2f}]"
    base = replace(base, cites=cited(best.receipts), detail=told)
    if human is None:
        return replace(base, reason="no human baseline is stated: [oversight.human] in the study file")
    told += f"; people: {human.hours:g} hours for {human.pgr:g} ({human.source})"
    base = replace(base, cites=(*base.cites, "key oversight.human"), detail=told)
    if pgr <= 0:
        return replace(base, reason=f"the best held-out PGR is {pgr:.2f}: there is no gain to divide by")
    ours = hours * human.pgr / human.hours
    return replace(base, count=1, value=ours / pgr, low=ours / high, high=ours / low if low > 0 else None)


def _time_horizon(projection: Projection) -> Signal:
    """A horizon needs the time that people take for each task, which nothing here holds."""
    ended = [task for task in projection.tasks.values() if task.outcome]
    return Signal(
        name="time-horizon",
        definition="the length, in human time, of tasks that researchers finish half of the time",
        source="nothing: the record says how long researchers took, and not how long people take",
        cites=cited([task.index for task in projection.tasks.values()]) or ("entry 0",),
        count=len(ended),
        reason="not estimable: no task states its human time, and a task of an open search ends with its "
        "budget, not with success or failure",
        no_trend="nothing to compare",
    )


def _share(
    name: str,
    definition: str,
    source: str,
    flags: Sequence[bool],
    *,
    cites: tuple[str, ...],
    nothing: str,
    detail: str = "",
) -> Signal:
    """The share of true ones, by Wilson; its steps are not independent, so its interval is a narrow one."""
    if not flags:
        return Signal(
            name=name, definition=definition, source=source, cites=cites, reason=nothing, no_trend=nothing
        )
    low, high = binomial_interval(sum(flags), len(flags))
    trend = _share_change(flags)
    return Signal(
        name=name,
        definition=definition,
        source=source,
        cites=cites,
        count=len(flags),
        value=sum(flags) / len(flags),
        low=low,
        high=high,
        trend=trend,
        no_trend="" if trend else _too_few(len(flags)),
        detail=detail,
    )


def _mean(
    name: str,
    definition: str,
    source: str,
    values: Sequence[float],
    *,
    cites: tuple[str, ...],
    nothing: str,
    detail: str,
) -> Signal:
    """A mean of counts by Student's t; of one value, or of equal ones, there is no interval."""
    if not values:
        return Signal(
            name=name, definition=definition, source=source, cites=cites, reason=nothing, no_trend=nothing
        )
    mean, error = _mean_and_error(values)
    reach = t_quantile(0.975, len(values) - 1) * error if error > 0 else None
    trend = _change(values)
    return Signal(
        name=name,
        definition=definition,
        source=source,
        cites=cites,
        count=len(values),
        value=mean,
        low=None if reach is None else max(mean - reach, 0.0),
        high=None if reach is None else mean + reach,
        trend=trend,
        no_trend="" if trend else _too_few(len(values)),
        detail=detail,
    )


def _too_few(count: int) -> str:
    return f"{count} observations: want {2 * LEAST_OF_A_HALF} or more"


def _share_change(flags: Sequence[bool]) -> Trend | None:
    halves = _halves(flags)
    if halves is None:
        return None
    (earlier, n_earlier), (later, n_later) = ((sum(half), len(half)) for half in halves)
    low, high = difference_of_shares(later, n_later, earlier, n_earlier)
    shares = earlier / n_earlier, later / n_later
    return Trend(earlier=shares[0], later=shares[1], change=shares[1] - shares[0], low=low, high=high)


def difference_of_shares(one: int, of_one: int, other: int, of_other: int) -> tuple[float, float]:
    """The 95 % interval of the first share less the second (Newcombe 1998, method 10).

    >>> tuple(round(end, 4) for end in difference_of_shares(56, 70, 48, 80))
    (0.0524, 0.3339)
    """
    first, second = one / of_one, other / of_other
    (low_1, high_1), (low_2, high_2) = binomial_interval(one, of_one), binomial_interval(other, of_other)
    below = math.hypot(first - low_1, high_2 - second)
    return first - second - below, first - second + math.hypot(high_1 - first, second - low_2)


def _change(values: Sequence[float]) -> Trend | None:
    """Welch's interval of a difference of two means."""
    halves = _halves(values)
    if halves is None:
        return None
    (mean_1, error_1), (mean_2, error_2) = (_mean_and_error(half) for half in halves)
    error = math.hypot(error_1, error_2)
    reach = 0.0
    if error > 0:
        terms = [error_1**4 / (len(halves[0]) - 1), error_2**4 / (len(halves[1]) - 1)]
        reach = t_quantile(0.975, error**4 / sum(terms)) * error
    change = mean_2 - mean_1
    return Trend(earlier=mean_1, later=mean_2, change=change, low=change - reach, high=change + reach)


def _halves(values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]] | None:
    middle = len(values) // 2
    return (values[:middle], values[middle:]) if middle >= LEAST_OF_A_HALF else None


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """The mean and its standard error; 0 of one value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, 0.0
    variance = math.fsum((one - mean) ** 2 for one in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))
