"""Writes a small data set in the published study's layout, with room between weak teacher and ceiling.

    .venv/bin/python tools/example_data.py DIR

Of a question's two choices one is right, and uses words of a kind more often. Words of a kind go together,
which features made without labels can learn from many texts, and a teacher cannot from 80.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

SIZES = {"train_label.jsonl": 80, "train_unlabel.jsonl": 800, "test.jsonl": 600}
RIGHT = [f"right{number}" for number in range(120)]
WRONG = [f"wrong{number}" for number in range(120)]
OTHER = [f"word{number}" for number in range(60)]

Files = dict[str, list[dict[str, Any]]]


def questions(sizes: Mapping[str, int] = SIZES) -> Files:
    """The rows of each file, always the same."""
    rng = np.random.default_rng(0)
    found: Files = {}
    for name, size in sizes.items():
        rows = found[name] = []
        for number in range(size // 2):
            asked = f"{name[:7]} {number} " + " ".join(rng.choice(OTHER, 4))
            for label in rng.permutation(2):
                share = 0.7 if label else 0.3
                words = [rng.choice(RIGHT if rng.random() < share else WRONG) for _word in range(9)]
                key = f"{name[:7]}-{rng.integers(10**11, 10**12)}"
                rows.append({"id": key, "question": asked, "choice": " ".join(words), "label": int(label)})
    return found


def write(directory: Path, files: Files) -> Path:
    """Write the files into a directory, which is made; returns it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        (directory / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return directory


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("want one argument: the directory to write to")
    write(Path(sys.argv[1]), questions())
