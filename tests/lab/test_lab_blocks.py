"""Blocks: each against a computation that shares no code with it, and what holds for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

from aar.lab.blocks import BLOCKS
from aar.lab.blocks.block import KINDS, NEEDS
from aar.lab.instance import STUDENT_L2, Instance
from aar.lab.pipeline import parse_pipeline, run_pipeline
from lab.small_state import (
    INSTANCE,
    STATE,
    WIDTH,
    M,
    N,
    after,
    answer_of,
    cross_fitted,
    dense_graph,
    neighbours,
    sklearn_probe,
)

# All others draw nothing: what comes out is a function of what goes in.
DRAWING = {
    "bag",
    "cluster_vote",
    "coteach",
    "dividemix",
    "em_class",
    "em_conf",
    "evolve",
    "icm",
    "mixup",
    "probe_keep",
    "refine",
    "self_train",
    "sinkhorn",
    "student_poe",
    "views",
}


# Relabel.


@pytest.mark.parametrize(("k", "mix"), [(1, 1.0), (15, 1.0), (15, 0.3), (15, 0.0)])
def test_knn_mixes_a_target_with_the_mean_of_its_neighbours(k: int, mix: float) -> None:
    around = STATE.targets[neighbours(k)].mean(axis=1)
    wanted = (1 - mix) * STATE.targets + mix * around
    np.testing.assert_allclose(after("knn", k=k, mix=mix).targets, wanted, atol=1e-12)


@pytest.mark.parametrize(("k", "alpha", "steps"), [(5, 0.9, 7), (12, 0.5, 1), (12, 0.97, 30)])
def test_label_prop_is_the_plain_iteration(k: int, alpha: float, steps: int) -> None:
    graph, start = dense_graph(STATE.train_x, k), STATE.targets - STATE.class_prior
    value = start
    for _step in range(steps):
        value = np.array([alpha * sum(graph[i] * value) + (1 - alpha) * start[i] for i in range(N)])
    wanted = (1 + np.tanh(value / np.abs(value).mean())) / 2
    np.testing.assert_allclose(after("label_prop", k=k, alpha=alpha, steps=steps).targets, wanted, atol=1e-3)


def test_label_prop_ends_at_its_closed_form() -> None:
    alpha, graph = 0.8, dense_graph(STATE.train_x, 10)
    value = (1 - alpha) * np.linalg.solve(np.eye(N) - alpha * graph, STATE.targets - STATE.class_prior)
    wanted = (1 + np.tanh(value / np.abs(value).mean())) / 2
    np.testing.assert_allclose(after("label_prop", k=10, alpha=alpha, steps=200).targets, wanted, atol=1e-3)


def test_label_prop_says_nothing_new_of_targets_at_the_prior() -> None:
    flat = replace(STATE, targets=np.full(N, STATE.class_prior))
    np.testing.assert_allclose(after("label_prop", flat).targets, 0.5, atol=1e-6)


@pytest.mark.parametrize(("rounds", "mix"), [(1, 1.0), (3, 0.5)])
def test_self_train_relabels_each_item_by_a_student_that_never_saw_it(rounds: int, mix: float) -> None:
    rng = np.random.default_rng(5)
    targets = STATE.targets
    for _round in range(rounds):
        own = cross_fitted(targets, rng)
        targets = (1 - mix) * targets + mix * own
    got = after("self_train", seed=5, rounds=rounds, mix=mix).targets
    np.testing.assert_allclose(got, targets, atol=0.02)


def test_self_train_does_not_let_an_item_vouch_for_itself() -> None:
    """Isolated items with random labels: whoever is relabelled by a student that saw it keeps its label."""
    labels = np.random.default_rng(0).integers(0, 2, 40).astype(float)
    lonely = replace(STATE, train_x=20 * np.eye(40, dtype=np.float32), targets=labels, weights=np.ones(40))
    moved = after("self_train", lonely, rounds=1, mix=1.0).targets
    assert not ((moved > 0.9) | (moved < 0.1)).any()


@pytest.mark.parametrize("prior", [0.1, 0.4, 0.9])
def test_balance_moves_all_log_odds_by_one_number_until_the_mean_is_the_prior(prior: float) -> None:
    got = after("balance", replace(STATE, class_prior=prior)).targets
    assert got.mean() == pytest.approx(prior, abs=1e-6)
    shift = logit(got) - logit(STATE.targets)
    np.testing.assert_allclose(shift, shift[0], atol=1e-6)


def test_balance_can_move_targets_that_are_certain() -> None:
    certain = replace(STATE, targets=np.repeat([0.0, 1.0], N // 2), class_prior=0.8)
    got = after("balance", certain).targets
    assert got.mean() == pytest.approx(0.8, abs=1e-6)
    assert np.isfinite(got).all()


def test_harden_leaves_zeros_and_ones_and_one_half_is_a_zero() -> None:
    state = replace(STATE, targets=np.linspace(0, 1, N))
    assert after("harden", state).targets.tolist() == [float(one > 0.5) for one in np.linspace(0, 1, N)]
    assert after("harden", replace(STATE, targets=np.full(N, 0.5))).targets.max() == 0


# Select and reweight.


@pytest.mark.parametrize("q", [0.1, 0.5, 0.75])
def test_conf_keep_keeps_the_surest_share_of_each_side(q: float) -> None:
    kept = after("conf_keep", q=q).weights > 0
    for side in (STATE.targets > 0.5, STATE.targets <= 0.5):
        assert kept[side].sum() == pytest.approx(q * side.sum(), abs=1)
        sure = np.abs(STATE.targets - 0.5)
        assert sure[side & kept].min() >= sure[side & ~kept].max()
    np.testing.assert_array_equal(after("conf_keep", q=q).weights[kept], STATE.weights[kept])


def test_conf_keep_of_everything_changes_nothing() -> None:
    np.testing.assert_array_equal(after("conf_keep", q=1.0).weights, STATE.weights)


def test_agree_keep_drops_who_stands_alone_among_its_neighbours() -> None:
    chosen = neighbours(9)
    wanted = [
        STATE.weights[i] if (STATE.targets[chosen[i]].mean() > 0.5) == (STATE.targets[i] > 0.5) else 0.0
        for i in range(N)
    ]
    got = after("agree_keep", k=9).weights
    assert got.tolist() == wanted
    assert 0 < np.count_nonzero(got) < N


@pytest.mark.parametrize("power", [0.0, 0.5, 2.0])
def test_conf_w_is_the_distance_from_one_half_to_a_power(power: float) -> None:
    wanted = [w * abs(2 * t - 1) ** power for w, t in zip(STATE.weights, STATE.targets, strict=True)]
    np.testing.assert_allclose(after("conf_w", power=power).weights, wanted, rtol=1e-12)


# Represent.


@pytest.mark.parametrize("k", [1, 3, WIDTH])
@pytest.mark.parametrize("name", ["pca", "whiten"])
def test_components_are_those_of_scikit_learn_up_to_their_signs(name: str, k: int) -> None:
    both = np.vstack([STATE.train_x, STATE.test_x]).astype(float)
    wanted = PCA(k, whiten=name == "whiten", svd_solver="full").fit_transform(both)
    if name == "whiten":
        # Its variances divide by n - 1.
        wanted = wanted * ((N + M) / (N + M - 1)) ** 0.5
    state = after(name, k=k)
    got = np.vstack([state.train_x, state.test_x])
    assert got.dtype == np.float32
    assert state.train_x.shape == (N, k)
    np.testing.assert_allclose(np.abs(got), np.abs(wanted), atol=1e-4)
    np.testing.assert_allclose(np.abs((got * wanted).sum(0)), (wanted**2).sum(0), rtol=1e-4)


@pytest.mark.parametrize("name", ["pca", "whiten"])
def test_more_components_than_there_are_give_all_of_them(name: str) -> None:
    assert after(name, k=512).train_x.shape == (N, WIDTH)


def test_a_column_without_variance_whitens_to_zero() -> None:
    flat = np.hstack([STATE.train_x, np.ones((N, 1), dtype=np.float32)])
    flat_test = np.hstack([STATE.test_x, np.ones((M, 1), dtype=np.float32)])
    got = after("whiten", replace(STATE, train_x=flat, test_x=flat_test), k=WIDTH + 1).train_x
    assert np.isfinite(got).all()
    np.testing.assert_array_equal(got[:, WIDTH], 0)


# Objectives.


@pytest.mark.parametrize("l2", [1e-3, 1e-2, 1.0])
def test_probe_predicts_what_scikit_learn_predicts(l2: float) -> None:
    wanted = sklearn_probe(STATE.train_x, STATE.targets, STATE.weights, l2).predict_proba(STATE.test_x)[:, 1]
    np.testing.assert_allclose(answer_of("probe", l2_factor=l2 / STUDENT_L2), wanted, atol=0.01)


@pytest.mark.parametrize("steps", [1, 6])
def test_early_stop_is_a_few_steps_of_plain_descent(steps: int) -> None:
    data = np.hstack([STATE.train_x, np.ones((N, 1))]).astype(float)
    share = STATE.weights / STATE.weights.max()
    rate = 4 * N / np.linalg.eigvalsh(data.T @ data)[-1]
    b = np.zeros(WIDTH + 1)
    for _step in range(steps):
        b -= rate * data.T @ (share * (expit(data @ b) - STATE.targets)) / N
    wanted = expit(np.hstack([STATE.test_x, np.ones((M, 1))]) @ b)
    np.testing.assert_allclose(answer_of("early_stop", steps=steps), wanted, rtol=1e-5)


def test_logconf_mixes_in_its_own_hardened_predictions_warmed_up() -> None:
    c, rounds = 0.6, 3
    targets = STATE.targets
    for number in range(rounds + 1):
        model = sklearn_probe(STATE.train_x, targets, STATE.weights, STUDENT_L2)
        own = model.predict_proba(STATE.train_x)[:, 1]
        # The threshold leaves the class prior's share above it.
        hard = (own > np.sort(own)[round((1 - STATE.class_prior) * (N - 1))]).astype(float)
        share = c * (number + 1) / rounds
        targets = (1 - share) * STATE.targets + share * hard
    wanted = model.predict_proba(STATE.test_x)[:, 1]
    np.testing.assert_allclose(answer_of("logconf", c=c, rounds=rounds), wanted, atol=0.02)


def test_logconf_without_confidence_is_the_probe() -> None:
    np.testing.assert_allclose(answer_of("logconf", c=0.0), answer_of("probe"), atol=1e-3)


def test_knn_vote_is_the_neighbours_regressor_where_all_weights_are_equal() -> None:
    state = replace(STATE, weights=np.ones(N))
    wanted = KNeighborsRegressor(11).fit(state.train_x, state.targets).predict(state.test_x)
    np.testing.assert_allclose(answer_of("knn_vote", state, k=11), wanted, atol=1e-9)


def test_knn_vote_weighs_its_neighbours_and_is_at_one_half_without_any() -> None:
    weights = np.where(np.arange(N) < 30, STATE.weights, 0.0)
    chosen = (
        NearestNeighbors(n_neighbors=4).fit(STATE.train_x).kneighbors(STATE.test_x, return_distance=False)
    )
    wanted = [
        np.average(STATE.targets[row], weights=weights[row]) if weights[row].sum() else 0.5 for row in chosen
    ]
    np.testing.assert_allclose(answer_of("knn_vote", replace(STATE, weights=weights), k=4), wanted)
    assert 0.5 in wanted


# Bagging is the pipeline's affair.


def test_bagging_over_everything_with_nothing_drawn_is_the_rest_alone() -> None:
    rest: list[Any] = [["label_prop", {}], ["probe", {}]]
    alone = run_pipeline(parse_pipeline(rest), INSTANCE, np.random.default_rng(1))
    bagged = parse_pipeline([["bag", {"count": 3, "share": 1}], *rest])
    np.testing.assert_allclose(run_pipeline(bagged, INSTANCE, np.random.default_rng(2)), alone, atol=1e-5)


def test_bagging_is_the_mean_over_subsets_without_replacement() -> None:
    rng, answers = np.random.default_rng(4), []
    for _member in range(4):
        chosen = rng.choice(N, N // 2, replace=False)
        model = sklearn_probe(INSTANCE.train_x[chosen], INSTANCE.weak[chosen], np.ones(N // 2), 0.01)
        answers.append(model.predict_proba(INSTANCE.test_x)[:, 1])
    bagged = parse_pipeline([["bag", {"count": 4, "share": 0.5}], ["probe", {"l2_factor": 1.0}]])
    got = run_pipeline(bagged, INSTANCE, np.random.default_rng(4))
    np.testing.assert_allclose(got, np.mean(answers, axis=0), atol=0.02)


# All blocks alike.


def as_pipeline(name: str) -> Any:
    kind = BLOCKS[name].kind
    return parse_pipeline([[name, {}]] if kind == "objective" else [[name, {}], ["probe", {}]])


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_leaves_its_input_as_it_was_and_repeats_itself(name: str) -> None:
    arrays = (INSTANCE.train_x, INSTANCE.weak, INSTANCE.test_x)
    before = [one.copy() for one in arrays]
    first = run_pipeline(as_pipeline(name), INSTANCE, np.random.default_rng(9))
    again = run_pipeline(as_pipeline(name), INSTANCE, np.random.default_rng(9))
    for one, old in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(one, old)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("name", sorted(set(BLOCKS) - DRAWING))
def test_the_order_of_training_items_means_nothing_to_a_block_that_draws_nothing(name: str) -> None:
    assert INSTANCE.votes is not None
    assert INSTANCE.zero_shot is not None
    order = np.random.default_rng(1).permutation(N)
    turned = replace(
        INSTANCE,
        train_x=INSTANCE.train_x[order],
        weak=INSTANCE.weak[order],
        votes=INSTANCE.votes[order],
        zero_shot=(INSTANCE.zero_shot[0][order], INSTANCE.zero_shot[1]),
    )
    got, wanted = (
        run_pipeline(as_pipeline(name), one, np.random.default_rng(0)) for one in (turned, INSTANCE)
    )
    np.testing.assert_allclose(got, wanted, atol=1e-4)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("count", [1, 2, 3, 30])
@pytest.mark.parametrize("weak", [0.0, 0.5, 1.0])
def test_every_block_answers_with_probabilities_however_poor_the_instance(
    name: str, count: int, weak: float
) -> None:
    poor = Instance(
        train_x=INSTANCE.train_x[:count],
        weak=np.full(count, weak),
        test_x=INSTANCE.test_x[:5],
        class_prior=weak,
        votes=np.full((count, 3), weak),
        zero_shot=(np.full(count, weak), np.full(5, weak)),
    )
    answer = run_pipeline(as_pipeline(name), poor, np.random.default_rng(0))
    assert answer.shape == (5,)
    assert ((answer >= 0) & (answer <= 1)).all()


@pytest.mark.parametrize("name", BLOCKS)
def test_what_a_block_says_of_itself_is_in_order(name: str) -> None:
    block = BLOCKS[name]
    assert block.name == name
    assert block.kind in KINDS
    assert block.family
    assert set(block.needs) <= set(NEEDS)
    assert block.version >= 1
    assert any(word.strip(",").isdigit() and len(word.strip(",")) == 4 for word in block.source.split())
    for key, span in block.parameters.items():
        assert list(span.grid) == sorted(set(span.grid)), key
        for value in (span.low, span.high, span.default, *span.grid):
            step = [name, {key: value}]
            parse_pipeline([step] if block.kind == "objective" else [step, ["probe", {}]])


@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if block.parameters])
def test_every_value_of_a_grid_runs_and_the_parameter_is_read(name: str) -> None:
    block = BLOCKS[name]
    for key, span in block.parameters.items():
        answers = []
        for value in (*span.grid, span.low, min(span.high, 100)):
            step = [name, {key: value}]
            pipeline = parse_pipeline([step] if block.kind == "objective" else [step, ["probe", {}]])
            answers.append(run_pipeline(pipeline, INSTANCE, np.random.default_rng(0)))
            assert np.isfinite(answers[-1]).all()
        assert any(not np.array_equal(answers[0], one) for one in answers[1:]), f"{key} changes nothing"
