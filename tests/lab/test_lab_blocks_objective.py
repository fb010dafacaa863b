"""Objectives: losses by scipy's minimiser, training schemes by plain loops."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit, xlogy

from aar.lab.blocks import losses
from aar.lab.blocks.training import coherence
from aar.lab.instance import STUDENT_L2
from aar.lab.probe import BIAS_L2, Probe
from lab.small_state import STATE, M, N, after, answer_of, dense_graph, neighbours, sklearn_probe

X1 = np.hstack([STATE.train_x, np.ones((N, 1))]).astype(float)
TEST1 = np.hstack([STATE.test_x, np.ones((M, 1))]).astype(float)
HARD = replace(STATE, targets=(STATE.targets > 0.5).astype(float))


@pytest.fixture(autouse=True)
def _to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Students fitted to the end, so that what is compared is the method."""
    monkeypatch.setattr(losses, "ITERATIONS", 200)
    fit = Probe.fit
    monkeypatch.setattr(Probe, "fit", lambda *args, **more: fit(*args, **{**more, "iterations": 200}))


def best_by_scipy(loss: Callable[[np.ndarray], np.ndarray], targets: np.ndarray) -> np.ndarray:
    """Answers of the minimiser of a per-item loss of the log-odds, from the plain student on."""
    penalty = np.append(np.full(X1.shape[1] - 1, STUDENT_L2), BIAS_L2)
    plain = sklearn_probe(STATE.train_x, targets, STATE.weights)
    start = np.append(plain.coef_[0], plain.intercept_).astype(float)

    def total(b: np.ndarray) -> float:
        return float(np.average(loss(X1 @ b), weights=STATE.weights) + penalty @ b**2 / 2)

    return expit(TEST1 @ minimize(total, start, method="L-BFGS-B", options={"ftol": 1e-13, "gtol": 1e-8}).x)


@pytest.mark.parametrize("q", [0.3, 0.7])
def test_gce_minimises_the_generalised_cross_entropy(q: float) -> None:
    def loss(scores: np.ndarray) -> np.ndarray:
        own = expit(scores)
        return (HARD.targets * (1 - own**q) + (1 - HARD.targets) * (1 - (1 - own) ** q)) / q

    wanted = best_by_scipy(loss, HARD.targets)
    np.testing.assert_allclose(answer_of("gce", HARD, q=q), wanted, atol=0.02)


def test_gce_with_q_of_nothing_is_the_probe() -> None:
    np.testing.assert_allclose(answer_of("gce", HARD, q=0.0), answer_of("probe", HARD), atol=1e-3)


@pytest.mark.parametrize("reverse", [0.5, 2.0])
def test_sce_minimises_the_sum_of_both_cross_entropies(reverse: float) -> None:
    def loss(scores: np.ndarray) -> np.ndarray:
        own, t = expit(scores), HARD.targets
        forward = -t * np.log(own) - (1 - t) * np.log(1 - own)
        backward = -own * np.where(t == 1, 0, -4) - (1 - own) * np.where(t == 0, 0, -4)
        return forward + reverse * backward

    wanted = best_by_scipy(loss, HARD.targets)
    np.testing.assert_allclose(answer_of("sce", HARD, reverse=reverse), wanted, atol=0.02)


@pytest.mark.parametrize("forward", [0.0, 0.5])
def test_reverse_kl_minimises_the_divergence_of_the_student_from_the_target(forward: float) -> None:
    t = expit(np.clip(logit(STATE.targets), -4, 4))

    def loss(scores: np.ndarray) -> np.ndarray:
        own = expit(scores)
        reverse = xlogy(own, own / t) + xlogy(1 - own, (1 - own) / (1 - t))
        return (1 - forward) * reverse - forward * (
            STATE.targets * np.log(own) + (1 - STATE.targets) * np.log(1 - own)
        )

    wanted = best_by_scipy(loss, STATE.targets)
    np.testing.assert_allclose(answer_of("reverse_kl", forward=forward), wanted, atol=0.02)


@pytest.mark.parametrize("c", [0.2, 0.5])
def test_entropy_minimises_cross_entropy_and_the_student_s_own_entropy(c: float) -> None:
    def loss(scores: np.ndarray) -> np.ndarray:
        own, t = expit(scores), STATE.targets
        cross = -xlogy(t, own) - xlogy(1 - t, 1 - own)
        return (1 - c) * cross + c * (-xlogy(own, own) - xlogy(1 - own, 1 - own))

    wanted = best_by_scipy(loss, STATE.targets)
    np.testing.assert_allclose(answer_of("entropy", c=c), wanted, atol=0.03)


def test_forward_minimises_the_cross_entropy_behind_the_anchors_channel() -> None:
    plain = sklearn_probe(HARD.train_x, HARD.targets, HARD.weights).predict_proba(HARD.train_x)[:, 1]
    low, high = np.quantile(plain, [0.1, 0.9])

    def loss(scores: np.ndarray) -> np.ndarray:
        seen = low + (high - low) * expit(scores)
        return -HARD.targets * np.log(seen) - (1 - HARD.targets) * np.log(1 - seen)

    wanted = best_by_scipy(loss, HARD.targets)
    np.testing.assert_allclose(answer_of("forward", HARD, anchor=0.9), wanted, atol=0.03)


def test_a_loss_that_is_a_cross_entropy_leads_where_the_probe_leads() -> None:
    probe = Probe(STATE.train_x, l2=STUDENT_L2)
    wanted = probe.fit(STATE.targets, STATE.weights, iterations=200)
    got = probe.minimise(
        lambda scores: expit(scores) - STATE.targets,
        curvature=0.25,
        iterations=100,
        start=np.zeros(len(wanted)),
        weights=STATE.weights,
    )
    np.testing.assert_allclose(got, wanted, atol=2e-3)


def test_window_learns_only_from_items_that_it_is_unsure_of() -> None:
    share = STATE.weights / STATE.weights.max()
    rate = 4 * N / np.linalg.eigvalsh(X1.T @ X1)[-1]
    b = np.zeros(X1.shape[1])
    for _step in range(60):
        own = expit(X1 @ b)
        gradient = sum(
            w * (p - t) * x
            for x, p, t, w in zip(X1, own, STATE.targets, share, strict=True)
            if abs(p - 0.5) < 0.1
        )
        b = b - rate * gradient / N
    np.testing.assert_allclose(answer_of("window", steps=60, radius=0.1), expit(TEST1 @ b), rtol=1e-4)


def test_product_multiplies_its_own_answer_into_the_target() -> None:
    targets = STATE.targets
    for number in range(3):
        model = sklearn_probe(STATE.train_x, targets, STATE.weights)
        own = model.predict_proba(STATE.train_x)[:, 1] ** (0.8 * (number + 1) / 2)
        other = model.predict_proba(STATE.train_x)[:, 0] ** (0.8 * (number + 1) / 2)
        ones, zeros = STATE.targets**0.5 * own, (1 - STATE.targets) ** 0.5 * other
        targets = ones / (ones + zeros)
    wanted = model.predict_proba(STATE.test_x)[:, 1]
    np.testing.assert_allclose(answer_of("product", weak=0.5, own=0.8, rounds=2), wanted, atol=0.02)


@pytest.mark.parametrize("even", [0.0, 0.5, 1.0])
def test_prior_match_answers_with_the_prior_s_mean(even: float) -> None:
    got = answer_of("prior_match", even=even)
    assert got.mean() == pytest.approx((1 - even) * STATE.class_prior + even / 2, abs=1e-6)
    shift = logit(got) - logit(answer_of("probe"))
    np.testing.assert_allclose(shift, shift[0], atol=1e-5)


def test_spread_is_the_closed_form_over_training_and_test_items() -> None:
    graph = dense_graph(np.vstack([STATE.train_x, STATE.test_x]), 8)
    start = np.append(STATE.weights * (STATE.targets - STATE.class_prior), np.zeros(M))
    value = 0.3 * np.linalg.solve(np.eye(N + M) - 0.7 * graph, start)
    wanted = (1 + np.tanh(value[N:] / np.abs(value).mean())) / 2
    np.testing.assert_allclose(answer_of("spread", k=8, alpha=0.7, steps=200), wanted, atol=2e-3)


def test_zero_shot_answers_what_the_model_answered() -> None:
    assert STATE.zero_shot is not None
    np.testing.assert_array_equal(answer_of("zero_shot"), STATE.zero_shot[1])


def test_mixup_is_the_probe_on_drawn_interpolations() -> None:
    rng = np.random.default_rng(3)
    shares = rng.beta(0.7, 0.7, 2 * N)
    others = [rng.permutation(N), rng.permutation(N)]
    rows, targets, weights = [], [], []
    for copy, other in enumerate(others):
        for i in range(N):
            s, j = shares[copy * N + i], other[i]
            a, b = s * STATE.weights[i], (1 - s) * STATE.weights[j]
            rows.append(s * STATE.train_x[i] + (1 - s) * STATE.train_x[j])
            targets.append((a * STATE.targets[i] + b * STATE.targets[j]) / (a + b))
            weights.append(a + b)
    model = sklearn_probe(np.array(rows), np.array(targets), np.array(weights))
    wanted = model.predict_proba(STATE.test_x)[:, 1]
    np.testing.assert_allclose(answer_of("mixup", seed=3, alpha=0.7, copies=2), wanted, atol=0.01)


def test_coteaching_students_learn_what_the_other_one_fits_best() -> None:
    half = np.random.default_rng(4).permutation(N) % 2
    mine = [np.flatnonzero(half == student) for student in (0, 1)]
    kept = list(mine)
    for number in range(3):
        pair = [sklearn_probe(HARD.train_x[k], HARD.targets[k], HARD.weights[k]) for k in kept]
        loss = [np.abs(model.predict_proba(HARD.train_x)[:, 1] - HARD.targets) for model in pair]
        share = 1 - 0.4 * (number + 1) / 2
        kept = [
            m[other[m] <= np.quantile(other[m], share)] for m, other in zip(mine, loss[::-1], strict=True)
        ]
    wanted = np.mean([model.predict_proba(HARD.test_x)[:, 1] for model in pair], axis=0)
    np.testing.assert_allclose(answer_of("coteach", HARD, seed=4, drop=0.4, rounds=2), wanted, atol=0.04)


def test_coherence_is_agreement_with_neighbours_and_labels_less_imbalance() -> None:
    scores = np.random.default_rng(5).normal(size=(N, 2))
    chosen = neighbours(4)
    for column, got in enumerate(coherence(scores, chosen, STATE.targets, 0.4, weak=0.5)):
        answers = [2 * expit(one) - 1 for one in scores[:, column]]
        total = 0.0
        for i in range(N):
            around = sum(answers[j] for j in chosen[i]) / 4
            total += answers[i] * around + 0.5 * answers[i] * (2 * STATE.targets[i] - 1)
        wanted = total / N - 4 * (sum(answers) / N - (2 * 0.4 - 1)) ** 2
        assert got == pytest.approx(wanted)


def test_an_evolved_student_is_more_coherent_than_the_plain_one_and_still_linear() -> None:
    chosen = neighbours(8)
    # Training items in the test's place, so that what it says of them is told.
    state = replace(STATE, test_x=STATE.train_x)

    def worth(answers: np.ndarray) -> float:
        scores = logit(np.clip(answers, 1e-9, 1 - 1e-9))[:, None]
        return float(coherence(scores, chosen, STATE.targets, STATE.class_prior, 0.5)[0])

    plain, short, long = (
        answer_of("probe", state),
        answer_of("evolve", state, generations=5),
        answer_of("evolve", state, generations=100),
    )
    assert worth(plain) <= worth(short) + 1e-6
    assert worth(short) < worth(long)
    # Log-odds that rounding leaves.
    told = (long > 1e-6) & (long < 1 - 1e-6)
    assert told.sum() > N / 2
    assert np.linalg.lstsq(X1[told], logit(long[told]), rcond=None)[1].max() < 1e-3


def test_what_an_objective_answers_does_not_change_what_it_was_given() -> None:
    state = after("evolve")
    np.testing.assert_array_equal(state.targets, STATE.targets)
