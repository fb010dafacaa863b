"""Nearest neighbours and their graph in the strong space, by blocked matrix products; kept by content.

A researcher runs many methods on one instance, and most of what a neighbourhood method costs is finding the
neighbours. What was found is kept under the SHA-256 of the points, so that it is found once; what is answered
does not depend on whether it was kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from aar.lab.instance import Floats

Indices = NDArray[np.intp]
Found: TypeAlias = "tuple[Indices, Floats]"
Arrays: TypeAlias = "tuple[NDArray[Any], ...]"

# Neighbours are found in these numbers, so that methods with different k share them.
BATCHES = (32, 64, 128, 256)
BLOCK_ROWS = 256
KEPT_BYTES = 128 * 2**20


class Kept:
    """What was found, by content; the least recently used goes when there is too much of it."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._found: OrderedDict[tuple[object, ...], Arrays] = OrderedDict()
        self._held_bytes = 0

    def get(self, key: tuple[object, ...]) -> Arrays | None:
        """What is kept under a key, which is then the last to go."""
        if key in self._found:
            self._found.move_to_end(key)
        return self._found.get(key)

    def put(self, key: tuple[object, ...], found: Arrays) -> None:
        """Keep it, read-only, and let others go until all fit."""
        for one in found:
            one.flags.writeable = False
        self._held_bytes += _bytes_of(found)
        self._found[key] = found
        while self._held_bytes > self._size_bytes:
            _key, gone = self._found.popitem(last=False)
            self._held_bytes -= _bytes_of(gone)

    def clear(self) -> None:
        """Forget everything, as a benchmark of the first use must."""
        self._found.clear()
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._found)


KEPT = Kept(KEPT_BYTES)


def nearest(queries: Floats, points: Floats, k: int, *, skip_self: bool = False) -> Found:
    """The `k` nearest points of each query: indices and squared Euclidean distances [q, k], nearest first.

    With `skip_self` the queries are the points, and a point is not its own neighbour. Where there are fewer
    than `k` others, all of them are taken. Of points at the same distance the one with the lower index is
    first. The arrays are read-only: they may be answered again.
    """
    most = len(points) - int(skip_self)
    k = min(k, most)
    if k < 1:
        return np.zeros((len(queries), 0), dtype=np.intp), np.zeros((len(queries), 0), dtype=np.float32)
    batch = min(next((one for one in BATCHES if one >= k), k), most)
    key = (digest_of(points), b"" if queries is points else digest_of(queries), batch, skip_self)
    found = KEPT.get(key)
    if found is None:
        found = _search(queries, points, batch, skip_self=skip_self)
        KEPT.put(key, found)
    chosen, squared = found
    return chosen[:, :k], squared[:, :k]


def _search(queries: Floats, points: Floats, k: int, *, skip_self: bool) -> Found:
    # Around their common mean the subtraction below loses fewer digits.
    middle = points.mean(axis=0)
    sizes = ((points - middle) ** 2).sum(axis=1)
    across = np.ascontiguousarray(-2 * (points - middle).T)
    chosen = np.empty((len(queries), k), dtype=np.intp)
    squared = np.empty((len(queries), k), dtype=np.float32)
    # Written over block by block: fresh memory for each would cost more than the products.
    near_all = np.empty((BLOCK_ROWS, len(points)), dtype=np.float32)
    for first in range(0, len(queries), BLOCK_ROWS):
        rows = slice(first, min(first + BLOCK_ROWS, len(queries)))
        part = queries[rows] - middle
        # The query's own size does not change the order; it is added to the few that are chosen.
        near = np.matmul(part, across, out=near_all[: len(part)])
        near += sizes
        if skip_self:
            near[np.arange(len(part)), np.arange(rows.start, rows.stop)] = np.inf
        few = _lowest(near, k)
        found = np.take_along_axis(near, few, axis=1)
        # By index before, so that the stable sort by distance leaves ties in order.
        order = np.argsort(found, axis=1, kind="stable")
        chosen[rows] = np.take_along_axis(few, order, axis=1)
        squared[rows] = np.take_along_axis(found, order, axis=1) + (part * part).sum(axis=1)[:, None]
    return chosen, np.maximum(squared, 0)


def _lowest(values: Floats, k: int) -> Indices:
    """The columns of the `k` lowest values of each row [r, k], ascending; of ties the lower columns."""
    # Partitioning values and looking where they are is several times quicker than partitioning indices.
    last = np.partition(values, k - 1, axis=1)[:, k - 1 : k]
    flat = np.flatnonzero(values <= last)
    count, width = values.shape
    if len(flat) > count * k:
        # Of those that tie with the last one of a row, the later ones are too many.
        rows = flat // width
        ties = values.ravel()[flat] == last.ravel()[rows]
        surplus = np.bincount(rows, minlength=count) - k
        through = np.cumsum(ties)
        allowed = np.cumsum(np.bincount(rows, weights=ties, minlength=count)) - surplus
        flat = flat[~ties | (through <= allowed[rows])]
    few: Indices = flat.reshape(count, k) - np.arange(count)[:, None] * width
    return few


def neighbour_means(values: NDArray[np.float64], chosen: Indices) -> NDArray[np.float64]:
    """The mean of `values` [p] over each row of neighbours [q, k]; without any, a point keeps its value."""
    if not chosen.shape[1]:
        return values.copy()
    means: NDArray[np.float64] = values[chosen].mean(axis=1)
    return means


@dataclass(frozen=True, slots=True)
class Graph:
    """A symmetric sparse matrix over `count` points: row i has its entries at
    columns[starts[i]:starts[i + 1]].

    Every row has some, unless none has.
    """

    starts: Indices
    columns: Indices
    entries: Floats
    count: int

    def spread(self, values: Floats) -> Floats:
        """The matrix times a vector [count]."""
        if not len(self.entries):
            return np.zeros(self.count, dtype=np.float32)
        parts = self.entries * values.take(self.columns)
        spread: Floats = np.add.reduceat(parts, self.starts)
        return spread


def normalised_graph(points: Floats, k: int) -> Graph:
    """The kNN graph as the matrix D^-1/2 W D^-1/2 (Zhou et al. 2003).

    Two points are joined when either is among the other's `k` nearest. Weights are Gaussian in the distance,
    its width the median distance to a neighbour.
    """
    key = (digest_of(points), "graph", k)
    found = KEPT.get(key)
    if found is None:
        chosen, squared = nearest(points, points, k, skip_self=True)
        rows, columns, distances = joined(chosen, squared)
        width = max(float(np.median(squared)), 1e-12) if squared.size else 1.0
        weights = np.exp(-distances.astype(np.float64) / width)
        degree = np.bincount(rows, weights=weights, minlength=len(points)).astype(np.float64)
        scale: NDArray[np.float64] = 1 / np.sqrt(np.maximum(degree, 1e-12))
        entries = (weights * scale[rows] * scale[columns]).astype(np.float32)
        found = np.searchsorted(rows, np.arange(len(points))), columns, entries
        KEPT.put(key, found)
    starts, columns, entries = found
    return Graph(starts, columns, entries, len(points))


def joined(chosen: Indices, squared: Floats) -> tuple[Indices, Indices, Floats]:
    """Both directions of every edge once, by rows: rows, columns, squared distances."""
    count, k = chosen.shape
    ends = np.repeat(np.arange(count), k), chosen.ravel()
    low, high = np.minimum(*ends), np.maximum(*ends)
    _once, first = np.unique(low * count + high, return_index=True)
    low, high, distances = low[first], high[first], squared.ravel()[first]
    rows, columns = np.concatenate([low, high]), np.concatenate([high, low])
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], np.concatenate([distances, distances])[order]


def components(rows: Indices, columns: Indices, count: int) -> Indices:
    """For each of `count` points the lowest index that edges (both directions given) connect it with."""
    lowest = np.arange(count)
    while True:
        lower = lowest.copy()
        np.minimum.at(lower, rows, lowest[columns])
        lower = lower[lower]
        if np.array_equal(lower, lowest):
            return lowest
        lowest = lower


def digest_of(values: Floats) -> bytes:
    """SHA-256 of an array: type, shape and bytes."""
    told = f"{values.dtype.str} {values.shape}".encode()
    return hashlib.sha256(told + np.ascontiguousarray(values).tobytes()).digest()


def _bytes_of(found: Arrays) -> int:
    return sum(one.nbytes for one in found)
