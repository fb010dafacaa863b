"""Experiments: a method on a problem over seeds, counted item by item, with the intervals that follow.

An experiment is made of splits, one per replicate of a seed. On each, weak teacher, ceiling, the plain
student (vanilla) and the method are marked right or wrong on every test item; all else is derived from the
marks. What is to be run is a list of `Work`, so that processes can share it and a cache can shorten it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aar.lab.bootstrap import DRAWS, PLAIN, Bounds, crossed_intervals, recovered, seed_intervals
from aar.lab.errors import LabError, MalformedSplit
from aar.lab.experiment import Sampled, sample
from aar.lab.pipeline import VANILLA, Pipeline, format_pipeline, parse_pipeline_text, run_pipeline
from aar.lab.problems.problem import AnyProblem, Baselines, Marks, Sizes, Taught, baselines_of, deal

# Who is marked beside the methods. Neither is the text of a pipeline.
TEACHER, CEILING = "weak teacher", "ceiling"


class MalformedAnswer(LabError):
    """A method's answer is not one probability per test item."""


class RunKey(NamedTuple):
    """What one set of marks is of: a problem, a teacher, ceiling or pipeline text, and a split."""

    problem: str
    who: str
    seed: int
    replicate: int


class Work(NamedTuple):
    """One split and who is still to be marked on it."""

    problem: str
    seed: int
    replicate: int
    missing: tuple[str, ...]


Done = Mapping[RunKey, "Marks | str"]
"""Marks over the test items in their order; a text where a method cannot run on the problem, and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitMarks:
    """What was right on one split; `items` [m] are pool ids, or 0 to m - 1 where the split drew its own."""

    seed: int
    replicate: int
    items: NDArray[np.intp]
    student: Marks
    weak: Marks
    ceiling: Marks
    vanilla: Marks


@dataclass(frozen=True, kw_only=True)
class ExperimentResult:
    """A method on a problem: all its marks. `group` neighbouring items of the pool are drawn as one."""

    problem: str
    pipeline: str
    is_fresh: bool
    group: int
    splits: tuple[SplitMarks, ...]
    draws: int = DRAWS

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """The seeds, in the order they were given."""
        return tuple(dict.fromkeys(one.seed for one in self.splits))

    @cached_property
    def accuracies(self) -> Mapping[str, float]:
        """Of student, weak, ceiling and vanilla, over all splits."""
        tested = sum(len(one.items) for one in self.splits)
        return {
            name: float(sum(int(getattr(one, name).sum()) for one in self.splits) / tested)
            for name in ("student", "weak", "ceiling", "vanilla")
        }

    @cached_property
    def pgr(self) -> float:
        """The ratio of mean differences over all splits; `UndefinedPGR` without a gap."""
        return float(recovered(self._seed_counts.sum(axis=0)))

    @cached_property
    def lead(self) -> float:
        """PGR less vanilla's on the same splits."""
        total = self._seed_counts.sum(axis=0)
        return float(recovered(total) - recovered(total, PLAIN))

    @cached_property
    def per_seed(self) -> tuple[float | None, ...]:
        """Each seed's own PGR by its own teacher and ceiling; `None` for one without a gap."""
        return tuple(float(recovered(one)) if one[2] > one[1] else None for one in self._seed_counts)

    @property
    def interval(self) -> Bounds:
        """The PGR's 95 % interval, teacher and ceiling drawn again with seed and items."""
        return self._intervals[0]

    @property
    def lead_interval(self) -> Bounds:
        """The lead's 95 % interval, on the same draws."""
        return self._intervals[1]

    @cached_property
    def _intervals(self) -> tuple[Bounds, Bounds]:
        if not self.is_fresh:
            return crossed_intervals(self.item_counts, draws=self.draws)
        if len(self.seeds) > 1:
            return seed_intervals(self._seed_counts)
        if len(self.splits) > 1:
            return seed_intervals(np.array([_totals(one) for one in self.splits]))
        [one] = self.splits
        return seed_intervals(np.stack(_marks_of(one), axis=1).astype(np.int64))

    @cached_property
    def _seed_counts(self) -> NDArray[np.int64]:
        """[seeds, 4]: what student, teacher, ceiling and vanilla got right on each seed's splits."""
        return np.array(
            [sum(_totals(one) for one in self.splits if one.seed == seed) for seed in self.seeds],
            dtype=np.int64,
        )

    @cached_property
    def item_counts(self) -> NDArray[np.int64]:
        """[seeds, units, 4]: the same by group of items that were tested at all; only of a pool."""
        units, places = np.unique(
            np.concatenate([one.items for one in self.splits]) // self.group, return_inverse=True
        )
        counts = np.zeros((len(self.seeds), len(units), 4), dtype=np.int64)
        row_of = {seed: row for row, seed in enumerate(self.seeds)}
        begin = 0
        for one in self.splits:
            own = places[begin : begin + len(one.items)]
            begin += len(one.items)
            for place, marks in enumerate(_marks_of(one)):
                counts[row_of[one.seed], :, place] += np.bincount(
                    own, weights=marks, minlength=len(units)
                ).astype(np.int64)
        return counts


def _marks_of(one: SplitMarks) -> tuple[Marks, Marks, Marks, Marks]:
    return one.student, one.weak, one.ceiling, one.vanilla


def _totals(one: SplitMarks) -> NDArray[np.int64]:
    return np.array([int(marks.sum()) for marks in _marks_of(one)], dtype=np.int64)


def run_experiment(
    problem: AnyProblem, pipeline: Pipeline, seeds: Sequence[int], replicates: int = 1, *, draws: int = DRAWS
) -> ExperimentResult:
    """Run a method, with vanilla beside it, on `replicates` splits of each seed; all in this process."""
    text = format_pipeline(pipeline)
    done: dict[RunKey, Marks | str] = {}
    for seed, replicate in splits_of(seeds, replicates):
        work = Work("", seed, replicate, (TEACHER, CEILING, vanilla_text(), text))
        done |= do_work(problem, work)
    return result_of("", problem, text, seeds, replicates, done, draws=draws)


def check_gap(result: ExperimentResult) -> Baselines:
    """Teacher and ceiling over the experiment's splits; `DegenerateGapError` where PGR would mean nothing."""
    nothing = np.zeros(0)
    return baselines_of(
        [
            (
                one.seed,
                Taught(
                    weak=nothing,
                    class_prior=0.5,
                    truth=one.weak,
                    weak_correct=one.weak,
                    ceiling_correct=one.ceiling,
                ),
            )
            for one in result.splits
        ]
    )


def by_part(result: ExperimentResult, part_of: Sequence[str]) -> dict[str, ExperimentResult]:
    """The experiment on each part of the test items alone; `part_of` names the part of every pool item."""
    names = np.asarray(part_of)
    parts = {}
    for name in sorted(set(part_of)):
        splits = []
        for one in result.splits:
            own = names[one.items] == name
            if own.any():
                splits.append(
                    replace(
                        one,
                        items=one.items[own],
                        student=one.student[own],
                        weak=one.weak[own],
                        ceiling=one.ceiling[own],
                        vanilla=one.vanilla[own],
                    )
                )
        if splits:
            parts[name] = replace(result, splits=tuple(splits))
    return parts


def vanilla_text() -> str:
    """The plain baseline with its parameters written out, as every pipeline's text has them."""
    return format_pipeline(parse_pipeline_text(VANILLA))


def splits_of(seeds: Sequence[int], replicates: int) -> list[tuple[int, int]]:
    """The (seed, replicate) of all splits; `MalformedSplit` unless there are some, each seed once."""
    if not seeds or replicates < 1 or len(set(seeds)) != len(seeds):
        raise MalformedSplit(
            f"{len(seeds)} seeds, {replicates} replicates: want at least one, each seed once"
        )
    return [(seed, replicate) for seed in seeds for replicate in range(replicates)]


def work_for(
    problem: str, pipelines: Iterable[str], seeds: Sequence[int], replicates: int, done: Done
) -> list[Work]:
    """What is still to be run for these pipeline texts, one piece per split."""
    wanted = list(dict.fromkeys((TEACHER, CEILING, vanilla_text(), *pipelines)))
    pieces = [
        Work(
            problem,
            seed,
            replicate,
            tuple(who for who in wanted if RunKey(problem, who, seed, replicate) not in done),
        )
        for seed, replicate in splits_of(seeds, replicates)
    ]
    return [piece for piece in pieces if piece.missing]


def do_work(problem: AnyProblem, work: Work) -> dict[RunKey, Marks | str]:
    """Teach one split and mark everybody that is missing on it."""
    sampled = sample(problem, work.seed, work.replicate)
    done: dict[RunKey, Marks | str] = {}
    for who in work.missing:
        key = RunKey(work.problem, who, work.seed, work.replicate)
        if who == TEACHER:
            done[key] = sampled.taught.weak_correct
        elif who == CEILING:
            done[key] = sampled.taught.ceiling_correct
        else:
            try:
                done[key] = mark(parse_pipeline_text(who), sampled, work.seed, work.replicate)
            except (LabError, np.linalg.LinAlgError) as error:
                done[key] = str(error)
    return done


def mark(pipeline: Pipeline, sampled: Sampled, seed: int, replicate: int) -> Marks:
    """Which test items a method gets right; its randomness is a function of the split and of its text."""
    label = f"aar-lab-run/v1\n{seed}\n{replicate}\n{format_pipeline(pipeline)}".encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(label).digest(), "big"))
    answer = run_pipeline(pipeline, sampled.instance, rng)
    truth = sampled.taught.truth
    # Written so that NaN is refused too.
    if answer.shape != truth.shape or not (answer.min() >= 0 and answer.max() <= 1):
        raise MalformedAnswer(f"an answer of shape {answer.shape}: want {truth.shape} of numbers from 0 to 1")
    marks: Marks = (answer > 0.5) == truth
    return marks


@lru_cache(maxsize=1 << 12)
def _tested(sizes: Sizes, seed: int, replicate: int) -> NDArray[np.intp]:
    """The items that a split of a pool tests; every method of a table asks for the same."""
    return np.asarray(deal(sizes, seed, replicate).tested, dtype=np.intp)


def result_of(
    name: str,
    problem: AnyProblem,
    pipeline: str,
    seeds: Sequence[int],
    replicates: int,
    done: Done,
    *,
    draws: int = DRAWS,
) -> ExperimentResult:
    """The experiment that these marks make up; `LabError` in a method's own words where it could not run."""
    splits = []
    for seed, replicate in splits_of(seeds, replicates):
        found = [
            done[RunKey(name, who, seed, replicate)] for who in (pipeline, TEACHER, CEILING, vanilla_text())
        ]
        for one in found:
            if isinstance(one, str):
                raise LabError(one)
        student, weak, ceiling, vanilla = (one for one in found if not isinstance(one, str))
        if problem.sizes.is_fresh:
            items = np.arange(len(student), dtype=np.intp)
        else:
            items = _tested(problem.sizes, seed, replicate)
        splits.append(
            SplitMarks(
                seed=seed,
                replicate=replicate,
                items=items,
                student=student,
                weak=weak,
                ceiling=ceiling,
                vanilla=vanilla,
            )
        )
    return ExperimentResult(
        problem=name,
        pipeline=pipeline,
        is_fresh=problem.sizes.is_fresh,
        group=problem.sizes.group,
        splits=tuple(splits),
        draws=draws,
    )
