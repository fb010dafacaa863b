"""The published study's result files: read strictly, computed again, and looked at for what is wrong."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from aar.lab.errors import LabError
from aar.lab.published import CachedResult, MalformedResult, parse_result, read_published
from aar.lab.published_flags import find_flags
from aar.lab.published_table import DatasetTable, MethodRow, recompute

ITEMS = 200
SPLITS = {"near": 120, "far": 80}


def counted(correct: Mapping[str, int]) -> dict[str, Any]:
    """An evaluation as the files hold it: counts on the whole test and on each split."""

    def one(right: int, items: int) -> dict[str, Any]:
        return {
            "accuracy": right / items,
            "correct": right,
            "total": items,
            "pred_distribution": {"0": items - 1, "1": 1},
        }

    return one(sum(correct.values()), ITEMS) | {
        "per_subset": {split: one(correct[split], SPLITS[split]) for split in SPLITS}
    }


def run_of(method: str, seed: int, near: int, far: int, **more: Any) -> dict[str, Any]:
    """A made-up run of a method: weak .5, ceiling .75 by the baselines below."""
    return {
        "dataset_name": "toy-7",
        "idea_name": method,
        "seed": seed,
        "weak_acc": 0.5,
        "strong_acc": 0.75,
        "transfer_acc": (near + far) / ITEMS,
        "pgr": ((near + far) / ITEMS - 0.5) / 0.25,
        "fixed_weak_baseline": 0.5,
        "fixed_strong_baseline": 0.75,
        "training_time": 100.0 + seed + len(method),
        "detailed_eval": {"strong": {"final_eval": counted({"near": near, "far": far})}},
        **more,
    }


def write(directory: Path, name: str, value: object) -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Three seeds of two methods, of the teacher and of the ceiling, without anything wrong."""
    root = tmp_path / "cache"
    for number, seed in enumerate((42, 43, 44)):
        for method, right in (("vanilla_w2s", 110 + 2 * number), ("better", 130 - number)):
            write(root, f"toy_{method}/seed_{seed}.json", run_of(method, seed, 70, right - 70))
        teacher = {"dataset_name": "toy-7", "idea_name": "weak_artifacts", "seed": seed, "weak_acc": 0.5}
        write(root, f"toy_weak_artifacts/seed_{seed}.json", teacher)
        ceiling = {
            "dataset_name": "toy-7",
            "idea_name": "train_ceiling",
            "seed": seed,
            "strong_acc": 0.75,
            "weak_model": None,
            "detailed_eval": {"ceiling": {"final_eval": counted({"near": 100, "far": 50})}},
        }
        write(root, f"toy_train_ceiling/seed_{seed}.json", ceiling)
    return root


def table_of(directory: Path) -> DatasetTable:
    [table] = recompute(read_published(directory), draws=400)
    return table


def row_of(table: DatasetTable, method: str) -> MethodRow:
    return next(row for row in table.rows if row.method == method)


def test_the_table_is_what_the_accuracies_give_by_hand(cache: Path) -> None:
    table = table_of(cache)
    assert (table.dataset, table.test_items, table.weak.value, table.ceiling.value) == (
        "toy-7",
        200,
        0.5,
        0.75,
    )
    assert [row.method for row in table.rows] == ["vanilla_w2s", "better"]
    vanilla, better = table.rows
    assert vanilla.per_seed == pytest.approx((0.2, 0.24, 0.28))
    assert vanilla.pgr == pytest.approx(0.24)
    assert vanilla.error == pytest.approx(0.04 / 3**0.5)
    assert vanilla.stated == pytest.approx(0.24)
    assert vanilla.ahead is None
    differences = np.array([0.6 - 0.2, 0.58 - 0.24, 0.56 - 0.28])
    assert better.ahead == pytest.approx(differences.mean())
    half = 4.3027 * differences.std(ddof=1) / 3**0.5
    assert better.ahead_low == pytest.approx(differences.mean() - half, abs=1e-4)
    assert better.ahead_high == pytest.approx(differences.mean() + half, abs=1e-4)


def test_the_interval_covers_the_items_too_and_is_the_same_every_time(cache: Path) -> None:
    row = row_of(table_of(cache), "vanilla_w2s")
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.pgr < row.high
    # One binomial sd of 200 items at .56 is .035, of a gap of .25: .14 from the student alone.
    assert row.high - row.low > 2 * 1.9 * 0.14
    assert row_of(table_of(cache), "vanilla_w2s") == row


def test_with_more_items_the_interval_is_narrower(cache: Path) -> None:
    results = read_published(cache)

    def width(items: int) -> float:
        from dataclasses import replace

        [table] = recompute([replace(one, test_items=items) for one in results], draws=400)
        row = row_of(table, "better")
        assert row.low is not None
        assert row.high is not None
        return row.high - row.low

    assert width(20_000) < width(2_000) < width(200)


def test_a_split_is_shown_with_its_own_accuracies_and_says_whose_weak_teacher_it_is(cache: Path) -> None:
    far, near = table_of(cache).splits
    assert (far.split, far.items, far.ceiling, far.weak, far.is_weak_whole) == ("far", 80, 0.625, 0.5, True)
    assert far.accuracies["vanilla_w2s"] == pytest.approx(42 / 80)
    assert far.pgrs["vanilla_w2s"] == pytest.approx((42 / 80 - 0.5) / 0.125)
    assert near.items == 120


def test_a_split_of_which_the_weak_teacher_was_counted_uses_that(cache: Path) -> None:
    path = cache / "toy_vanilla_w2s" / "seed_42.json"
    value = json.loads(path.read_text("utf-8"))
    value["detailed_eval"]["weak"] = {"final_eval": counted({"near": 72, "far": 28})}
    write(cache, "toy_vanilla_w2s/seed_42.json", value)
    far, near = table_of(cache).splits
    assert (far.weak, far.is_weak_whole, near.weak) == (0.35, False, 0.6)


def test_a_split_without_a_gap_has_no_pgr(cache: Path) -> None:
    for seed in (42, 43, 44):
        path = cache / "toy_train_ceiling" / f"seed_{seed}.json"
        value = json.loads(path.read_text("utf-8"))
        value["detailed_eval"]["ceiling"]["final_eval"] = counted({"near": 110, "far": 40})
        write(cache, f"toy_train_ceiling/seed_{seed}.json", value)
    far, near = table_of(cache).splits
    assert far.pgrs == {"vanilla_w2s": None, "better": None}
    assert near.pgrs["better"] is not None


def test_files_of_one_flat_directory_need_no_teacher_or_ceiling_of_their_own(tmp_path: Path) -> None:
    for seed in (1, 2):
        value = {"dataset": "d", "method": "m", "seed": seed, "weak_acc": 0.5, "strong_acc": 0.9}
        write(tmp_path, f"{seed}.json", value | {"transfer_acc": 0.6 + seed / 10})
    [table] = recompute(read_published(tmp_path), draws=100)
    assert (table.weak.seeds, table.ceiling.seeds, table.test_items) == (2, 2, None)
    assert row_of(table, "m").per_seed == pytest.approx((0.5, 0.75))
    assert [flag.code for flag in find_flags(read_published(tmp_path))] == ["no-pgr", "no-test-size"]


def test_settings_may_stand_in_a_directory_of_their_own() -> None:
    value = run_of("vanilla_w2s", 42, 60, 60, hyperparam_config_key="lr4")
    for path, method in (
        ("toy-7_better/lr4/seed_42.json", "better"),
        ("toy_better/seed_42.json", "better"),
        ("elsewhere/seed_42.json", "vanilla_w2s"),
        ("seed_42.json", "vanilla_w2s"),
    ):
        assert parse_result(json.dumps(value).encode(), path).method == method


def test_clean_files_raise_no_flag(cache: Path) -> None:
    assert find_flags(read_published(cache)) == []


CHANGES: dict[str, tuple[dict[str, Any], str, str]] = {
    "another method's name": ({"idea_name": "better"}, "other-idea", "idea_name says better"),
    "no pgr": ({"pgr": None}, "no-pgr", "no PGR"),
    "a pgr that does not follow": (
        {"pgr": 0.4},
        "stored-pgr",
        "stored PGR 0.4000, its own accuracies give 0.24",
    ),
    "a pgr without a gap": ({"fixed_strong_baseline": 0.5}, "stored-pgr", "not above"),
    "another seed's teacher": ({"weak_acc": 0.505}, "other-seed", "weak_acc .* no cached seed"),
    "another seed's ceiling": ({"strong_acc": 0.76}, "other-seed", "strong_acc .* no cached seed"),
    "another seed within": ({"seed": 42}, "other-seed", "itself says seed 42"),
    "no share of the items": ({"transfer_acc": 0.5613}, "rounded", "no share of 200 items, .* 4 digits"),
    "other baselines": ({"fixed_weak_baseline": 0.49}, "stored-baseline", "weak 0.4900; the 3 cached"),
    "a copied timing": ({"training_time": 100.0 + 42 + 11}, "same-timing", "as did vanilla_w2s seed 42"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_an_anomaly_is_flagged_with_method_and_seed(cache: Path, name: str) -> None:
    change, code, text = CHANGES[name]
    path = cache / "toy_vanilla_w2s" / "seed_43.json"
    write(cache, "toy_vanilla_w2s/seed_43.json", json.loads(path.read_text("utf-8")) | change)
    flags = [flag for flag in find_flags(read_published(cache)) if flag.code == code]
    assert flags, find_flags(read_published(cache))
    own = [flag for flag in flags if flag.method == "vanilla_w2s" and 43 in flag.seeds]
    assert any(re.search(text, flag.text) for flag in own), flags


def test_counts_that_do_not_add_up_are_flagged(cache: Path) -> None:
    path = cache / "toy_vanilla_w2s" / "seed_43.json"
    value = json.loads(path.read_text("utf-8"))
    final = value["detailed_eval"]["strong"]["final_eval"]
    final["per_subset"]["far"]["correct"] -= 8
    final["per_subset"]["near"]["pred_distribution"]["0"] -= 10
    final["accuracy"] += 0.1
    write(cache, "toy_vanilla_w2s/seed_43.json", value)
    told = " | ".join(flag.text for flag in find_flags(read_published(cache)) if flag.code == "counts")
    for part in (
        "110 predictions for the 120 items of near",
        "34 of 80 is not the accuracy of far",
        "112 of 200 is not the accuracy of the whole test",
        "correct of the splits add up to 104, not 112",
        "detailed_eval.strong has another accuracy than the file",
    ):
        assert part in told


def test_a_copied_timing_is_told_of_the_file_that_bears_another_name(cache: Path) -> None:
    path = cache / "toy_better" / "seed_44.json"
    value = json.loads(path.read_text("utf-8"))
    change = {"idea_name": "vanilla_w2s", "training_time": 100.0 + 42 + len("vanilla_w2s")}
    write(cache, "toy_better/seed_44.json", value | change)
    [flag] = [flag for flag in find_flags(read_published(cache)) if flag.code == "same-timing"]
    assert (flag.method, flag.seeds) == ("better", (44,))
    assert "as did vanilla_w2s seed 42" in flag.text


def test_a_missing_seed_of_a_method_or_a_baseline_is_flagged(cache: Path) -> None:
    (cache / "toy_better" / "seed_44.json").unlink()
    (cache / "toy_weak_artifacts" / "seed_42.json").unlink()
    flags = {
        (flag.method, flag.seeds) for flag in find_flags(read_published(cache)) if flag.code == "missing-seed"
    }
    assert flags == {("better", (44,)), (None, (42,))}


def test_a_small_gap_is_flagged_and_no_gap_refused(cache: Path) -> None:
    for ceiling in (0.55, 0.5):
        for seed in (42, 43, 44):
            path = cache / "toy_train_ceiling" / f"seed_{seed}.json"
            value = json.loads(path.read_text("utf-8")) | {"strong_acc": ceiling}
            write(cache, f"toy_train_ceiling/seed_{seed}.json", value)
        if ceiling > 0.5:
            assert "small-gap" in {flag.code for flag in find_flags(read_published(cache))}
            assert row_of(table_of(cache), "better").low is None
    with pytest.raises(LabError, match=r"toy-7: ceiling 0\.5000 is not above weak 0\.5000"):
        table_of(cache)


def test_without_a_ceiling_or_a_teacher_there_is_no_table(tmp_path: Path) -> None:
    for name, value in (("weak_acc", "ceiling"), ("strong_acc", "weak teacher")):
        write(tmp_path, "a.json", {"dataset": "d", "method": "m", "seed": 1, "transfer_acc": 0.6, name: 0.5})
        with pytest.raises(LabError, match=f"d: no file says how good the {value} is"):
            recompute(read_published(tmp_path))


GOOD = run_of("vanilla_w2s", 42, 60, 60)
WRONG: dict[str, tuple[str, str]] = {
    "cut short": (json.dumps(GOOD)[:200], "not JSON"),
    "empty": ("", "not JSON"),
    "a list": ("[]", "want a JSON object"),
    "nested without end": ("[" * 100_000, "not JSON"),
    "NaN": (json.dumps(GOOD | {"transfer_acc": float("nan")}), "NaN is no number"),
    "infinity": (json.dumps(GOOD | {"pgr": float("inf")}), "Infinity is no number"),
    "a key twice": ('{"seed": 1, "seed": 2}', "'seed' stands twice"),
    "no data set": (json.dumps(GOOD | {"dataset_name": None}), "dataset_name is missing"),
    "no method": (json.dumps(GOOD | {"idea_name": None}), "idea_name is missing"),
    "no seed": (json.dumps(GOOD | {"seed": None}), "seed is missing"),
    "half a seed": (json.dumps(GOOD | {"seed": 4.5}), "seed is 4.5"),
    "a negative seed": (json.dumps(GOOD | {"seed": -1}), "seed is -1"),
    "true as a seed": (json.dumps(GOOD | {"seed": True}), "seed is True"),
    "no accuracy": (
        json.dumps(GOOD | {"transfer_acc": None, "strong_acc": None, "weak_acc": None}),
        "transfer_acc is missing",
    ),
    "above one": (json.dumps(GOOD | {"transfer_acc": 1.2}), "transfer_acc is 1.2: an accuracy"),
    "below zero": (json.dumps(GOOD | {"weak_acc": -0.1}), "weak_acc is -0.1"),
    "a text": (json.dumps(GOOD | {"strong_acc": "0.7"}), "strong_acc is '0.7': want a number"),
    "a control character": (json.dumps(GOOD | {"idea_name": "a\x1b[2J"}), "printable"),
    "a long name": (json.dumps(GOOD | {"idea_name": "a" * 201}), "1 to 200"),
    "time before time": (json.dumps(GOOD | {"training_time": -1}), "training_time is -1"),
    "two test sizes": (json.dumps(GOOD | {"step1_data_loading": {"test_samples": 7}}), "total is [7, 200]"),
    "no object": (json.dumps(GOOD | {"detailed_eval": 3}), "detailed_eval is 3: want an object"),
    "an evaluation without an accuracy": (
        json.dumps(GOOD | {"detailed_eval": {"strong": {"final_eval": {"total": 3}}}}),
        "final_eval.accuracy is missing",
    ),
    "more right than tested": (
        json.dumps(
            GOOD | {"detailed_eval": {"strong": {"final_eval": {"accuracy": 1, "correct": 4, "total": 3}}}}
        ),
        "correct is 4 of 3",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_malformed_file_is_refused_and_the_error_names_it(tmp_path: Path, name: str) -> None:
    text, told = WRONG[name]
    write(tmp_path, "some/one.json", text)
    with pytest.raises(MalformedResult) as refused:
        read_published(tmp_path)
    assert str(refused.value).startswith("some/one.json: ")
    assert told in str(refused.value)


def test_a_file_that_is_too_large_is_refused_before_it_is_read_whole(tmp_path: Path) -> None:
    write(tmp_path, "one.json", " " * ((4 << 20) + 1))
    with pytest.raises(MalformedResult, match="more than 4 MiB"):
        read_published(tmp_path)


def test_two_results_of_one_seed_are_refused(cache: Path) -> None:
    value = json.loads((cache / "toy_better" / "seed_42.json").read_text("utf-8"))
    write(cache, "again/toy_better/seed_42.json", value)
    with pytest.raises(
        MalformedResult, match=r"seed 42 of better on toy-7 stands in again/toy_better/seed_42\.json"
    ):
        read_published(cache)


def test_a_copy_under_another_seeds_name_is_refused(cache: Path) -> None:
    value = json.loads((cache / "toy_better" / "seed_42.json").read_text("utf-8"))
    write(cache, "toy_better/seed_99.json", value)
    with pytest.raises(MalformedResult, match="seed 42 of better on toy-7 stands in .* too; keep one"):
        read_published(cache)


def test_a_directory_that_is_none_or_holds_nothing_is_refused(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "gone", "does not exist"),
        (write(tmp_path, "file", "{}"), "is not a directory"),
        (tmp_path, "holds no .json file"),
    ):
        with pytest.raises(MalformedResult, match=told):
            read_published(path)


def test_the_interval_covers_what_was_put_in() -> None:
    """Simulated: seeds differ, one shared test, students and teacher right on partly the same items."""
    rng = np.random.default_rng(5)
    studies, covered, items = 120, 0, 400
    for _study in range(studies):
        common = rng.normal(size=items)

        def seeds(level: float, count: int, common: np.ndarray[Any, Any] = common) -> list[float]:
            """Accuracies of `count` seeds of one role with mean accuracy `level`, on the shared items."""
            own = rng.normal(size=items)
            skill = rng.normal(0, 0.1, (count, 1))
            noise = rng.normal(size=(count, items))
            score = ndtri(level) * (3.01**0.5) + skill + common + own + noise
            return [float(value) for value in (score > 0).mean(axis=1)]

        results = [
            _result(role, seed, value)
            for role, level, count in (("weak", 0.55, 16), ("ceiling", 0.8, 16), ("student", 0.65, 5))
            for seed, value in enumerate(seeds(level, count))
        ]
        [table] = recompute(results, draws=300)
        [row] = table.rows
        assert row.low is not None
        assert row.high is not None
        covered += row.low <= 0.4 <= row.high
    # It is meant to be somewhat wide: roles are taken as independent, and here they are not.
    assert covered / studies >= 0.93


def _result(role: str, seed: int, value: float) -> CachedResult:
    told: dict[str, Any] = {"weak": None, "ceiling": None, "student": None, role: value}
    return CachedResult(
        path="",
        dataset="d",
        method="m" if role == "student" else role,
        idea=None,
        seed=seed,
        told_seed=seed,
        pgr=None,
        stated_weak=None,
        stated_ceiling=None,
        training_s=None,
        test_items=400,
        **told,
    )


@pytest.mark.skipif(
    not os.environ.get("AAR_PUBLISHED_CACHE"), reason="AAR_PUBLISHED_CACHE names no directory"
)
def test_the_published_cache_gives_the_published_table() -> None:
    results = read_published(Path(os.environ["AAR_PUBLISHED_CACHE"]))
    tables = {table.dataset: table for table in recompute(results, draws=200)}
    found = {
        (name, row.method): (round(row.pgr, 3), round(row.error or 0, 3))
        for name, table in tables.items()
        for row in table.rows
    }
    assert found[("chat-0115", "vanilla_w2s")] == (0.204, 0.046)
    assert found[("chat-0115", "train_only_on_confident_labels")] == (0.234, 0.054)
    assert found[("math-dapo-0116", "ue_zeroshot")] == (0.586, 0.025)
    assert found[("code0115", "critic")] == (-0.093, 0.076)
    assert [round(table.weak.value, 4) for table in tables.values()] == [0.528, 0.5768, 0.536]
    flags = find_flags(results)
    hand_filled = {
        flag.method for flag in flags if flag.code in ("other-idea", "same-timing", "rounded", "counts")
    }
    assert hand_filled == {"ue_zeroshot"}
    assert {flag.dataset for flag in flags if flag.code == "stored-baseline"} == {"code0115"}
