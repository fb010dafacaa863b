"""`overlap` and `shortcut`: drawn afresh, as stated, and nothing in the code tells where the truth lies."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from aar.lab.errors import MalformedSplit
from aar.lab.experiment import Sampled, sample
from aar.lab.instance import Instance
from aar.lab.pipeline import VANILLA, parse_pipeline, parse_pipeline_text, run_pipeline
from aar.lab.probe import Probe, predict
from aar.lab.problems.overlap import Overlapping, overlap
from aar.lab.problems.problem import baselines_of
from aar.lab.problems.shortcut import RECIPE, shortcut
from aar.lab.synthetic import OVERLAP, Recipe, draw_items

MAKERS = {"overlap": overlap, "shortcut": shortcut}
SEEDS = range(8)


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Sampled]]:
    return {name: [sample(make(), seed) for seed in SEEDS] for name, make in MAKERS.items()}


def pgr_of(runs: list[Sampled], value: Any) -> float:
    student = []
    for one in runs:
        answer = run_pipeline(parse_pipeline(value), one.instance, np.random.default_rng(0))
        student.append(((answer > 0.5) == one.taught.truth).mean())
    weak = np.mean([one.taught.weak_correct.mean() for one in runs])
    ceiling = np.mean([one.taught.ceiling_correct.mean() for one in runs])
    return float((np.mean(student) - weak) / (ceiling - weak))


EXPECTED = {
    # weak, ceiling, gap and vanilla PGR as measured for the notes, each with what seeds may add.
    "overlap": (0.688, 0.864, 0.176, (0.2, 0.4)),
    "shortcut": (0.67, 0.886, 0.216, (0.0, 0.12)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_teacher_ceiling_and_plain_student_are_as_measured(runs: dict[str, list[Sampled]], name: str) -> None:
    weak, ceiling, gap, (low, high) = EXPECTED[name]
    found = baselines_of([(seed, one.taught) for seed, one in zip(SEEDS, runs[name], strict=True)])
    assert found.weak == pytest.approx(weak, abs=0.025)
    assert found.ceiling == pytest.approx(ceiling, abs=0.01)
    assert found.gap == pytest.approx(gap, abs=0.03)
    assert low < pgr_of(runs[name], [["harden", {}], ["probe", {}]]) < high


def test_on_overlap_the_auxiliary_confidence_loss_recovers_nearly_all(runs: dict[str, list[Sampled]]) -> None:
    assert pgr_of(runs["overlap"][:4], [["logconf", {"c": 0.75}]]) > 0.8


def test_on_shortcut_what_helps_elsewhere_recovers_nothing(runs: dict[str, list[Sampled]]) -> None:
    for value in ([["logconf", {"c": 0.75}]], [["label_prop", {}], ["probe", {}]]):
        assert pgr_of(runs["shortcut"][:3], value) < 0.2


@pytest.mark.parametrize("name", MAKERS)
def test_a_draw_is_a_function_of_its_seed(name: str) -> None:
    problem = MAKERS[name]()
    for seed in (0, 2**48 - 1, 2**49):
        first, again = problem.draw(seed), MAKERS[name]().draw(seed)
        np.testing.assert_array_equal(first.train_x, again.train_x)
        np.testing.assert_array_equal(first.test_x, again.test_x)
        np.testing.assert_array_equal(first.taught.weak, again.taught.weak)
        np.testing.assert_array_equal(first.taught.votes, again.taught.votes)
        np.testing.assert_array_equal(first.taught.truth, again.taught.truth)


@pytest.mark.parametrize("name", MAKERS)
def test_the_shapes_are_those_told(name: str) -> None:
    problem = MAKERS[name]()
    sizes, drawn = problem.sizes, problem.draw(3)
    assert sizes.is_fresh
    assert drawn.train_x.shape == (sizes.unlabelled, sizes.features)
    assert drawn.test_x.shape == (sizes.tested, sizes.features)
    assert drawn.train_x.dtype == np.float32
    assert drawn.taught.votes is not None
    assert drawn.taught.votes.shape == (sizes.unlabelled, 7)
    for marks in (drawn.taught.truth, drawn.taught.weak_correct, drawn.taught.ceiling_correct):
        assert marks.shape == (sizes.tested,)
    assert 0 < sizes.sealed < sizes.tested


def test_problems_and_seeds_draw_different_items() -> None:
    firsts = [overlap().draw(0), overlap().draw(1), shortcut().draw(0), shortcut().draw(2**48)]
    heads = {drawn.train_x[0].tobytes() for drawn in firsts}
    assert len(heads) == len(firsts)


def test_what_points_to_the_truth_in_one_draw_says_nothing_in_another() -> None:
    """The rotation is drawn too: a direction learnt from one draw's true labels is of no use in the next."""
    problem, shares = overlap(), []
    for seed in range(6):
        one, other = problem.draw(seed), problem.draw(seed + 100)
        best = Probe(one.test_x, l2=0.05).fit(one.taught.truth.astype(np.float64))
        assert ((predict(best, one.test_x) > 0.5) == one.taught.truth).mean() > 0.8
        shares.append(abs(((predict(best, other.test_x) > 0.5) == other.taught.truth).mean() - 0.5))
    assert np.mean(shares) < 0.2


@pytest.mark.parametrize(("recipe", "seen"), [(OVERLAP, overlap), (RECIPE, shortcut)])
def test_items_are_made_as_the_recipe_says(recipe: Recipe, seen: Any) -> None:
    count = 60_000
    items = draw_items(recipe, count, np.random.default_rng(1))
    side = 2.0 * items.y - 1
    assert items.y.mean() == pytest.approx(0.5, abs=0.01)
    # Along the easy axis the label moves both-, easy-only and misleading items.
    both, _hard, easy, spurious = recipe.shares
    axis = (items.easy * side[:, None]).mean(axis=0)
    expected = recipe.easy_shift * (both + easy - spurious)
    assert float(np.linalg.norm(axis)) == pytest.approx(expected, abs=0.03)
    # In the strong features, rotated, hard and easy shifts are at right angles.
    strong = (items.strong * side[:, None]).mean(axis=0)
    hard = recipe.hard_scale * recipe.hard_shift * (1 - easy)
    assert float(np.linalg.norm(strong)) == pytest.approx(
        np.hypot(hard, recipe.easy_scale * expected), abs=0.03
    )
    assert seen().sizes.features == items.strong.shape[1] == recipe.width


def test_weak_teacher_and_ceiling_are_logistic_regressions(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(
        "aar.lab.problems.overlap.draw_items", lambda *words: kept.append(draw_items(*words)) or kept[-1]
    )
    drawn, items = overlap().draw(5), kept[0]
    weak = LogisticRegression(C=1 / (1e-2 * 400), tol=1e-9).fit(items.easy[:400], items.y[:400])
    told = weak.predict_proba(items.easy[400:])[:, 1]
    np.testing.assert_allclose(drawn.taught.weak, np.clip(told[:2_000], 0.02, 0.98), atol=1e-3)
    np.testing.assert_array_equal(drawn.taught.truth, items.y[2_400:])
    assert np.mean(((told[2_000:] > 0.5) == items.y[2_400:]) == drawn.taught.weak_correct) > 0.999
    best = LogisticRegression(C=1 / (0.05 * 2_000), tol=1e-9).fit(items.strong[400:2_400], items.y[400:2_400])
    right = best.predict(items.strong[2_400:]) == items.y[2_400:]
    assert np.mean(right == drawn.taught.ceiling_correct) > 0.999


@pytest.mark.parametrize("name", MAKERS)
def test_permuted_weak_labels_lead_to_a_coin(runs: dict[str, list[Sampled]], name: str) -> None:
    plain, right = parse_pipeline_text(VANILLA), []
    for number, one in enumerate(runs[name]):
        rng = np.random.default_rng(number)
        told = Instance(
            train_x=one.instance.train_x,
            weak=rng.permutation(one.instance.weak),
            test_x=one.instance.test_x,
            class_prior=one.instance.class_prior,
            student_l2=one.instance.student_l2,
        )
        right.append(((run_pipeline(plain, told, rng) > 0.5) == one.taught.truth).mean())
    assert abs(np.mean(right) - 0.5) < 0.1


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(MalformedSplit, match="want an integer from 0"):
        overlap().draw(-1)


def test_digests_tell_constructions_apart() -> None:
    one = overlap()
    other = Overlapping("overlap", OVERLAP, one.sizes, student_l2=0.06, statement=one.statement)
    assert len({one.digest, overlap().digest, shortcut().digest, other.digest}) == 3


# Degenerate problems: what was tried for the notes and did not work.


def test_a_student_that_can_write_down_its_teacher_s_mistakes_repeats_them() -> None:
    """Where the strong features hold the weak ones whole, the plain student is its teacher: PGR near 0."""
    transparent = Recipe(**{**_fields(OVERLAP), "easy_scale": 10.0, "topics": 0, "nuisance_scale": 0.1})
    one = overlap()
    problem = Overlapping("overlap", transparent, one.sizes, student_l2=1e-4, statement=one.statement)
    found = [sample(problem, seed) for seed in range(3)]
    assert abs(pgr_of(found, [["harden", {}], ["probe", {}]])) < 0.1


def test_a_teacher_that_is_too_good_leaves_a_gap_that_is_refused() -> None:
    from aar.lab.errors import DegenerateGapError

    easy = Recipe(**{**_fields(OVERLAP), "shares": (0.9, 0.05, 0.05, 0.0), "easy_shift": 2.5})
    one = overlap()
    problem = Overlapping("overlap", easy, one.sizes, student_l2=0.05, statement=one.statement)
    taught = [(seed, sample(problem, seed).taught) for seed in range(3)]
    with pytest.raises(DegenerateGapError):
        baselines_of(taught)


def _fields(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
