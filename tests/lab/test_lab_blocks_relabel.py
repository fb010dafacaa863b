"""Relabelling blocks: noise channels, self-training and elicitation, each against a plain computation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from aar.lab.probe import Probe
from lab.small_state import INSTANCE, STATE, TEACHERS, N, after, cross_fitted, sklearn_probe

ALL_X = np.vstack([STATE.train_x, STATE.test_x]).astype(float)
SIDES = np.where(STATE.targets > np.median(STATE.targets), 1.0, 0.0)


@pytest.fixture(autouse=True)
def _to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Students fitted to the end, so that what is compared is the method."""
    fit = Probe.fit
    monkeypatch.setattr(Probe, "fit", lambda *args, **more: fit(*args, **{**more, "iterations": 200}))


def hard_at_prior(values: np.ndarray) -> np.ndarray:
    return (values > np.quantile(values, 1 - STATE.class_prior)).astype(float)


def components(k: int) -> np.ndarray:
    return PCA(k, svd_solver="full").fit(ALL_X).transform(STATE.train_x)


# Self-training.


def test_a_bootstrap_chain_teaches_each_size_by_the_one_before() -> None:
    targets = STATE.targets
    for k in (1, 3, 4):
        scores = PCA(6, svd_solver="full").fit_transform(ALL_X)[:N, :k]
        targets = sklearn_probe(scores, targets, STATE.weights).predict_proba(scores)[:, 1]
    np.testing.assert_allclose(after("bootstrap", links=3).targets, targets, atol=0.02)


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_sinkhorn_is_where_sinkhorn_s_iteration_ends(temperature: float) -> None:
    own = cross_fitted(STATE.targets, np.random.default_rng(3))
    kernel = np.column_stack([1 - own, own]) ** (1 / temperature)
    column = np.array([1 - STATE.class_prior, STATE.class_prior])
    for _round in range(2_000):
        kernel = kernel / kernel.sum(1, keepdims=True) / N
        kernel = kernel / kernel.sum(0) * column
    wanted = kernel[:, 1] / kernel.sum(1)
    np.testing.assert_allclose(after("sinkhorn", seed=3, temperature=temperature).targets, wanted, atol=0.01)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_student_poe_multiplies_both_opinions(power: float) -> None:
    own = cross_fitted(STATE.targets, np.random.default_rng(3))
    ones, zeros = STATE.targets * own**power, (1 - STATE.targets) * (1 - own) ** power
    np.testing.assert_allclose(
        after("student_poe", seed=3, power=power).targets, ones / (ones + zeros), atol=0.01
    )


@pytest.mark.parametrize("balanced", [0, 1])
def test_icm_without_heat_is_cross_fitting_to_hard_labels(balanced: int) -> None:
    rng, labels = np.random.default_rng(4), hard_at_prior(STATE.targets)
    for _round in range(3):
        own = cross_fitted(labels, rng)
        labels = hard_at_prior(own) if balanced else (own > 0.5).astype(float)
    got = after("icm", seed=4, rounds=3, heat=0, balanced=balanced).targets
    # An item at the threshold may fall to either side of it.
    assert (got != labels).mean() < 0.03
    assert set(got) == {0.0, 1.0}


def test_icm_draws_each_label_with_its_student_s_heated_odds() -> None:
    rng = np.random.default_rng(5)
    own = cross_fitted(hard_at_prior(STATE.targets), rng)
    hot = (rng.random(N) < expit(logit(own) / 0.5)).astype(float)
    labels = (cross_fitted(hot, rng) > 0.5).astype(float)
    got = after("icm", seed=5, rounds=2, heat=1.0, balanced=0).targets
    assert (got != labels).mean() < 0.03


def test_refine_keeps_what_a_student_agrees_on_unseen_and_relabels_the_rest() -> None:
    share = 0.4
    own = cross_fitted(STATE.targets, np.random.default_rng(6))
    kept = np.zeros(N, dtype=bool)
    for side in (True, False):
        members = np.flatnonzero((STATE.targets > 0.5) == side)
        sure = np.array([abs(own[i] - 0.5) if (own[i] > 0.5) == side else -1.0 for i in members])
        kept[members[(sure >= np.quantile(sure, 1 - share)) & (sure >= 0)]] = True
    second = sklearn_probe(STATE.train_x[kept], STATE.targets[kept], STATE.weights[kept])
    wanted = np.where(kept, STATE.targets, second.predict_proba(STATE.train_x)[:, 1])
    np.testing.assert_allclose(after("refine", seed=6, share=share).targets, wanted, atol=0.02)


def test_dividemix_replaces_what_a_mixture_over_the_loss_calls_noisy() -> None:
    hard = replace(STATE, targets=(STATE.targets > 0.5).astype(float))
    own = cross_fitted(hard.targets, np.random.default_rng(7), hard)
    loss = -np.log(np.where(hard.targets > 0.5, own, 1 - own))
    upper = (loss > np.median(loss)).astype(float)
    means = [loss[upper == 0].mean(), loss[upper == 1].mean()]
    model = GaussianMixture(
        2,
        weights_init=[1 - upper.mean(), upper.mean()],
        means_init=np.array(means)[:, None],
        precisions_init=[[[1 / (loss[upper == side].var() + 1e-6)]] for side in (0, 1)],
        tol=0,
        max_iter=20,
    )
    # It starts at our first E step and so does one M step less than our 20.
    with pytest.warns(UserWarning, match="did not converge"):
        model.set_params(max_iter=19).fit(loss[:, None])
    noisy = np.where(loss > np.median(loss), model.predict_proba(loss[:, None])[:, 1], 0)
    wanted = (1 - noisy) * hard.targets + noisy * expit(logit(own) / 0.5)
    np.testing.assert_allclose(after("dividemix", hard, seed=7).targets, wanted, atol=0.03)


def test_views_without_dropping_are_the_sharpened_cross_fit() -> None:
    own = cross_fitted(STATE.targets, np.random.default_rng(8))
    got = after("views", seed=8, drop=0.0, temperature=0.5, mix=1.0).targets
    np.testing.assert_allclose(got, expit(2 * logit(own)), atol=0.02)


def test_views_average_students_over_dropped_features() -> None:
    rng = np.random.default_rng(9)
    fold = rng.permutation(N) % 4
    models = [
        sklearn_probe(STATE.train_x[fold != k], STATE.targets[fold != k], STATE.weights[fold != k])
        for k in range(4)
    ]
    middle = STATE.train_x.mean(0)
    total = np.zeros(N)
    for _view in range(3):
        keep = rng.random(STATE.train_x.shape, dtype=np.float32) >= 0.4
        view = middle + (STATE.train_x - middle) * keep / 0.6
        total += [models[fold[i]].predict_proba(view[i : i + 1])[0, 1] for i in range(N)]
    got = after("views", seed=9, count=3, drop=0.4, temperature=1.0, mix=0.5).targets
    np.testing.assert_allclose(got, (STATE.targets + total / 3) / 2, atol=0.02)


# Channels.


def em_by_hand(symbols: np.ndarray, count: int, rounds: int, seed: int) -> np.ndarray:
    rng, posterior = np.random.default_rng(seed), STATE.targets
    for _round in range(rounds):
        prior = cross_fitted(posterior, rng)
        table = np.ones((2, count))
        for symbol, p, w in zip(symbols, posterior, STATE.weights, strict=True):
            table[1, symbol] += w * p
            table[0, symbol] += w * (1 - p)
        table /= table.sum(1, keepdims=True)
        ones, zeros = prior * table[1, symbols], (1 - prior) * table[0, symbols]
        posterior = ones / (ones + zeros)
    return posterior


def test_em_class_is_em_over_a_confusion_matrix() -> None:
    wanted = em_by_hand((STATE.targets > 0.5).astype(int), 2, 4, seed=1)
    np.testing.assert_allclose(after("em_class", seed=1, rounds=4).targets, wanted, atol=0.02)


def test_em_conf_is_em_over_confidence_bins() -> None:
    order = STATE.targets.argsort().argsort()
    symbols = order * 4 // N
    assert np.bincount(symbols).tolist() == [40, 40, 40, 40]
    wanted = em_by_hand(symbols, 4, 4, seed=2)
    np.testing.assert_allclose(after("em_conf", seed=2, rounds=4, bins=4).targets, wanted, atol=0.02)


@pytest.mark.parametrize("student", [0, 1])
def test_dawid_skene_is_their_em_with_the_student_as_one_more_voter(student: int) -> None:
    assert INSTANCE.votes is not None
    rng, hard = np.random.default_rng(3), (INSTANCE.votes > 0.5).astype(int)
    posterior = hard.mean(1)
    for _round in range(5):
        voters = [hard[:, k] for k in range(TEACHERS)]
        if student:
            voters.append((cross_fitted(posterior, rng) > 0.5).astype(int))
        prior = (posterior.sum() + 1) / (N + 2)
        ones, zeros = np.full(N, prior), np.full(N, 1 - prior)
        for voter in voters:
            sure = [(voter * posterior).sum() + 1, ((1 - voter) * posterior).sum() + 1]
            wrong = [(voter * (1 - posterior)).sum() + 1, ((1 - voter) * (1 - posterior)).sum() + 1]
            ones *= np.where(voter, sure[0], sure[1]) / sum(sure)
            zeros *= np.where(voter, wrong[0], wrong[1]) / sum(wrong)
        posterior = ones / (ones + zeros)
    got = after("dawid_skene", seed=3, rounds=5, student=student).targets
    np.testing.assert_allclose(got, posterior, atol=0.02 if student else 1e-9)


@pytest.mark.parametrize("hard", [0, 1])
def test_vote_mean_is_the_mean_vote(hard: int) -> None:
    assert INSTANCE.votes is not None
    votes = INSTANCE.votes > 0.5 if hard else INSTANCE.votes
    wanted = [0.75 * t + 0.25 * sum(row) / TEACHERS for t, row in zip(STATE.targets, votes, strict=True)]
    np.testing.assert_allclose(after("vote_mean", hard=hard, mix=0.25).targets, wanted)


# Elicitation.


def test_pc1_reads_scikit_learn_s_first_component_and_turns_it_to_the_weak_labels() -> None:
    scores = PCA(6, svd_solver="full").fit_transform(ALL_X)[:, 0]
    scores = 2 * scores[:N] / scores.std()
    if np.corrcoef(scores, STATE.targets)[0, 1] < 0:
        scores = -scores
    np.testing.assert_allclose(after("pc1", scale=2.0).targets, expit(scores), atol=1e-5)
    against = replace(STATE, targets=1 - STATE.targets)
    np.testing.assert_allclose(after("pc1", against, scale=2.0).targets, expit(-scores), atol=1e-5)


def test_twomeans_is_k_means_from_the_weak_classes() -> None:
    points = components(3)
    start = np.stack([points[side == SIDES].mean(0) for side in (0, 1)])
    centres = (
        KMeans(2, init=start, n_init=1, algorithm="lloyd", max_iter=20, tol=0).fit(points).cluster_centers_
    )
    far = np.linalg.norm(points[:, None] - centres[None], axis=2)
    wanted = expit(2 * (far[:, 0] - far[:, 1]))
    np.testing.assert_allclose(after("twomeans", pcs=3, scale=2.0).targets, wanted, atol=1e-6)


def test_gmm_is_scikit_learn_s_mixture_from_the_weak_classes() -> None:
    points = components(2)
    moments = [(points[side == SIDES].mean(0), np.cov(points[side == SIDES].T, bias=True)) for side in (0, 1)]
    model = GaussianMixture(
        2,
        weights_init=[1 - SIDES.mean(), SIDES.mean()],
        means_init=[mean for mean, _cov in moments],
        precisions_init=[np.linalg.inv(cov + 1e-6 * np.eye(2)) for _mean, cov in moments],
        tol=0,
        max_iter=9,
    )
    with pytest.warns(UserWarning, match="did not converge"):
        model.fit(points)
    got = after("gmm", pcs=2, steps=10).targets
    np.testing.assert_allclose(got, model.predict_proba(points)[:, 1], atol=1e-6)


def test_ccs_finds_the_direction_along_which_items_are_either_or() -> None:
    """Two clusters along an axis of small variance; weak labels say only which is which."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, N)
    plane = np.column_stack([rng.uniform(-3, 3, N), 0.5 * (2 * truth - 1) + 0.08 * rng.normal(size=N)])
    turned = (plane @ np.array([[0.8, 0.6], [-0.6, 0.8]])).astype(np.float32)
    weak = np.where(rng.random(N) < 0.7, truth, 1 - truth).astype(float)
    got = after("ccs", replace(STATE, train_x=turned, test_x=turned[:1], targets=weak), pcs=2).targets
    assert ((got > 0.5) == truth).mean() > 0.98


def test_ccs_ends_where_no_angle_is_better() -> None:
    """In a plane the loss is a function of one angle, which a grid can search."""
    white = PCA(2, whiten=True, svd_solver="full").fit_transform(ALL_X)
    white = white * ((len(ALL_X)) / (len(ALL_X) - 1)) ** 0.5

    def loss(angle: float) -> float:
        scores = white[:N] @ (3 * np.array([np.cos(angle), np.sin(angle)]))
        return float((expit(-np.abs(scores)) ** 2).mean())

    best = min(minimize(lambda a: loss(a[0]), [a]).fun for a in np.linspace(0, np.pi, 12))
    got = logit(after("ccs", pcs=2).targets)
    axis = np.linalg.lstsq(white[:N], got, rcond=None)[0]
    assert np.linalg.norm(axis) == pytest.approx(3, abs=0.01)
    assert loss(float(np.arctan2(axis[1], axis[0]))) <= best + 2e-3


def test_cluster_vote_gives_every_cluster_its_weighted_mean() -> None:
    got = after("cluster_vote", seed=2, k=5).targets
    values = sorted(set(np.round(got, 12)))
    assert len(values) == 5
    clusters = [np.flatnonzero(np.isclose(got, value)) for value in values]
    centres = np.stack([STATE.train_x[one].mean(0) for one in clusters])
    fixed = KMeans(5, init=centres, n_init=1, tol=0).fit(STATE.train_x)
    np.testing.assert_allclose(fixed.cluster_centers_, centres, atol=1e-4)
    for one in clusters:
        wanted = np.average(STATE.targets[one], weights=STATE.weights[one])
        np.testing.assert_allclose(got[one], wanted)


def test_poe_multiplies_the_weak_label_and_the_zero_shot_answer() -> None:
    assert STATE.zero_shot is not None
    own = STATE.zero_shot[0]
    ones, zeros = STATE.targets**0.5 * own**2, (1 - STATE.targets) ** 0.5 * (1 - own) ** 2
    got = after("poe", weak=0.5, zero_shot=2.0).targets
    np.testing.assert_allclose(got, ones / (ones + zeros), atol=1e-5)
