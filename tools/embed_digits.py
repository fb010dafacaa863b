#!/usr/bin/env python3
"""Write the strong features of the problem `digits`: spectral coordinates of its images, without labels.

    OMP_NUM_THREADS=1 PYTHONPATH=src .venv/bin/python tools/embed_digits.py

Another machine or another scikit-learn rounds otherwise; how far the shipped ones may be from those computed
here is said in tests/lab/test_lab_digits.py. A change beyond that is a new problem, with a new digest.
"""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.manifold import SpectralEmbedding

from aar.lab.problems.digits import FEATURES_FILE, NEIGHBOURS, SIZES


def embedded() -> np.ndarray:
    """Standardised spectral coordinates [1797, 40] of all images, in single precision."""
    embedding = SpectralEmbedding(
        SIZES.features, affinity="nearest_neighbors", n_neighbors=NEIGHBOURS, random_state=0
    )
    raw = embedding.fit_transform(load_digits().data / 16.0)
    return ((raw - raw.mean(axis=0)) / raw.std(axis=0)).astype(np.float32)


if __name__ == "__main__":
    np.save(FEATURES_FILE, embedded(), allow_pickle=False)
