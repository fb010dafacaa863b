"""Tables of plain text: columns as wide as what stands in them, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence

from aar.cli.safe_text import terminal_safe

GAP = "  "


def table_lines(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 1) -> list[str]:
    """One line per row under the head; the first `left` columns are texts, the rest numbers, flush right.

    >>> table_lines(["name", "n"], [["one", "1"], ["eleven", "11"]])
    ['name     n', 'one      1', 'eleven  11']
    """
    cells = [[terminal_safe(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return [
        GAP.join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths))
        ).rstrip()
        for row in cells
    ]


def signed(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals, a dash where there is none; never "-0.000"."""
    if value is None:
        return "-"
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text


def span(low: float | None, high: float | None, digits: int = 3) -> str:
    """An interval as [low, high], a dash where there is none."""
    return "-" if low is None or high is None else f"[{signed(low, digits)}, {signed(high, digits)}]"
