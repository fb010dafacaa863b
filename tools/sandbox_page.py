"""Write the table of probes in docs/sandbox.md from the probes themselves.

Usage: PYTHONPATH=src python tools/sandbox_page.py [--check]
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from aar.outside.sandbox.probes import PROBES, Probe

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "sandbox.md"
BEGIN, END = "<!-- probes: made by tools/sandbox_page.py -->", "<!-- end of probes -->"


def table() -> str:
    """The probes by area, in the order of the first of each."""
    areas = list(dict.fromkeys(probe.area for probe in PROBES.values()))
    ordered = sorted(PROBES.values(), key=lambda probe: areas.index(probe.area))
    sections = []
    for area, members in groupby(ordered, key=lambda probe: probe.area):
        rows = [_row(probe) for probe in members]
        title = f"**{area[0].upper()}{area[1:]}** ({len(rows)})"
        sections.append(
            "\n".join([title, "", "| probe | tries to | each stops it |", "|---|---|---|", *rows])
        )
    return "\n\n".join(sections)


def _row(probe: Probe) -> str:
    needs = f" (outside needs {probe.needs})" if probe.needs else ""
    says = f"{probe.says[0].lower()}{probe.says[1:]}{needs}".replace("|", "\\|")
    return f"| `{probe.name}` | {says} | {', '.join(probe.blocked_by)} |"


def page() -> str:
    """The page with its table as the probes have it."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(
            f"{PAGE} has no line {BEGIN!r} followed by {END!r}: put them where the table belongs"
        )
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text("utf-8") != wanted:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not current: python tools/sandbox_page.py")
    else:
        PAGE.write_text(wanted, "utf-8")
