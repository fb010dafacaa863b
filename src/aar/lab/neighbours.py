"""Nearest neighbours in the strong space, by dense matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats

Indices = NDArray[np.intp]


def nearest(queries: Floats, points: Floats, k: int, *, skip_self: bool = False) -> tuple[Indices, Floats]:
    """The `k` nearest points of each query, unordered: indices and squared Euclidean distances [q, k].

    With `skip_self` the queries are the points, and a point is not its own neighbour. Where there are fewer
    than `k` others, all of them are taken.
    """
    # Around their common mean the subtraction below loses fewer digits.
    middle = points.mean(axis=0)
    a, b = queries - middle, points - middle
    squared = (a * a).sum(axis=1)[:, None] - 2 * (a @ b.T) + (b * b).sum(axis=1)[None, :]
    if skip_self:
        np.fill_diagonal(squared, np.inf)
    most = squared.shape[1] - int(skip_self)
    k = min(k, most)
    if k < 1:
        return np.zeros((len(queries), 0), dtype=np.intp), np.zeros((len(queries), 0), dtype=np.float32)
    chosen = np.argpartition(squared, k - 1, axis=1)[:, :k]
    return chosen, np.maximum(np.take_along_axis(squared, chosen, axis=1), 0)


def neighbour_means(values: NDArray[np.float64], chosen: Indices) -> NDArray[np.float64]:
    """The mean of `values` [p] over each row of neighbours [q, k]; without any, a point keeps its value."""
    if not chosen.shape[1]:
        return values.copy()
    means: NDArray[np.float64] = values[chosen].mean(axis=1)
    return means


def normalised_graph(points: Floats, k: int) -> Floats:
    """The kNN graph as the matrix D^-1/2 W D^-1/2 [n, n] (Zhou et al. 2003).

    Two points are joined when either is among the other's `k` nearest. Weights are Gaussian in the distance,
    its width the median distance to a neighbour.
    """
    chosen, squared = nearest(points, points, k, skip_self=True)
    weights = np.zeros((len(points), len(points)), dtype=np.float32)
    if chosen.shape[1]:
        width = max(float(np.median(squared)), 1e-12)
        np.put_along_axis(weights, chosen, np.exp(-squared / width).astype(np.float32), axis=1)
    weights = np.maximum(weights, weights.T)
    scale = 1 / np.sqrt(np.maximum(weights.sum(axis=1), 1e-12))
    graph: Floats = (weights * scale[:, None] * scale[None, :]).astype(np.float32)
    return graph
