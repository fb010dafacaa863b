"""Agent text on a terminal."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aar.cli.output import say_json
from aar.cli.safe_text import terminal_safe


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain — ünïcode ✓ 漢字", "plain — ünïcode ✓ 漢字"),
        ("\x1b[2J\x1b[31mred", "\\x1b[2J\\x1b[31mred"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\rd", "a b c d"),
        ("user\u202egpj.exe", "user\\u202egpj.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028break", "line\\u2028break"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("", ""),
    ],
)
def test_what_could_act_on_the_terminal_is_written_out(text: str, shown: str) -> None:
    assert terminal_safe(text) == shown


def test_no_more_than_three_marks_stay_on_a_character() -> None:
    assert terminal_safe("e" + "\u0301" * 50 + "x") == "e" + "\u0301" * 3 + "x"


def test_a_long_text_is_cut_to_the_limit_with_an_ellipsis() -> None:
    assert terminal_safe("abcdef", 4) == "abc…"
    assert terminal_safe("abcd", 4) == "abcd"


@given(st.text(st.characters(codec=None)))
def test_any_text_comes_out_as_one_line_of_shown_characters(text: str) -> None:
    shown = terminal_safe(text)
    assert all(unicodedata.category(one) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} for one in shown)
    assert len(shown.splitlines()) <= 1
    assert terminal_safe(shown) == shown


def test_json_holds_nothing_that_acts_on_a_terminal_and_means_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = {"title": "a\x9b2J\x1b[2J\u202eb\u200bc\x7f", "é": ["ü", "\u2028"]}
    say_json(value)
    printed = capsys.readouterr().out
    assert json.loads(printed) == value
    assert "ü" in printed
    assert all(one.isprintable() for one in printed.rstrip("\n"))
