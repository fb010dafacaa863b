"""Spending: what calls of a model cost, what they come to, and which limit that reaches.

One set of rules for whoever admits an entry and whoever verifies it later. Amounts are exact: a number of
tokens times a price for a million of them, both as the record has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from aar.formats.kinds import MONITOR, TOKENS

Body = Mapping[str, Any]
# The digits that an exact amount may have behind its point: four of a price, six of the million.
DIGITS = 10
STUDY = ""


def cost(prices: Mapping[str, str], tokens: Mapping[str, int]) -> Fraction:
    """Dollars for those tokens, by `TOKENS`, at those prices for a million of each."""
    return sum((tokens[one] * Fraction(prices[one]) for one in TOKENS), Fraction()) / 1_000_000


def format_dollars(amount: Fraction) -> str:
    """An exact amount as the record spells it.

    >>> format_dollars(Fraction(3, 8))
    '0.375'
    """
    whole, rest = divmod(amount * 10**DIGITS, 10**DIGITS)
    if rest.denominator != 1 or amount < 0:
        raise ValueError(f"{amount} dollars: want at most {DIGITS} digits behind the point, and no debt")
    digits = f"{rest.numerator:0{DIGITS}d}".rstrip("0")
    return f"{whole}.{digits:0<2}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What so many calls came to."""

    calls: int = 0
    tokens: int = 0
    dollars: Fraction = Fraction()

    def __add__(self, other: Spent) -> Spent:
        return Spent(
            calls=self.calls + other.calls,
            tokens=self.tokens + other.tokens,
            dollars=self.dollars + other.dollars,
        )

    def as_body(self) -> dict[str, Any]:
        return {"calls": self.calls, "tokens": self.tokens, "dollars": format_dollars(self.dollars)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much may be spent: by a researcher, by all of a study's together, or on a task."""

    tokens: int
    dollars: Fraction

    def reached(self, spent: Spent) -> str:
        """Which of the two is spent, if one is."""
        if spent.tokens >= self.tokens:
            return "tokens"
        return "dollars" if spent.dollars >= self.dollars else ""

    def changed(self, limits: Body) -> Limit:
        """The same but for what these name."""
        dollars = Fraction(limits["dollars"]) if "dollars" in limits else self.dollars
        return Limit(tokens=limits.get("tokens", self.tokens), dollars=dollars)


# More than any entry can say.
NO_LIMIT = Limit(tokens=2**53, dollars=Fraction(10**9))


@dataclass(slots=True)
class Spending:
    """What each researcher that is a model spent, and what it may spend: a fold over entries that hold."""

    models: dict[str, Body] = field(default_factory=dict)
    limits: dict[str, Limit] = field(default_factory=dict)
    spent: dict[str, Spent] = field(default_factory=dict)
    # By task: of all who worked on it.
    task_limits: dict[str, Limit] = field(default_factory=dict)
    spent_on: dict[str, Spent] = field(default_factory=dict)
    transcripts: dict[tuple[str, str], Body] = field(default_factory=dict)

    def open(self, models: Body, monitor: Body) -> None:
        """Take in what `study-opened` says of models, and of a monitor that is one; each may be empty."""
        if models:
            self.limits[STUDY] = _limit(models)
        for one in models.get("researchers", ()):
            self._add(one["researcher"], one)
        if monitor:
            self._add(MONITOR, monitor)

    def _add(self, name: str, model: Body) -> None:
        self.models[name] = model
        self.limits[name] = _limit(model)
        self.spent[name] = Spent()

    @property
    def researchers(self) -> list[str]:
        """The researchers that are models, in their order; the monitor is none."""
        return [name for name in self.models if name != MONITOR]

    def open_task(self, body: Body) -> None:
        """Take in a `task-opened`; one that is opened a second time keeps what it had."""
        if body["task"] not in self.spent_on:
            self.task_limits[body["task"]] = NO_LIMIT.changed(body["limits"])
            self.spent_on[body["task"]] = Spent()

    def set(self, body: Body) -> None:
        """Take in a `budget-set`: what it does not name stays."""
        limits, name = self.limits, body["researcher"]
        if body["task"]:
            limits, name = self.task_limits, body["task"]
        if name in limits:
            limits[name] = limits[name].changed(body["limits"])

    def charge(self, body: Body) -> None:
        """Take in a `budget-charged` of tokens."""
        researcher, usage = body["researcher"], body["usage"]
        total = usage["total"]
        self.spent[researcher] = Spent(
            calls=total["calls"], tokens=total["tokens"], dollars=Fraction(total["dollars"])
        )
        if body["task"] in self.spent_on:
            this = Spent(calls=usage["calls"], tokens=body["amount"], dollars=Fraction(usage["dollars"]))
            self.spent_on[body["task"]] += this
        for one in usage["transcripts"]:
            self.transcripts[researcher, one["name"]] = one

    def spent_of(self, researcher: str) -> Spent:
        """By one researcher or the monitor, or with `STUDY` by all researchers: the monitor's is its own."""
        if researcher != STUDY:
            return self.spent[researcher]
        return sum((self.spent[name] for name in self.researchers), Spent())

    def reached(self, researcher: str, more: Mapping[str, Spent] | None = None) -> str:
        """The limit that stops a researcher, of `kinds.LIMITS`; `more` by researcher is spent beside this."""
        if researcher not in self.models:
            return ""
        also = more or {}
        own = self.limits[researcher].reached(self.spent[researcher] + also.get(researcher, Spent()))
        if own or researcher == MONITOR:
            return own
        more_of_all = sum((spent for name, spent in also.items() if name != MONITOR), Spent())
        everybody = self.limits[STUDY].reached(self.spent_of(STUDY) + more_of_all)
        return f"study-{everybody}" if everybody else ""

    def task_reached(self, task: str, more: Spent | None = None) -> str:
        """The limit that ends the work on a task, of `kinds.LIMITS`; `more` is spent on it beside this."""
        if task not in self.spent_on:
            return ""
        word = self.task_limits[task].reached(self.spent_on[task] + (more or Spent()))
        return f"task-{word}" if word else ""


def charge_faults(spending: Spending, body: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with a `budget-charged` of tokens that comes next."""
    researcher, usage = body["researcher"], body["usage"]
    model = spending.models.get(researcher)
    if model is None:
        yield "a charge of a researcher that is a model", researcher
        return
    if researcher == MONITOR and body["task"]:
        yield "no task for calls of the monitor", body["task"]
    dollars = cost(model["prices"], usage)
    if Fraction(usage["dollars"]) != dollars:
        yield f"{format_dollars(dollars)} dollars for these tokens of {model['model']}", usage["dollars"]
    this = Spent(calls=usage["calls"], tokens=body["amount"], dollars=dollars)
    after = spending.spent[researcher] + this
    total = usage["total"]
    if (total["calls"], total["tokens"]) != (after.calls, after.tokens):
        yield (
            f"{after.calls} calls and {after.tokens} tokens of {researcher} in all",
            f"{total['calls']} and {total['tokens']}",
        )
    if Fraction(total["dollars"]) != after.dollars:
        yield f"{format_dollars(after.dollars)} dollars of {researcher} in all", total["dollars"]
    limit = spending.reached(researcher, {researcher: this}) or spending.task_reached(body["task"], this)
    if usage["limit"] != limit:
        yield f"limit {limit!r}, by what {researcher}, its task and the study spent", repr(usage["limit"])
    names = [one["name"] for one in usage["transcripts"]]
    taken = [one for one in names if (researcher, one) in spending.transcripts]
    if taken or len(set(names)) < len(names):
        yield f"each transcript of {researcher} once", ", ".join(taken or names)


def model_faults(opened: Body) -> Iterator[tuple[str, str]]:
    """(expected, got) for each thing that is wrong with the models of a `study-opened`."""
    if opened["monitor"] and MONITOR in opened["researchers"]:
        yield f"no researcher of the name {MONITOR}, beside a monitor that is a model", MONITOR
    named = [one["researcher"] for one in opened["models"].get("researchers", ())]
    if len(set(named)) < len(named):
        yield "one model for a researcher", ", ".join(named)
    strangers = sorted(set(named) - set(opened["researchers"]))
    if strangers:
        yield "models of researchers of the study", ", ".join(strangers)
    both = sorted(set(named) & {one["researcher"] for one in opened["programs"]})
    if both:
        yield "a model or a program for a researcher", f"both for {', '.join(both)}"


def overspent(spending: Spending) -> Iterator[str]:
    """A line for each limit that what was spent is beyond: the turn that reaches a limit is paid for, too."""
    rows = [(name or "the study", one, spending.spent_of(name)) for name, one in spending.limits.items()]
    rows += [(f"task {name}", one, spending.spent_on[name]) for name, one in spending.task_limits.items()]
    for who, limit, spent in rows:
        if spent.tokens > limit.tokens:
            yield f"{who} spent {spent.tokens} tokens, {spent.tokens - limit.tokens} over its limit"
        if spent.dollars > limit.dollars:
            over = format_dollars(spent.dollars - limit.dollars)
            yield f"{who} spent {format_dollars(spent.dollars)} dollars, {over} over its limit"


def _limit(body: Body) -> Limit:
    return Limit(tokens=body["tokens"], dollars=Fraction(body["dollars"]))
