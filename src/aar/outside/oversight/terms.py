"""Oversight's terms: limits of signals, what lies downstream, the human baseline, a purpose.

They stand in the study file's table `oversight`:

```toml
[oversight]
purpose = "alignment"            # or "capabilities", which no review lets through

[oversight.human]                # what people got, and what it took them
pgr = 0.23
hours = 336
source = "where these two numbers are from"

[[oversight.limit]]
signal = "steps-without-human"
above = 0.95                     # or below = ...
action = "require-review"        # or "notify", "pause"

[[oversight.downstream]]         # every way out of the study that is more than reading its record
name = "preprints"
kind = "publication"             # or "training", "other"
gate = "reviewer"                # or "none"
researchers = []                 # whose credentials reach it
```
A study's first entry holds them from its opening on, numbers as decimals of at most four digits. Before that
they are the operator's word.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

SIGNALS = (
    "steps-without-human",
    "autonomous-subtasks",
    "task-complexity",
    "transfer",
    "cost-per-pgr",
    "time-horizon",
)
PURPOSES = ("alignment", "capabilities")
ACTIONS = ("notify", "require-review", "pause")
DOWNSTREAM_KINDS = ("publication", "training", "other")
GATES = ("reviewer", "none")
MAX_TABLES = 64
MAX_SOURCE_CHARACTERS = 1_000
# What an entry's decimals reach to.
MOST_NUMBER = 10_000


class TermsError(ValueError):
    """The table cannot be used; the message is one line that says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Beyond which value of a signal somebody is told, or has to look. `side` is "above" or "below"."""

    signal: str
    side: str
    value: float
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Downstream:
    """A system that takes what the study puts out: what must stand before it, and who has its credentials."""

    name: str
    kind: str
    gate: str
    researchers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HumanBaseline:
    """The PGR that people reached, in how many hours of theirs, and who says so."""

    pgr: float
    hours: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The whole table; an empty `purpose` is one that is not stated."""

    purpose: str = ""
    human: HumanBaseline | None = None
    limits: tuple[Limit, ...] = ()
    downstream: tuple[Downstream, ...] = ()


NO_TERMS = Terms()


def parse_terms(value: object, where: str) -> Terms:
    """Read the table strictly; raises `TermsError`. No table says nothing."""
    table = _table({} if value is None else value, {"purpose", "human", "limit", "downstream"}, where)
    purpose = table.get("purpose", "")
    if "purpose" in table and purpose not in PURPOSES:
        raise TermsError(f"{where}: purpose: got {purpose!r:.60}, want one of {', '.join(PURPOSES)}")
    human = table.get("human")
    return Terms(
        purpose=purpose,
        human=None if human is None else _human(human, f"{where}.human"),
        limits=tuple(_limit(*one) for one in _tables(table, "limit", where)),
        downstream=_downstreams([_downstream(*one) for one in _tables(table, "downstream", where)], where),
    )


def decimal_of(value: float) -> str:
    """The decimal by which an entry says this number; raises `ValueError` where there is none.

    >>> decimal_of(336), decimal_of(0.95), decimal_of(-0.1234)
    ('336.00', '0.95', '-0.1234')
    """
    exact = Decimal(repr(value))
    rounded = exact.quantize(Decimal("0.0001")) if abs(exact) < MOST_NUMBER else exact
    if rounded != exact or abs(exact) >= MOST_NUMBER:
        raise ValueError(
            f"got {value!r:.40}, which the record cannot hold: want less than {MOST_NUMBER:,}, and at most "
            "four digits after the point"
        )
    whole, _point, part = f"{abs(rounded):f}".partition(".")
    digits = part.rstrip("0").ljust(2, "0")
    return f"{'-' if rounded < 0 else ''}{whole}.{digits}"


def terms_in(body: Mapping[str, Any]) -> Terms:
    """The terms that `study-opened` holds under `oversight`."""
    human = body["human"]
    return Terms(
        purpose=body["purpose"],
        human=HumanBaseline(pgr=float(human["pgr"]), hours=float(human["hours"]), source=human["source"])
        if human
        else None,
        limits=tuple(
            Limit(signal=one["signal"], side=one["side"], value=float(one["value"]), action=one["action"])
            for one in body["limits"]
        ),
        downstream=tuple(
            Downstream(
                name=one["name"], kind=one["kind"], gate=one["gate"], researchers=tuple(one["researchers"])
            )
            for one in body["downstream"]
        ),
    )


def terms_as_body(terms: Terms) -> dict[str, Any]:
    """What `study-opened` holds under `oversight` for these terms; `terms_in` reads it."""
    human = terms.human
    return {
        "purpose": terms.purpose,
        "human": {}
        if human is None
        else {"pgr": decimal_of(human.pgr), "hours": decimal_of(human.hours), "source": human.source},
        "limits": [
            {"signal": one.signal, "side": one.side, "value": decimal_of(one.value), "action": one.action}
            for one in terms.limits
        ],
        "downstream": [
            {"name": one.name, "kind": one.kind, "gate": one.gate, "researchers": list(one.researchers)}
            for one in terms.downstream
        ],
    }


def format_terms(terms: Terms) -> list[str]:
    """The lines of a study file that say exactly this; none when there is nothing to say."""
    lines: list[str] = []
    if terms.purpose:
        lines += ["", "[oversight]", f"purpose = {_toml(terms.purpose)}"]
    if terms.human is not None:
        lines += ["", "[oversight.human]", f"pgr = {terms.human.pgr}", f"hours = {terms.human.hours}"]
        lines.append(f"source = {_toml(terms.human.source)}")
    for limit in terms.limits:
        lines += ["", "[[oversight.limit]]", f"signal = {_toml(limit.signal)}"]
        lines += [f"{limit.side} = {limit.value}", f"action = {_toml(limit.action)}"]
    for one in terms.downstream:
        lines += ["", "[[oversight.downstream]]"]
        lines += [f"{key} = {_toml(getattr(one, key))}" for key in ("name", "kind", "gate")]
        lines.append(f"researchers = {_toml(list(one.researchers))}")
    return lines


def _human(value: object, where: str) -> HumanBaseline:
    table = _table(value, {"pgr", "hours", "source"}, where)
    pgr, hours = _number(table, "pgr", where), _number(table, "hours", where)
    if not pgr > 0 or not hours > 0:
        raise TermsError(f"{where}: pgr {pgr}, hours {hours}: want both above 0, or nothing can be compared")
    source = _text(table, "source", where)
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise TermsError(f"{where}: source: {len(source)} characters, at most {MAX_SOURCE_CHARACTERS}")
    return HumanBaseline(pgr=pgr, hours=hours, source=source)


def _limit(table: Mapping[str, Any], where: str) -> Limit:
    _table(table, {"signal", "above", "below", "action"}, where)
    signal = _one_of(table, "signal", SIGNALS, where)
    action = _one_of(table, "action", ACTIONS, where)
    sides = [side for side in ("above", "below") if side in table]
    if len(sides) != 1:
        raise TermsError(f"{where}: got {' and '.join(sides) or 'no bound'}, want one of above and below")
    return Limit(signal=signal, side=sides[0], value=_number(table, sides[0], where), action=action)


def _downstream(table: Mapping[str, Any], where: str) -> Downstream:
    _table(table, {"name", "kind", "gate", "researchers"}, where)
    researchers = table.get("researchers", [])
    if not isinstance(researchers, list) or not all(_is_name(one) for one in researchers):
        raise TermsError(f"{where}: researchers: got {researchers!r:.60}, want a list of names")
    if len(set(researchers)) != len(researchers):
        raise TermsError(f"{where}: researchers: {researchers!r:.60}: want each once")
    name = _text(table, "name", where)
    if not _is_name(name):
        raise TermsError(f"{where}: name: got {name!r:.60}, want letters, digits, '_', '.', '-'")
    return Downstream(
        name=name,
        kind=_one_of(table, "kind", DOWNSTREAM_KINDS, where),
        gate=_one_of(table, "gate", GATES, where),
        researchers=tuple(researchers),
    )


def _downstreams(found: list[Downstream], where: str) -> tuple[Downstream, ...]:
    names = [one.name for one in found]
    if len(set(names)) != len(names):
        raise TermsError(f"{where}: two downstream systems have the same name: {', '.join(names)}")
    return tuple(found)


def _is_name(value: object) -> bool:
    return (
        isinstance(value, str)
        and re.fullmatch("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", value, re.ASCII) is not None
    )


def _table(value: object, allowed: set[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TermsError(f"{where}: got {value!r:.60}, want a table")
    unknown = sorted(set(value) - allowed)
    if unknown:
        raise TermsError(f"{where}: unknown {', '.join(unknown)}; want only {', '.join(sorted(allowed))}")
    return value


def _tables(table: Mapping[str, Any], key: str, where: str) -> list[tuple[Mapping[str, Any], str]]:
    value = table.get(key, [])
    if not isinstance(value, list) or len(value) > MAX_TABLES:
        raise TermsError(f"{where}: {key}: want at most {MAX_TABLES} tables [[oversight.{key}]]")
    places = [f"{where}.{key} {number}" for number in range(1, len(value) + 1)]
    for one, place in zip(value, places):
        if not isinstance(one, dict):
            raise TermsError(f"{place}: got {one!r:.60}, want a table")
    return list(zip(value, places))


def _one_of(table: Mapping[str, Any], key: str, allowed: tuple[str, ...], where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or value not in allowed:
        raise TermsError(f"{where}: {key}: got {value!r:.60}, want one of {', '.join(allowed)}")
    return value


def _number(table: Mapping[str, Any], key: str, where: str) -> float:
    value = table.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise TermsError(f"{where}: {key}: got {value!r:.60}, want a number")
    try:
        decimal_of(value)
    except ValueError as error:
        raise TermsError(f"{where}: {key}: {error}") from error
    return float(value)


def _text(table: Mapping[str, Any], key: str, where: str) -> str:
    value = table.get(key)
    if not isinstance(value, str) or not value.strip():
        raise TermsError(f"{where}: {key}: got {value!r:.60}, want a text")
    return value.strip()


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
