"""Prices: what a million tokens of each model cost, from the shipped table and a file of the user's.

A model without a price is not started: what cannot be counted cannot be limited.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from aar.formats.errors import FormatError
from aar.formats.kinds import PRICE, TOKENS
from aar.outside.study_file import StudyFileError, dollars_of
from aar.verify.spending import format_dollars

SHIPPED = "prices.toml"
Prices = Mapping[str, str]
# What vendors put behind a name for the day of a version.
_DATE = re.compile("-20[0-9]{2}-?[0-9]{2}-?[0-9]{2}", re.ASCII)
# A file of prices that is larger is something else.
MAX_BYTES = 1_000_000


def read_prices(own: str) -> dict[str, Prices]:
    """By model, decimals of dollars by `TOKENS`; `own` is the path of a file that goes before ours, or ""."""
    shipped = resources.files("aar.outside").joinpath(SHIPPED).read_text("utf-8")
    prices = parse_prices(shipped, source=SHIPPED)
    if own:
        try:
            with Path(own).open("rb") as file:
                text = file.read(MAX_BYTES).decode("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise StudyFileError(f"prices: {own} cannot be read: {reason}") from error
        prices |= parse_prices(text, source=own)
    return prices


def parse_prices(text: str, *, source: str) -> dict[str, Prices]:
    """Read a table of prices; `StudyFileError` names the first thing that is wrong."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise StudyFileError(f"{source}: not TOML: {error}") from error
    prices: dict[str, Prices] = {}
    for model, table in document.items():
        where = f'{source} ["{model}"]'
        if not isinstance(table, dict) or set(table) != set(TOKENS):
            got = ", ".join(sorted(table)) if isinstance(table, dict) else f"{table!r:.40}"
            raise StudyFileError(
                f"{where}: got {got or 'nothing'}, want a table of exactly {', '.join(TOKENS)}"
            )
        prices[model] = {one: _price(table[one], f"{where} {one}") for one in TOKENS}
    return prices


def price_of(model: str, prices: Mapping[str, Prices]) -> Prices:
    """The price of a model, by its whole name or by the one without a date; `StudyFileError` when unknown."""
    end = _DATE.search(model)
    dateless = model[: end.start()] if end is not None and end.end() == len(model) else model
    found = prices.get(model) or prices.get(dateless)
    if found is None:
        near = _like(model, prices)
        raise StudyFileError(
            f"model {model!r:.80}: its price is not known, and what cannot be counted cannot be limited; "
            + (f"is it {' or '.join(near)}? If not, " if near else "")
            + f"put its {', '.join(TOKENS)} into a file and name that with --prices, or as [llm] prices in "
            "the study file"
        )
    return found


def _like(model: str, prices: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(model, list(prices), n=2, cutoff=0.7)


def _price(value: Any, where: str) -> str:
    try:
        amount = format_dollars(dollars_of(value))
        PRICE(where, amount)
    except (ValueError, FormatError) as error:
        raise StudyFileError(f"{where}: {error}") from error
    return amount
