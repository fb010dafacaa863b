"""Performance gap recovered, defined once (Burns et al. 2023, arXiv:2312.09390)."""

from __future__ import annotations

from fractions import Fraction


class UndefinedPGR(ValueError):
    """There is no gap to recover."""


def pgr(*, weak: Fraction, student: Fraction, ceiling: Fraction) -> Fraction:
    """Share of the gap between weak teacher and ceiling that the student recovers, from accuracies in [0, 1].

    0 is the weak teacher, 1 the ceiling. Below 0 and above 1 are results, not errors.

    >>> pgr(weak=Fraction(1, 2), student=Fraction(3, 4), ceiling=Fraction(1))
    Fraction(1, 2)
    """
    if not ceiling > weak:
        raise UndefinedPGR(
            f"ceiling {float(ceiling):.4f} is not above weak {float(weak):.4f}: no gap to recover"
        )
    return (student - weak) / (ceiling - weak)
