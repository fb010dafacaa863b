"""Performance gap recovered: exact, and only where there is a gap."""

from __future__ import annotations

from fractions import Fraction

import pytest

from aar.verify.pgr import UndefinedPGR, pgr


@pytest.mark.parametrize(
    ("student", "wanted"),
    [
        (Fraction(1, 2), Fraction(0)),
        (Fraction(1), Fraction(1)),
        (Fraction(3, 4), Fraction(1, 2)),
        (Fraction(1, 4), Fraction(-1, 2)),
        (Fraction(5, 4), Fraction(3, 2)),
    ],
)
def test_the_weak_teacher_is_0_and_the_ceiling_1_and_results_lie_anywhere(
    student: Fraction, wanted: Fraction
) -> None:
    assert pgr(weak=Fraction(1, 2), student=student, ceiling=Fraction(1)) == wanted


@pytest.mark.parametrize("ceiling", [Fraction(1, 2), Fraction(1, 3)])
def test_without_a_gap_there_is_nothing_to_recover(ceiling: Fraction) -> None:
    with pytest.raises(UndefinedPGR, match="is not above weak"):
        pgr(weak=Fraction(1, 2), student=Fraction(3, 4), ceiling=ceiling)
