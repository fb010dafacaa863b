"""Clusters: Lloyd's k-means and a mixture of two Gaussians, from starts that are given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RIDGE = 1e-6


def squared_distances(points: Array, centres: Array) -> Array:
    """Squared Euclidean distances [n, k]."""
    squared = (points**2).sum(axis=1)[:, None] - 2 * points @ centres.T + (centres**2).sum(axis=1)
    found: Array = np.maximum(squared, 0)
    return found


def lloyd(points: Array, centres: Array, steps: int) -> Array:
    """The centres [k, d] after at most so many rounds of k-means; a centre without points stays."""
    for _step in range(steps):
        nearest = squared_distances(points, centres).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(centres))
        members = (nearest == np.arange(len(centres))[:, None]).astype(np.float64)
        moved = np.where(counts[:, None] > 0, members @ points / np.maximum(counts, 1)[:, None], centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    return centres


def spread_out(points: Array, count: int, rng: np.random.Generator) -> Array:
    """Starting centres by k-means++ (Arthur and Vassilvitskii 2007); fewer where points coincide."""
    chosen = [int(rng.integers(len(points)))]
    nearest = squared_distances(points, points[chosen])[:, 0]
    # What is nearer than rounding is the same point.
    nothing = 1e-12 * float((points**2).sum(axis=1).max())
    while len(chosen) < count and nearest.max() > nothing:
        chosen.append(int(rng.choice(len(points), p=nearest / nearest.sum())))
        nearest = np.minimum(nearest, squared_distances(points, points[chosen[-1:]])[:, 0])
    return points[chosen]


def two_gaussians(points: Array, share: Array, steps: int) -> Array:
    """P(second component) [n] after so many EM steps from such shares, each component with its covariance."""
    count, width = points.shape
    for _step in range(steps):
        densities = np.empty((count, 2))
        for number, mine in enumerate((1 - share, share)):
            total = max(float(mine.sum()), 1e-12)
            mean = mine @ points / total
            apart = points - mean
            covariance = (apart * mine[:, None]).T @ apart / total + RIDGE * np.eye(width)
            _sign, size = np.linalg.slogdet(covariance)
            far = (apart @ np.linalg.inv(covariance) * apart).sum(axis=1)
            densities[:, number] = np.log(total / count) - (far + size) / 2
        share = 0.5 * (1 + np.tanh((densities[:, 1] - densities[:, 0]) / 2))
    return share
