#!/usr/bin/env python3
"""Draw what each embedded problem is stated to be, and write it down beside the problems.

    OPENBLAS_NUM_THREADS=1 .venv/bin/python tools/state_problems.py            # about 15 CPU-seconds

20 seeds each; digits has 4 splits a seed, because its 1,797 images make noisy ones.
"""

from __future__ import annotations

import sys

from aar.lab.problems import PROBLEMS
from aar.lab.problems.stated import STATED_FILE, format_stated, measure

SEEDS = range(20)
REPLICATES = {"digits": 4}


def main() -> int:
    found = [measure(name, SEEDS, REPLICATES.get(name, 1)) for name in PROBLEMS]
    STATED_FILE.write_text(format_stated("tools/state_problems.py", found))
    for one in found:
        print(
            f"{one.problem:10} weak {one.weak:.3f}  ceiling {one.ceiling:.3f}  gap {one.gap:.3f} ± "
            f"{one.gap_error:.3f}  vanilla {one.vanilla:.2f} (sd {one.vanilla_sd:.2f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
