"""Neighbours and graphs: what scikit-learn and plain loops find."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from aar.lab import neighbours
from aar.lab.neighbours import (
    KEPT,
    Graph,
    Kept,
    components,
    joined,
    nearest,
    neighbour_means,
    normalised_graph,
)

RNG = np.random.default_rng(8)
POINTS = (RNG.normal(size=(120, 5)) + 40).astype(np.float32)
QUERIES = (RNG.normal(size=(33, 5)) + 40).astype(np.float32)


def dense(graph: Graph) -> np.ndarray:
    """Column by column, as it multiplies."""
    return np.column_stack([graph.spread(one) for one in np.eye(graph.count, dtype=np.float32)])


@pytest.mark.parametrize("k", [1, 7, 120])
def test_the_nearest_points_are_those_of_scikit_learn(k: int) -> None:
    chosen, squared = nearest(QUERIES, POINTS, k)
    distances, wanted = NearestNeighbors(n_neighbors=k).fit(POINTS).kneighbors(QUERIES)
    np.testing.assert_array_equal(np.sort(chosen), np.sort(wanted))
    np.testing.assert_allclose(np.sort(squared), distances**2, atol=1e-4)


@pytest.mark.parametrize("k", [1, 7, 119])
def test_a_point_is_not_its_own_neighbour_when_told_to_skip_it(k: int) -> None:
    chosen, _squared = nearest(POINTS, POINTS, k, skip_self=True)
    wanted = NearestNeighbors(n_neighbors=k).fit(POINTS).kneighbors(return_distance=False)
    np.testing.assert_array_equal(np.sort(chosen), np.sort(wanted))
    assert not (chosen == np.arange(120)[:, None]).any()


def test_a_twin_is_a_neighbour_though_the_point_itself_is_not() -> None:
    points = np.array([[0.0, 0.0], [0.0, 0.0], [5.0, 5.0]], dtype=np.float32)
    chosen, squared = nearest(points, points, 1, skip_self=True)
    assert chosen[:2, 0].tolist() == [1, 0]
    assert squared[:2, 0].tolist() == [0.0, 0.0]


def test_where_there_are_fewer_than_k_all_are_taken() -> None:
    assert nearest(QUERIES, POINTS[:3], 10)[0].shape == (33, 3)
    assert nearest(POINTS[:3], POINTS[:3], 10, skip_self=True)[0].shape == (3, 2)


def test_a_point_that_is_alone_has_no_neighbour_and_keeps_its_value() -> None:
    chosen, _squared = nearest(POINTS[:1], POINTS[:1], 4, skip_self=True)
    assert chosen.shape == (1, 0)
    assert neighbour_means(np.array([0.3]), chosen).tolist() == [0.3]
    assert dense(normalised_graph(POINTS[:1], 4)).tolist() == [[0.0]]


def test_neighbour_means_are_means_over_neighbours() -> None:
    values = np.array([1.0, 2.0, 4.0])
    assert neighbour_means(values, np.array([[1, 2], [0, 2]])).tolist() == [3.0, 2.5]


def naive_graph(points: np.ndarray, k: int) -> np.ndarray:
    """Zhou et al. 2003 with a Gaussian of the median neighbour distance, edge by edge."""
    count = len(points)
    squared = ((points[:, None].astype(float) - points[None].astype(float)) ** 2).sum(2)
    neighbours = [sorted(set(range(count)) - {i}, key=lambda j: squared[i, j])[:k] for i in range(count)]
    width = np.median([squared[i, j] for i in range(count) for j in neighbours[i]])
    w = np.zeros((count, count))
    for i in range(count):
        for j in neighbours[i]:
            w[i, j] = w[j, i] = np.exp(-squared[i, j] / width)
    degree = w.sum(1)
    return w / np.sqrt(degree[:, None] * degree[None, :])


@pytest.mark.parametrize("k", [2, 9])
def test_the_graph_is_the_one_of_a_plain_loop(k: int) -> None:
    np.testing.assert_allclose(dense(normalised_graph(POINTS, k)), naive_graph(POINTS, k), atol=2e-4)


def test_the_graph_is_symmetric_and_never_makes_anything_larger() -> None:
    graph = dense(normalised_graph(POINTS, 6)).astype(float)
    np.testing.assert_allclose(graph, graph.T, atol=1e-6)
    assert np.abs(np.linalg.eigvalsh(graph)).max() <= 1 + 1e-5
    assert not np.diag(graph).any()


def test_points_that_are_all_the_same_make_a_finite_graph() -> None:
    assert np.isfinite(dense(normalised_graph(np.ones((6, 2), dtype=np.float32), 3))).all()


def test_neighbours_come_nearest_first_and_of_twins_the_lower_index() -> None:
    points = np.array([[3.0], [1.0], [1.0], [0.0], [1.0]], dtype=np.float32)
    chosen, squared = nearest(points[3:4], points, 5)
    assert chosen.tolist() == [[3, 1, 2, 4, 0]]
    np.testing.assert_allclose(squared, [[0, 1, 1, 1, 9]], atol=1e-6)


def test_more_neighbours_begin_with_the_fewer_ones() -> None:
    """Whatever is kept by then."""
    KEPT.clear()
    most = nearest(POINTS, POINTS, 100, skip_self=True)[0]
    KEPT.clear()
    for k in (3, 32, 33, 64, 70):
        np.testing.assert_array_equal(nearest(POINTS, POINTS, k, skip_self=True)[0], most[:, :k])


def test_a_second_search_is_answered_from_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    KEPT.clear()
    first = nearest(QUERIES, POINTS, 9)
    monkeypatch.setattr(neighbours, "_search", None)
    again = nearest(QUERIES.copy(), POINTS.copy(), 9)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(TypeError):
        nearest(QUERIES, POINTS, 9, skip_self=True)


def test_what_is_kept_goes_by_content_and_not_by_the_array() -> None:
    KEPT.clear()
    points = POINTS.copy()
    before = nearest(points, points, 3, skip_self=True)[0].copy()
    points[:] = points[::-1].copy()
    after = nearest(points, points, 3, skip_self=True)[0]
    np.testing.assert_array_equal(np.sort(after), np.sort(119 - before[::-1]))


def test_what_is_kept_cannot_be_written_to() -> None:
    chosen, _squared = nearest(QUERIES, POINTS, 4)
    with pytest.raises(ValueError, match="read-only"):
        chosen[0, 0] = 1


def test_the_least_recently_used_goes_when_there_is_too_much() -> None:
    kept = Kept(size_bytes=3 * 80)
    for name in ("a", "b", "c"):
        kept.put((name,), (np.zeros(10),))
    assert kept.get(("a",)) is not None
    kept.put(("d",), (np.zeros(10),))
    assert [kept.get((name,)) is not None for name in "abcd"] == [True, False, True, True]
    kept.put(("e",), (np.zeros(1_000),))
    assert len(kept) == 0


def test_edges_are_joined_once_in_both_directions() -> None:
    chosen = np.array([[1, 2], [0, 2], [1, 0]])
    squared = np.array([[1, 4], [1, 9], [9, 4]], dtype=np.float32)
    rows, columns, distances = joined(chosen, squared)
    assert list(zip(rows.tolist(), columns.tolist(), distances.tolist(), strict=True)) == [
        (0, 1, 1.0),
        (0, 2, 4.0),
        (1, 0, 1.0),
        (1, 2, 9.0),
        (2, 0, 4.0),
        (2, 1, 9.0),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_components_are_those_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, 60, (2, 40))
    rows, columns = np.concatenate([ends[0], ends[1]]), np.concatenate([ends[1], ends[0]])
    _count, wanted = connected_components(csr_matrix((np.ones(80), (rows, columns)), shape=(60, 60)))
    got = components(rows, columns, 60)
    assert (got[:, None] == got).tolist() == (wanted[:, None] == wanted).tolist()
    assert all(got[one] <= one for one in range(60))


@pytest.mark.parametrize("k", [1, 5, 32, 40])
def test_among_many_twins_the_lowest_indices_are_taken(k: int) -> None:
    """Rows that are the same several times over, as sentences are; around zero, so that all is exact."""
    half = np.random.default_rng(2).integers(-1, 2, (45, 2)).astype(np.float32)
    few = np.vstack([half, -half])
    chosen, squared = nearest(few, few, k, skip_self=True)
    exact = ((few[:, None] - few[None]) ** 2).sum(2)
    for i in range(90):
        others = sorted((j for j in range(90) if j != i), key=lambda j: (exact[i, j], j))[:k]
        assert chosen[i].tolist() == others
    np.testing.assert_allclose(squared, np.take_along_axis(exact, chosen, axis=1), atol=1e-5)
