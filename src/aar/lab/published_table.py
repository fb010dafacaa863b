"""The published study's table, computed again: as it was published, and with intervals that hold.

As published: weak teacher and ceiling are the means over all their cached seeds, a method's PGR the mean over
its seeds, the error its standard deviation by the root of their number.

With our statistics: every draw re-draws the seeds of method, teacher and ceiling, and the items. The files
hold counts and no items, so items are drawn binomially, one draw for all seeds of a method because they share
one test. That is at least as wide as it should be: two seeds of a method are taken to be right on the same
items, and method, teacher and ceiling to be right independently of each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from aar.lab.errors import LabError
from aar.lab.published import CachedResult
from aar.verify.pgr import UndefinedPGR, pgr
from aar.verify.statistics import t_quantile

VANILLA_METHOD = "vanilla_w2s"
DRAWS = 2_000
UNDEFINED_SHARE = 0.05
# Two values are told to differ when a fourth decimal does.
TOLERANCE = 5.1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """A mean over seeds and its standard error, which one seed does not have."""

    value: float
    error: float | None
    seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodRow:
    """One method on one data set.

    `pgr` and `error` are as published; `low`..`high` is the 95 % interval that re-draws everything, `None`
    where many draws have no gap. `stated` is the mean of the PGRs that the files hold, `None` unless all of
    them do. `ahead` is PGR less vanilla's over their common seeds with a t interval over seeds.
    """

    method: str
    seeds: tuple[int, ...]
    accuracy: float
    pgr: float
    error: float | None
    low: float | None
    high: float | None
    per_seed: tuple[float, ...]
    stated: float | None
    ahead: float | None = None
    ahead_low: float | None = None
    ahead_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRow:
    """One split of a data set's test: mean accuracies of ceiling and methods, and what share is recovered.

    `weak` is the weak teacher's mean on this split; where the files do not hold it, `is_weak_whole` is true
    and it is the one on the whole test. A PGR is `None` where the ceiling is not above it.
    """

    split: str
    items: int | None
    weak: float
    is_weak_whole: bool
    ceiling: float
    accuracies: Mapping[str, float]
    pgrs: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetTable:
    """All that is cached of one data set; `test_items` is `None` where no file says how many there are."""

    dataset: str
    test_items: int | None
    weak: Mean
    ceiling: Mean
    rows: tuple[MethodRow, ...]
    splits: tuple[SplitRow, ...]

    @property
    def gap(self) -> float:
        """Ceiling less weak teacher."""
        return self.ceiling.value - self.weak.value


def recompute(results: Sequence[CachedResult], *, draws: int = DRAWS) -> list[DatasetTable]:
    """A table per data set; `LabError` where one has no teacher, no ceiling or no gap."""
    return [
        _table([one for one in results if one.dataset == dataset], dataset, draws)
        for dataset in dict.fromkeys(one.dataset for one in results)
    ]


def teachers_of(results: Sequence[CachedResult]) -> dict[int, float]:
    """The weak teacher's accuracy by seed: from its own files, else from what the methods' files say."""
    own = {one.seed: one.weak for one in results if one.student is None and one.weak is not None}
    return own or {one.seed: one.weak for one in results if one.weak is not None}


def ceilings_of(results: Sequence[CachedResult]) -> dict[int, float]:
    """The ceiling's accuracy by seed: from its own files, else from what the methods' files say."""
    own = {one.seed: one.ceiling for one in results if one.student is None and one.ceiling is not None}
    return own or {one.seed: one.ceiling for one in results if one.ceiling is not None}


def test_items_of(results: Sequence[CachedResult]) -> int | None:
    """How many items one data set's test has: what most files say; `None` where none does."""
    told = [one.test_items for one in results if one.test_items is not None]
    return max(sorted(set(told)), key=told.count) if told else None


def _table(results: Sequence[CachedResult], dataset: str, draws: int) -> DatasetTable:
    teachers, ceilings = teachers_of(results), ceilings_of(results)
    for found, what, name in ((teachers, "weak teacher", "weak_acc"), (ceilings, "ceiling", "strong_acc")):
        if not found:
            raise LabError(
                f"{dataset}: no file says how good the {what} is ({name}); without it there is no PGR"
            )
    weak, ceiling = _exact_mean(teachers.values()), _exact_mean(ceilings.values())
    items = test_items_of(results)
    runs: dict[str, list[CachedResult]] = {}
    for one in results:
        if one.student is not None:
            runs.setdefault(one.method, []).append(one)
    try:
        per_seed = {
            method: {
                one.seed: float(pgr(weak=weak, student=Fraction(one.student), ceiling=ceiling))
                for one in own
                if one.student is not None
            }
            for method, own in runs.items()
        }
    except UndefinedPGR as error:
        raise LabError(f"{dataset}: {error}") from error
    source = f"aar-published/v1 {dataset} {draws} {items}"
    baselines = (list(teachers.values()), list(ceilings.values()))
    return DatasetTable(
        dataset=dataset,
        test_items=items,
        weak=_mean(list(teachers.values())),
        ceiling=_mean(list(ceilings.values())),
        rows=tuple(
            _row(method, runs[method], per_seed, _interval(runs[method], baselines, items, draws, source))
            for method in sorted(runs, key=lambda name: (name != VANILLA_METHOD, name))
        ),
        splits=tuple(_split_rows(results, runs, weak)),
    )


def _row(
    method: str,
    runs: Sequence[CachedResult],
    per_seed: Mapping[str, Mapping[int, float]],
    interval: tuple[float, float] | None,
) -> MethodRow:
    own = per_seed[method]
    mean = _mean(list(own.values()))
    stated = [one.pgr for one in runs if one.pgr is not None]
    plain = per_seed.get(VANILLA_METHOD, {})
    common = [own[seed] - plain[seed] for seed in own if seed in plain] if method != VANILLA_METHOD else []
    ahead = _mean(common) if common else None
    half = None if ahead is None or ahead.error is None else t_quantile(0.975, ahead.seeds - 1) * ahead.error
    return MethodRow(
        method=method,
        seeds=tuple(own),
        accuracy=float(_exact_mean(one.student for one in runs if one.student is not None)),
        pgr=mean.value,
        error=mean.error,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        per_seed=tuple(own.values()),
        stated=float(np.mean(stated)) if len(stated) == len(runs) else None,
        ahead=None if ahead is None else ahead.value,
        ahead_low=None if ahead is None or half is None else ahead.value - half,
        ahead_high=None if ahead is None or half is None else ahead.value + half,
    )


def _interval(
    runs: Sequence[CachedResult],
    baselines: tuple[Sequence[float], Sequence[float]],
    items: int | None,
    draws: int,
    source: str,
) -> tuple[float, float] | None:
    """95 % percentiles over draws of seeds and items; the randomness is a function of what is drawn from."""
    groups = [[one.student for one in runs if one.student is not None], *baselines]
    told = f"{source} {groups!r}".encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(told).digest(), "big"))
    drawn = [
        np.asarray(values)[rng.integers(0, len(values), (draws, len(values)))].mean(axis=1)
        for values in groups
    ]
    if items is None:
        exact = [[Fraction(float(value)) for value in one] for one in drawn]
    else:
        exact = [[Fraction(int(count), items) for count in rng.binomial(items, one)] for one in drawn]
    values = []
    for student, weak, ceiling in zip(*exact):
        if ceiling > weak:
            values.append(float(pgr(weak=weak, student=student, ceiling=ceiling)))
    if len(values) < (1 - UNDEFINED_SHARE) * draws:
        return None
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def _split_rows(
    results: Sequence[CachedResult], runs: Mapping[str, Sequence[CachedResult]], weak: Fraction
) -> list[SplitRow]:
    """One row per split that a ceiling was counted on."""
    ceilings = _split_means(results, "ceiling")
    teachers = _split_means(results, "weak")
    students = {method: _split_means(own, "strong") for method, own in runs.items()}
    rows = []
    for split, ceiling in ceilings.items():
        below = teachers.get(split, weak)
        found = {method: means[split] for method, means in students.items() if split in means}
        rows.append(
            SplitRow(
                split=split,
                items=_split_items(results, split),
                weak=float(below),
                is_weak_whole=split not in teachers,
                ceiling=float(ceiling),
                accuracies={method: float(value) for method, value in found.items()},
                pgrs={
                    method: float(pgr(weak=below, student=value, ceiling=ceiling))
                    if ceiling > below
                    else None
                    for method, value in found.items()
                },
            )
        )
    return rows


def _split_means(results: Sequence[CachedResult], role: str) -> dict[str, Fraction]:
    """Each split's mean accuracy over seeds; a seed that several files evaluate counts once."""
    found: dict[str, dict[int, float]] = {}
    for one in results:
        for split, counted in one.splits.get(role, {}).items():
            found.setdefault(split, {}).setdefault(one.seed, counted.accuracy)
    return {split: _exact_mean(by_seed.values()) for split, by_seed in sorted(found.items())}


def _split_items(results: Sequence[CachedResult], split: str) -> int | None:
    for one in results:
        for splits in one.splits.values():
            if split in splits and splits[split].total is not None:
                return splits[split].total
    return None


def _exact_mean(values: Iterable[float | Fraction]) -> Fraction:
    numbers = [Fraction(value) for value in values]
    return sum(numbers, Fraction()) / len(numbers)


def _mean(values: Sequence[float]) -> Mean:
    error = float(np.std(values, ddof=1) / len(values) ** 0.5) if len(values) > 1 else None
    return Mean(value=float(_exact_mean(values)), error=error, seeds=len(values))
