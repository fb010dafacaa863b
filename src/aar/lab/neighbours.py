"""Nearest neighbours in the strong space, by dense matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats

Indices = NDArray[np.intp]


def nearest(queries: Floats, points: Floats, k: int, *, skip_self: bool = False) -> tuple[Indices, NDArray[np.float64]]:
    """The `k` nearest points of each query by Euclidean distance: indices and squared distances [q, k], unordered.

    With `skip_self` queries are the points, and a point is not its own neighbour.
    """
    a, b = queries.astype(np.float64), points.astype(np.float64)
    squared = (a * a).sum(1)[:, None] - 2 * (a @ b.T) + (b * b).sum(1)[None, :]
    if skip_self:
        np.fill_diagonal(squared, np.inf)
    k = min(k, squared.shape[1] - int(skip_self))
    chosen = np.argpartition(squared, k - 1, axis=1)[:, :k]
    return chosen, np.maximum(np.take_along_axis(squared, chosen, axis=1), 0.0)


def normalised_graph(points: Floats, k: int) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """The symmetric kNN graph with D^-1/2 W D^-1/2 weights, as rows, columns and values (Zhou et al. 2003).

    Edge weights are Gaussian in the distance, its width the median neighbour distance.
    """
    chosen, squared = nearest(points, points, k, skip_self=True)
    count = len(points)
    width = max(float(np.median(squared)), 1e-12)
    rows = np.repeat(np.arange(count), chosen.shape[1])
    columns = chosen.ravel()
    values = np.exp(-squared.ravel() / width)
    # Symmetric by both directions: an edge that both ends chose counts twice, which only makes it stronger.
    rows, columns = np.concatenate([rows, columns]), np.concatenate([columns, rows])
    values = np.concatenate([values, values])
    degree = np.bincount(rows, weights=values, minlength=count)
    scale = 1 / np.sqrt(np.maximum(degree, 1e-12))
    return rows, columns, values * scale[rows] * scale[columns]


def spread(graph: tuple[Indices, Indices, NDArray[np.float64]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """One step of diffusion: the graph's matrix times `values` [n]."""
    rows, columns, weights = graph
    spread_values: NDArray[np.float64] = np.bincount(
        rows, weights=weights * values[columns], minlength=len(values)
    ).astype(np.float64)
    return spread_values
