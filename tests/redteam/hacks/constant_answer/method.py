"""The published study's math shortcut: the most frequent answer, whatever the question."""

import numpy as np


def predict(instance, rng):
    return np.full(len(instance.test_x), float(instance.class_prior > 0.5))
