"""Experiments: what is counted, the intervals that follow, and the cache that keeps the counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from aar.lab import runs
from aar.lab.bootstrap import crossed_intervals, recovered, seed_intervals
from aar.lab.errors import DegenerateGapError, LabError, MalformedSplit
from aar.lab.pipeline import format_pipeline, parse_pipeline_text
from aar.lab.problems.registry import problem_named
from aar.lab.run_cache import RunCache, code_digest
from aar.lab.runs import (
    CEILING,
    TEACHER,
    ExperimentResult,
    RunKey,
    SplitMarks,
    Work,
    do_work,
    result_of,
    run_experiment,
    vanilla_text,
    work_for,
)
from aar.verify.interval import crossed_bootstrap, score
from aar.verify.payload import Payload, SplitCounts
from aar.verify.pgr import UndefinedPGR

SMOOTH = '[["knn", {"k": 10}], ["probe", {}]]'
LEVELS = {"student": 0.72, "weak": 0.6, "ceiling": 0.9, "vanilla": 0.66}


def simulated(
    rng: np.random.Generator,
    *,
    seeds: int = 5,
    items: int = 400,
    is_fresh: bool = False,
    tested: int | None = None,
    group: int = 1,
    skill: float = 0.1,
) -> ExperimentResult:
    """Made-up marks: everybody's skill differs from seed to seed, and items are easy or hard for all."""
    roles = list(LEVELS)
    shared = np.repeat(rng.normal(size=items // group), group)
    own = {role: np.repeat(rng.normal(size=items // group), group) for role in roles}
    splits = []
    for seed in range(seeds):
        chosen = np.sort(rng.permutation(items)[: tested or items])
        if is_fresh:
            shared, own = rng.normal(size=items), {role: rng.normal(size=items) for role in roles}
        marks: dict[str, Any] = {
            role: (
                ndtri(LEVELS[role]) * 3.0**0.5
                + rng.normal(0, skill)
                + shared
                + own[role]
                + rng.normal(size=items)
                > 0
            )[chosen]
            for role in roles
        }
        splits.append(SplitMarks(seed=seed, replicate=0, items=chosen, **marks))
    return ExperimentResult(
        problem="made-up", pipeline="", is_fresh=is_fresh, group=group, splits=tuple(splits)
    )


TRUTH = (LEVELS["student"] - LEVELS["weak"]) / (LEVELS["ceiling"] - LEVELS["weak"])
TRUE_LEAD = (LEVELS["student"] - LEVELS["vanilla"]) / (LEVELS["ceiling"] - LEVELS["weak"])


def payload_of(result: ExperimentResult, pool: int) -> Payload:
    """The same marks as the verifier reads them."""

    def mask(items: Sequence[int]) -> int:
        return sum(1 << int(item) for item in items)

    return Payload(
        "public",
        pool,
        tuple(
            SplitCounts(
                seed=one.seed,
                replicate=one.replicate,
                tested=mask(one.items),
                student=mask(one.items[one.student]),
                weak=mask(one.items[one.weak]),
                ceiling=mask(one.items[one.ceiling]),
            )
            for one in result.splits
        ),
    )


def test_pgr_and_interval_are_the_verifiers_on_the_same_marks() -> None:
    result = simulated(np.random.default_rng(1), tested=300)
    payload = payload_of(result, 400)
    assert result.pgr == float(score(payload).pgr)
    theirs = crossed_bootstrap(payload, draws=2_000)
    (low, high), _lead = crossed_intervals(result.item_counts, draws=2_000)
    # The error of a 2.5 % quantile of 2,000 draws of a value with sd s is about .06 s; allow four of them.
    sd = (high - low) / 4
    assert abs(low - float(theirs.low)) < 0.25 * sd
    assert abs(high - float(theirs.high)) < 0.25 * sd


def test_the_same_counts_give_the_same_interval() -> None:
    result = simulated(np.random.default_rng(2))
    assert result.interval == replace(result).interval
    assert result.interval != crossed_intervals(result.item_counts, draws=301)[0]


@pytest.mark.parametrize("is_fresh", [False, True], ids=["one pool", "drawn afresh"])
def test_intervals_of_pgr_and_lead_cover_what_was_put_in(is_fresh: bool) -> None:
    rng = np.random.default_rng(3)
    studies, covered = 150, [0, 0]
    for _study in range(studies):
        result = replace(simulated(rng, is_fresh=is_fresh), draws=200)
        for number, ((low, high), truth) in enumerate(
            ((result.interval, TRUTH), (result.lead_interval, TRUE_LEAD))
        ):
            covered[number] += low <= truth <= high
    # Nominal .95; three binomial standard deviations of 150 studies are .053.
    assert all(0.89 <= count / studies <= 1.0 for count in covered), covered


def test_items_that_come_in_groups_are_drawn_in_groups() -> None:
    grouped = simulated(np.random.default_rng(4), group=8)
    apart = replace(grouped, group=1)
    width, narrow = (high - low for low, high in (grouped.interval, apart.interval))
    assert grouped.item_counts.shape == (5, 50, 4)
    assert width > 1.3 * narrow


def test_each_part_of_the_items_has_its_own_pgr() -> None:
    result = simulated(np.random.default_rng(10), tested=300)
    part_of = ["odd" if item % 2 else "even" for item in range(400)]
    parts = runs.by_part(result, part_of)
    assert list(parts) == ["even", "odd"]
    totals = [sum(part.item_counts.sum(axis=(0, 1))) for part in parts.values()]
    assert sum(totals) == result.item_counts.sum()
    assert all(set(one.items % 2) == {1} for one in parts["odd"].splits)
    low, high = parts["odd"].interval
    assert low < parts["odd"].pgr < high
    assert list(runs.by_part(result, ["one"] * 400)) == ["one"]


def test_vanilla_has_no_lead_over_itself() -> None:
    result = simulated(np.random.default_rng(5))
    own = replace(result, splits=tuple(replace(one, student=one.vanilla) for one in result.splits))
    assert (own.lead, own.lead_interval) == (0, (0, 0))


def test_totals_of_one_seed_come_from_all_its_splits() -> None:
    two = simulated(np.random.default_rng(6), seeds=2)
    one = replace(
        two, splits=tuple(replace(split, seed=7, replicate=number) for number, split in enumerate(two.splits))
    )
    assert one.seeds == (7,)
    assert one.pgr == two.pgr
    assert one.per_seed == (two.pgr,)
    assert one.item_counts.sum() == two.item_counts.sum()


def test_one_fresh_split_is_judged_by_its_items_and_one_fresh_seed_by_its_splits() -> None:
    rng = np.random.default_rng(7)
    single = simulated(rng, seeds=1, is_fresh=True)
    low, high = single.interval
    assert low < single.pgr < high
    several = simulated(rng, seeds=4, is_fresh=True)
    of_one = replace(
        several,
        splits=tuple(replace(one, seed=0, replicate=number) for number, one in enumerate(several.splits)),
    )
    assert of_one.interval == several.interval


def test_without_a_gap_there_is_no_pgr_and_no_interval() -> None:
    result = simulated(np.random.default_rng(8))
    flat = replace(result, splits=tuple(replace(one, ceiling=one.weak) for one in result.splits))
    assert flat.per_seed == (None,) * 5
    for read in (lambda: flat.pgr, lambda: flat.interval, lambda: replace(flat, is_fresh=True).interval):
        with pytest.raises(UndefinedPGR):
            read()


def test_a_gap_that_many_draws_lose_gives_no_interval() -> None:
    counts = np.zeros((2, 40, 4), dtype=np.int64)
    counts[:, :3, 2] = 1
    counts[:, 3:5, 1] = 1
    assert recovered(counts.sum(axis=(0, 1))) == -2
    with pytest.raises(UndefinedPGR, match="of 300 draws have no gap"):
        crossed_intervals(counts)


def test_the_t_interval_of_equal_seeds_has_no_width() -> None:
    counts = np.array([[70, 60, 90, 65]] * 3)
    (low, high), (lead_low, lead_high) = seed_intervals(counts)
    assert low == pytest.approx(1 / 3)
    assert high == pytest.approx(1 / 3)
    assert lead_low == pytest.approx(1 / 6)
    assert lead_high == pytest.approx(1 / 6)


def test_a_t_interval_is_the_textbooks() -> None:
    above, below = np.array([10.0, 14.0, 12.0, 16.0]), np.array([40.0, 40.0, 40.0, 40.0])
    counts = np.stack([above, 0 * above, below, 0 * above], axis=1).astype(np.int64)
    (low, high), _lead = seed_intervals(counts)
    half = 3.1824 * above.std(ddof=1) / 2 / 40
    assert (low, high) == pytest.approx((13 / 40 - half, 13 / 40 + half), abs=1e-5)


def test_an_experiment_is_the_same_whole_or_in_pieces_and_in_any_order() -> None:
    problem, pipeline = problem_named("digits"), parse_pipeline_text(SMOOTH)
    whole = run_experiment(problem, pipeline, [3, 4], replicates=2)
    text = format_pipeline(pipeline)
    done: dict[RunKey, Any] = {}
    for work in reversed(work_for("digits", [text], [3, 4], 2, {})):
        for who in reversed(work.missing):
            done |= do_work(problem, work._replace(missing=(who,)))
    pieces = result_of("digits", problem, text, [3, 4], 2, done)
    assert (pieces.pgr, pieces.interval, pieces.per_seed) == (whole.pgr, whole.interval, whole.per_seed)
    assert pieces.accuracies["weak"] < pieces.accuracies["student"] < pieces.accuracies["ceiling"]
    assert pieces.accuracies["ceiling"] > 0.95
    assert len(pieces.splits) == 4
    assert {len(one.items) for one in pieces.splits} == {897}


def test_only_what_is_missing_is_to_be_run() -> None:
    done: dict[RunKey, Any] = {
        RunKey("digits", who, 1, 0): np.zeros(3, dtype=np.bool_) for who in (TEACHER, CEILING, vanilla_text())
    }
    assert work_for("digits", [], [1, 2], 1, done) == [
        Work("digits", 2, 0, (TEACHER, CEILING, vanilla_text()))
    ]
    assert work_for("digits", ["m", "m"], [1], 1, done) == [Work("digits", 1, 0, ("m",))]


@pytest.mark.parametrize(
    "answer",
    [np.full(897, np.nan), np.full(896, 0.5), np.full((897, 1), 0.5), np.full(897, 1.5)],
    ids=["NaN", "one short", "a column", "above one"],
)
def test_an_answer_that_is_none_is_told_and_not_counted(
    monkeypatch: pytest.MonkeyPatch, answer: np.ndarray[Any, Any]
) -> None:
    problem = problem_named("digits")
    done = do_work(problem, Work("digits", 1, 0, (TEACHER, CEILING, vanilla_text())))
    monkeypatch.setattr(runs, "run_pipeline", lambda *_arguments: answer)
    text = format_pipeline(parse_pipeline_text(SMOOTH))
    done |= do_work(problem, Work("digits", 1, 0, (text,)))
    assert "want (897,) of numbers from 0 to 1" in str(done[RunKey("digits", text, 1, 0)])
    with pytest.raises(LabError, match="numbers from 0 to 1"):
        result_of("digits", problem, text, [1], 1, done)


def test_a_method_whose_algebra_fails_is_told_and_the_others_are_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_arguments: object) -> None:
        raise np.linalg.LinAlgError("Singular matrix")

    monkeypatch.setattr(runs, "run_pipeline", fails)
    done = do_work(problem_named("overlap"), Work("overlap", 1, 0, (SMOOTH, TEACHER)))
    assert done[RunKey("overlap", SMOOTH, 1, 0)] == "Singular matrix"
    assert len(done[RunKey("overlap", TEACHER, 1, 0)]) == 4_000


def test_seeds_stand_once_and_there_is_one() -> None:
    for seeds, replicates in (([], 1), ([1, 1], 1), ([1], 0)):
        with pytest.raises(MalformedSplit, match="want at least one, each seed once"):
            runs.splits_of(seeds, replicates)


def test_a_degenerate_gap_is_refused() -> None:
    result = simulated(np.random.default_rng(9))
    runs.check_gap(result)
    flat = replace(result, splits=tuple(replace(one, ceiling=one.vanilla) for one in result.splits))
    with pytest.raises(DegenerateGapError, match="gap 0.0"):
        runs.check_gap(flat)


MARKS = np.array([True, False, True, True, False, False, True, False, True, True, True])
KEY = RunKey("digits", "[]", 5, 1)


def test_marks_come_back_from_the_cache_as_they_were(tmp_path: Path) -> None:
    cache = RunCache(tmp_path, code="c" * 64)
    cache.store("digits", "d" * 64, {KEY: MARKS, KEY._replace(who=TEACHER): ~MARKS})
    cache.store("digits", "d" * 64, {KEY._replace(who=CEILING): MARKS[:3], KEY._replace(seed=6): MARKS[:0]})
    found = RunCache(tmp_path, code="c" * 64).load("digits", "d" * 64, [(5, 1), (6, 1), (7, 0)])
    assert {key: list(value) for key, value in found.items()} == {
        KEY: list(MARKS),
        KEY._replace(who=TEACHER): list(~MARKS),
        KEY._replace(who=CEILING): [True, False, True],
        KEY._replace(seed=6): [],
    }


def test_another_problem_digest_or_code_finds_nothing(tmp_path: Path) -> None:
    RunCache(tmp_path, code="c" * 64).store("digits", "d" * 64, {KEY: MARKS})
    for code, problem, digest in (
        ("e" * 64, "digits", "d" * 64),
        ("c" * 64, "d", "d" * 64),
        ("c" * 64, "digits", "e"),
    ):
        assert RunCache(tmp_path, code=code).load(problem, digest, [(5, 1)]) == {}
    # The same first letters are not the same content.
    assert RunCache(tmp_path, code="c" * 63 + "e").load("digits", "d" * 64, [(5, 1)]) == {}
    assert RunCache(tmp_path, code="c" * 64).load("digits", "d" * 63 + "e", [(5, 1)]) == {}


def damaged(data: bytes) -> dict[str, bytes]:
    """A cache file in every state that a crash or a hand may leave it in."""
    check, body = data.split(b"\n", 1)
    import hashlib

    def checked(changed: bytes) -> bytes:
        return hashlib.sha256(changed).hexdigest().encode() + b"\n" + changed

    return {
        "empty": b"",
        "cut": data[:-9],
        "one bit": data[:-20] + bytes([data[-20] ^ 1]) + data[-19:],
        "no check": body,
        "another check": check[::-1] + b"\n" + body,
        "no JSON": checked(b"{"),
        "a list": checked(b"[]"),
        "no marks": checked(body.replace(b'"marks"', b'"spots"')),
        "too few bytes": checked(body.replace(b'"items": 11', b'"items": 99')),
        "no number": checked(body.replace(b'"items": 11', b'"items": "a"')),
        "no base64": checked(body.replace(b'"right": "', b'"right": "!')),
        "nested": checked(b"[" * 100_000),
    }


def test_a_damaged_cache_file_is_taken_for_absent_and_written_anew(tmp_path: Path) -> None:
    cache = RunCache(tmp_path, code="c" * 64)
    cache.store("digits", "d" * 64, {KEY: MARKS})
    [path] = tmp_path.rglob("*.json")
    for name, data in damaged(path.read_bytes()).items():
        path.write_bytes(data)
        assert cache.load("digits", "d" * 64, [(5, 1)]) == {}, name
        cache.store("digits", "d" * 64, {KEY: MARKS})
        assert list(cache.load("digits", "d" * 64, [(5, 1)])) == [KEY], name


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = RunCache(tmp_path, code="c" * 64)
    cache.store("digits", "d" * 64, {KEY: MARKS})

    def fails(_from: str, _to: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", fails)
    with pytest.raises(OSError, match="No space"):
        cache.store("digits", "d" * 64, {KEY._replace(who=TEACHER): MARKS})
    assert list(cache.load("digits", "d" * 64, [(5, 1)])) == [KEY]
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".json"]


def test_the_code_digest_is_of_the_sources() -> None:
    assert len(code_digest()) == 64
