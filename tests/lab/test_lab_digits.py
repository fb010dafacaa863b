"""`digits`: the measured numbers hold, labels stay out of the features, a degenerate gap is refused."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from aar.lab.errors import DegenerateGapError, MalformedData, MalformedSplit, UnknownProblem
from aar.lab.instance import Instance
from aar.lab.pipeline import parse_pipeline, run_pipeline
from aar.lab.problems import PROBLEMS, check_problem
from aar.lab.problems.digits import CLIP, FEATURES_FILE, SIZES, Digits
from aar.lab.problems.problem import Taught, baselines_of, check_split
from aar.verify.splits import sealed_items, split

SECRET = b"a study's secret" * 2
SEEDS, REPLICATES = 5, 8
SEALED = sealed_items(SECRET, SIZES.pool, SIZES.sealed)
PUBLIC = tuple(sorted(set(range(SIZES.pool)) - set(SEALED)))


@pytest.fixture(scope="module")
def digits() -> Digits:
    return Digits()


Run = tuple[int, Instance, Taught]


@pytest.fixture(scope="module")
def runs(digits: Digits) -> list[Run]:
    """5 seeds x 8 replicates, as an official run draws them."""
    found = []
    for seed in range(100, 100 + SEEDS):
        for replicate in range(REPLICATES):
            one = split(seed, replicate, PUBLIC, SIZES.labelled, SIZES.unlabelled)
            test = [*one.tested, *SEALED]
            taught = digits.teach(seed + replicate, one.labelled, one.unlabelled, test)
            instance = Instance(
                train_x=digits.features[list(one.unlabelled)],
                weak=taught.weak,
                test_x=digits.features[test],
                class_prior=taught.class_prior,
            )
            found.append((seed, instance, taught))
    return found


def pgr_of(runs: list[Run], value: Any) -> float:
    """Totals over all runs, as the verifier computes it."""
    pipeline = parse_pipeline(value)
    student, weak, ceiling = [], [], []
    for number, (_seed, instance, taught) in enumerate(runs):
        answer = run_pipeline(pipeline, instance, np.random.default_rng(number))
        student.append(((answer > 0.5) == taught.truth).mean())
        weak.append(taught.weak_correct.mean())
        ceiling.append(taught.ceiling_correct.mean())
    return float((np.mean(student) - np.mean(weak)) / (np.mean(ceiling) - np.mean(weak)))


def test_teacher_and_ceiling_are_as_far_apart_as_was_measured(runs: list[Run]) -> None:
    found = baselines_of([(seed, taught) for seed, _instance, taught in runs])
    assert 0.74 < found.weak < 0.82
    assert found.ceiling > 0.97
    assert found.gap > 0.15
    assert found.gap == pytest.approx(found.ceiling - found.weak)
    assert found.error < found.gap / 20


def test_the_plain_student_recovers_some_of_the_gap_and_neighbours_recover_more(runs: list[Run]) -> None:
    vanilla = pgr_of(runs, [["probe", {}]])
    assert 0.2 < vanilla < 0.55
    assert pgr_of(runs, [["knn", {}], ["probe", {}]]) > vanilla + 0.05
    assert pgr_of(runs, [["label_prop", {}], ["probe", {}]]) > vanilla + 0.05


def test_the_true_labels_in_place_of_the_weak_ones_are_a_pgr_of_one(digits: Digits) -> None:
    one = split(1, 0, PUBLIC, SIZES.labelled, SIZES.unlabelled)
    taught = digits.teach(1, one.labelled, one.unlabelled, SEALED)
    labels = sklearn.datasets.load_digits().target[list(one.unlabelled)] % 2.0
    told = Instance(
        train_x=digits.features[list(one.unlabelled)],
        weak=labels,
        test_x=digits.features[list(SEALED)],
        class_prior=0.5,
    )
    answer = run_pipeline(parse_pipeline([["probe", {}]]), told, np.random.default_rng(0))
    np.testing.assert_array_equal((answer > 0.5) == taught.truth, taught.ceiling_correct)


def test_random_weak_labels_lead_to_a_coin_not_to_the_ceiling(digits: Digits, runs: list[Run]) -> None:
    """Permuted weak labels carry nothing: a better student would know from elsewhere."""
    right = []
    for number, (_seed, instance, taught) in enumerate(runs[::2]):
        rng = np.random.default_rng(number)
        told = Instance(
            train_x=instance.train_x,
            weak=rng.permutation(instance.weak),
            test_x=instance.test_x,
            class_prior=instance.class_prior,
        )
        answer = run_pipeline(parse_pipeline([["label_prop", {}], ["probe", {}]]), told, rng)
        right.append(((answer > np.median(answer)) == taught.truth).mean())
    assert abs(np.mean(right) - 0.5) < 0.1


def test_the_shipped_features_are_those_of_the_images_alone(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to a sign they are unique; the last bits are another machine's business."""
    real = sklearn.datasets.load_digits()
    real.target = np.random.default_rng(0).permutation(real.target)
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda: real)
    assert Digits().digest != digits.digest, "the labels were not permuted: this test would see nothing"
    tool = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "embed_digits.py"))
    np.testing.assert_allclose(tool["embedded"](), digits.features, rtol=1e-3, atol=1e-3)


def test_files_of_features_that_are_cut_or_others_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aar.lab.problems.digits.FEATURES_FILE", tmp_path / "features.npy")
    for data in (b"", FEATURES_FILE.read_bytes()[:1_000]):
        (tmp_path / "features.npy").write_bytes(data)
        with pytest.raises(MalformedData, match="install the package again"):
            _ = Digits().features
    np.save(tmp_path / "features.npy", np.zeros((3, 40), dtype=np.float32))
    with pytest.raises(MalformedData, match=r"float32 \(3, 40\), want float32 \(1797, 40\)"):
        _ = Digits().features


def test_the_features_are_standardised_and_of_the_size_told(digits: Digits) -> None:
    assert digits.features.shape == (SIZES.pool, SIZES.features)
    assert digits.features.dtype == np.float32
    np.testing.assert_allclose(digits.features.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(digits.features.std(axis=0), 1, atol=1e-4)


def test_the_digest_is_this_construction_s() -> None:
    """It stands in study files: a change of it is a new problem, not a detail."""
    digest = Digits().digest
    assert digest == Digits().digest
    assert digest == "9aa2c672329fd18bd7a7fc77a07324221f094f3556bfe0b29bd0742caff9524a"


def test_teacher_and_ceiling_are_the_models_that_the_notes_describe(digits: Digits) -> None:
    one = split(3, 1, PUBLIC, SIZES.labelled, SIZES.unlabelled)
    taught = digits.teach(77, one.labelled, one.unlabelled, one.tested)
    data = sklearn.datasets.load_digits()
    y = data.target % 2 == 1
    pooled = np.array([[i[r : r + 2, c : c + 2].mean() / 16 for r in range(0, 8, 2) for c in range(0, 8, 2)]
                       for i in data.images])  # fmt: skip
    labelled, train, test = list(one.labelled), list(one.unlabelled), list(one.tested)
    tree = DecisionTreeClassifier(max_depth=5, min_samples_leaf=2, random_state=77)
    tree.fit(pooled[labelled], y[labelled])
    np.testing.assert_allclose(taught.weak, np.clip(tree.predict_proba(pooled[train])[:, 1], 0.02, 0.98))
    np.testing.assert_array_equal(taught.truth, y[test])
    np.testing.assert_array_equal(
        taught.weak_correct, (tree.predict_proba(pooled[test])[:, 1] > 0.5) == y[test]
    )
    probe = LogisticRegression(C=1 / (1e-2 * len(train)), tol=1e-8, max_iter=1_000)
    right = probe.fit(digits.features[train], y[train]).predict(digits.features[test]) == y[test]
    assert np.mean(right == taught.ceiling_correct) > 0.995


def test_weak_labels_are_clipped_and_the_prior_is_their_mean(runs: list[Run]) -> None:
    for _seed, instance, _taught in runs:
        assert instance.weak.min() >= CLIP
        assert instance.weak.max() <= 1 - CLIP
        assert instance.class_prior == pytest.approx(instance.weak.mean())
    assert min(instance.weak.min() for _seed, instance, _taught in runs) == CLIP


def test_teaching_is_a_function_of_its_arguments(digits: Digits) -> None:
    first, again = (digits.teach(2**48 - 1, range(9), range(9, 99), range(99, 130)) for _time in range(2))
    np.testing.assert_array_equal(first.weak, again.weak)
    np.testing.assert_array_equal(first.ceiling_correct, again.ceiling_correct)


@pytest.mark.parametrize("is_odd", [True, False])
def test_a_teacher_that_saw_one_class_only_knows_no_other(digits: Digits, is_odd: bool) -> None:
    y = sklearn.datasets.load_digits().target % 2 == 1
    seen = np.flatnonzero(y == is_odd)[:20].tolist()
    rest = sorted(set(range(SIZES.pool)) - set(seen))
    taught = digits.teach(0, seen, rest[:100], rest[100:300])
    assert set(taught.weak) == {1 - CLIP if is_odd else CLIP}
    np.testing.assert_array_equal(taught.weak_correct, taught.truth == is_odd)


OVERLAPS = {
    "labelled and trained on": ([1, 2], [2, 3], [4]),
    "trained on and tested": ([1], [2, 3], [3, 4]),
    "labelled and tested": ([1, 4], [2, 3], [4]),
    "twice in one": ([1, 1], [2], [3]),
    "below the pool": ([-1], [2], [3]),
    "beyond the pool": ([1], [2], [1_797]),
    "nothing labelled": ([], [2], [3]),
    "nothing trained on": ([1], [], [3]),
    "nothing tested": ([1], [2], []),
}


@pytest.mark.parametrize("case", OVERLAPS)
def test_a_split_that_is_none_is_refused_before_any_label_is_used(digits: Digits, case: str) -> None:
    with pytest.raises(MalformedSplit):
        check_split(SIZES.pool, *OVERLAPS[case])
    with pytest.raises(MalformedSplit):
        digits.teach(0, *OVERLAPS[case])


# The gap.


def taught_with(weak: float, ceiling: float, count: int = 1_000) -> Taught:
    marks = np.arange(count)
    return Taught(
        weak=np.full(3, 0.5),
        class_prior=0.5,
        truth=np.ones(count, dtype=bool),
        weak_correct=marks < round(weak * count),
        ceiling_correct=marks < round(ceiling * count),
    )


def test_baselines_are_means_over_seeds_of_means_over_replicates() -> None:
    found = baselines_of(
        [(1, taught_with(0.70, 0.95)), (1, taught_with(0.72, 0.97)), (2, taught_with(0.73, 0.98))]
    )
    assert found.weak == pytest.approx((0.71 + 0.73) / 2)
    assert found.ceiling == pytest.approx((0.96 + 0.98) / 2)
    assert found.gap == pytest.approx(0.25)
    assert found.error == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_the_gap_is_over_seeds() -> None:
    gaps = [0.20, 0.22, 0.27]
    found = baselines_of([(seed, taught_with(0.7, 0.7 + gap)) for seed, gap in enumerate(gaps)])
    assert found.error == pytest.approx(np.std(gaps, ddof=1) / 3**0.5)


def test_with_one_seed_the_error_is_over_items_and_never_absent() -> None:
    found = baselines_of([(1, taught_with(0.7, 0.95))])
    assert found.error == pytest.approx((0.25 * 0.75 / 1_000) ** 0.5)


DEGENERATE = {
    "no gap": [(1, taught_with(0.9, 0.9)), (2, taught_with(0.9, 0.9))],
    "a gap below a tenth": [(1, taught_with(0.8, 0.899)), (2, taught_with(0.8, 0.899))],
    "a ceiling below the teacher": [(1, taught_with(0.9, 0.7)), (2, taught_with(0.9, 0.7))],
    "a gap that seeds do not agree on": [(1, taught_with(0.7, 0.8)), (2, taught_with(0.7, 0.95))],
    "one seed and few items": [(1, taught_with(0.7, 0.9, 20))],
}


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_degenerate_gap_is_refused(case: str) -> None:
    with pytest.raises(DegenerateGapError, match="want at least 0.1 and 6 standard errors"):
        baselines_of(DEGENERATE[case])


def test_a_gap_of_exactly_a_tenth_that_all_seeds_agree_on_is_enough() -> None:
    assert baselines_of([(1, taught_with(0.75, 0.875)), (2, taught_with(0.75, 0.875))]).gap == 0.125


def test_problems_are_known_by_name() -> None:
    check_problem("digits")
    for name in ("Digits", "", None, 3):
        with pytest.raises(UnknownProblem, match="there is: .*digits"):
            check_problem(name)
    assert "digits" in PROBLEMS
