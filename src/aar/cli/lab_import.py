"""``aar lab import DIR``: the published study's cached results, their table again, what looks wrong."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aar.cli.failures import CommandFailed
from aar.cli.main import EXIT_OK
from aar.cli.output import say, say_json
from aar.cli.safe_text import terminal_safe
from aar.cli.text_table import signed, span, table_lines
from aar.lab.errors import LabError
from aar.lab.published import read_published
from aar.lab.published_flags import Flag, find_flags
from aar.lab.published_table import TOLERANCE, DatasetTable, Mean, MethodRow, recompute

MOST_SEEDS_SHOWN = 8


def import_published(options: argparse.Namespace) -> int:
    """Read a directory of result files, recompute the table and compare it with what they state."""
    try:
        results = read_published(Path(options.dir))
        tables = recompute(results)
        flags = find_flags(results)
    except LabError as error:
        raise CommandFailed(terminal_safe(str(error))) from error
    if options.json:
        say_json(_as_json(len(results), tables, flags), indent=1)
        return EXIT_OK
    seeds = sum(len(row.seeds) for table in tables for row in table.rows)
    say(f"{len(results)} result files, {seeds} of them runs of a method, on {len(tables)} data sets")
    for table in tables:
        say()
        _say_dataset(table)
    say()
    _say_differences(tables)
    _say_flags(flags)
    return EXIT_OK


def _say_dataset(table: DatasetTable) -> None:
    items = "unknown" if table.test_items is None else str(table.test_items)
    say(
        f"{terminal_safe(table.dataset)}  weak {_mean(table.weak)}  ceiling {_mean(table.ceiling)}  "
        f"gap {table.gap:.4f}  test items {items}"
    )
    head = [
        "method",
        "seeds",
        "accuracy",
        "PGR",
        "se",
        "95 %, all re-drawn",
        "stated",
        "to vanilla",
        "95 %, seeds",
    ]
    rows = [
        [
            row.method,
            str(len(row.seeds)),
            f"{row.accuracy:.4f}",
            signed(row.pgr),
            signed(row.error),
            span(row.low, row.high),
            signed(row.stated),
            signed(row.ahead),
            span(row.ahead_low, row.ahead_high),
        ]
        for row in table.rows
    ]
    for line in table_lines(head, rows):
        say("  " + line)
    if table.splits:
        say()
        _say_splits(table)


def _say_splits(table: DatasetTable) -> None:
    methods = [
        row.method for row in table.rows if any(row.method in split.accuracies for split in table.splits)
    ]
    rows = [
        [
            split.split,
            "-" if split.items is None else str(split.items),
            f"{split.weak:.3f}" + ("*" if split.is_weak_whole else " "),
            f"{split.ceiling:.3f}",
            *(
                f"{split.accuracies[method]:.3f} ({signed(split.pgrs[method], 2)})"
                if method in split.accuracies
                else "-"
                for method in methods
            ),
        ]
        for split in table.splits
    ]
    for line in table_lines(["accuracy (PGR) per split", "items", "weak ", "ceiling", *methods], rows):
        say("  " + line)
    if any(split.is_weak_whole for split in table.splits):
        say("  * on the whole test: the files do not say what the weak teacher gets right of a split")


def _say_differences(tables: Sequence[DatasetTable]) -> None:
    told = [(table, row) for table in tables for row in table.rows if _differs(row)]
    if not told:
        say("every stated PGR is what its accuracies give")
        return
    say("differs from what the files state:")
    for table, row in told:
        stated = (
            "not all seeds have a stored PGR"
            if row.stated is None
            else f"stated {row.stated:.4f} ({row.pgr - row.stated:+.4f})"
        )
        say(f"  {terminal_safe(table.dataset)} {terminal_safe(row.method)}: PGR {row.pgr:.4f}, {stated}")


def _differs(row: MethodRow) -> bool:
    return row.stated is None or abs(row.pgr - row.stated) > TOLERANCE


def _say_flags(flags: Sequence[Flag]) -> None:
    """One line for each code of a method; what else is like it is counted."""
    if not flags:
        say("no anomalies found")
        return
    grouped: dict[tuple[str, str | None, str], list[Flag]] = {}
    for flag in flags:
        grouped.setdefault((flag.dataset, flag.method, flag.code), []).append(flag)
    say(f"anomalies, {len(flags)} in all (--json has each):")
    rows = []
    for (dataset, method, code), alike in grouped.items():
        seeds = sorted({seed for flag in alike for seed in flag.seeds})
        text = alike[0].text + (f"; and {len(alike) - 1} more" if len(alike) > 1 else "")
        rows.append([code, dataset, method or "-", _seeds(seeds), text])
    for line in table_lines(["what", "data set", "method", "seeds", "first"], rows, left=5):
        say("  " + line)


def _seeds(seeds: Sequence[int]) -> str:
    """42-46 where they follow each other."""
    if len(seeds) > 1 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}-{seeds[-1]}"
    more = "..." if len(seeds) > MOST_SEEDS_SHOWN else ""
    return ",".join(str(seed) for seed in seeds[:MOST_SEEDS_SHOWN]) + more if seeds else "-"


def _mean(mean: Mean) -> str:
    error = "" if mean.error is None else f" ± {mean.error:.4f}"
    return f"{mean.value:.4f}{error} (n={mean.seeds})"


def _as_json(files: int, tables: Sequence[DatasetTable], flags: Sequence[Flag]) -> Mapping[str, Any]:
    return {
        "files": files,
        "rows": [
            {
                "problem": table.dataset,
                "method": row.method,
                "pgr": row.pgr,
                "low": row.low,
                "high": row.high,
                "seeds": len(row.seeds),
            }
            for table in tables
            for row in table.rows
        ],
        "datasets": [
            {
                "dataset": table.dataset,
                "test_items": table.test_items,
                "weak": _mean_json(table.weak),
                "ceiling": _mean_json(table.ceiling),
                "gap": table.gap,
                "methods": [_row_json(row) for row in table.rows],
                "splits": [
                    {
                        "split": split.split,
                        "items": split.items,
                        "weak": split.weak,
                        "weak_of": "whole test" if split.is_weak_whole else "split",
                        "ceiling": split.ceiling,
                        "accuracy": dict(split.accuracies),
                        "pgr": dict(split.pgrs),
                    }
                    for split in table.splits
                ],
            }
            for table in tables
        ],
        "differs": [
            {"dataset": table.dataset, "method": row.method, "pgr": row.pgr, "stated": row.stated}
            for table in tables
            for row in table.rows
            if _differs(row)
        ],
        "flags": [
            {
                "code": flag.code,
                "dataset": flag.dataset,
                "method": flag.method,
                "seeds": list(flag.seeds),
                "text": flag.text,
            }
            for flag in flags
        ],
    }


def _mean_json(mean: Mean) -> Mapping[str, Any]:
    return {"mean": mean.value, "se": mean.error, "seeds": mean.seeds}


def _row_json(row: MethodRow) -> Mapping[str, Any]:
    return {
        "method": row.method,
        "seeds": list(row.seeds),
        "accuracy": row.accuracy,
        "pgr": row.pgr,
        "se": row.error,
        "low": row.low,
        "high": row.high,
        "per_seed": list(row.per_seed),
        "stated": row.stated,
        "to_vanilla": row.ahead,
        "to_vanilla_low": row.ahead_low,
        "to_vanilla_high": row.ahead_high,
    }
