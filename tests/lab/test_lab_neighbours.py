"""Neighbours and graphs: what scikit-learn and plain loops find."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from aar.lab.neighbours import nearest, neighbour_means, normalised_graph

RNG = np.random.default_rng(8)
POINTS = (RNG.normal(size=(120, 5)) + 40).astype(np.float32)
QUERIES = (RNG.normal(size=(33, 5)) + 40).astype(np.float32)


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
    assert normalised_graph(POINTS[:1], 4).tolist() == [[0.0]]


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
    np.testing.assert_allclose(normalised_graph(POINTS, k), naive_graph(POINTS, k), atol=2e-4)


def test_the_graph_is_symmetric_and_never_makes_anything_larger() -> None:
    graph = normalised_graph(POINTS, 6).astype(float)
    np.testing.assert_allclose(graph, graph.T, atol=1e-6)
    assert np.abs(np.linalg.eigvalsh(graph)).max() <= 1 + 1e-5
    assert not np.diag(graph).any()


def test_points_that_are_all_the_same_make_a_finite_graph() -> None:
    assert np.isfinite(normalised_graph(np.ones((6, 2), dtype=np.float32), 3)).all()
