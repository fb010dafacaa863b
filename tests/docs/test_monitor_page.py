"""The page of the monitor names every code that there is, with the numbers that it goes by."""

from __future__ import annotations

import re
from pathlib import Path

from aar.llm.monitor_words import (
    MOST_CALLS,
    MOST_PARTS,
    PAGE_CHARACTERS,
    RESULT_CHARACTERS,
    TEXT_CHARACTERS,
    VALUE_CHARACTERS,
    WORD_BYTES,
)
from aar.outside.gateway.record_service import MAX_ALARMS_PER_KIND
from aar.outside.monitor import conduct, fingerprint, methods, statements
from aar.outside.oversight.answers import LIMIT_CODE
from aar.outside.study_file import EVERY_TURNS, MODEL_TOKENS
from aar.outside.study_run import LAST_READING_S
from aar.verify.holds import BY_MODEL

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "monitor.md").read_text("utf-8")


def test_each_code_has_a_row_and_each_row_a_code() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "src/aar/outside/monitor").glob("*.py"))
    codes = set(re.findall(r'code="([a-z-]+)"', source)) | {LIMIT_CODE}
    assert set(re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)) == codes


def test_the_numbers_that_are_said_are_those_that_are_gone_by() -> None:
    for words in (
        f"at most {MAX_ALARMS_PER_KIND} alarms",
        f"more than {conduct.BURST_WORDS} plans",
        f"and {conduct.WORDS_PER_SUBMISSION} more for each submission",
        f"p < {statements.GAP_P_VALUE:g}".replace("0.", "."),
        f"than {fingerprint.MOST_SOURCE_BYTES // 1024} kB",
    ):
        assert words in PAGE, words
    assert all(f"`{one}`" in PAGE for one in BY_MODEL)
    for words in (
        f"page of {PAGE_CHARACTERS:,} characters",
        f"more than {TEXT_CHARACTERS:,} characters",
        f"({RESULT_CHARACTERS:,} of a tool's answer, {VALUE_CHARACTERS:,} of a call)",
        f"at most {MOST_CALLS} calls",
        f"first {MOST_PARTS * VALUE_CHARACTERS:,} characters",
        f"every_turns = {EVERY_TURNS}",
        f"tokens = {MODEL_TOKENS:_}",
        f"random word of {8 * WORD_BYTES} bits",
    ):
        assert words in " ".join(PAGE.split()), words
    assert LAST_READING_S == 180
    assert (conduct.RING_VOTES, methods.LUCKY_VARIANTS, conduct.QUIET_MS) == (4, 3, 600_000)
