"""Write the tree section of docs/architecture.md from the first line of each module's docstring.

Usage: python tools/architecture.py [--check]
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: made by tools/architecture.py -->", "<!-- end of tree -->"


def caption(path: Path) -> str:
    """The first line of a module's docstring; raises `ValueError` where there is none."""
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    if not text:
        raise ValueError(
            f"{path.relative_to(ROOT)} has no docstring: its first line is its caption in {PAGE.name}"
        )
    return text.splitlines()[0].strip()


def tree(package: Path) -> list[str]:
    """One line per package and module under `package`, packages after the modules beside them."""
    lines = []
    for path in sorted(package.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        depth = len(path.relative_to(ROOT / "src" / "aar").parts) - 1
        if path.is_dir():
            own = path / "__init__.py"
            if not own.exists():
                continue
            lines.append(_line(depth, f"{path.name}/", caption(own)))
            lines += tree(path)
        elif path.suffix == ".py" and path.name != "__init__.py":
            lines.append(_line(depth, path.name, caption(path)))
    return lines


def _line(depth: int, name: str, text: str) -> str:
    return f"{'    ' * depth}{name}".ljust(34) + text


def page() -> str:
    """The page with its tree section as the sources have it."""
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE} has no line {BEGIN!r} followed by {END!r}: put them where the tree belongs")
    section = "\n".join(tree(ROOT / "src" / "aar"))
    return f"{before}{BEGIN}\n```text\n{section}\n```\n{END}{after}"


if __name__ == "__main__":
    wanted = page()
    if "--check" in sys.argv[1:]:
        if PAGE.read_text("utf-8") != wanted:
            sys.exit(f"{PAGE.relative_to(ROOT)} is not current: python tools/architecture.py")
    else:
        PAGE.write_text(wanted, "utf-8")
