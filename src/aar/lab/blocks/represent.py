"""Represent: other coordinates for training and test items alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aar.lab.blocks.block import Block, Parameters, State, whole
from aar.lab.neighbours import KEPT, Graph, digest_of, normalised_graph

NOTHING = 1e-6
DENSE_ITEMS = 300


def centred(state: State) -> NDArray[np.float64]:
    """All items [n + m, d], training first, around their common mean."""
    both = np.vstack([state.train_x, state.test_x]).astype(np.float64)
    around: NDArray[np.float64] = both - both.mean(axis=0)
    return around


def leading(items: NDArray[np.float64], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The `k` leading principal axes [d, k] of centred items, and the deviation along each, largest first."""
    variances, axes = np.linalg.eigh(items.T @ items / len(items))
    order = np.argsort(-variances)[: min(k, len(items))]
    return axes[:, order], np.sqrt(np.maximum(variances[order], 0))


def _placed(state: State, items: NDArray[np.float64]) -> State:
    all_x = items.astype(np.float32)
    count = len(state.targets)
    return replace(state, train_x=all_x[:count], test_x=all_x[count:])


def _pca(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Project on the leading principal components of all items."""
    items = centred(state)
    axes, _deviations = leading(items, int(p["k"]))
    return _placed(state, items @ axes)


def whitened(state: State, k: int) -> NDArray[np.float64]:
    """All items on their leading principal components, each scaled to variance one."""
    items = centred(state)
    axes, deviations = leading(items, k)
    # A component without any variance stays at zero.
    return items @ axes / np.where(deviations > NOTHING * deviations[0], deviations, np.inf)


def _whiten(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """The leading principal components, each scaled to variance one."""
    return _placed(state, whitened(state, int(p["k"])))


def _drop_top(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Remove the leading principal components: what varies most may be a distractor."""
    items = centred(state)
    axes, _deviations = leading(items, int(p["k"]))
    return _placed(state, items - items @ axes @ axes.T)


def _erase_weak(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Remove the direction from which the targets are best predicted, a few times over."""
    items = centred(state)
    count = len(state.targets)
    for _direction in range(int(p["k"])):
        train = items[:count] - items[:count].mean(axis=0)
        ridge = NOTHING * np.trace(train.T @ train) + 1e-12
        pull = train.T @ (state.targets - state.targets.mean())
        axis = np.linalg.solve(train.T @ train + ridge * np.eye(train.shape[1]), pull)
        size = float(np.linalg.norm(axis))
        if size < NOTHING:
            break
        items = items - np.outer(items @ axis, axis) / size**2
    return _placed(state, items)


def _spectral(state: State, p: Parameters, _rng: np.random.Generator) -> State:
    """Leading eigenvectors of the kNN graph over all items, standardised, without the near constant first."""
    both = np.vstack([state.train_x, state.test_x])
    k = min(int(p["k"]), max(len(both) - 2, 1))
    key = (digest_of(both), "spectral", k, int(p["neighbours"]))
    found = KEPT.get(key)
    if found is None:
        found = (_eigenvectors(normalised_graph(both, int(p["neighbours"])), k),)
        KEPT.put(key, found)
    return _placed(state, found[0])


def _eigenvectors(graph: Graph, k: int) -> NDArray[np.float64]:
    # scipy takes a while to import, and nothing else here needs it.
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import eigsh

    ends = np.append(graph.starts, len(graph.entries))
    sparse = csr_matrix(
        (graph.entries.astype(np.float64), graph.columns, ends), shape=(graph.count, graph.count)
    )
    if graph.count <= DENSE_ITEMS:
        vectors = np.linalg.eigh(sparse.toarray())[1]
    else:
        # Many eigenvalues near 1, as where items repeat, would take ARPACK seconds to tell apart to the end.
        start, wide = np.ones(graph.count), min(4 * (k + 1), graph.count)
        vectors = eigsh(sparse, k=k + 1, which="LA", v0=start, tol=1e-3, ncv=wide)[1]
    chosen = vectors[:, ::-1][:, 1 : k + 1] if vectors.shape[1] > 1 else vectors
    deviations = chosen.std(axis=0)
    standardised: NDArray[np.float64] = (chosen - chosen.mean(axis=0)) / np.where(
        deviations > 1e-12, deviations, np.inf
    )
    return standardised


REPRESENT = (
    Block(
        name="pca",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 512, 30, 10, 20, 30, 35)},
        source="Pearson 1901, On lines and planes of closest fit to systems of points in space",
        step=_pca,
        needs=("test inputs",),
    ),
    Block(
        name="whiten",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 512, 30, 10, 20, 30, 40)},
        source="Hyvarinen and Oja 2000, Independent component analysis (whitening)",
        step=_whiten,
        needs=("test inputs",),
    ),
    Block(
        name="drop_top",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 512, 1, 1, 2, 3)},
        source="Mu and Viswanath 2018, arXiv:1702.01417 (all-but-the-top)",
        step=_drop_top,
        needs=("test inputs",),
    ),
    Block(
        name="erase_weak",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 64, 1, 1, 2, 4)},
        source="Ravfogel et al. 2020, arXiv:2004.07667 (INLP; here least-squares directions)",
        step=_erase_weak,
        needs=("weak", "test inputs"),
    ),
    Block(
        name="spectral",
        kind="represent",
        family="representation",
        parameters={"k": whole(1, 64, 20, 10, 20, 40), "neighbours": whole(2, 64, 12, 6, 12, 24)},
        source="Belkin and Niyogi 2003, Laplacian eigenmaps for dimensionality reduction",
        step=_spectral,
        needs=("test inputs",),
    ),
)
