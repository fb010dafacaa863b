"""What tests say of models: a study's opening with two of them, and charges for their calls."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from aar.formats.kinds import TOKENS
from aar.verify.spending import format_dollars

PRICES = {"input": "3.00", "output": "15.00", "cache_read": "0.30", "cache_write": "3.75"}
CALL = {"input": 1_000, "output": 100, "cache_read": 0, "cache_write": 0}
# 1,000 x 3 and 100 x 15 dollars for a million.
CALL_DOLLARS = Fraction("0.0045")


def models(*names: str, tokens: int = 100_000, dollars: str = "1.00", **more: Any) -> dict[str, Any]:
    """The `models` of a study's opening: each with those limits, twice as much for all together."""
    return {
        "brief": "0c" * 32,
        "tokens": 2 * tokens,
        "dollars": "2.00",
        "researchers": [
            {
                "researcher": name,
                "model": "test/one",
                "prices": PRICES,
                "tokens": tokens,
                "dollars": dollars,
                "agent": {},
            }
            for name in names
        ],
        **more,
    }


def usage(calls: int = 1, *, before: int = 0, limit: str = "", **changes: Any) -> dict[str, Any]:
    """The `usage` of a charge for so many equal calls, after `before` of them."""
    after = before + calls
    return {
        "calls": calls,
        **{one: calls * CALL[one] for one in TOKENS},
        "dollars": format_dollars(calls * CALL_DOLLARS),
        "total": {
            "calls": after,
            "tokens": after * sum(CALL.values()),
            "dollars": format_dollars(after * CALL_DOLLARS),
        },
        "limit": limit,
        "transcripts": [],
        **changes,
    }


def charge(researcher: str, task: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a `budget-charged` with that usage."""
    amount = sum(told[one] for one in TOKENS)
    body = {"researcher": researcher, "task": task, "what": "tokens", "amount": amount}
    return {**body, "submission": -1, "usage": dict(told)}


def monitor(*, tokens: int = 100_000, dollars: str = "1.00", holds: int = 1) -> dict[str, Any]:
    """The `monitor` of a study's opening: a model with those limits, which may hold submissions, or not."""
    return {
        "model": "test/monitor",
        "prices": PRICES,
        "tokens": tokens,
        "dollars": dollars,
        "instructions": "0d" * 32,
        "every_turns": 10,
        "holds": holds,
    }
