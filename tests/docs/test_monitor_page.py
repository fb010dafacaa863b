"""The page of the monitor names every code that there is, with the numbers that it goes by."""

from __future__ import annotations

import re
from pathlib import Path

from aar.outside.gateway.record_service import MAX_ALARMS_PER_KIND
from aar.outside.monitor import conduct, fingerprint, methods, statements
from aar.outside.oversight.answers import LIMIT_CODE

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
    assert (conduct.RING_VOTES, methods.LUCKY_VARIANTS, conduct.QUIET_MS) == (4, 3, 600_000)
