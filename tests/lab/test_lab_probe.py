"""The student: scikit-learn and scipy, which know nothing of it, find the same coefficients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from aar.lab.practice import practice
from aar.lab.probe import BIAS_L2, Probe, descend, predict, scores_of, sigmoid, with_bias

Array = NDArray[np.float64]

RNG = np.random.default_rng(3)
FEATURES = (RNG.normal(size=(240, 7)) @ np.diag([3, 2, 1, 1, 1, 0.5, 0.2])).astype(np.float32)
SOFT = expit(FEATURES @ RNG.normal(size=7) + 0.5 + RNG.normal(size=240))
WEIGHTS = {
    "equal": np.ones(240),
    "random": RNG.uniform(0, 1, 240),
    "some zero": RNG.uniform(0, 1, 240) * (RNG.random(240) < 0.6),
    "small": 1e-3 * RNG.uniform(0.5, 1, 240),
}


def by_scikit_learn(features: Array, targets: Array, weights: Array, l2: float) -> Array:
    """Soft targets as two weighted rows each; its C is over the sum, our penalty is under the mean."""
    model = LogisticRegression(C=1 / (l2 * weights.sum()), solver="newton-cholesky", tol=1e-7)
    model.fit(
        np.vstack([features, features]),
        np.repeat([1, 0], len(features)),
        np.concatenate([weights * targets, weights * (1 - targets)]),
    )
    return np.append(model.coef_[0], model.intercept_)


def loss_of(features: Array, targets: Array, weights: Array, l2: float, coefficients: Array) -> float:
    scores = with_bias(features) @ coefficients
    entropy = np.logaddexp(0, scores) - targets * scores
    penalty = (l2 * (coefficients[:-1] ** 2).sum() + BIAS_L2 * coefficients[-1] ** 2) / 2
    return float((weights * entropy).sum() / weights.sum() + penalty)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
def test_a_fitted_probe_predicts_what_scikit_learn_predicts(weights: str, l2: float) -> None:
    ours = Probe(FEATURES, l2=l2).fit(SOFT, WEIGHTS[weights], iterations=300)
    theirs = by_scikit_learn(FEATURES, SOFT, WEIGHTS[weights], l2)
    np.testing.assert_allclose(predict(ours, FEATURES), predict(theirs, FEATURES), atol=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_a_probe_minimises_the_loss_that_its_docstring_states(weights: str) -> None:
    share = WEIGHTS[weights]
    ours = Probe(FEATURES, l2=1e-2).fit(SOFT, share, iterations=500)
    best = minimize(
        lambda b: loss_of(FEATURES, SOFT, share, 1e-2, b), np.zeros(8), method="BFGS", options={"gtol": 1e-9}
    )
    assert loss_of(FEATURES, SOFT, share, 1e-2, ours) <= best.fun + 1e-9


def test_the_default_iterations_are_enough_for_half_a_percent() -> None:
    short = Probe(FEATURES, l2=1e-2).fit(SOFT)
    theirs = by_scikit_learn(FEATURES, SOFT, np.ones(240), 1e-2)
    assert np.abs(predict(short, FEATURES) - predict(theirs, FEATURES)).max() < 0.005


def test_many_columns_in_one_fit_are_the_fits_one_by_one() -> None:
    targets = np.column_stack([SOFT, 1 - SOFT, (SOFT > 0.5).astype(float)])
    weights = np.column_stack([WEIGHTS["equal"], WEIGHTS["random"], WEIGHTS["some zero"]])
    probe = Probe(FEATURES, l2=0.1)
    together = probe.fit(targets, weights)
    for column in range(3):
        alone = probe.fit(targets[:, column], weights[:, column])
        np.testing.assert_allclose(together[:, column], alone, atol=1e-6)
        np.testing.assert_allclose(
            predict(together, FEATURES)[:, column], predict(alone, FEATURES), atol=1e-6
        )


def test_only_the_ratio_of_weights_counts() -> None:
    probe = Probe(FEATURES, l2=1e-2)
    np.testing.assert_allclose(
        probe.fit(SOFT, WEIGHTS["random"]), probe.fit(SOFT, 37 * WEIGHTS["random"]), atol=1e-12
    )


def test_an_item_without_weight_is_as_good_as_absent() -> None:
    weights = WEIGHTS["some zero"]
    kept = weights > 0
    whole = Probe(FEATURES, l2=1e-2).fit(SOFT, weights, iterations=400)
    part = Probe(FEATURES[kept], l2=1e-2).fit(SOFT[kept], weights[kept], iterations=400)
    np.testing.assert_allclose(whole, part, atol=1e-6)


def test_where_no_item_has_weight_the_probe_says_one_half() -> None:
    fitted = Probe(FEATURES, l2=1e-2).fit(SOFT, np.zeros(240))
    np.testing.assert_array_equal(predict(fitted, FEATURES), 0.5)


def test_the_bias_is_the_last_coefficient_and_carries_the_class_prior() -> None:
    fitted = Probe(FEATURES, l2=100.0).fit(np.full(240, 0.8), iterations=200)
    assert fitted.shape == (8,)
    assert sigmoid(fitted[-1:])[0] == pytest.approx(0.8, abs=1e-3)


def test_gradient_descent_is_the_naive_loop() -> None:
    weights = WEIGHTS["random"]
    share = weights / weights.max()
    data = np.hstack([FEATURES, np.ones((240, 1))]).astype(np.float64)
    rate = 4 * 240 / np.linalg.eigvalsh(data.T @ data)[-1]
    b = np.zeros(8)
    for _step in range(9):
        gradient = np.zeros(8)
        for x, t, w in zip(data, SOFT, share, strict=True):
            gradient += w * (expit(x @ b) - t) * x / 240
        b = b - rate * gradient
    np.testing.assert_allclose(descend(FEATURES, SOFT, weights, steps=9), b, rtol=1e-6)


def test_no_step_of_gradient_descent_goes_up() -> None:
    ones = np.ones(240)
    losses = [
        loss_of(FEATURES, SOFT, ones, 0.0, descend(FEATURES, SOFT, ones, steps=n))
        for n in (0, 1, 2, 5, 20, 100)
    ]
    assert losses == sorted(losses, reverse=True)
    assert losses[0] == pytest.approx(np.log(2))


def test_the_logistic_function_does_not_overflow() -> None:
    scores = np.array([-1e308, -800.0, -3.0, 0.0, 3.0, 800.0, 1e308])
    with np.errstate(all="raise"):
        got = sigmoid(scores)
    np.testing.assert_allclose(got, expit(scores), atol=1e-15)


def test_a_fit_goes_on_from_where_it_is_told_to_start() -> None:
    targets = np.column_stack([SOFT, 1 - SOFT])
    probe = Probe(FEATURES, l2=1e-2)
    found = probe.fit(targets, iterations=300)
    np.testing.assert_allclose(probe.fit(targets, iterations=1, start=found), found, atol=1e-4)
    np.testing.assert_array_equal(probe.fit(targets, iterations=0, start=found), found)
    np.testing.assert_allclose(probe.fit(SOFT, iterations=1, start=found[:, 0]), found[:, 0], atol=1e-4)


def newton(features: Array, targets: Array, l2: float) -> Array:
    data = with_bias(features)
    penalty = np.append(np.full(data.shape[1] - 1, l2), BIAS_L2)
    found = np.zeros(data.shape[1])
    for _step in range(30):
        own = expit(data @ found)
        bent = (data * (own * (1 - own))[:, None]).T @ data / len(data) + np.diag(penalty)
        found = found - np.linalg.solve(bent, data.T @ (own - targets) / len(data) + penalty * found)
    return found


@pytest.mark.parametrize("side", [0, 1])
def test_single_precision_and_few_iterations_answer_as_the_exact_optimum(side: int) -> None:
    """More than 99.9 % of the answers, over soft and hard labels; `benchmarks/lab.py` asks the problems."""
    same = []
    for seed in range(4):
        instance, _truth = practice(
            np.random.default_rng([side, seed]), labelled=300, train=1_000, test=2_000
        )
        for targets in (instance.weak, (instance.weak > 0.5).astype(float)):
            ours = predict(Probe(instance.train_x, l2=1e-2).fit(targets), instance.test_x) > 0.5
            same.append(ours == (with_bias(instance.test_x) @ newton(instance.train_x, targets, 1e-2) > 0))
    assert np.mean(same) >= 0.999


def test_log_odds_and_answers_are_one_another_s() -> None:
    fitted = Probe(FEATURES, l2=1e-2).fit(np.column_stack([SOFT, 1 - SOFT]))
    np.testing.assert_allclose(expit(scores_of(fitted, FEATURES)), predict(fitted, FEATURES))
    np.testing.assert_allclose(scores_of(fitted, FEATURES), with_bias(FEATURES) @ fitted, atol=1e-4)


def test_a_radius_keeps_sure_items_out_of_a_step() -> None:
    ones = np.ones(240)
    first = descend(FEATURES, SOFT, ones, steps=1)
    np.testing.assert_array_equal(first, descend(FEATURES, SOFT, ones, steps=1, radius=0.1))
    assert not np.array_equal(
        descend(FEATURES, SOFT, ones, steps=9), descend(FEATURES, SOFT, ones, steps=9, radius=0.1)
    )
    np.testing.assert_array_equal(descend(FEATURES, SOFT, ones, steps=9, radius=0.0), 0)
