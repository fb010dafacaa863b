"""What looks wrong in cached result files: each kind of anomaly by name, with the seeds that show it.

Nothing here accuses: a flag says what a reader should know before believing the number beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from aar.lab.problems.problem import LEAST_GAP
from aar.lab.published import CachedResult
from aar.lab.published_table import TOLERANCE, ceilings_of, recompute, teachers_of, test_items_of
from aar.verify.pgr import UndefinedPGR, pgr

# An accuracy is a count of items where it is this near to one, by the number of items.
NEAR_COUNT = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One anomaly of one method (or, with no method, of a data set) and the seeds it was seen on."""

    code: str
    dataset: str
    method: str | None
    seeds: tuple[int, ...]
    text: str


Found = tuple[str, str]
"""A code and what to say of one file."""


def find_flags(results: Sequence[CachedResult]) -> list[Flag]:
    """All anomalies, data set by data set; the same code and words of several seeds are one flag."""
    flags: list[Flag] = []
    for dataset in dict.fromkeys(one.dataset for one in results):
        own = [one for one in results if one.dataset == dataset]
        grouped: dict[tuple[str, str, str], list[int]] = {}
        for find in (
            _other_idea,
            _no_pgr,
            _stored_pgr,
            _not_of_its_seed,
            _no_count,
            _counts_that_do_not_add_up,
            _same_timing,
        ):
            for one, (code, text) in find(own):
                grouped.setdefault((code, one.method, text), []).append(one.seed)
        flags += [
            Flag(code=code, dataset=dataset, method=method, seeds=tuple(sorted(set(seeds))), text=text)
            for (code, method, text), seeds in grouped.items()
        ]
        flags += _missing_seeds(own, dataset)
        flags += _stored_baselines(own, dataset)
        flags += _small_gap(own, dataset)
        if test_items_of(own) is None:
            text = "no file says how many test items there are: the interval is over seeds alone, too narrow"
            flags.append(Flag(code="no-test-size", dataset=dataset, method=None, seeds=(), text=text))
    return flags


Finder = Callable[[Sequence[CachedResult]], Iterator[tuple[CachedResult, Found]]]


def _other_idea(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    for one in results:
        if one.idea is not None and one.idea != one.method:
            yield one, ("other-idea", f"idea_name says {one.idea}, the directory {one.method}")


def _no_pgr(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    for one in results:
        if one.student is not None and one.pgr is None:
            yield one, ("no-pgr", "no PGR is stored")


def _stored_pgr(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    """A stored PGR that does not follow from the accuracies stored with it."""
    for one in results:
        if one.student is None or one.pgr is None or one.stated_weak is None or one.stated_ceiling is None:
            continue
        try:
            follows = pgr(
                weak=Fraction(one.stated_weak),
                student=Fraction(one.student),
                ceiling=Fraction(one.stated_ceiling),
            )
        except UndefinedPGR:
            yield (
                one,
                ("stored-pgr", f"a PGR of {one.pgr:.4f} is stored with a ceiling not above the weak teacher"),
            )
            continue
        if abs(float(follows) - one.pgr) > TOLERANCE:
            yield (
                one,
                ("stored-pgr", f"stored PGR {one.pgr:.4f}, its own accuracies give {float(follows):.4f}"),
            )


def _not_of_its_seed(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    """The seed in a file, or the teacher or ceiling in a method's file, are not those of its file name."""
    teachers, ceilings = teachers_of(results), ceilings_of(results)
    for one in results:
        if one.told_seed != one.seed:
            yield one, ("other-seed", f"the file itself says seed {one.told_seed}")
        if one.student is None:
            continue
        for value, by_seed, name in ((one.weak, teachers, "weak_acc"), (one.ceiling, ceilings, "strong_acc")):
            if value is None or abs(by_seed.get(one.seed, value) - value) <= NEAR_COUNT:
                continue
            others = [seed for seed, other in by_seed.items() if abs(other - value) <= NEAR_COUNT]
            text = f"that of seed {others[0]}" if others else "that of no cached seed"
            yield one, ("other-seed", f"{name} is not that of its own seed but {text}")


def _no_count(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    """An accuracy that no number of right items gives: it was rounded, or typed in."""
    items = test_items_of(results)
    if items is None:
        return
    for one in results:
        for value, name in (
            (one.student, "transfer_acc"),
            (one.weak if one.student is None else None, "weak_acc"),
            (one.ceiling if one.student is None else None, "strong_acc"),
        ):
            if value is None or abs(value * items - round(value * items)) <= NEAR_COUNT * items:
                continue
            digits = next((digits for digits in range(1, 7) if value == round(value, digits)), None)
            how = f", it was rounded to {digits} digits" if digits else ""
            yield one, ("rounded", f"{name} is no share of {items} items{how}")


def _counts_that_do_not_add_up(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    for one in results:
        own = {"weak": one.weak, "strong": one.student, "ceiling": one.ceiling}
        for role, whole in one.evaluations.items():
            parts = one.splits.get(role, {})
            told = own[role]
            if told is not None and abs(told - whole.accuracy) > NEAR_COUNT:
                yield one, ("counts", f"detailed_eval.{role} has another accuracy than the file itself")
            for place, counted in (("the whole test", whole), *parts.items()):
                if counted.total is None:
                    continue
                if counted.predicted not in (None, counted.total):
                    yield (
                        one,
                        (
                            "counts",
                            f"{counted.predicted} predictions for the {counted.total} items of {place}",
                        ),
                    )
                if counted.correct is not None and counted.total:
                    if abs(counted.correct / counted.total - counted.accuracy) > TOLERANCE / 10:
                        yield (
                            one,
                            (
                                "counts",
                                f"{counted.correct} of {counted.total} is not the accuracy of {place}",
                            ),
                        )
            for name in ("correct", "total"):
                sums = [getattr(part, name) for part in parts.values()]
                if sums and None not in sums and getattr(whole, name) not in (None, sum(sums)):
                    yield (
                        one,
                        ("counts", f"{name} of the splits add up to {sum(sums)}, not {getattr(whole, name)}"),
                    )


def _same_timing(results: Sequence[CachedResult]) -> Iterator[tuple[CachedResult, Found]]:
    """Two runs that took the same time to the last digit are one run, or one of them was copied."""
    by_time: dict[float, list[CachedResult]] = {}
    for one in results:
        if one.training_s:
            by_time.setdefault(one.training_s, []).append(one)
    for seconds, runs in by_time.items():
        # Where some bear another's name the rest are taken for the originals; else it is said of each.
        renamed = [one for one in runs if one.idea not in (None, one.method)]
        suspects = renamed or runs
        originals = [one for one in runs if one not in suspects] or runs
        for one in suspects if len(runs) > 1 else ():
            other = next(each for each in originals if each is not one)
            told = f"{other.method} seed {other.seed}"
            yield one, ("same-timing", f"training took {seconds:.1f} s to the last digit, as did {told}")


def _missing_seeds(results: Sequence[CachedResult], dataset: str) -> Iterator[Flag]:
    """Seeds that other methods of the data set have and one has not; likewise teacher and ceiling."""
    by_method: dict[str, set[int]] = {}
    for one in results:
        if one.student is not None:
            by_method.setdefault(one.method, set()).add(one.seed)
    everywhere: set[int] = set().union(*by_method.values())
    baselines: Mapping[str, set[int]] = {
        "weak_acc": set(teachers_of(results)),
        "strong_acc": set(ceilings_of(results)),
    }
    for method, seeds in by_method.items():
        missing = tuple(sorted(everywhere - seeds))
        if missing:
            text = "other methods have these seeds, it has not"
            yield Flag(code="missing-seed", dataset=dataset, method=method, seeds=missing, text=text)
    all_baselines = set().union(*baselines.values())
    for name, seeds in baselines.items():
        missing = tuple(sorted(all_baselines - seeds))
        if missing:
            text = f"{name} is missing for these seeds"
            yield Flag(code="missing-seed", dataset=dataset, method=None, seeds=missing, text=text)


def _stored_baselines(results: Sequence[CachedResult], dataset: str) -> Iterator[Flag]:
    """Fixed baselines in the files that are not the mean over the cached seeds."""
    for name, by_seed, label in (
        ("stated_weak", teachers_of(results), "weak"),
        ("stated_ceiling", ceilings_of(results), "ceiling"),
    ):
        if not by_seed:
            continue
        mean = sum(by_seed.values()) / len(by_seed)
        stated: dict[tuple[str, float], list[int]] = {}
        for one in results:
            value = getattr(one, name)
            if value is not None and abs(value - mean) > NEAR_COUNT:
                stated.setdefault((one.method, value), []).append(one.seed)
        for (method, value), seeds in stated.items():
            text = (
                f"stored with {label} {value:.4f}; the {len(by_seed)} cached seeds have a mean of {mean:.4f}"
            )
            yield Flag(
                code="stored-baseline", dataset=dataset, method=method, seeds=tuple(sorted(seeds)), text=text
            )


def _small_gap(results: Sequence[CachedResult], dataset: str) -> Iterator[Flag]:
    [table] = recompute(results, draws=1)
    if table.gap < LEAST_GAP:
        text = f"the gap is {table.gap:.4f}: below {LEAST_GAP} a PGR is mostly noise"
        yield Flag(code="small-gap", dataset=dataset, method=None, seeds=(), text=text)
