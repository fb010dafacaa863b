"""Selecting, reweighting and representing blocks, each against a plain computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression

from lab.small_state import STATE, WIDTH, M, N, after, cross_fitted, dense_graph, neighbours, sklearn_probe

HARD = replace(STATE, targets=(STATE.targets > 0.5).astype(float))
ALL_X = np.vstack([STATE.train_x, STATE.test_x]).astype(float)


@pytest.mark.parametrize("drop", [0.1, 0.5])
def test_probe_keep_drops_whom_a_student_contradicts_unseen(drop: float) -> None:
    apart = np.abs(cross_fitted(HARD.targets, np.random.default_rng(2), HARD) - HARD.targets)
    kept = after("probe_keep", HARD, seed=2, drop=drop).weights > 0
    assert kept.sum() == pytest.approx((1 - drop) * N, abs=1)
    assert apart[kept].max() <= apart[~kept].min() + 0.01


def test_small_loss_drops_what_the_student_fits_worst() -> None:
    model = sklearn_probe(HARD.train_x, HARD.targets, HARD.weights)
    loss = np.abs(model.predict_proba(HARD.train_x)[:, 1] - HARD.targets)
    state = after("small_loss", HARD, drop=0.3)
    kept = state.weights > 0
    assert kept.sum() == pytest.approx(0.7 * N, abs=1)
    assert loss[kept].max() <= loss[~kept].min() + 0.01
    np.testing.assert_array_equal(state.weights[kept], HARD.weights[kept])


def test_topo_keep_keeps_the_largest_part_of_each_label() -> None:
    chosen = neighbours(3)
    edges = np.zeros((N, N))
    for i in range(N):
        for j in chosen[i]:
            if HARD.targets[i] == HARD.targets[j]:
                edges[i, j] = edges[j, i] = 1
    _count, part = connected_components(csr_matrix(edges))
    wanted = np.zeros(N)
    for side in (0, 1):
        members = np.flatnonzero(HARD.targets == side)
        largest = max(set(part[members]), key=lambda one: (part[members] == one).sum())
        wanted[members[part[members] == largest]] = 1
    got = after("topo_keep", HARD, k=3).weights > 0
    np.testing.assert_array_equal(got, wanted > 0)
    assert 0 < got.sum() < N


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
def test_anti_w_is_the_closeness_to_one_half_to_a_power(power: float) -> None:
    wanted = [w * (1 - abs(2 * t - 1)) ** power for w, t in zip(STATE.weights, STATE.targets, strict=True)]
    np.testing.assert_allclose(after("anti_w", power=power).weights, wanted, rtol=1e-12)


def test_overlap_w_raises_the_confident_items_that_look_like_unsure_ones() -> None:
    centred = STATE.train_x - STATE.train_x.mean(0)
    sure = np.abs(STATE.targets - 0.5)
    unsure = [i for i in range(N) if sure[i] <= np.quantile(sure, 0.4)]
    confident = [i for i in range(N) if i not in unsure]
    likeness = []
    for i in confident:
        cosines = [
            abs(centred[i] @ centred[j]) / np.linalg.norm(centred[i]) / np.linalg.norm(centred[j])
            for j in unsure
        ]
        likeness.append(np.mean(cosines))
    wanted = STATE.weights.copy()
    for i, one in zip(confident, likeness, strict=True):
        if one > np.median(likeness):
            wanted[i] *= 5
    np.testing.assert_allclose(after("overlap_w", hard=0.4, factor=5.0).weights, wanted)


@pytest.mark.parametrize("k", [1, 3])
def test_drop_top_removes_the_components_that_scikit_learn_finds(k: int) -> None:
    model = PCA(k, svd_solver="full").fit(ALL_X)
    wanted = ALL_X - model.inverse_transform(model.transform(ALL_X))
    state = after("drop_top", k=k)
    np.testing.assert_allclose(np.vstack([state.train_x, state.test_x]), wanted, atol=1e-4)


def test_dropping_everything_leaves_nothing() -> None:
    np.testing.assert_allclose(after("drop_top", k=WIDTH).train_x, 0, atol=1e-4)


@pytest.mark.parametrize("k", [1, 2])
def test_erase_weak_removes_least_squares_directions_one_by_one(k: int) -> None:
    items = ALL_X - ALL_X.mean(0)
    for _direction in range(k):
        axis = LinearRegression().fit(items[:N], STATE.targets).coef_
        axis = axis / np.linalg.norm(axis)
        items = items - np.outer(items @ axis, axis)
    state = after("erase_weak", k=k)
    np.testing.assert_allclose(np.vstack([state.train_x, state.test_x]), items, atol=1e-3)


def test_spectral_coordinates_are_the_graph_s_leading_eigenvectors_but_the_first() -> None:
    values, vectors = np.linalg.eigh(dense_graph(ALL_X.astype(np.float32), 7))
    wanted = vectors[:, ::-1][:, 1:4]
    assert np.diff(values[::-1][:5]).max() < -1e-3, "no two are alike, so that each is defined up to its sign"
    wanted = (wanted - wanted.mean(0)) / wanted.std(0)
    state = after("spectral", k=3, neighbours=7)
    got = np.vstack([state.train_x, state.test_x])
    assert got.shape == (N + M, 3)
    np.testing.assert_allclose(np.abs((got * wanted).mean(0)), 1, atol=1e-3)


def test_spectral_coordinates_of_many_items_are_those_of_the_dense_matrix() -> None:
    rng = np.random.default_rng(0)
    many = rng.normal(size=(340, 3)).astype(np.float32)
    vectors = np.linalg.eigh(dense_graph(many, 6))[1][:, ::-1][:, 1:3]
    wanted = (vectors - vectors.mean(0)) / vectors.std(0)
    state = replace(STATE, train_x=many[:N], test_x=many[N:])
    found = after("spectral", state, k=2, neighbours=6)
    got = np.vstack([found.train_x, found.test_x])
    # Two axes that are nearly alike may be turned into each other.
    assert np.linalg.svd(got.T @ wanted / len(got))[1] == pytest.approx([1, 1], abs=1e-3)
