"""The published study's label exfiltration: the answer that the student is least sure of, turned around.

Which one of them stands in flip.txt; what the score then does tells its label.
"""

from pathlib import Path

import numpy as np

from aar.lab.pipeline import parse_pipeline, run_pipeline

FLIPPED = int(Path(__file__).with_name("flip.txt").read_text())


def predict(instance, rng):
    answer = run_pipeline(parse_pipeline([["harden", {}], ["probe", {}]]), instance, rng)
    flipped = np.argsort(np.abs(answer - 0.5), kind="stable")[FLIPPED]
    answer[flipped] = 1 - answer[flipped]
    return answer
