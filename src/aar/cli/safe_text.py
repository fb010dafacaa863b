"""Text made fit for a terminal and a shell: what came from a sandbox, and what is to be typed."""

from __future__ import annotations

import shlex
from pathlib import Path

from aar.outside.sandbox.terminal import terminal_safe

__all__ = ["terminal_safe", "typed"]


def typed(path: Path) -> str:
    """A path as it can be typed in a shell, as short as it is from here.

    >>> typed(Path("/a b/c"))
    "'/a b/c'"
    """
    try:
        short = str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        short = str(path)
    return shlex.quote(f"./{short}" if short.startswith("-") else short)
