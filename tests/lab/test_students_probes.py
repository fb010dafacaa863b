"""The two students of numpy: scikit-learn's network has the same loss, finite differences the gradient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.neural_network import MLPClassifier

import aar
from aar.lab.instance import Floats, Probabilities
from aar.lab.probe import Probe, predict
from aar.lab.students.errors import MalformedInputs, MalformedSettings
from aar.lab.students.student import LinearProbe, MLPProbe, Student, mlp_loss

RNG = np.random.default_rng(5)
FEATURES = RNG.normal(size=(300, 4)).astype(np.float32)
XOR = ((FEATURES[:, 0] > 0) ^ (FEATURES[:, 1] > 0)).astype(np.float64)
SOFT = 0.1 + 0.8 * XOR


def flat_of(
    first: NDArray[np.float64], b: NDArray[np.float64], last: NDArray[np.float64], c: float
) -> Probabilities:
    return np.concatenate([first.ravel(), b, last.ravel(), [c]])


@pytest.mark.parametrize("student", [LinearProbe(), MLPProbe()], ids=["linear", "mlp"])
def test_a_student_is_fitted_and_predicts_one_probability_per_row(student: Student[Floats]) -> None:
    with pytest.raises(MalformedInputs, match="not fitted"):
        student.predict(FEATURES)
    student.fit(FEATURES, SOFT, np.ones(300), seed=1)
    answers = student.predict(FEATURES[:7])
    assert answers.shape == (7,)
    assert ((answers > 0) & (answers < 1)).all()


def test_a_linear_student_is_the_probe_whatever_the_seed() -> None:
    weights = RNG.uniform(0, 1, 300)
    expected = predict(Probe(FEATURES, l2=0.1).fit(SOFT, weights), FEATURES)
    for seed in (0, 1):
        ours = LinearProbe(l2=0.1).fit(FEATURES, SOFT, weights, seed=seed).predict(FEATURES)
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_the_loss_and_the_answers_are_those_of_scikit_learns_network() -> None:
    # Its penalty is alpha / 2n times the squared weights, ours l2 / 2.
    theirs = MLPClassifier(
        (6,), activation="tanh", solver="lbfgs", alpha=300 * 0.02, max_iter=60, random_state=0
    )
    theirs.fit(FEATURES.astype(np.float64), XOR)
    flat = flat_of(theirs.coefs_[0], theirs.intercepts_[0], theirs.coefs_[1], float(theirs.intercepts_[1][0]))
    loss, _gradient = mlp_loss(flat, FEATURES.astype(np.float64), XOR, np.full(300, 1 / 300), 6, 0.02)
    assert loss == pytest.approx(theirs.loss_, rel=1e-6)
    ours = MLPProbe(hidden=6)
    ours._fitted = flat, 4
    np.testing.assert_allclose(ours.predict(FEATURES), theirs.predict_proba(FEATURES)[:, 1], atol=1e-6)


def test_a_fit_ends_where_the_loss_is_no_higher_than_scikit_learns() -> None:
    theirs = MLPClassifier(
        (8,), activation="tanh", solver="lbfgs", alpha=300 * 0.01, max_iter=400, random_state=0
    )
    theirs.fit(FEATURES.astype(np.float64), XOR)
    ours = MLPProbe(hidden=8, l2=0.01, iterations=400).fit(FEATURES, XOR, seed=0)
    assert ours._fitted is not None
    share = np.full(300, 1 / 300)
    loss, gradient = mlp_loss(ours._fitted[0], FEATURES.astype(np.float64), XOR, share, 8, 0.01)
    assert loss <= theirs.loss_ + 0.01
    assert np.abs(gradient).max() < 1e-3


def test_the_gradient_is_the_finite_difference() -> None:
    share = RNG.uniform(0, 1, 300)
    share /= share.sum()
    flat = RNG.normal(size=4 * 3 + 3 + 3 + 1)
    features = FEATURES.astype(np.float64)
    _loss, gradient = mlp_loss(flat, features, SOFT, share, 3, 0.05)
    for index in range(len(flat)):
        step = np.zeros(len(flat))
        step[index] = 1e-5
        up, _ = mlp_loss(flat + step, features, SOFT, share, 3, 0.05)
        down, _ = mlp_loss(flat - step, features, SOFT, share, 3, 0.05)
        assert gradient[index] == pytest.approx((up - down) / 2e-5, abs=1e-7)


def test_the_network_learns_what_no_line_separates() -> None:
    fresh = np.random.default_rng(6).normal(size=(500, 4)).astype(np.float32)
    truth = (fresh[:, 0] > 0) ^ (fresh[:, 1] > 0)
    network = MLPProbe(hidden=8, l2=1e-3).fit(FEATURES, XOR, seed=0)
    line = LinearProbe().fit(FEATURES, XOR, seed=0)
    assert ((network.predict(fresh) > 0.5) == truth).mean() > 0.85
    assert ((line.predict(fresh) > 0.5) == truth).mean() < 0.65


def test_a_network_is_a_function_of_its_seed() -> None:
    once, again, other = (MLPProbe().fit(FEATURES, SOFT, seed=seed).predict(FEATURES) for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert np.abs(once - other).max() > 0


def test_to_a_network_an_item_without_weight_is_as_good_as_absent_and_only_ratios_count() -> None:
    weights = (np.arange(300) < 200).astype(np.float64)
    part = MLPProbe(iterations=20).fit(FEATURES[:200], SOFT[:200], seed=3).predict(FEATURES)
    for factor in (1.0, 64.0):
        whole = MLPProbe(iterations=20).fit(FEATURES, SOFT, factor * weights, seed=3).predict(FEATURES)
        np.testing.assert_allclose(whole, part, atol=1e-6)


def test_where_no_item_has_weight_a_network_says_one_half() -> None:
    student = MLPProbe().fit(FEATURES, SOFT, np.zeros(300), seed=0)
    np.testing.assert_array_equal(student.predict(FEATURES), 0.5)


@pytest.mark.parametrize(
    ("targets", "weights"),
    [
        (SOFT[:10], None),
        (SOFT, np.ones(10)),
        (SOFT + 1, None),
        (np.full(300, np.nan), None),
        (SOFT, np.full(300, -1.0)),
        (SOFT, np.full(300, np.nan)),
        (SOFT, np.full(300, np.inf)),
    ],
)
@pytest.mark.parametrize("student", [LinearProbe(), MLPProbe()], ids=["linear", "mlp"])
def test_targets_that_are_no_probabilities_and_weights_that_are_none_are_refused(
    student: Student[Floats], targets: Probabilities, weights: Probabilities | None
) -> None:
    with pytest.raises(MalformedInputs):
        student.fit(FEATURES, targets, weights, seed=0)


def test_no_inputs_and_inputs_of_another_width_are_refused() -> None:
    with pytest.raises(MalformedInputs):
        MLPProbe().fit(FEATURES[:0], SOFT[:0], seed=0)
    with pytest.raises(MalformedInputs, match="4 features"):
        MLPProbe(iterations=1).fit(FEATURES, SOFT, seed=0).predict(FEATURES[:, :3])


def test_settings_that_no_probe_can_have_are_refused() -> None:
    for bad in ({"l2": 0.0}, {"l2": float("nan")}, {"iterations": 0}):
        with pytest.raises(MalformedSettings):
            LinearProbe(**bad)
    for bad in ({"l2": -1.0}, {"l2": float("nan")}, {"iterations": 0}, {"hidden": 0}):
        with pytest.raises(MalformedSettings):
            MLPProbe(**bad)


def test_importing_every_student_imports_no_torch() -> None:
    script = (
        "import sys, aar.lab.students.experiment, aar.lab.students.__main__, aar.lab.pipeline\n"
        "heavy = {'torch', 'transformers', 'peft', 'safetensors', 'huggingface_hub'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(Path(aar.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
